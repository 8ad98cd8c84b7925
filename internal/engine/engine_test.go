package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestValuesSurviveReopening(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "new", "data")
	e := open(t, dir)
	first, err := e.Registry().Create(ctx, "b.hq", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Probe(ctx); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = open(t, dir)
	got, err := e.Registry().Get(ctx, "b.hq")
	if err != nil || string(got.Value) != "one" || got.Revision != first {
		t.Fatalf("got %q at %d, %v; want \"one\" at %d", got.Value, got.Revision, err, first)
	}
	second, err := e.Registry().Put(ctx, "b.lab", nil)
	if err != nil || second <= first {
		t.Fatalf("revision %d after %d, %v", second, first, err)
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e := open(t, dir)
	if _, err := e.Registry().Put(t.Context(), "b.hq", []byte("x")); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Type() != os.ModeSymlink && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConditionalWrites(t *testing.T) {
	ctx, b := t.Context(), open(t, t.TempDir()).Registry()
	if _, err := b.Get(ctx, "b.hq"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	r1, err := b.Create(ctx, "b.hq", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "b.hq", []byte("2")); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v", err)
	}
	r2, err := b.Update(ctx, "b.hq", []byte("2"), r1)
	if err != nil || r2 <= r1 {
		t.Fatalf("update: %d after %d, %v", r2, r1, err)
	}
	if _, err := b.Update(ctx, "b.hq", []byte("3"), r1); !errors.Is(err, ErrConflict) {
		t.Errorf("update of an old revision: %v", err)
	}
	if err := b.Delete(ctx, "b.hq", r1); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of an old revision: %v", err)
	}
	if err := b.Delete(ctx, "b.hq", r2); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, "b.hq"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of what was deleted: %v", err)
	}
	r3, err := b.Create(ctx, "b.hq", []byte("4"))
	if err != nil || r3 <= r2 {
		t.Errorf("create of what was deleted: %d after %d, %v", r3, r2, err)
	}
	if _, err := b.Put(ctx, "b..hq", nil); err == nil {
		t.Error("a malformed key was taken")
	}
	if _, err := b.Put(ctx, "b.big", make([]byte, MaxRegistryValue+valueOverhead+1)); err == nil {
		t.Error("a value above the limit was taken")
	}
	if _, err := b.Put(ctx, "b.big", make([]byte, MaxRegistryValue)); err != nil {
		t.Errorf("a value of the largest size: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Get(cancelled, "b.hq"); !errors.Is(err, context.Canceled) {
		t.Errorf("get with a cancelled context: %v", err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	_, err := Open(t.Context(), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another process holds it") {
		t.Fatalf("second open: %v", err)
	}
	if _, err := e.Registry().Put(t.Context(), "b.hq", nil); err != nil {
		t.Errorf("the first one after the attempt: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestCloseIsIdempotent(t *testing.T) {
	e := open(t, t.TempDir())
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := e.Registry().Get(t.Context(), "b.hq"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("get after close: %v", err)
	}
	if err := e.Probe(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("probe after close: %v", err)
	}
}

func TestUnusableDirectories(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{"", "none given"},
		{file, "this is a file; name a directory"},
		{filepath.Join(file, "below"), "a part of this path is a file"},
		{"/proc/knxfleet", "/proc/knxfleet: cannot be made"},
	} {
		_, err := Open(t.Context(), Config{Dir: c.dir})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %q", c.dir, err, c.want)
		}
	}
}

func TestDirectoryOpenToAllIsReported(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	e, err := Open(t.Context(), Config{Dir: dir, Log: zerolog.New(&log).Level(zerolog.WarnLevel)})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "every user") {
		t.Errorf("log: %s", log.String())
	}
}

func TestCancelledOpenLeavesNothingHeld(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Fatalf("open with a cancelled context: %v", err)
	}
	open(t, dir)
}

// A bucket whose files are gone must not be made anew in silence.
func TestLostBucketIsRefused(t *testing.T) {
	dir, saved := t.TempDir(), filepath.Join(t.TempDir(), "saved")
	e := open(t, dir)
	if _, err := e.Registry().Put(t.Context(), "b.hq", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "KV_reg"))
	if err != nil || len(found) != 1 {
		t.Fatalf("files of the bucket: %v, %v", found, err)
	}
	if err := os.Rename(found[0], saved); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "bucket reg was here") {
		t.Fatalf("open without the bucket: %v", err)
	}
	if err := os.Rename(saved, found[0]); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir)
	if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("after the files are back: %q, %v", got.Value, err)
	}
}

func TestNewerOrDamagedManifestIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"v":2}`: "use the newer program",
		`{"v":`:   "damaged",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, manifestFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Config{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

// A copy of the directory of a running engine is what a crash leaves.
func TestAcknowledgedWritesSurviveACrash(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	e := open(t, dir)
	var last uint64
	for i := range 20 {
		revision, err := e.Registry().Put(ctx, fmt.Sprintf("b.%d", i%7), fmt.Appendf(nil, "value %d", i))
		if err != nil {
			t.Fatal(err)
		}
		last = revision
	}
	if err := e.Registry().Delete(ctx, "b.0", 0); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	c := open(t, copied)
	entries, err := c.Registry().List(ctx, "b.")
	if err != nil || len(entries) != 6 {
		t.Fatalf("%d entries, %v; want 6", len(entries), err)
	}
	for key, want := range map[string]string{"b.5": "value 19", "b.6": "value 13"} {
		if got, err := c.Registry().Get(ctx, key); err != nil || string(got.Value) != want {
			t.Errorf("%s: %q, %v; want %q", key, got.Value, err, want)
		}
	}
	if revision, err := c.Registry().Put(ctx, "b.0", nil); err != nil || revision <= last {
		t.Errorf("revision %d after %d, %v", revision, last, err)
	}
}

// An existing bucket gets the settings of this version and keeps its values.
func TestOldSettingsAreBroughtUpToDate(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	e := open(t, dir)
	js, err := jetstream.New(e.conn)
	if err != nil {
		t.Fatal(err)
	}
	put(t, e.Registry(), "b.hq", "x")
	if _, err := js.UpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: registryBucket, History: 2, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir)
	status, err := e.Registry().kv.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if cfg := status.Config(); cfg.History != 5 || cfg.MaxBytes != registryMaxBytes || cfg.Storage != jetstream.FileStorage {
		t.Errorf("settings: %+v", cfg)
	}
	if got, err := e.Registry().Get(ctx, "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("got %q, %v", got.Value, err)
	}
}
