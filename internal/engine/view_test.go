package engine

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The server removes the folder of a stream that it cannot recover. What it was given to
// remove is a link.
func TestServerRemovesNoStream(t *testing.T) {
	for _, stream := range []string{"KV_reg", "KV_fleet", "KV_ga", "TG"} {
		t.Run(stream, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
			e := openWith(t, cfg)
			put(t, e.Registry(), "b.hq", "x")
			put(t, e.Fleet(), "c.hq", "x")
			put(t, e.Tables(), "hq", "x")
			appendAll(t, e.Journal(), "hq", numbers(3)...)
			noError(t, e.Close())
			folder := filepath.Join(cfg.Dir, streamsDir, stream)
			before := files(t, filepath.Join(folder, "msgs"))
			// No folder, and so an error whoever the user is.
			odd := filepath.Join(folder, "__new_msgs__")
			noError(t, os.WriteFile(odd, nil, 0o600))
			noError(t, os.Remove(filepath.Join(folder, "msgs", "index.db")))
			if e, err := Open(t.Context(), cfg); err == nil {
				noError(t, e.Close())
				if stream != "TG" {
					t.Error("opened")
				}
				folder = filepath.Join(cfg.Dir, "journal.damaged")
			}
			after := files(t, filepath.Join(folder, "msgs"))
			if after["1.blk"] != before["1.blk"] || after["1.key"] != before["1.key"] {
				t.Errorf("of %d bytes %d are left", len(before["1.blk"]), len(after["1.blk"]))
			}
			if stream == "TG" {
				return
			}
			noError(t, os.Remove(odd))
			e = openWith(t, cfg)
			for b, key := range map[*Bucket]string{e.Registry(): "b.hq", e.Fleet(): "c.hq", e.Tables(): "hq"} {
				if got, err := b.Get(t.Context(), key); err != nil || string(got.Value) != "x" {
					t.Errorf("afterwards: %s is %q, %v", key, got.Value, err)
				}
			}
		})
	}
}

// Copies of a data directory open, whether they kept the links or followed them.
func TestCopyThatFollowedTheLinks(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	put(t, e.Registry(), "b.hq", "old")
	noError(t, e.Close())
	cfg.Dir = copied(t, cfg.Dir)
	links := filepath.Join(cfg.Dir, viewDir, streamsDir)
	noError(t, os.RemoveAll(links))
	noError(t, os.CopyFS(links, os.DirFS(filepath.Join(cfg.Dir, streamsDir))))
	for range 2 {
		e = openWith(t, cfg)
		if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "old" {
			t.Errorf("%q, %v", got.Value, err)
		}
		put(t, e.Registry(), "b.hq", "new")
		put(t, e.Registry(), "b.hq", "old")
		noError(t, e.Close())
	}
}

// A disk without symbolic links holds a store too, and one that comes from there or goes
// there.
func TestDiskWithoutLinks(t *testing.T) {
	dir, keys := t.TempDir(), newKeys(t)
	without := Config{Dir: dir, Keys: keys, symlink: func(string, string) error {
		return &os.LinkError{Op: "symlink", Err: syscall.EPERM}
	}}
	for i, cfg := range []Config{without, without, {Dir: dir, Keys: keys}, without} {
		e := openWith(t, cfg)
		if i == 0 {
			put(t, e.Registry(), "b.hq", "x")
			put(t, e.Tables(), "hq", "x")
		}
		for b, key := range map[*Bucket]string{e.Registry(): "b.hq", e.Tables(): "hq"} {
			if got, err := b.Get(t.Context(), key); err != nil || string(got.Value) != "x" {
				t.Errorf("start %d: %s is %q, %v", i, key, got.Value, err)
			}
		}
		appendAll(t, e.Journal(), "hq", numbers(1)...)
		if got := read(t, e.Journal(), Query{}); len(got) != i+1 {
			t.Errorf("start %d: the journal has %q", i, got)
		}
		noError(t, e.Close())
	}
}
