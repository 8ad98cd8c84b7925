package keyset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newKeyset(t *testing.T) (*Keyset, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyset.json")
	k, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	return k, path
}

func TestSealedOpensAfterReload(t *testing.T) {
	k, path := newKeyset(t)
	place := Place{Building: "hq", Field: "private_key"}
	sealed, err := k.Seal([]byte("secret"), place)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("the secret stands in the sealed value")
	}
	again, created, err := LoadOrCreate(path)
	if err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	if got, err := again.Open(sealed, place); err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSealedOpensOnlyInItsPlaceAndUnchanged(t *testing.T) {
	k, _ := newKeyset(t)
	place := Place{Building: "hq", Field: "private_key"}
	sealed, err := k.Seal([]byte("secret"), place)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []Place{{"lab", "private_key"}, {"hq", "preshared_key"}, {"", "private_key"}} {
		if _, err := k.Open(sealed, other); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("at %v: %v", other, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := k.Open(changed, place); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, short := range [][]byte{nil, sealed[:4], sealed[:len(sealed)-1]} {
		if _, err := k.Open(short, place); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("%d bytes: %v", len(short), err)
		}
	}
	other, _ := newKeyset(t)
	if _, err := other.Open(sealed, place); !errors.Is(err, ErrCannotOpen) {
		t.Errorf("with another keyset: %v", err)
	}
}

func TestFileIsPrivateAndAlone(t *testing.T) {
	k, path := newKeyset(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if k.Warning() != "" {
		t.Errorf("warning about a private file: %s", k.Warning())
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestFileThatOthersReadIsReported(t *testing.T) {
	_, path := newKeyset(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	k, err := Load(path)
	if err != nil || !strings.Contains(k.Warning(), path+" has mode 0644") {
		t.Errorf("warning %q, %v", k.Warning(), err)
	}
}

func TestLoadOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the attempt: %v", err)
	}
	if _, created, err := LoadOrCreate(filepath.Join(filepath.Dir(path), "absent", "keyset.json")); err == nil || created {
		t.Errorf("in a directory that does not exist: created %v, %v", created, err)
	}
}

// A file that is there is never replaced, whatever is in it, and never quoted.
func TestUnusableFileIsRefusedAndKept(t *testing.T) {
	_, good := newKeyset(t)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":     "",
		"truncated": string(text[:len(text)/2]),
		"other":     `{"value":"GhBzZWNyZXQtc2VjcmV0LXg="}`,
		"no keys":   `{"primaryKeyId":1,"key":[]}`,
		"huge":      strings.Repeat(" ", maxFileSize) + string(text),
	} {
		path := filepath.Join(t.TempDir(), "keyset.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, created, err := LoadOrCreate(path)
		if err == nil || created || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "GhBz") {
			t.Errorf("%s: created %v, %v", name, created, err)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != content {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestKeysetPrintsNoKey(t *testing.T) {
	k, path := newKeyset(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Key []struct{ KeyData struct{ Value []byte } }
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Key) != 1 || len(file.Key[0].KeyData.Value) < 32 {
		t.Fatalf("the keyset's own form: %v, %v", file, err)
	}
	material := file.Key[0].KeyData.Value
	key := material[len(material)-32:]
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		printed := fmt.Sprintf(format, k)
		for _, form := range []string{string(key), fmt.Sprintf("%x", key), fmt.Sprint(key), strings.Trim(fmt.Sprint(key), "[]")} {
			if strings.Contains(printed, form) {
				t.Errorf("%s prints the key", format)
			}
		}
	}
}
