package registry

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// TestModel compares the registry with a map under random operations.
func TestModel(t *testing.T) {
	t.Run("from the store", func(t *testing.T) { testModel(t, func(*Registry) func() { return func() {} }) })
	t.Run("from memory", func(t *testing.T) { testModel(t, keepWatching) })
}

// keepWatching runs a watch, which makes lists come from memory, and returns what ends it.
func keepWatching(r *Registry) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	complete, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Watch(ctx, func(c Change) error { // nil, or the test ends it by closing the store
			if c.Type == SnapshotComplete {
				close(complete)
			}
			return nil
		})
	}()
	select {
	case <-complete:
	case <-done:
	}
	return func() { cancel(); <-done }
}

func testModel(t *testing.T, watching func(*Registry) (end func())) {
	t.Helper()
	dir := t.TempDir()
	r, e := open(t, dir)
	end := watching(r)
	t.Cleanup(func() { end() })
	reopen := func(t *rapid.T) {
		end()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if e, err = engine.Open(t.Context(), engine.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		if r, err = Open(t.Context(), Config{Bucket: e.Registry(), Keyset: keysetPath(dir)}); err != nil {
			t.Fatal(err)
		}
		end = watching(r)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]Building{}
		highest := uint64(0) // revision
		ids := rapid.SampledFrom([]string{"a", "b", "c-1"})
		// A revision to base a change on: none, the right one, or another.
		base := func(t *rapid.T, id string) (revision uint64, fits bool) {
			revision = rapid.SampledFrom([]uint64{0, model[id].Revision, 1}).Draw(t, "revision")
			return revision, revision == 0 || revision == model[id].Revision
		}
		rose := func(t *rapid.T, b Building) {
			if b.Revision <= highest {
				t.Fatalf("revision %d after %d", b.Revision, highest)
			}
			highest = b.Revision
		}
		want := func(t *rapid.T, err error, exists, fits bool) (done bool) {
			switch {
			case !exists && !errors.Is(err, ErrNotFound),
				exists && !fits && !errors.Is(err, ErrConflict),
				exists && fits && err != nil:
				t.Fatalf("exists %v, fits %v: %v", exists, fits, err)
			}
			return exists && fits
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				b, err := r.Create(t.Context(), full(id))
				if _, exists := model[id]; exists {
					if !errors.Is(err, ErrExists) {
						t.Fatal(err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				rose(t, b)
				model[id] = b
			},
			"update": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				old, exists := model[id]
				revision, fits := base(t, id)
				name := rapid.StringMatching(`[a-z]{0,2}`).Draw(t, "name")
				b, err := r.Update(t.Context(), id, revision, func(b *Building) error {
					b.DisplayName, b.Enabled = name, !b.Enabled
					return nil
				})
				if !want(t, err, exists, fits) {
					return
				}
				rose(t, b)
				old.DisplayName, old.Enabled, old.Generation = name, !old.Enabled, old.Generation+1
				old.UpdatedAt, old.Revision = b.UpdatedAt, b.Revision
				model[id] = old
			},
			"delete": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				_, exists := model[id]
				revision, fits := base(t, id)
				if want(t, r.Delete(t.Context(), id, revision), exists, fits) {
					delete(model, id)
				}
			},
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 29).Draw(t, "one in 30") == 0 { // it is slow
					reopen(t)
				}
			},
			"": func(t *rapid.T) {
				list, err := r.List(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				all := slices.SortedFunc(maps.Values(model), func(x, y Building) int { return cmp.Compare(x.ID, y.ID) })
				if len(list)+len(all) > 0 && !reflect.DeepEqual(list, all) {
					t.Fatalf("list %+v\nwant %+v", list, all)
				}
				for id, b := range model {
					if got, err := r.Get(t.Context(), id); err != nil || !reflect.DeepEqual(got, b) {
						t.Fatalf("get %s: %+v, %v\nwant %+v", id, got, err, b)
					}
				}
			},
		})
		for id := range model {
			if err := r.Delete(t.Context(), id, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}
