// Package keyset seals secrets for storage: authenticated encryption with a
// Tink keyset that lives in a file of its own, apart from what it seals.
//
// The file is Tink's JSON form of a cleartext keyset, so Tink's own tools read
// it too. Whoever has the file and the sealed values has the secrets; whoever
// has lost the file has lost them.
//
// A keyset may hold several keys: [Keyset.Seal] uses its primary key,
// [Keyset.Open] whichever fits. Rotation adds a key, seals anew, and drops the
// old one; nothing that is sealed says which key it was, but for Tink's own
// prefix.
package keyset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// maxFileSize bounds what is read as a keyset. One key takes some 300 bytes.
const maxFileSize = 1 << 20

// ErrCannotOpen: a sealed value was not sealed by this keyset, or not for this
// place, or was changed.
var ErrCannotOpen = errors.New("sealed with another keyset, or damaged")

// Keyset seals and opens secrets. It is safe for concurrent use and prints
// none of its keys.
type Keyset struct {
	aead    tink.AEAD
	path    string
	warning string
}

// Place says where a sealed value belongs. It is authenticated with the value:
// one that is moved to another place cannot be opened there.
type Place struct {
	Building string // building id; empty for what belongs to the whole store
	Field    string // name of the field; without '|'
}

func (p Place) associatedData() []byte {
	return fmt.Appendf(nil, "knxfleet/v1|%s|%s", p.Building, p.Field)
}

// Load reads the keyset in the file at path. If there is none the error
// satisfies errors.Is(err, fs.ErrNotExist).
func Load(path string) (*Keyset, error) {
	k, err := load(path)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w", path, err)
	}
	return k, nil
}

// LoadOrCreate reads the keyset in the file at path or, if there is none,
// makes a new one with one random AES-256-GCM key. The file is complete and
// on disk, with mode 0600, before LoadOrCreate returns; an existing file is
// never written.
//
// Only call it when nothing has been sealed yet: a new keyset in the place of
// a lost one opens nothing of what the lost one sealed.
func LoadOrCreate(path string) (k *Keyset, created bool, err error) {
	k, err = Load(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	if err := create(path); err != nil {
		return nil, false, fmt.Errorf("make keyset %s: %w", path, err)
	}
	k, err = Load(path)
	return k, err == nil, err
}

// OpenOrCreate reads the keyset in the file at path. When there is none it makes
// one, unless something has been sealed already: then only the lost file opens it.
func OpenOrCreate(path string, sealed bool) (k *Keyset, created bool, err error) {
	if !sealed {
		return LoadOrCreate(path)
	}
	k, err = Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("secrets were sealed with a keyset, but %s is missing: put the file back from your backup (only with it can they be opened), or name another data directory to begin anew; nothing was changed", path)
	}
	return k, false, err
}

// Path returns the name of the file that the keyset came from.
func (k *Keyset) Path() string { return k.path }

// Warning returns what is wrong with the file although it can be used, as one
// sentence for a log, or nothing. A file that others can read is not refused,
// since that is how Kubernetes mounts secrets.
func (k *Keyset) Warning() string { return k.warning }

// Seal encrypts a secret for a place.
func (k *Keyset) Seal(secret []byte, place Place) ([]byte, error) {
	sealed, err := k.aead.Encrypt(secret, place.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", place.Field, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same place, or fails with
// ErrCannotOpen.
func (k *Keyset) Open(sealed []byte, place Place) ([]byte, error) {
	secret, err := k.aead.Decrypt(sealed, place.associatedData())
	if err != nil {
		// Tink's error says no more than that it failed.
		return nil, fmt.Errorf("open %s: %w", place.Field, ErrCannotOpen)
	}
	return secret, nil
}

func load(path string) (*Keyset, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(text) > maxFileSize {
		return nil, fmt.Errorf("longer than %d bytes, which no keyset is", maxFileSize)
	}
	// Parse errors are left out: they may quote the file.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("not a Tink keyset in JSON: restore the file from a backup")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("a Tink keyset, but not of AEAD keys: restore the file from a backup")
	}
	k := &Keyset{aead: primitive, path: path}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		k.warning = fmt.Sprintf("keyset %s has mode %04o: others than its owner can read the keys that seal all secrets; mode 0600 is right", path, mode)
	}
	return k, nil
}

// reason leaves the path to the caller's message.
func reason(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

// create writes a new keyset to path, where no file may be.
func create(path string) (err error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return reason(err)
	}
	defer func() {
		// The keyset has its own name by now, or was not made.
		err = errors.Join(err, os.Remove(tmp.Name()))
	}()
	writeErr := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(tmp))
	if err := errors.Join(writeErr, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, fails when the name is taken: a keyset is never
	// overwritten, not even by two processes that make one at once.
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
