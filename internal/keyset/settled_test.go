package keyset

import (
	"os"
	"path/filepath"
	"testing"
)

// What the gateway has found is on disk, until something comes in that it has not seen.
func TestSettled(t *testing.T) {
	dir := t.TempDir()
	want := func(want uint32) {
		t.Helper()
		if got, err := SettledWith(dir); err != nil || got != want {
			t.Errorf("settled with %d, %v; want %d", got, err, want)
		}
	}
	want(0)
	file := StoreKeyFile(filepath.Join(dir, "store.key"))
	for _, id := range []uint32{7, 7, 4_294_967_295} {
		if err := file.Settled(id); err != nil {
			t.Fatal(err)
		}
		want(id)
	}
	for range 2 {
		if err := Unsettle(dir); err != nil {
			t.Error(err)
		}
		want(0)
	}
	if err := os.WriteFile(filepath.Join(dir, settledFile), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(0)
	if err := StoreKeyFile(filepath.Join(dir, "absent", "store.key")).Settled(7); err == nil {
		t.Error("noted where there is no directory")
	}
}
