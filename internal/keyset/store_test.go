package keyset

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestStoreKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	var log bytes.Buffer
	first := ForStore(path, zerolog.New(&log))
	if err := first.Load(true); err == nil || !strings.Contains(err.Error(), "is missing: put the file back") {
		t.Errorf("a missing keyset with which something was sealed: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it was made all the same")
	}
	if err := first.Load(false); err != nil {
		t.Fatal(err)
	}
	sealed, err := first.Seal([]byte("secret"))
	if err != nil || bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("sealed %q, %v", sealed, err)
	}
	again := ForStore(path, zerolog.New(&log))
	if err := again.Load(true); err != nil {
		t.Fatal(err)
	}
	if secret, err := again.Open(sealed); err != nil || string(secret) != "secret" {
		t.Errorf("opened %q, %v", secret, err)
	}
	if n := strings.Count(log.String(), "made a new keyset"); n != 1 {
		t.Errorf("logged %d times: %s", n, log.String())
	}

	other := ForStore(filepath.Join(t.TempDir(), "keyset.json"), zerolog.Nop())
	if err := other.Load(false); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sealed); !errors.Is(err, ErrCannotOpen) || !strings.Contains(err.Error(), "keyset.json") {
		t.Errorf("opened with another keyset: %v", err)
	}
	// What belongs to the store is no secret of a building, and the other way round.
	keys, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(sealed, Place{Building: "hq", Field: "store.key"}); !errors.Is(err, ErrCannotOpen) {
		t.Errorf("opened in another place: %v", err)
	}
}
