package keyset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Key is what may be said of a key.
type Key struct {
	ID      uint32
	Primary bool   // seals
	Kind    string // such as AesGcmKey
}

// Create writes a new keyset with one random AES-256-GCM key to a file, where none
// may be.
func Create(path string) error {
	if strings.HasPrefix(path, environment) {
		return fmt.Errorf("make keyset %s: a keyset is made in a file", path)
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = write(path, handle)
	}
	if errors.Is(err, fs.ErrExist) {
		err = errors.New("there is a file already, and a keyset is never overwritten")
	}
	if err != nil {
		return fmt.Errorf("make keyset %s: %w", path, err)
	}
	return nil
}

// List tells which keys a keyset has.
func List(source string) ([]Key, error) {
	text, _, err := read(source)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w", source, err)
	}
	handle, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w", source, err)
	}
	return keysOf(handle), nil
}

func keysOf(handle *keyset.Handle) []Key {
	info := handle.KeysetInfo()
	all := make([]Key, 0, len(info.GetKeyInfo()))
	for _, k := range info.GetKeyInfo() {
		kind := k.GetTypeUrl()[strings.LastIndexAny(k.GetTypeUrl(), "./")+1:]
		all = append(all, Key{ID: k.GetKeyId(), Primary: k.GetKeyId() == info.GetPrimaryKeyId(), Kind: kind})
	}
	return all
}

// Rotate adds a random AES-256-GCM key to the keyset in a file and makes it the
// primary one; the others still open what they sealed. The file is replaced as a
// whole.
func Rotate(path string) ([]Key, error) {
	return edit(path, func(manager *keyset.Manager, _ []Key) error {
		id, err := manager.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			return err
		}
		return manager.SetPrimary(id)
	})
}

// Retire removes all keys but the primary one from the keyset in a file. What they
// sealed cannot be opened with it any more, backups included; so the keyset as it
// was is left beside it, in the file kept. Without other keys there is nothing to
// do, and kept is empty. With check, that is asked first if the primary key opens
// everything.
func Retire(path string, check func(primary uint32) error) (all []Key, kept string, err error) {
	all, err = edit(path, func(manager *keyset.Manager, all []Key) error {
		i := slices.IndexFunc(all, func(k Key) bool { return k.Primary })
		if check != nil && len(all) > 1 {
			if err := check(all[i].ID); err != nil {
				return err
			}
		}
		for _, k := range all {
			if k.Primary {
				continue
			}
			if kept == "" {
				kept, err = keep(path, all)
			}
			if err != nil {
				return err
			}
			if err := manager.Delete(k.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return all, kept, err
}

// keptInfix stands between the name of a keyset file and that of the key which ended it.
const keptInfix = ".before-"

// keep copies a keyset file to a name that says with which primary key it ended.
func keep(path string, all []Key) (string, error) {
	text, _, err := read(path)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(k Key) bool { return k.Primary })
	name := fmt.Sprintf("%s%s%d", path, keptInfix, all[i].ID)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return name, nil // of a try before this one
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return name, errors.Join(err, f.Sync(), f.Close())
}

// edit changes a keyset file and returns the keys that it has then.
func edit(path string, change func(*keyset.Manager, []Key) error) ([]Key, error) {
	fail := func(err error) ([]Key, error) {
		return nil, fmt.Errorf("keyset %s: %w; nothing was changed", path, reason(err))
	}
	if strings.HasPrefix(path, environment) {
		return fail(errors.New("a keyset is changed in a file; set the environment variable to the file's new text then"))
	}
	target, err := filepath.EvalSymlinks(path) // the file is replaced, not the link to it
	if err != nil {
		return fail(err)
	}
	// The new file's name is taken first: two who change a keyset at once would
	// lose one of the two keys.
	tmp, err := os.OpenFile(target+".new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fail(fmt.Errorf("%s is there: somebody else changes the keyset now, or was interrupted; remove it if it is left over", target+".new"))
	}
	if err != nil {
		return fail(err)
	}
	all, err := rewrite(target, tmp, change)
	if err != nil {
		return fail(errors.Join(err, os.Remove(tmp.Name())))
	}
	return all, nil
}

// rewrite writes the changed keyset to tmp, closes it, and puts it in its place.
func rewrite(path string, tmp *os.File, change func(*keyset.Manager, []Key) error) (all []Key, err error) {
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, tmp.Close())
		}
	}()
	text, _, err := read(path)
	if err != nil {
		return nil, err
	}
	handle, err := parse(text)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := change(manager, keysOf(handle)); err != nil {
		return nil, err
	}
	if handle, err = manager.Handle(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(tmp.Chmod(info.Mode().Perm()), keepOwner(tmp, info)); err != nil {
		return nil, err
	}
	err = insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(tmp))
	closed = true
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return nil, err
	}
	return keysOf(handle), syncDirectory(filepath.Dir(path))
}

// write writes a keyset to path, where no file may be.
func write(path string, handle *keyset.Handle) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
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
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
