package engine

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

const secretText = "this-must-not-be-read-on-the-disk"

// fill writes a text into every part of a store.
func fill(t *testing.T, e *Engine) {
	t.Helper()
	for _, b := range e.buckets() {
		_, err := b.Put(t.Context(), "x.hq", []byte(secretText))
		noError(t, err)
	}
	appendAll(t, e.Journal(), "hq", secretText)
}

// filled checks that all of it is there.
func filled(t *testing.T, e *Engine) {
	t.Helper()
	for _, b := range e.buckets() {
		if got, err := b.Get(t.Context(), "x.hq"); err != nil || string(got.Value) != secretText {
			t.Errorf("bucket %s: %q, %v", b.name, got.Value, err)
		}
	}
	same(t, "journal", read(t, e.Journal(), Query{}), of("hq", secretText))
}

func TestNothingIsReadableOnDisk(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		cfg := Config{Dir: t.TempDir()}
		if encrypted {
			cfg.Keys = newKeys(t)
		}
		e := openWith(t, cfg)
		fill(t, e)
		noError(t, e.Close())
		readable := 0
		for path, text := range files(t, cfg.Dir) {
			if strings.Contains(text, secretText) || strings.Contains(text, "x.hq") {
				readable++
				if encrypted {
					t.Errorf("readable in %s", path)
				}
			}
		}
		if !encrypted && readable < 4 {
			t.Error("the search does not find what is in clear")
		}
		filled(t, openWith(t, cfg))
	}
}

// A start with the wrong keys, without them, or without the store's key is refused
// and changes no file that holds data.
func TestWrongKeysAreRefused(t *testing.T) {
	right := newKeys(t)
	cfg := Config{Dir: t.TempDir(), Keys: right}
	e := openWith(t, cfg)
	if right.sealed == nil || *right.sealed {
		t.Error("the first start says that something was sealed")
	}
	fill(t, e)
	noError(t, e.Close())
	missing := *right
	missing.missing = true
	keyFile := filepath.Join(cfg.Dir, storeKeyFile)
	key, err := os.ReadFile(keyFile)
	noError(t, err)
	before := files(t, cfg.Dir)
	for name, c := range map[string]struct {
		keys Keys
		key  []byte // nil: no file
		want string
	}{
		"other keys":    {newKeys(t), key, "cannot be opened with these keys"},
		"missing keys":  {&missing, key, "the keys are missing"},
		"no keys":       {nil, key, "no keys were given"},
		"no store key":  {right, nil, "store.key is missing"},
		"cut store key": {right, key[:len(key)-1], "cannot be opened with these keys"},
	} {
		noError(t, os.Remove(keyFile))
		if c.key != nil {
			noError(t, os.WriteFile(keyFile, c.key, 0o600))
		}
		for range 2 {
			_, err := Open(t.Context(), Config{Dir: cfg.Dir, Keys: c.keys})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), cfg.Dir) {
				t.Errorf("%s: %v; want %q", name, err, c.want)
			}
		}
		noError(t, os.WriteFile(keyFile, key, 0o600))
		if after := files(t, cfg.Dir); !maps.Equal(before, after) {
			t.Errorf("%s: a file was changed", name)
		}
	}
	filled(t, openWith(t, cfg))
}

// A store that an earlier version left in clear is encrypted as a whole, also when
// a first attempt was interrupted.
func TestStoreInClearIsEncrypted(t *testing.T) {
	plain := Config{Dir: t.TempDir()}
	e := openWith(t, plain)
	fill(t, e)
	last, err := e.Fleet().Put(t.Context(), "c.hq", nil)
	noError(t, err)
	noError(t, e.Close())
	for name, interrupt := range map[string]func(dir string){
		"at once": func(string) {},
		"while the copy was made": func(dir string) {
			noError(t, copyTree(filepath.Join(dir, encryptingDir, "jetstream", "half"), filepath.Join(dir, "jetstream")))
		},
		"between the two renames": func(dir string) {
			noError(t, os.Rename(filepath.Join(dir, "jetstream"), filepath.Join(dir, clearDir)))
		},
	} {
		cfg := Config{Dir: copied(t, plain.Dir), Keys: newKeys(t)}
		interrupt(cfg.Dir)
		var log bytes.Buffer
		cfg.Log = zerolog.New(&log).Level(zerolog.InfoLevel)
		for range 2 {
			e := openWith(t, cfg)
			filled(t, e)
			if revision, err := e.Fleet().Put(t.Context(), "c.hq", nil); err != nil || revision <= last {
				t.Errorf("%s: revision %d after %d, %v", name, revision, last, err)
			}
			noError(t, e.Close())
		}
		if n := strings.Count(log.String(), "encrypting the store"); n != 1 {
			t.Errorf("%s: encrypted %d times: %s", name, n, log.String())
		}
		for path, text := range files(t, cfg.Dir) {
			if strings.Contains(text, secretText) {
				t.Errorf("%s: readable in %s", name, path)
			}
		}
	}
	missing := newKeys(t)
	missing.missing = true
	if _, err := Open(t.Context(), Config{Dir: plain.Dir, Keys: missing}); err == nil || !strings.Contains(err.Error(), "the keys are missing") {
		t.Errorf("a store in clear, whose secrets are sealed, without its keys: %v", err)
	}
	filled(t, openWith(t, plain))
}

func TestEncryptedDirectoryIsPrivate(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: newKeys(t)}
	e := openWith(t, cfg)
	fill(t, e)
	noError(t, e.Close())
	for path := range files(t, cfg.Dir) {
		info, err := os.Stat(filepath.Join(cfg.Dir, path))
		noError(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Error(fmt.Sprint(path, " has mode ", info.Mode()))
		}
	}
}
