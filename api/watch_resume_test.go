package api

import (
	"slices"
	"testing"

	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// kept adds buildings that do not run, so that nothing changes by itself.
func (g *gateway) kept(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		b := g.building(id, "region=south")
		b.Disabled = true
		g.create(t, b)
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	}
}

func (g *gateway) relabel(t *testing.T, id, region string) {
	t.Helper()
	_, err := g.registry.Update(t.Context(), id, 0, func(b *registry.Building) error {
		b.Labels["region"] = region
		return nil
	})
	noError(t, err)
}

func (g *gateway) remove(t *testing.T, id string) {
	t.Helper()
	_, err := g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: id})
	noError(t, err)
}

// skip skips all that comes before the wanted change, and the change.
func (w *watching) skip(want string) {
	w.t.Helper()
	for got := w.next(); got != want; {
		got = w.next()
	}
}

// settled gives the token of a watch of all that was told everything so far: after
// a building that came and went, of which nobody is told who resumes there or before.
func (g *gateway) settled(t *testing.T) string {
	t.Helper()
	all := g.watch(t, &knxfleetv1.WatchBuildingsRequest{})
	for all.token == "" {
		all.next()
	}
	g.kept(t, "passer-by")
	g.remove(t, "passer-by")
	all.skip("DELETED passer-by")
	return all.token
}

// missed is all that a resumed watch tells before anything new happens.
func (g *gateway) missed(t *testing.T, request *knxfleetv1.WatchBuildingsRequest) (told []string, resumed bool) {
	t.Helper()
	w := g.watch(t, request)
	response, err := w.stream.Recv()
	noError(t, err)
	if !response.GetSnapshotComplete() || response.GetResumeToken() == "" {
		t.Errorf("the first response is %v; want all at once, with a token", response)
	}
	for _, c := range response.GetChanges() {
		told = append(told, c.GetKind().String()[len("KIND_"):]+" "+c.GetBuilding().GetId())
	}
	return told, response.GetResumed()
}

func TestResumedWatchTellsWhatWasMissed(t *testing.T) {
	g := start(t)
	g.kept(t, "a", "b", "c", "d")
	token := g.settled(t)
	if told, resumed := g.missed(t, &knxfleetv1.WatchBuildingsRequest{ResumeToken: token}); len(told) != 0 || !resumed {
		t.Errorf("told %v (resumed %v) although nothing happened", told, resumed)
	}

	g.relabel(t, "c", "north")
	g.remove(t, "b")
	g.kept(t, "e")
	g.relabel(t, "c", "east")
	g.remove(t, "a")
	g.settled(t)
	request := &knxfleetv1.WatchBuildingsRequest{ResumeToken: token}
	told, resumed := g.missed(t, request)
	if want := []string{"DELETED b", "CREATED e", "UPDATED c", "DELETED a"}; !resumed || !slices.Equal(told, want) {
		t.Errorf("told %v (resumed %v), want %v", told, resumed, want)
	}
	// It goes on with what is new.
	w := g.watch(t, request)
	w.skip("DELETED a")
	g.relabel(t, "d", "north")
	if got := w.next(); got != "UPDATED d" || !w.went {
		t.Errorf("then %s (resumed %v), want the update of d", got, w.went)
	}
}

// A client that selects is told of what left its selection while it was away, and of
// nothing that it could not know.
func TestResumedWatchFilters(t *testing.T) {
	g := start(t)
	g.kept(t, "a", "b", "c", "d")
	south := &knxfleetv1.WatchBuildingsRequest{LabelSelector: "region=south"}
	onlyA := &knxfleetv1.WatchBuildingsRequest{Buildings: []string{"a"}}
	g.settled(t)
	for _, request := range []*knxfleetv1.WatchBuildingsRequest{south, onlyA} {
		w := g.watch(t, request)
		for w.token == "" {
			w.next()
		}
		request.ResumeToken = w.token
	}
	g.relabel(t, "b", "north")
	g.remove(t, "c")
	g.settled(t)
	if told, resumed := g.missed(t, south); !resumed || !slices.Equal(told, []string{"DELETED b", "DELETED c"}) {
		t.Errorf("the south was told %v (resumed %v)", told, resumed)
	}
	if told, resumed := g.missed(t, onlyA); !resumed || len(told) != 0 {
		t.Errorf("who watches a was told %v (resumed %v)", told, resumed)
	}
	// What did not change is known: it can leave.
	w := g.watch(t, south)
	g.relabel(t, "d", "north")
	w.until("DELETED b")
	w.until("DELETED c")
	w.until("DELETED d")
}

// Where a watch cannot go on it says so, and begins anew.
func TestWatchResumedTooLate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := startWith(t, setup{dir: dir})
	g.kept(t, "b")
	token := g.settled(t)
	g.relabel(t, "b", "west")
	g.settled(t)
	anew := func(what string, request *knxfleetv1.WatchBuildingsRequest) {
		t.Helper()
		if told, resumed := g.missed(t, request); resumed || !slices.Equal(told, []string{"SNAPSHOT b"}) {
			t.Errorf("%s: told %v (resumed %v), want the snapshot", what, told, resumed)
		}
	}
	anew("with other filters", &knxfleetv1.WatchBuildingsRequest{ResumeToken: token, LabelSelector: "region=west"})
	anew("with a token of another version", &knxfleetv1.WatchBuildingsRequest{ResumeToken: "AgAA"})
	g.stop()

	g = startWith(t, setup{dir: dir})
	g.settled(t)
	anew("after a restart", &knxfleetv1.WatchBuildingsRequest{ResumeToken: token})
	g.stop()
}
