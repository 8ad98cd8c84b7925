package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// bus stands for the site of a building: it writes telegrams and publishes them.
type bus struct {
	g        *gateway
	building string
	epoch    uint64
	number   uint64
	writer   *journal.Writer
}

func (g *gateway) bus(building string, epoch, previous uint64, unclean bool) *bus {
	return &bus{g: g, building: building, epoch: epoch, writer: g.journal.Open(building, epoch, previous, unclean)}
}

// say has telegrams to an address come from the bus.
func (b *bus) say(count int, to frame.GroupAddress) {
	for range count {
		b.number++
		t := journal.Telegram{
			Position: journal.Position{Epoch: b.epoch, Number: b.number}, ReceivedAt: time.Now(), Source: 0x1105, Destination: to,
			Command: frame.GroupValueWrite, Raw: []byte{0x0c, byte(b.number)},
		}
		live := telegram(b.building, b.number, to, nil)
		live.Epoch, live.Stamp = b.epoch, b.writer.Write(t)
		m := live.Message()
		m.Epoch, m.Raw = b.epoch, t.Raw
		live.Encoded = fleet.Encode(m)
		b.g.hub.Publish(live)
		b.writer.Published()
	}
}

func (b *bus) end(t *testing.T) {
	t.Helper()
	noError(t, b.writer.End(t.Context()))
}

// follower reads a stream and keeps the token of what it read last.
type follower struct {
	stream grpc.ServerStreamingClient[knxfleetv1.StreamTelegramsResponse]
	cancel context.CancelFunc
	token  string
	gaps   []*knxfleetv1.Gap
}

func (g *gateway) follow(t *testing.T, request *knxfleetv1.StreamTelegramsRequest) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := g.telegrams.StreamTelegrams(ctx, request)
	noError(t, err)
	_, err = stream.Header()
	noError(t, err)
	return &follower{stream: stream, cancel: cancel}
}

// take reads whole responses until there are n telegrams at least.
func (f *follower) take(t *testing.T, n int) (all []*knxfleetv1.Telegram) {
	t.Helper()
	for len(all) < n {
		response, err := f.stream.Recv()
		noError(t, err)
		all = append(all, response.GetTelegrams()...)
		if gap := response.GetGap(); gap != nil {
			f.gaps = append(f.gaps, gap)
		}
		if response.GetResumeToken() != "" {
			f.token = response.GetResumeToken()
		}
	}
	return all
}

func names(telegrams []*knxfleetv1.Telegram) string {
	var all []string
	for _, tg := range telegrams {
		all = append(all, fmt.Sprintf("%s:%d:%d", tg.GetBuilding(), tg.GetEpoch(), tg.GetNumber()))
	}
	return strings.Join(all, " ")
}

// upTo names the telegrams of one epoch.
func upTo(building string, epoch, from, to int) string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprintf("%s:%d:%d", building, epoch, n))
	}
	return strings.Join(all, " ")
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// A client that comes back with its token gets what it missed, once and in order,
// and then what is live; also after a restart of the gateway.
func TestStreamResumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := startWith(t, setup{journal: true, dir: dir})
	a := g.bus("a", 1, 0, false)
	f := g.follow(t, &knxfleetv1.StreamTelegramsRequest{})
	a.say(5, 0x0A03)
	same(t, "live", names(f.take(t, 5)), upTo("a", 1, 1, 5))
	f.cancel()
	a.say(5, 0x0A03)
	f = g.follow(t, &knxfleetv1.StreamTelegramsRequest{ResumeToken: f.token})
	same(t, "after a disconnect", names(f.take(t, 5)), upTo("a", 1, 6, 10))
	a.say(1, 0x0A03)
	same(t, "live after it", names(f.take(t, 1)), upTo("a", 1, 11, 11))
	f.cancel()
	a.say(4, 0x0A03)
	a.end(t)
	g.stop()

	g = startWith(t, setup{journal: true, dir: dir})
	g.bus("a", 2, 1, false).say(3, 0x0A03)
	f = g.follow(t, &knxfleetv1.StreamTelegramsRequest{ResumeToken: f.token})
	same(t, "after a restart", names(f.take(t, 7)), upTo("a", 1, 12, 15)+" "+upTo("a", 2, 1, 3))
	if len(f.gaps) > 0 {
		t.Errorf("gaps after a restart in order: %v", f.gaps)
	}
	f.cancel()
	g.stop()

	g = startWith(t, setup{journal: true, dir: dir})
	g.bus("a", 3, 2, true).say(1, 0x0A03)
	f = g.follow(t, &knxfleetv1.StreamTelegramsRequest{ResumeToken: f.token})
	same(t, "after a crash", names(f.take(t, 1)), upTo("a", 3, 1, 1))
	if len(f.gaps) != 1 || f.gaps[0].GetBuilding() != "a" || f.gaps[0].GetEpoch() != 2 || f.gaps[0].GetCause() != knxfleetv1.Gap_CAUSE_UNCLEAN_END {
		t.Errorf("gaps after a crash: %v", f.gaps)
	}
	if n := g.server.Gaps()["UNCLEAN_END"]; n != 1 {
		t.Errorf("%d gaps counted, want 1", n)
	}
	g.stop()
}

// Filters select of the past what they select of the present.
func TestStreamStartsInThePast(t *testing.T) {
	g := startWith(t, setup{journal: true})
	a, b := g.bus("a", 1, 0, false), g.bus("b", 2, 0, false)
	a.say(3, 0x0A03)
	between := time.Now()
	a.say(2, 0x0A03)
	b.say(2, 0x1101)
	for name, c := range map[string]struct {
		request *knxfleetv1.StreamTelegramsRequest
		want    string
	}{
		"since":       {&knxfleetv1.StreamTelegramsRequest{Since: timestamppb.New(between)}, upTo("a", 1, 4, 5) + " " + upTo("b", 2, 1, 2)},
		"last":        {&knxfleetv1.StreamTelegramsRequest{Last: 1}, "a:1:5 b:2:2"},
		"an address":  {&knxfleetv1.StreamTelegramsRequest{Last: 10, GroupAddresses: []string{"2/*/*"}}, upTo("b", 2, 1, 2)},
		"a building":  {&knxfleetv1.StreamTelegramsRequest{Last: 10, Sources: []string{"1.1.*"}, LabelSelector: "!nowhere"}, upTo("a", 1, 1, 5) + " " + upTo("b", 2, 1, 2)},
		"other kinds": {&knxfleetv1.StreamTelegramsRequest{Last: 10, Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_READ}}, ""},
	} {
		f := g.follow(t, c.request)
		got := f.take(t, len(strings.Fields(c.want)))
		slices.SortStableFunc(got, func(x, y *knxfleetv1.Telegram) int { return strings.Compare(x.GetBuilding(), y.GetBuilding()) })
		same(t, name, names(got), c.want)
		f.cancel()
	}
}

func TestListTelegrams(t *testing.T) {
	g := startWith(t, setup{journal: true})
	a, b := g.bus("a", 1, 0, false), g.bus("b", 2, 0, false)
	for range 10 {
		a.say(1, 0x0A03)
		b.say(1, 0x1101)
	}
	list := func(request *knxfleetv1.ListTelegramsRequest) (all []*knxfleetv1.Telegram, pages int) {
		t.Helper()
		for {
			page, err := g.telegrams.ListTelegrams(t.Context(), request)
			noError(t, err)
			if len(page.GetGaps()) > 0 {
				t.Errorf("gaps %v", page.GetGaps())
			}
			all = append(all, page.GetTelegrams()...)
			pages++
			if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
				return all, pages
			}
		}
	}
	all, pages := list(&knxfleetv1.ListTelegramsRequest{PageSize: 7})
	if len(all) != 20 || pages != 3 {
		t.Errorf("%d telegrams in %d pages, want 20 in 3", len(all), pages)
	}
	newest, _ := list(&knxfleetv1.ListTelegramsRequest{PageSize: 7, OrderBy: "received_at desc"})
	slices.Reverse(newest)
	same(t, "newest first", names(newest), names(all))
	of, _ := list(&knxfleetv1.ListTelegramsRequest{GroupAddresses: []string{"1/2/*"}})
	same(t, "an address", names(of), upTo("a", 1, 1, 10))
	if m := of[0]; m.GetSource() != "1.1.5" || m.GetDestination() != "1/2/3" || m.GetKind() != knxfleetv1.Telegram_KIND_WRITE || m.GetPriority() != knxfleetv1.Priority_PRIORITY_SYSTEM ||
		time.Since(m.GetReceivedAt().AsTime()) > time.Minute || !slices.Equal(m.GetRaw(), []byte{0x0c, 1}) {
		t.Errorf("came as %v", m)
	}
	middle := all[10].GetReceivedAt()
	until, _ := list(&knxfleetv1.ListTelegramsRequest{Until: middle})
	since, _ := list(&knxfleetv1.ListTelegramsRequest{Since: middle})
	same(t, "until and since", names(slices.Concat(until, since)), names(all))

	for field, request := range map[string]*knxfleetv1.ListTelegramsRequest{
		"order_by":  {OrderBy: "source"},
		"page_size": {PageSize: -1},
		"until":     {Since: middle, Until: middle},
		"since":     {Since: &timestamppb.Timestamp{Nanos: -1}},
		"buildings": {Buildings: make([]string, maxHistoryBuildings+1)},
	} {
		_, err := g.telegrams.ListTelegrams(t.Context(), request)
		wrongField(t, err, field)
	}
	_, err := g.telegrams.ListTelegrams(t.Context(), &knxfleetv1.ListTelegramsRequest{PageToken: "x"})
	refused(t, err, codes.InvalidArgument, "TOKEN_INVALID", "token")
}

// Without a journal the live stream and its token work, and history says why not.
func TestWithoutAJournal(t *testing.T) {
	g := start(t)
	_, err := g.telegrams.ListTelegrams(t.Context(), &knxfleetv1.ListTelegramsRequest{})
	refused(t, err, codes.FailedPrecondition, "JOURNAL_OFF", "journal")
}

// Last values come from the journal when they are first asked for, with their age,
// and in a stream's snapshot.
func TestGroupValues(t *testing.T) {
	g := startWith(t, setup{journal: true})
	building := g.building("a")
	building.Disabled = true
	g.create(t, building)
	g.eventually(t, "a", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	a := g.bus("a", 1, 0, false)
	a.say(3, 0x0A03)
	a.say(2, 0x0A04)
	values := func(request *knxfleetv1.ListGroupValuesRequest) *knxfleetv1.ListGroupValuesResponse {
		t.Helper()
		for {
			response, err := g.telegrams.ListGroupValues(t.Context(), request)
			noError(t, err)
			if len(response.GetRestoring()) == 0 {
				return response
			}
			same(t, "restoring", strings.Join(response.GetRestoring(), " "), "a")
		}
	}
	all := values(&knxfleetv1.ListGroupValuesRequest{})
	if len(all.GetGroupValues()) != 2 {
		t.Fatalf("values %v", all)
	}
	first, second := all.GetGroupValues()[0], all.GetGroupValues()[1]
	same(t, "last values", names([]*knxfleetv1.Telegram{first.GetTelegram(), second.GetTelegram()}), "a:1:3 a:1:5")
	if !first.GetTelegram().GetInitial() || !first.GetTelegram().GetStale() || first.GetAge().AsDuration() <= 0 || first.GetAge().AsDuration() > time.Minute {
		t.Errorf("the first: %v, want it initial, stale while the building is not online, and with an age", first)
	}
	page := values(&knxfleetv1.ListGroupValuesRequest{PageSize: 1})
	rest := values(&knxfleetv1.ListGroupValuesRequest{PageSize: 1, PageToken: page.GetNextPageToken()})
	if len(page.GetGroupValues()) != 1 || len(rest.GetGroupValues()) != 1 || rest.GetNextPageToken() != "" ||
		rest.GetGroupValues()[0].GetTelegram().GetDestination() != "1/2/4" {
		t.Errorf("pages %v and %v", page, rest)
	}
	f := g.follow(t, &knxfleetv1.StreamTelegramsRequest{Snapshot: true, GroupAddresses: []string{"1/2/3"}})
	snapshot := f.take(t, 1)
	same(t, "snapshot", names(snapshot), "a:1:3")
	if !snapshot[0].GetInitial() || f.token != "" {
		t.Errorf("the snapshot has %v, with token %q", snapshot[0], f.token)
	}
	a.say(1, 0x0A03)
	if live := f.take(t, 1); live[0].GetInitial() || live[0].GetNumber() != 6 {
		t.Errorf("after it: %v", live)
	}
}
