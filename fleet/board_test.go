package fleet

import (
	"errors"
	"testing"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

func TestWatchIsSnapshotThenChanges(t *testing.T) {
	b := newBoard()
	b.desire(registry.Building{ID: "b"})
	b.desire(registry.Building{ID: "a", Enabled: true})
	w := b.watch(Moment{})
	defer w.Close()
	b.report("a", Status{State: StateOnline})
	b.fill() // until now the snapshot would not have been all
	b.desire(registry.Building{ID: "c", Enabled: true})
	b.report("c", Status{State: StateResolving})
	b.report("gone", Status{State: StateOnline})
	b.remove("a")
	b.remove("a")
	changes, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		kind  ChangeKind
		id    string
		state State
	}{
		{ChangeSnapshot, "a", StateOnline},
		{ChangeSnapshot, "b", StateDisabled},
		{ChangeSnapshotEnd, "", 0},
		{ChangeCreated, "c", StateWaiting},
		{ChangeUpdated, "c", StateResolving},
		{ChangeDeleted, "a", StateOnline},
	}
	if len(changes) != len(want) {
		t.Fatalf("%d changes, want %d: %+v", len(changes), len(want), changes)
	}
	for i, c := range changes {
		if c.Kind != want[i].kind || c.View.Building.ID != want[i].id || c.View.Status.State != want[i].state {
			t.Errorf("change %d: %+v, want %+v", i, c, want[i])
		}
	}
}

func TestWatcherThatDoesNotReadIsEnded(t *testing.T) {
	b := newBoard()
	b.desire(registry.Building{ID: "a"})
	b.fill()
	w := b.watch(Moment{})
	for epoch := range uint64(watchLimit + 10) {
		b.report("a", Status{State: StateOnline, Epoch: epoch})
	}
	if n := len(w.queue); n > watchLimit+2 {
		t.Errorf("%d changes are queued, want at most %d", n, watchLimit+2)
	}
	if _, err := w.Next(t.Context()); err != nil {
		t.Errorf("what was queued: %v", err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrSlowWatcher) {
		t.Errorf("%v, want %v", err, ErrSlowWatcher)
	}
	w.Close()
	w.Close()
	b.close()
	if _, err := b.watch(Moment{}).Next(t.Context()); err != nil {
		t.Errorf("the snapshot of a closed board: %v", err)
	}
}
