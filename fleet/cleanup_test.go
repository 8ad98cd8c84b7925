package fleet

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/simulator"
)

// The telegrams of a deleted building go after the grace, and not before; those of
// one that is there, or is back, stay.
func TestCleanUpAfterDeletedBuildings(t *testing.T) {
	dir := t.TempDir()
	noError := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := engine.Open(t.Context(), engine.Config{Dir: dir})
	noError(err)
	t.Cleanup(func() { noError(store.Close()) })
	buildings, err := registry.Open(t.Context(), registry.Config{Bucket: store.Registry(), Keyset: filepath.Join(dir, "keyset.json")})
	noError(err)
	claims, err := ownership.Open(t.Context(), store.Fleet(), false)
	noError(err)
	kept := journal.New(t.Context(), journal.Config{Store: store.Journal()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- kept.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		noError(<-ended)
	})

	sim, err := simulator.New(simulator.Config{Buildings: 3, Seed: 1}, nil, 1)
	noError(err)
	create := func(id string, i int) {
		t.Helper()
		_, err := buildings.Create(t.Context(), buildingOf(t, id, sim.Buildings()[i]))
		noError(err)
	}
	for i, id := range []string{"stays", "goes", "returns"} {
		create(id, i)
		claimed, err := claims.Claim(t.Context(), id)
		noError(err)
		w := kept.Open(id, claimed.Epoch, claimed.Previous, claimed.Unclean)
		w.Write(journal.Telegram{Position: journal.Position{Number: 1}, ReceivedAt: time.Now()})
		w.Published()
		noError(w.End(t.Context()))
		noError(claims.Release(t.Context(), id))
	}
	c := NewCleaner(CleanerConfig{Claims: claims, Buildings: buildings, Journal: kept, Grace: time.Hour})
	has := func(when string, want ...string) {
		t.Helper()
		usage, err := store.Journal().Usage(t.Context())
		noError(err)
		if len(usage) != len(want) {
			t.Errorf("%s: the journal has %v, want %v", when, usage, want)
		}
		for _, id := range want {
			if usage[id].Records != 3 {
				t.Errorf("%s: %d records of %s, want 3", when, usage[id].Records, id)
			}
		}
	}
	now := time.Now()
	noError(c.clean(t.Context(), now))
	noError(buildings.Delete(t.Context(), "goes", 0))
	noError(buildings.Delete(t.Context(), "returns", 0))
	noError(c.clean(t.Context(), now))
	noError(c.clean(t.Context(), now.Add(time.Hour-time.Second)))
	has("within the grace", "stays", "goes", "returns")
	create("returns", 2)
	noError(c.clean(t.Context(), now.Add(time.Hour)))
	has("after the grace", "stays", "returns")
	noError(c.clean(t.Context(), now.Add(2*time.Hour)))
	has("again", "stays", "returns")
	if again, err := claims.Claim(t.Context(), "goes"); err != nil || again.Previous != 0 || again.Unclean {
		t.Errorf("claimed anew: %+v, %v", again, err)
	}
}
