package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
)

// files returns the content of every file below dir.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNoSecretIsStoredInClear(t *testing.T) {
	dir := t.TempDir()
	r, e := open(t, dir)
	b := create(t, r, full("hq"))
	secrets := [][]byte{bytes.Clone(b.Tunnel.PrivateKey[:]), bytes.Clone(b.Tunnel.PresharedKey[:])}
	b, err := r.Update(t.Context(), "hq", 0, func(b *Building) error {
		b.Tunnel.PrivateKey = full("").Tunnel.PrivateKey
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, b.Tunnel.PrivateKey[:])
	look := func(when string) {
		public := false
		for path, content := range files(t, dir) {
			public = public || bytes.Contains(content, []byte(b.Tunnel.Peer.String()))
			for i, secret := range secrets {
				for _, form := range []string{string(secret), base64.StdEncoding.EncodeToString(secret), hex.EncodeToString(secret)} {
					if bytes.Contains(content, []byte(form)) {
						t.Errorf("%s: secret %d stands in %s", when, i, path)
					}
				}
			}
		}
		if !public {
			t.Errorf("%s: even the public key is in no file: the search finds nothing", when)
		}
	}
	look("while open")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	look("after close")
}

func TestNoSecretIsPrinted(t *testing.T) {
	b := full("hq")
	printed := fmt.Sprintf("%v %+v %#v %x", b, b, b, b.Tunnel)
	marshalled, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	printed += string(marshalled)
	for _, secret := range [][]byte{b.Tunnel.PrivateKey[:], b.Tunnel.PresharedKey[:]} {
		for _, form := range []string{base64.StdEncoding.EncodeToString(secret), hex.EncodeToString(secret), strings.Trim(fmt.Sprint(secret), "[]")} {
			if strings.Contains(printed, form) {
				t.Error("a secret is printed")
			}
		}
	}
}

func TestFirstStartMakesAKeysetAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	e := openEngine(t, dir)
	for i, want := range []string{"made a new keyset", ""} {
		var log bytes.Buffer
		_, err := Open(t.Context(), Config{Bucket: e.Registry(), Keyset: keysetPath(dir), Log: zerolog.New(&log)})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), want) || want == "" && log.Len() > 0 {
			t.Errorf("start %d logs %q, want %q", i+1, log.String(), want)
		}
	}
	if err := os.Chmod(keysetPath(dir), 0o640); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := Open(t.Context(), Config{Bucket: e.Registry(), Keyset: keysetPath(dir), Log: zerolog.New(&log)}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "mode 0640") {
		t.Errorf("a keyset that others can read: log %q", log.String())
	}
}

// A start without the right keyset is refused, writes nothing, and does no harm
// to a later start with it.
func TestKeysetThatDoesNotFitIsRefused(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	r, e := open(t, dir)
	hq := create(t, r, full("hq"))
	path, saved := keysetPath(dir), filepath.Join(t.TempDir(), "saved.json")
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.json")
	if _, _, err := keyset.LoadOrCreate(other); err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, saved); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content []byte // nil: no file
		want    string
	}{
		"missing": {nil, "is missing: put the file back"},
		"another": {wrong, "sealed with another keyset than " + path},
		"empty":   {[]byte{}, "not a Tink keyset"},
		"cut off": {right[:len(right)-9], "not a Tink keyset"},
	} {
		if c.content != nil {
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = openEngine(t, dir)
		revision := lastRevision(t, e)
		if _, err := Open(ctx, Config{Bucket: e.Registry(), Keyset: path}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if now := lastRevision(t, e); now != revision+1 {
			t.Errorf("%s: something was written: revision %d after %d", name, now, revision)
		}
		if content, err := os.ReadFile(path); string(content) != string(c.content) || c.content == nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the keyset file was touched", name)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(saved, path); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, dir)
	if got, err := r.Get(ctx, "hq"); err != nil || !reflect.DeepEqual(got, hq) {
		t.Errorf("with the right keyset again: %+v, %v", got, err)
	}
}

// lastRevision writes a key that nobody reads: its revision counts all writes.
func lastRevision(t *testing.T, e *engine.Engine) uint64 {
	t.Helper()
	revision, err := e.Registry().Put(t.Context(), "test.count", nil)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// Without the check record, buildings are still reason not to make a keyset.
func TestBuildingsWithoutACheckRecord(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	r, e := open(t, dir)
	hq := create(t, r, full("hq"))
	if err := e.Registry().Delete(ctx, checkKey, 0); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "saved.json")
	if err := os.Rename(keysetPath(dir), saved); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Bucket: e.Registry(), Keyset: keysetPath(dir)}
	if _, err := Open(ctx, cfg); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without the keyset: %v", err)
	}
	if err := os.Rename(saved, keysetPath(dir)); err != nil {
		t.Fatal(err)
	}
	r, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Get(ctx, "hq"); err != nil || !reflect.DeepEqual(got, hq) {
		t.Errorf("got %+v, %v", got, err)
	}
}
