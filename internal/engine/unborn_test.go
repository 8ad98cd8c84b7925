package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A process that is killed while the server begins a new file of messages leaves it
// empty and without its key. Nothing else may be lost with it.
func TestKilledWhileAFileIsBegun(t *testing.T) {
	for _, stream := range []string{"KV_reg", "KV_fleet", "KV_ga", "TG"} {
		t.Run(stream, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
			e := openWith(t, cfg)
			put(t, e.Registry(), "b.hq", "x")
			appendAll(t, e.Journal(), "hq", numbers(3)...)
			noError(t, e.Close())
			msgs := filepath.Join(cfg.Dir, "jetstream", "$G", "streams", stream, "msgs")
			noError(t, os.WriteFile(filepath.Join(msgs, "7.blk"), nil, 0o600))
			_ = os.Remove(filepath.Join(msgs, "index.db")) // a killed process has not written it
			e = openWith(t, cfg)
			if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "x" {
				t.Errorf("the registry has %q, %v", got.Value, err)
			}
			if got := read(t, e.Journal(), Query{}); len(got) != 3 {
				t.Errorf("the journal has %q", got)
			}
		})
	}
}

// A file of messages whose key is gone is refused while all the others are still there.
func TestLostKeyIsRefused(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Keys: newKeys(t)}
	e := openWith(t, cfg)
	put(t, e.Registry(), "b.hq", "x")
	noError(t, e.Close())
	keys, err := filepath.Glob(filepath.Join(cfg.Dir, "jetstream", "*", "streams", "KV_reg", "msgs", "*.key"))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	saved := filepath.Join(t.TempDir(), "key")
	noError(t, os.Rename(keys[0], saved))
	for range 2 {
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "KV_reg") || !strings.Contains(err.Error(), "lost its key") {
			t.Fatalf("open without the key: %v", err)
		}
	}
	noError(t, os.Rename(saved, keys[0]))
	e = openWith(t, cfg)
	if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("with its key again: %q, %v", got.Value, err)
	}
}
