package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// contents is what a store holds.
type contents struct {
	buckets map[string]string // by bucket and key
	journal []string
}

// populate fills a store so that every bucket and the journal have several blocks'
// worth of history.
func populate(t testing.TB, e *Engine) contents {
	t.Helper()
	want := contents{buckets: map[string]string{}}
	set := func(b *Bucket, key, value string) {
		_, err := b.Put(t.Context(), key, []byte(value))
		noError(t, err)
		want.buckets[b.name+" "+key] = value
	}
	for i := range 60 {
		set(e.Registry(), fmt.Sprintf("b.%d", i%25), strings.Repeat(fmt.Sprint("building", i), 20))
		set(e.Fleet(), fmt.Sprintf("c.%d", i%30), fmt.Sprint(i))
	}
	noError(t, e.Registry().Delete(t.Context(), "b.3", 0))
	delete(want.buckets, registryBucket+" b.3")
	for i := range 10 {
		set(e.Tables(), fmt.Sprintf("t.%d", i), strings.Repeat(fmt.Sprint("table", i), 2000))
	}
	for i := range 5 {
		building := fmt.Sprint("hq", i)
		records := make([]string, 200)
		for n := range records {
			records[n] = fmt.Sprintf("record %d of %s", n, building)
		}
		appendAll(t, e.Journal(), building, records...)
	}
	want.journal = read(t, e.Journal(), Query{})
	return want
}

// damages are what can happen to a file.
var damages = map[string]func(path string, size int64) error{
	"cut in half":        func(path string, size int64) error { return os.Truncate(path, size/2) },
	"end cut off":        func(path string, size int64) error { return os.Truncate(path, max(0, size-3)) },
	"flip in the middle": func(path string, size int64) error { return flip(path, size/2) },
	"flip at the end":    func(path string, size int64) error { return flip(path, size-1) },
	"removed":            func(path string, _ int64) error { return os.Remove(path) },
}

// harm does one of the damages to a file.
func harm(t testing.TB, dir, file, name string) {
	t.Helper()
	path := filepath.Join(dir, file)
	info, err := os.Stat(path)
	noError(t, err)
	noError(t, damages[name](path, info.Size()))
}

func flip(path string, at int64) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[at] ^= 0x10
	return os.WriteFile(path, text, 0o600)
}

// Whatever happens to one file of a store, a start either refuses, and again the
// next time, or comes up with every building, claim and table. Of the journal a part
// may be gone. Afterwards the store takes writes.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	want := populate(t, e)
	crashed := copied(t, cfg.Dir)
	noError(t, e.Close())
	// After a close all is on record; after a crash the server reads it anew.
	for name, c := range map[string]struct {
		dir     string
		damages []string
	}{
		"closed":  {cfg.Dir, []string{"cut in half", "flip in the middle"}},
		"crashed": {crashed, []string{"end cut off", "flip at the end", "removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := *cfg.Keys.(*testKeys) // which note what they are asked
			for _, path := range slices.Sorted(maps.Keys(files(t, c.dir))) {
				for _, what := range c.damages {
					if info, err := os.Stat(filepath.Join(c.dir, path)); err != nil || info.Size() == 0 {
						continue
					}
					damaged := cfg
					damaged.Dir, damaged.Keys = copied(t, c.dir), &keys
					harm(t, damaged.Dir, path, what)
					t.Logf("%-45s %-18s %s", path, what, outcomeOf(t, damaged, want))
					noError(t, os.RemoveAll(damaged.Dir))
				}
			}
		})
	}
}

// outcomeOf opens a damaged store and insists on what it may be like.
//
//nolint:thelper // is the test
func outcomeOf(t *testing.T, cfg Config, want contents) string {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e, err := Open(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			t.Errorf("the start hangs: %v", err)
		}
		if e, again := Open(ctx, cfg); again == nil {
			t.Errorf("refused once with %v, and then not again", err)
			noError(t, e.Close())
		}
		return "refused: " + err.Error()
	}
	defer func() { noError(t, e.Close()) }()
	have := map[string]string{}
	for _, b := range e.buckets() {
		entries, err := b.List(ctx, "")
		if err != nil {
			t.Errorf("list of %s: %v", b.name, err)
		}
		for _, entry := range entries {
			have[b.name+" "+entry.Key] = string(entry.Value)
		}
	}
	if !maps.Equal(have, want.buckets) {
		t.Errorf("opened with %d entries of %d, or others", len(have), len(want.buckets))
	}
	journal := ""
	n := 0
	err = e.Journal().Read(ctx, Query{}, func(r Record) error {
		n++
		if !slices.Contains(want.journal, r.Building+" "+string(r.Data)) {
			t.Errorf("the journal has %q", r.Data)
		}
		return nil
	})
	if err != nil || n != len(want.journal) {
		journal = fmt.Sprintf("; journal %d of %d, %v", n, len(want.journal), err)
	}
	if err := e.Probe(ctx); err != nil {
		t.Errorf("probe: %v", err)
	}
	appendAll(t, e.Journal(), "new", "one")
	return "opened" + journal
}

// Who decides to do without what is missing may go on.
func TestLossIsAcceptedOnce(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	populate(t, e)
	noError(t, e.Close())
	harm(t, cfg.Dir, "jetstream/$G/streams/KV_reg/msgs/1.blk", "cut in half")
	for range 2 {
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "bucket reg") || !strings.Contains(err.Error(), "--accept-loss") {
			t.Fatalf("a damaged store: %v", err)
		}
	}
	accepting := cfg
	accepting.AcceptLoss = true
	e = openWith(t, accepting)
	entries, err := e.Registry().List(t.Context(), "b.")
	if err != nil || len(entries) == 0 {
		t.Errorf("%d buildings, %v", len(entries), err)
	}
	noError(t, e.Close())
	e = openWith(t, cfg)
	if again, err := e.Registry().List(t.Context(), "b."); err != nil || len(again) != len(entries) {
		t.Errorf("%d buildings of %d, %v", len(again), len(entries), err)
	}
}
