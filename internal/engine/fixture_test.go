package engine

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// testKeys are keys in memory.
type testKeys struct {
	aead cipher.AEAD
	// missing keys fail to load when something was sealed with them.
	missing bool
	sealed  *bool // what Load was told last
}

func newKeys(t testing.TB) *testKeys {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return &testKeys{aead: aead}
}

func (k *testKeys) Load(sealed bool) error {
	k.sealed = &sealed
	if sealed && k.missing {
		return errors.New("the keys are missing")
	}
	return nil
}

func (k *testKeys) Seal(secret []byte) ([]byte, error) {
	return k.aead.Seal(nil, nil, secret, nil), nil
}

func (k *testKeys) Open(sealed []byte) ([]byte, error) { return k.aead.Open(nil, nil, sealed, nil) }

// openWith opens an engine until the test ends.
func openWith(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := Open(t.Context(), cfg)
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

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copied returns a copy of a directory: what a crash would leave of it.
func copied(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	noError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// files returns the content of every file below dir by its path in it; links are left out.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	noError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all[rel] = string(text)
		return err
	}))
	return all
}

// ids makes the id of each record another.
var ids atomic.Uint64

// appendAll appends records and waits until the store has acknowledged them.
func appendAll(t testing.TB, j *Journal, building string, records ...string) {
	t.Helper()
	answers := make(chan error, len(records))
	for _, r := range records {
		noError(t, j.Append(building, fmt.Sprint(ids.Add(1)), []byte(r), func(err error) { answers <- err }))
	}
	for range records {
		noError(t, <-answers)
	}
}

// read returns what the journal has, as "building record".
func read(t testing.TB, j *Journal, q Query) []string {
	t.Helper()
	var all []string
	noError(t, j.Read(context.Background(), q, func(r Record) error {
		all = append(all, r.Building+" "+string(r.Data))
		return nil
	}))
	return all
}
