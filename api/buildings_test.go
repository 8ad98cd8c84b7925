package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func TestGetOfNoBuilding(t *testing.T) {
	g := start(t)
	_, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
	info, _ := refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "hq")
	if info.GetMetadata()["building"] != "hq" {
		t.Errorf("metadata %v, want the building", info.GetMetadata())
	}
	_, err = g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "b.*"})
	wrongField(t, err, "id")
	_, err = g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{})
	wrongField(t, err, "id")
}

func TestList(t *testing.T) {
	g := start(t)
	off := g.building("e", "region=north")
	off.Disabled = true
	for _, b := range []*knxfleetv1.Building{
		g.building("d", "region=south", "tier=test"), g.building("b", "region=south"), off, g.building("a"), g.building("c", "region=north"),
	} {
		g.create(t, b)
	}
	g.eventually(t, "e", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	for _, id := range []string{"a", "b", "c", "d"} {
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	}
	const disabled, handshaking, online = knxfleetv1.State_STATE_DISABLED, knxfleetv1.State_STATE_HANDSHAKING, knxfleetv1.State_STATE_ONLINE
	for _, c := range []struct {
		selector string
		states   []knxfleetv1.State
		want     string
	}{
		{"", nil, "a b c d e"},
		{"region=south", nil, "b d"},
		{"region=south,tier!=test", nil, "b"},
		{"region in (north,west)", nil, "c e"},
		{"region notin (north)", nil, "a b d"},
		{"!region", nil, "a"},
		{"tier", nil, "d"},
		{"", []knxfleetv1.State{disabled}, "e"},
		{"", []knxfleetv1.State{handshaking, disabled}, "a b c d e"},
		{"region=north", []knxfleetv1.State{handshaking}, "c"},
		{"", []knxfleetv1.State{online}, ""},
		{"", []knxfleetv1.State{knxfleetv1.State_STATE_UNSPECIFIED}, "a b c d e"},
	} {
		list, err := g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{LabelSelector: c.selector, States: c.states})
		noError(t, err)
		got := strings.Join(idsOf(list.GetBuildings()), " ")
		if got != c.want || int(list.GetTotalSize()) != len(strings.Fields(c.want)) || list.GetNextPageToken() != "" {
			t.Errorf("%q %v: got %q of %d, want %q", c.selector, c.states, got, list.GetTotalSize(), c.want)
		}
	}
}

func TestListPages(t *testing.T) {
	g := start(t)
	for i := range 7 {
		b := g.building(fmt.Sprintf("b%d", i))
		b.Disabled = true
		g.create(t, b)
	}
	request := &knxfleetv1.ListBuildingsRequest{PageSize: 3}
	var got []string
	for pages := 1; ; pages++ {
		page, err := g.buildings.ListBuildings(t.Context(), request)
		noError(t, err)
		if page.GetTotalSize() != 7 || len(page.GetBuildings()) > 3 {
			t.Errorf("page %d: %d buildings, total %d", pages, len(page.GetBuildings()), page.GetTotalSize())
		}
		got = append(got, idsOf(page.GetBuildings())...)
		if pages == 1 {
			// The place of the page's end may be gone by the next page.
			_, err := g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "b2"})
			noError(t, err)
			b := g.building("b7")
			b.Disabled = true
			g.create(t, b)
		}
		if page.GetNextPageToken() == "" {
			break
		}
		request.PageToken = page.GetNextPageToken()
	}
	if want := []string{"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestListRefusals(t *testing.T) {
	g := start(t)
	for _, c := range []struct {
		field   string
		request *knxfleetv1.ListBuildingsRequest
	}{
		{"page_size", &knxfleetv1.ListBuildingsRequest{PageSize: -1}},
		{"page_token", &knxfleetv1.ListBuildingsRequest{PageToken: "not ours!"}},
		{"page_token", &knxfleetv1.ListBuildingsRequest{PageToken: "AAAA"}},
		{"label_selector", &knxfleetv1.ListBuildingsRequest{LabelSelector: "region=south=west"}},
		{"states", &knxfleetv1.ListBuildingsRequest{States: []knxfleetv1.State{99}}},
	} {
		_, err := g.buildings.ListBuildings(t.Context(), c.request)
		wrongField(t, err, c.field)
	}
	for i := range 2 {
		g.create(t, g.building(fmt.Sprintf("b%d", i)))
	}
	first, err := g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{PageSize: 1})
	noError(t, err)
	for _, other := range []*knxfleetv1.ListBuildingsRequest{
		{OrderBy: "id desc"}, {LabelSelector: "region"}, {States: []knxfleetv1.State{knxfleetv1.State_STATE_ONLINE}},
	} {
		other.PageToken = first.GetNextPageToken()
		_, err := g.buildings.ListBuildings(t.Context(), other)
		wrongField(t, err, "page_token")
	}
	_, err = g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{PageSize: 7, OrderBy: " ", PageToken: first.GetNextPageToken()})
	noError(t, err)
}

// Every order comes in full over pages of one, forwards and back.
func TestListOrders(t *testing.T) {
	g := start(t)
	for i, name := range []string{"Delta", "alpha", "", "Charlie", "bravo"} {
		b := g.building(fmt.Sprintf("b%d", i))
		b.DisplayName, b.Disabled = name, i < 2
		g.create(t, b)
	}
	for _, id := range []string{"b0", "b1"} {
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	}
	for _, id := range []string{"b2", "b3", "b4"} {
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	}
	_, err := g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: &knxfleetv1.Building{Id: "b1", Labels: map[string]string{"a": "b"}}})
	noError(t, err)
	for order, want := range map[string]string{
		"":                 "b0 b1 b2 b3 b4",
		"id desc":          "b4 b3 b2 b1 b0",
		"display_name":     "b2 b1 b4 b3 b0",
		"state":            "b0 b1 b2 b3 b4",
		"state desc":       "b4 b3 b2 b1 b0",
		"created_at":       "b0 b1 b2 b3 b4",
		"updated_at desc":  "b1 b4 b3 b2 b0",
		"last_telegram_at": "b0 b1 b2 b3 b4",
	} {
		request := &knxfleetv1.ListBuildingsRequest{OrderBy: order, PageSize: 1}
		var got []string
		for {
			page, err := g.buildings.ListBuildings(t.Context(), request)
			noError(t, err)
			got = append(got, idsOf(page.GetBuildings())...)
			if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
				break
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", order, got, want)
		}
	}
	for _, order := range []string{"name", "id asc", "desc", "id desc id", "ID"} {
		_, err := g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{OrderBy: order})
		wrongField(t, err, "order_by")
	}
}

// Large buildings make small pages, and still every one of them comes.
func TestPagesStaySmall(t *testing.T) {
	byID, err := newOrder("")
	noError(t, err)
	var rows []row
	for i := range 1500 {
		id := fmt.Sprintf("b%04d", i)
		rows = append(rows, row{place: place{ID: id}, building: &registry.Building{ID: id, DisplayName: strings.Repeat("x", 10_000)}, status: &fleet.Status{}})
	}
	build := func(r row) *knxfleetv1.Building { return toProto(*r.building, "", *r.status) }
	var after *place
	got := 0
	for {
		page, last := byID.page(rows, after, 1000, build)
		if size := len(page) * 10_000; size > 4<<20-1<<20 {
			t.Fatalf("a page of %d bytes, too close to the 4 MiB that clients take", size)
		}
		got += len(page)
		if after = last; after == nil {
			break
		}
	}
	if got != len(rows) {
		t.Errorf("%d of %d buildings came", got, len(rows))
	}
	if page, last := byID.page(nil, nil, 100, build); len(page) != 0 || last != nil {
		t.Errorf("of nothing: %v %v", page, last)
	}
	for _, c := range []struct {
		asked int32
		want  int
	}{{0, 100}, {1, 1}, {1000, 1000}, {1001, 1000}, {1 << 30, 1000}} {
		if got, err := pageSize(c.asked); got != c.want || err != nil {
			t.Errorf("page size %d becomes %d, %v; want %d", c.asked, got, err, c.want)
		}
	}
}

func TestDelete(t *testing.T) {
	g := start(t)
	created := g.create(t, g.building("hq"))
	changed, err := g.buildings.DisableBuilding(t.Context(), &knxfleetv1.DisableBuildingRequest{Id: "hq"})
	noError(t, err)

	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "hq", Etag: created.GetEtag()})
	info, _ := refused(t, err, codes.Aborted, "ETAG_MISMATCH", "hq")
	if info.GetMetadata()["building"] != "hq" {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "hq", Etag: "latest"})
	wrongField(t, err, "etag")
	if ids := g.ids(t); len(ids) != 1 {
		t.Fatal("a refused deletion deleted")
	}
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "hq", Etag: changed.GetBuilding().GetEtag()})
	noError(t, err)
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "hq"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "hq")
	// The id is free again, and its new building is another one.
	if again := g.create(t, g.building("hq")); again.GetGeneration() != 1 || again.GetEtag() == created.GetEtag() {
		t.Errorf("created anew as %v", again)
	}
}

func TestDisableAndEnable(t *testing.T) {
	g := start(t)
	created := g.create(t, g.building("hq"))
	state := func(want knxfleetv1.State) func(*knxfleetv1.BuildingStatus) bool {
		return func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == want }
	}
	first := g.eventually(t, "hq", state(knxfleetv1.State_STATE_HANDSHAKING))

	disabled, err := g.buildings.DisableBuilding(t.Context(), &knxfleetv1.DisableBuildingRequest{Id: "hq", Etag: created.GetEtag()})
	noError(t, err)
	if b := disabled.GetBuilding(); !b.GetDisabled() || b.GetGeneration() != 2 {
		t.Errorf("answered %v", b)
	}
	stopped := g.eventually(t, "hq", state(knxfleetv1.State_STATE_DISABLED))
	if s := stopped.GetStatus(); s.GetObservedGeneration() != 2 || s.GetEndpoint() != "" {
		t.Errorf("disabled with status %v", s)
	}

	_, err = g.buildings.EnableBuilding(t.Context(), &knxfleetv1.EnableBuildingRequest{Id: "hq", Etag: created.GetEtag()})
	refused(t, err, codes.Aborted, "ETAG_MISMATCH", "hq")
	enabled, err := g.buildings.EnableBuilding(t.Context(), &knxfleetv1.EnableBuildingRequest{Id: "hq"})
	noError(t, err)
	again, err := g.buildings.EnableBuilding(t.Context(), &knxfleetv1.EnableBuildingRequest{Id: "hq"})
	noError(t, err)
	if enabled.GetBuilding().GetDisabled() || again.GetBuilding().GetEtag() != enabled.GetBuilding().GetEtag() {
		t.Errorf("enabled twice: %v, then %v; want no effect the second time", enabled.GetBuilding(), again.GetBuilding())
	}
	second := g.eventually(t, "hq", state(knxfleetv1.State_STATE_HANDSHAKING))
	if second.GetStatus().GetEpoch() <= first.GetStatus().GetEpoch() {
		t.Errorf("epoch %d after %d, want a higher one", second.GetStatus().GetEpoch(), first.GetStatus().GetEpoch())
	}

	_, err = g.buildings.DisableBuilding(t.Context(), &knxfleetv1.DisableBuildingRequest{Id: "nowhere"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	_, err = g.buildings.EnableBuilding(t.Context(), &knxfleetv1.EnableBuildingRequest{Id: "hq", Etag: "x"})
	wrongField(t, err, "etag")
}
