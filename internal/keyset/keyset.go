// Package keyset seals secrets for storage: authenticated encryption with a
// Tink keyset that lives in a file of its own, apart from what it seals.
//
// The file is Tink's JSON form of a cleartext keyset, so Tink's own tools read
// it too. Whoever has the file and the sealed values has the secrets; whoever
// has lost the file has lost them.
//
// A keyset is named by its source: the path of a file, or "env:NAME" for an
// environment variable that has the file's text.
//
// A keyset may hold several keys: [Keyset.Seal] uses its primary key,
// [Keyset.Open] whichever fits. [Rotate] adds a key and makes it the primary one;
// [Follow] notices, and has all [Holder]s seal anew what older keys sealed;
// [Retire] then drops those.
package keyset

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

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
	source string
	keys   atomic.Pointer[keys] // replaced by Reload
}

// keys are what a source held at one time.
type keys struct {
	all     tink.AEAD
	primary tink.AEAD // the primary key alone
	count   int
	id      uint32            // of the primary key
	sum     [sha256.Size]byte // of the text
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

// Load reads the keyset of a source. If there is no file the error satisfies
// errors.Is(err, fs.ErrNotExist).
func Load(source string) (*Keyset, error) {
	loaded, err := load(source)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w", source, err)
	}
	k := &Keyset{source: source}
	k.keys.Store(loaded)
	return k, nil
}

// Reload reads the source again and takes over what is new there, if accept
// agrees: it is given the new keyset, and should find out whether that opens what
// was sealed. An error means that the keyset goes on as it was.
func (k *Keyset) Reload(accept func(*Keyset) error) (changed bool, err error) {
	loaded, err := load(k.source)
	if err != nil {
		return false, fmt.Errorf("keyset %s: %w", k.source, err)
	}
	if loaded.sum == k.keys.Load().sum {
		return false, nil
	}
	candidate := &Keyset{source: k.source}
	candidate.keys.Store(loaded)
	if err := accept(candidate); err != nil {
		return false, err
	}
	k.keys.Store(loaded)
	return true, nil
}

// LoadOrCreate reads the keyset of a source or, if it is a file and there is none,
// makes a new one with one random AES-256-GCM key. The file is complete and
// on disk, with mode 0600, before LoadOrCreate returns; an existing file is
// never written.
//
// Only call it when nothing has been sealed yet: a new keyset in the place of
// a lost one opens nothing of what the lost one sealed.
func LoadOrCreate(source string) (k *Keyset, created bool, err error) {
	k, err = Load(source)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	if err := Create(source); err != nil {
		return nil, false, err
	}
	k, err = Load(source)
	return k, err == nil, err
}

// OpenOrCreate reads the keyset of a source. When it is a file and there is none, it
// makes one, unless something has been sealed already: then only the lost file
// opens it.
func OpenOrCreate(source string, sealed bool) (k *Keyset, created bool, err error) {
	if !sealed {
		return LoadOrCreate(source)
	}
	k, err = Load(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("secrets were sealed with a keyset, but %s is missing: put the file back from your backup (only with it can they be opened), or name another data directory to begin anew; nothing was changed", source)
	}
	return k, false, err
}

// Source returns what the keyset was loaded from.
func (k *Keyset) Source() string { return k.source }

// Warning returns what is wrong with the file although it can be used, as one
// sentence for a log, or nothing. A file that others can read is not refused,
// since that is how Kubernetes mounts secrets.
func (k *Keyset) Warning() string { return k.keys.Load().warning }

// Current reports whether a value was sealed with the primary key, so that it
// stays when all other keys go.
func (k *Keyset) Current(sealed []byte, place Place) bool {
	_, err := k.keys.Load().primary.Decrypt(sealed, place.associatedData())
	return err == nil
}

// Seal encrypts a secret for a place.
func (k *Keyset) Seal(secret []byte, place Place) ([]byte, error) {
	sealed, err := k.keys.Load().all.Encrypt(secret, place.associatedData())
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", place.Field, err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for the same place, or fails with
// ErrCannotOpen.
func (k *Keyset) Open(sealed []byte, place Place) ([]byte, error) {
	secret, err := k.keys.Load().all.Decrypt(sealed, place.associatedData())
	if err != nil {
		// Tink's error says no more than that it failed.
		return nil, fmt.Errorf("open %s: %w", place.Field, ErrCannotOpen)
	}
	return secret, nil
}

// environment begins a source that is an environment variable.
const environment = "env:"

func load(source string) (*keys, error) {
	text, warning, err := read(source)
	if err != nil {
		return nil, err
	}
	handle, err := parse(text)
	if err != nil {
		return nil, err
	}
	loaded := &keys{count: handle.Len(), sum: sha256.Sum256(text), warning: warning}
	if loaded.all, err = aead.New(handle); err != nil {
		return nil, errors.New("a Tink keyset, but not of AEAD keys: restore it from a backup")
	}
	primary, err := primaryAlone(handle)
	if err != nil {
		return nil, errors.New("a Tink keyset without a primary key: restore it from a backup")
	}
	loaded.id = primary.KeysetInfo().GetPrimaryKeyId()
	loaded.primary, err = aead.New(primary)
	return loaded, err
}

// read returns the text of a keyset, and a warning about where it lies.
func read(source string) (text []byte, warning string, err error) {
	if name, ok := strings.CutPrefix(source, environment); ok {
		value, set := os.LookupEnv(name)
		if !set {
			return nil, "", fmt.Errorf("the environment variable %s is not set; want the text of a keyset file in it", name)
		}
		return []byte(value), "", nil
	}
	file, err := os.Open(source)
	if err != nil {
		return nil, "", reason(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, "", reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, "", errors.New("not a regular file")
	}
	text, err = io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, "", reason(err)
	}
	if len(text) > maxFileSize {
		return nil, "", fmt.Errorf("longer than %d bytes, which no keyset is", maxFileSize)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		warning = fmt.Sprintf("keyset %s has mode %04o: others than its owner can read the keys that seal all secrets; mode 0600 is right", source, mode)
	}
	return text, warning, nil
}

// parse leaves out the errors of Tink: they may quote the text.
func parse(text []byte) (*keyset.Handle, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("not a Tink keyset in JSON: restore it from a backup")
	}
	return handle, nil
}

// primaryAlone returns the keyset without its other keys.
func primaryAlone(handle *keyset.Handle) (*keyset.Handle, error) {
	primary, err := handle.Primary()
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, err
		}
		if entry.KeyID() == primary.KeyID() {
			continue
		}
		if err := manager.Delete(entry.KeyID()); err != nil {
			return nil, err
		}
	}
	return manager.Handle()
}

// reason leaves the path to the caller's message.
func reason(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
