package engine

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A table is larger than what a message has by default.
func TestLargestTable(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	e := open(t, dir)
	value := make([]byte, MaxTableValue)
	rand.Read(value)
	revision, err := e.Tables().Create(ctx, "t.hq", value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Tables().Put(ctx, "t.lab", make([]byte, MaxTableValue+valueOverhead+1)); err == nil {
		t.Error("a value above the limit was taken")
	}
	if _, err := e.Tables().Put(ctx, "t.lab", value[:1<<20]); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, dir)
	got, err := e.Tables().Get(ctx, "t.hq")
	if err != nil || !bytes.Equal(got.Value, value) || got.Revision != revision {
		t.Errorf("after reopening: %d bytes at %d, %v", len(got.Value), got.Revision, err)
	}
	if revision, err = e.Tables().Update(ctx, "t.hq", value[1:], revision); err != nil {
		t.Fatal(err)
	}
	got, err = e.Tables().Get(ctx, "t.hq")
	if err != nil || !bytes.Equal(got.Value, value[1:]) || got.Revision != revision {
		t.Errorf("after an update: %d bytes at %d, %v", len(got.Value), got.Revision, err)
	}
}

func TestKeys(t *testing.T) {
	ctx := t.Context()
	b := open(t, t.TempDir()).Tables()
	if keys, err := b.Keys(ctx, "t."); err != nil || len(keys) != 0 {
		t.Errorf("keys of nothing: %v, %v", keys, err)
	}
	for i := range 5 {
		put(t, b, fmt.Sprintf("t.%d", i), "x")
	}
	put(t, b, "u.1", "x")
	if err := b.Delete(ctx, "t.3", 0); err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys(ctx, "t.")
	slices.Sort(keys)
	if want := []string{"t.0", "t.1", "t.2", "t.4"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("keys %v, %v; want %v", keys, err, want)
	}
}

// A directory of an earlier version has no tables; one that had them must not
// lose them in silence.
func TestTablesComeToAnOldDirectoryAndStay(t *testing.T) {
	dir := t.TempDir()
	e := open(t, dir)
	put(t, e.Registry(), "b.hq", "x")
	put(t, e.Tables(), "t.hq", "x")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "KV_"+tablesBucket))
	if err != nil || len(found) != 1 {
		t.Fatalf("files of the bucket: %v, %v", found, err)
	}
	if err := os.RemoveAll(found[0]); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "bucket ga was here") {
		t.Fatalf("open without the bucket: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestFile), []byte(`{"v":1,"buckets":["fleet","reg"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	noError(t, os.Remove(filepath.Join(dir, marksFile)))
	e = open(t, dir)
	put(t, e.Tables(), "t.hq", "y")
	if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("the buildings after it: %q, %v", got.Value, err)
	}
}

// Tables that an earlier version lost on a full disk are made anew where it is certain that
// nothing was in them: no write to them was ever acknowledged.
func TestTablesThatWereNeverUsedAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	lose := func() {
		t.Helper()
		noError(t, os.RemoveAll(filepath.Join(dir, "jetstream", "$G", "streams", "KV_"+tablesBucket)))
	}
	e := open(t, dir)
	put(t, e.Registry(), "b.hq", "x")
	noError(t, e.Close())
	marks, err := os.ReadFile(filepath.Join(dir, marksFile))
	noError(t, err)
	lose()
	noError(t, os.Remove(filepath.Join(dir, marksFile)))
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "bucket ga was here") {
		t.Fatalf("open without knowing: %v", err)
	}
	noError(t, os.WriteFile(filepath.Join(dir, marksFile), marks, 0o600))
	e = open(t, dir)
	put(t, e.Tables(), "t.hq", "y")
	if got, err := e.Registry().Get(t.Context(), "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("the buildings after it: %q, %v", got.Value, err)
	}
	noError(t, e.Close())
	lose()
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "bucket ga was here") {
		t.Fatalf("open when there was something in it: %v", err)
	}
}
