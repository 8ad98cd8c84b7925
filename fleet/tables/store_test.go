package tables

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/tunnel"
)

func TestMain(m *testing.M) {
	// Each step of the model test waits for the disk. -rapid.checks overrides
	// this, since flags are parsed later.
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// world is a store over a data directory.
type world struct {
	engine   *engine.Engine
	registry *registry.Registry
	store    *Store
}

func open(t *testing.T, dir string) world {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir})
	noError(t, err)
	t.Cleanup(func() { noError(t, e.Close()) })
	r, err := registry.Open(t.Context(), registry.Config{Bucket: e.Registry(), Keyset: filepath.Join(dir, "keyset.json")})
	noError(t, err)
	s, err := Open(t.Context(), Config{Bucket: e.Tables(), Buildings: r})
	noError(t, err)
	return world{e, r, s}
}

// reopen is another store over the same engine, with nothing in memory.
func (w world) reopen(t *testing.T) world {
	t.Helper()
	var err error
	w.store, err = Open(t.Context(), Config{Bucket: w.engine.Tables(), Buildings: w.registry})
	noError(t, err)
	return w
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) create(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := w.registry.Create(t.Context(), registry.Building{
			ID: id, KNX: registry.KNX{Interface: netip.MustParseAddrPort("192.168.1.3:3671")},
			Tunnel: tunnel.Config{
				PrivateKey: tunnel.GeneratePrivateKey(), Peer: tunnel.GeneratePrivateKey().Public(),
				Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.201/24")}, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
			},
		})
		noError(t, err)
	}
}

// house is a file with the given addresses.
func house(style frame.Style, addresses ...frame.GroupAddress) ets.Table {
	file := ets.Table{Style: style}
	for _, a := range addresses {
		file.Entries = append(file.Entries, ets.Entry{Address: a, Name: "name of " + a.String(), Type: dpt.ID{Main: 9, Sub: 1}})
	}
	return file
}

func TestImportIsKeptAndInUse(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	w := open(t, dir)
	w.create(t, "hq", "lab")
	if w.store.Current("hq") != nil {
		t.Error("a table is in use before anybody asked")
	}
	none, err := w.store.Load(ctx, "hq")
	if err != nil || none.Etag() != "" || len(none.Entries()) != 0 {
		t.Fatalf("before the import: %+v, %v", none, err)
	}
	first, err := w.store.Import(ctx, "hq", house(frame.StyleTwoLevel, 1, 2, 3), Options{})
	noError(t, err)
	if first.Added != 3 || first.Table.Etag() == "" || first.Table.Style() != frame.StyleTwoLevel || time.Since(first.Table.ImportedAt()) > time.Minute {
		t.Errorf("imported: %+v", first)
	}
	if w.store.Current("hq") != first.Table || none.Lookup(1) != nil {
		t.Error("the new table is not in use, or the old one changed")
	}
	again, err := w.store.Import(ctx, "hq", house(frame.StyleTwoLevel, 1, 2, 3), Options{Etag: first.Table.Etag()})
	if err != nil || again.Unchanged != 3 || again.Table.Etag() != first.Table.Etag() || again.Table.ImportedAt() != first.Table.ImportedAt() {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	preview, err := w.store.Import(ctx, "hq", house(frame.StyleFree, 3, 4), Options{Prune: true, ValidateOnly: true})
	if err != nil || preview.Removed != 2 || preview.Added != 1 || preview.Style != frame.StyleFree || !reflect.DeepEqual(preview.Table, first.Table) {
		t.Errorf("preview: %+v, %v", preview, err)
	}
	if w.store.Current("hq").Lookup(1) == nil {
		t.Error("a preview changed the table")
	}
	second, err := w.store.Import(ctx, "hq", house(frame.StyleFree, 3, 4), Options{Prune: true, Etag: first.Table.Etag()})
	if err != nil || second.Removed != 2 || second.Table.Etag() == first.Table.Etag() {
		t.Fatalf("second: %+v, %v", second, err)
	}
	noError(t, w.engine.Close())

	w = open(t, dir)
	if w.store.Current("hq") != nil {
		t.Error("a table is in memory after a start")
	}
	got, err := w.store.Load(ctx, "hq")
	if err != nil || !reflect.DeepEqual(got, second.Table) || w.store.Current("hq") != got {
		t.Errorf("after a restart: %+v, %v\nwant %+v", got, err, second.Table)
	}
}

func TestRefusedImportsChangeNothing(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir())
	w.create(t, "hq")
	first, err := w.store.Import(ctx, "hq", house(0, 1, 2), Options{})
	noError(t, err)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	huge := house(0)
	for a := range 16 << 10 {
		huge.Entries = append(huge.Entries, ets.Entry{Address: frame.GroupAddress(a + 1), Description: strings.Repeat("x", 2048)})
	}
	for name, c := range map[string]struct {
		cancelled bool
		building  string
		file      ets.Table
		opts      Options
		want      error
	}{
		"an old etag":               {false, "hq", house(0, 9), Options{Etag: "1234"}, ErrConflict},
		"an etag of nobody":         {false, "hq", house(0, 9), Options{Etag: "x"}, ErrConflict},
		"a preview with an old one": {false, "hq", house(0, 9), Options{Etag: "1234", ValidateOnly: true}, ErrConflict},
		"no such building":          {false, "lab", house(0, 9), Options{}, registry.ErrNotFound},
		"too much":                  {false, "hq", huge, Options{}, ErrTooLarge},
		"a preview of too much":     {false, "hq", huge, Options{ValidateOnly: true}, ErrTooLarge},
		"cancelled":                 {true, "hq", house(0, 9), Options{}, context.Canceled},
	} {
		importCtx := ctx
		if c.cancelled {
			importCtx = gone
		}
		_, err := w.store.Import(importCtx, c.building, c.file, c.opts)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		var named *registry.BuildingError
		if !errors.Is(err, context.Canceled) && (!errors.As(err, &named) || named.ID != c.building) {
			t.Errorf("%s: %v does not name the building", name, err)
		}
	}
	var field *registry.FieldError
	if _, err := w.store.Import(ctx, "hq", house(0), Options{Prune: true}); !errors.As(err, &field) || field.Field != "prune" {
		t.Errorf("pruning everything: %v", err)
	}
	for _, id := range []string{"", "../hq", "t.>"} {
		_, loadErr := w.store.Load(ctx, id)
		_, importErr := w.store.Import(ctx, id, house(0, 9), Options{})
		for _, err := range []error{loadErr, importErr, w.store.Delete(ctx, id)} {
			if !errors.As(err, &field) {
				t.Errorf("id %q: %v", id, err)
			}
		}
	}
	got, err := w.store.Load(ctx, "hq")
	if err != nil || !reflect.DeepEqual(got, first.Table) {
		t.Errorf("after it: %+v, %v", got, err)
	}
}

func TestTableGoesWithItsBuilding(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	w := open(t, dir)
	w.create(t, "hq", "lab", "crashed")
	for _, id := range []string{"hq", "lab", "crashed"} {
		_, err := w.store.Import(ctx, id, house(0, 1), Options{})
		noError(t, err)
	}
	for _, id := range []string{"hq", "crashed"} {
		noError(t, w.registry.Delete(ctx, id, 0))
	}
	noError(t, w.store.Delete(ctx, "hq"))
	noError(t, w.store.Delete(ctx, "hq"))
	noError(t, w.store.Delete(ctx, "never"))
	if w.store.Current("hq") != nil {
		t.Error("the table is in use after its building is gone")
	}
	if _, err := w.store.Import(ctx, "hq", house(0, 1), Options{}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("import after it: %v", err)
	}
	w.create(t, "hq")
	if got, err := w.store.Load(ctx, "hq"); err != nil || len(got.Entries()) != 0 {
		t.Errorf("a new building of that name has %v, %v", got, err)
	}
	noError(t, w.engine.Close())

	// The crash came between the building's end and its table's.
	w = open(t, dir)
	keys, err := w.engine.Tables().Keys(ctx, keyPrefix)
	if err != nil || len(keys) != 1 || keys[0] != "t.lab" {
		t.Errorf("tables after a restart: %v, %v; want that of lab", keys, err)
	}
}

// A table that cannot be read is told, its building's record does not matter,
// and an import puts another in its place.
func TestDamagedTable(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	w := open(t, dir)
	w.create(t, "hq")
	_, err := w.engine.Tables().Put(ctx, "t.hq", []byte("rubbish"))
	noError(t, err)
	w = w.reopen(t)
	var named *registry.BuildingError
	if _, err := w.store.Load(ctx, "hq"); !errors.Is(err, ErrUnreadable) || !errors.As(err, &named) || named.ID != "hq" {
		t.Errorf("load: %v", err)
	}
	if _, err := w.store.Import(ctx, "hq", house(0, 1), Options{Etag: "x"}); !errors.Is(err, ErrConflict) {
		t.Errorf("import over another: %v", err)
	}
	result, err := w.store.Import(ctx, "hq", house(0, 1), Options{})
	if err != nil || result.Added+result.Unchanged != 1 {
		t.Fatalf("import: %+v, %v", result, err)
	}
	if got, err := w.store.Load(ctx, "hq"); err != nil || got.Lookup(1) == nil {
		t.Errorf("after it: %v, %v", got, err)
	}
}

// Readers never see half of an import, and of many imports with one etag one
// alone comes through.
func TestImportsBesideReaders(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir())
	w.create(t, "hq")
	first, err := w.store.Import(ctx, "hq", house(0, 1, 2), Options{})
	noError(t, err)
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if a, b := w.store.Current("hq").Lookup(1), w.store.Current("hq"); a == nil || (b.Lookup(3) == nil) == (b.Lookup(2) == nil) {
				t.Errorf("a table of %v", b.Entries())
				return
			}
		}
	})
	var mu sync.Mutex
	through := 0
	for range 8 {
		writers.Go(func() {
			_, err := w.store.Import(ctx, "hq", house(0, 1, 3), Options{Prune: true, Etag: first.Table.Etag()})
			if err != nil && !errors.Is(err, ErrConflict) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				through++
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if through != 1 {
		t.Errorf("%d imports came through, want 1", through)
	}
}

// Another replica imports between our read and our write.
func TestAnotherReplicaImports(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir())
	w.create(t, "hq")
	other, err := Open(ctx, Config{Bucket: w.engine.Tables(), Buildings: w.registry})
	noError(t, err)
	var all sync.WaitGroup
	for i := range 20 {
		store := []*Store{w.store, other}[i%2]
		all.Go(func() {
			if _, err := store.Import(ctx, "hq", house(0, frame.GroupAddress(i+1)), Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	fresh, err := Open(ctx, Config{Bucket: w.engine.Tables(), Buildings: w.registry})
	noError(t, err)
	got, err := fresh.Load(ctx, "hq")
	if err != nil || len(got.Entries()) != 20 {
		t.Errorf("%d addresses of 20, %v", len(got.Entries()), err)
	}
}

func TestStoreThatIsClosed(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir())
	w.create(t, "hq", "lab", "gone")
	for _, id := range []string{"lab", "gone"} {
		_, err := w.store.Import(ctx, id, house(0, 1), Options{})
		noError(t, err)
	}
	w = w.reopen(t)
	first, err := w.store.Import(ctx, "hq", house(0, 1), Options{})
	noError(t, err)
	noError(t, w.registry.Delete(ctx, "gone", 0))
	noError(t, w.store.Delete(ctx, "gone"))
	noError(t, w.engine.Close())
	if _, err := w.store.Import(ctx, "hq", house(0, 2), Options{}); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("import: %v", err)
	}
	if _, err := w.store.Load(ctx, "lab"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("load: %v", err)
	}
	// Nothing is asked for a building that has no table.
	for _, id := range []string{"never", "gone"} {
		if got, err := w.store.Load(ctx, id); err != nil || got.Etag() != "" || len(got.Entries()) != 0 {
			t.Errorf("load of %s, which has none: %+v, %v", id, got, err)
		}
	}
	// What is in memory stays in use.
	if got, err := w.store.Load(ctx, "hq"); err != nil || got != first.Table {
		t.Errorf("load of what is in memory: %v, %v", got, err)
	}
}

// An import that failed may have been stored all the same.
func TestImportThatFailedIsInDoubt(t *testing.T) {
	ctx := t.Context()
	w := open(t, t.TempDir())
	w.create(t, "hq", "lab", "none")
	for _, id := range []string{"hq", "none"} {
		_, err := w.store.Load(ctx, id)
		noError(t, err)
	}
	for _, id := range []string{"hq", "lab", "none"} {
		interrupted, giveUp := context.WithCancel(ctx)
		w.store.buildings = interrupting{w.registry, giveUp}
		if _, err := w.store.Import(interrupted, id, house(0, 1), Options{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", id, err)
		}
		w.store.buildings = w.registry
		if id == "none" {
			continue
		}
		// As if it had been.
		_, err := w.reopen(t).store.Import(ctx, id, house(0, 1), Options{})
		noError(t, err)
	}
	for id, want := range map[string]int{"hq": 1, "lab": 1, "none": 0} {
		if got, err := w.store.Load(ctx, id); err != nil || len(got.Entries()) != want {
			t.Errorf("%s: %v, %v; want %d addresses", id, got.Entries(), err, want)
		}
	}
	result, err := w.store.Import(ctx, "none", house(0, 1), Options{})
	if err != nil || result.Added != 1 {
		t.Errorf("the import again: %+v, %v", result, err)
	}
}

// interrupting is a registry whose caller gives up once it knows of a building.
type interrupting struct {
	*registry.Registry
	giveUp context.CancelFunc
}

func (i interrupting) Get(ctx context.Context, id string) (registry.Building, error) {
	defer i.giveUp()
	return i.Registry.Get(ctx, id)
}

// A random history of imports, deletions and restarts leaves each building with
// the table that the same history gives without a store.
func TestStoreFollowsAModel(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	w.create(t, "a", "b")
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]*Table{}
		ids := rapid.SampledFrom([]string{"a", "b"})
		t.Repeat(map[string]func(*rapid.T){
			"import": func(t *rapid.T) {
				id, file := ids.Draw(t, "id"), files().Draw(t, "file")
				opts := Options{Prune: rapid.Bool().Draw(t, "prune") && len(file.Entries) > 0, ValidateOnly: rapid.Bool().Draw(t, "validate only")}
				opts.Etag = rapid.SampledFrom([]string{"", model[id].Etag(), "1"}).Draw(t, "etag")
				fits := opts.Etag == "" || opts.Etag == model[id].Etag()
				got, err := w.store.Import(context.Background(), id, file, opts)
				if fits != (err == nil) || !fits && !errors.Is(err, ErrConflict) {
					t.Fatalf("fits %v: %v", fits, err)
				}
				if !fits || opts.ValidateOnly {
					return
				}
				merged, want := merge(model[id], file, opts.Prune)
				want.Table = got.Table
				if fmt.Sprintf("%+v", counts(got)) != fmt.Sprintf("%+v", counts(want)) {
					t.Fatalf("%+v\nwant %+v", got, want)
				}
				if len(want.Changes) > 0 && got.Table.Etag() == model[id].Etag() {
					t.Fatal("the etag stays")
				}
				merged.importedAt, merged.revision = got.Table.importedAt, got.Table.revision
				model[id] = merged
			},
			"delete": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				if err := w.store.Delete(context.Background(), id); err != nil {
					t.Fatal(err)
				}
				delete(model, id)
			},
			"reopen": func(t *rapid.T) {
				var err error
				if w.store, err = Open(context.Background(), Config{Bucket: w.engine.Tables(), Buildings: w.registry}); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for _, id := range []string{"a", "b"} {
					got, err := w.store.Load(context.Background(), id)
					want := model[id]
					if err != nil || got.Style() != want.Style() || got.Etag() != want.Etag() || len(got.Entries()) != len(want.Entries()) ||
						len(want.Entries()) > 0 && !reflect.DeepEqual(got.Entries(), want.Entries()) {
						t.Fatalf("%s: %+v, %v\nwant %+v", id, got, err, want)
					}
				}
			},
		})
		for _, id := range []string{"a", "b"} {
			if err := w.store.Delete(context.Background(), id); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func counts(r Result) [5]int { return [5]int{r.Total, r.Added, r.Changed, r.Removed, r.Unchanged} }
