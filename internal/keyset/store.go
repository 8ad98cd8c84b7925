package keyset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// storePlace is where the key of the store belongs.
var storePlace = Place{Field: "store.key"}

// StoreKeys seal, with a keyset, what the engine needs sealed for itself: it takes
// them for its Keys. A file is made on the first start.
type StoreKeys struct {
	source string
	log    zerolog.Logger
	keys   *Keyset
}

// ForStore names the source of the keyset to use. Nothing is read until Load.
func ForStore(source string, log zerolog.Logger) *StoreKeys {
	return &StoreKeys{source: source, log: log}
}

// Load reads the keyset, or makes it when nothing has been sealed yet.
func (s *StoreKeys) Load(sealed bool) error {
	keys, created, err := OpenOrCreate(s.source, sealed)
	if err != nil {
		return err
	}
	if created {
		s.log.Info().Str("keyset", s.source).
			Msg("made a new keyset, which seals all secrets and encrypts the store; back it up apart from the data, they are lost without it")
	}
	s.keys = keys
	return nil
}

// Seal encrypts a secret of the store.
func (s *StoreKeys) Seal(secret []byte) ([]byte, error) { return s.keys.Seal(secret, storePlace) }

// Open decrypts what Seal made, or fails with ErrCannotOpen.
func (s *StoreKeys) Open(sealed []byte) ([]byte, error) {
	secret, err := s.keys.Open(sealed, storePlace)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w%s", s.source, err, s.keys.Hint(sealed, storePlace))
	}
	return secret, nil
}

// StoreKeyFile is the file in which the engine keeps what StoreKeys sealed for it,
// and reads it when it starts. It is a Holder. A file that is not there holds
// nothing.
type StoreKeyFile string

// Opens implements Holder.
func (f StoreKeyFile) Opens(_ context.Context, keys *Keyset) error {
	sealed, err := f.read()
	if err != nil || sealed == nil {
		return err
	}
	if _, err := keys.Open(sealed, storePlace); err != nil {
		return fmt.Errorf("%s: %w%s", string(f), err, keys.Hint(sealed, storePlace))
	}
	return nil
}

// Reseal implements Holder. The file is replaced as a whole.
func (f StoreKeyFile) Reseal(_ context.Context, keys *Keyset) (int, error) {
	sealed, err := f.read()
	if err != nil || sealed == nil || keys.Current(sealed, storePlace) {
		return 0, err
	}
	secret, err := keys.Open(sealed, storePlace)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", string(f), err)
	}
	if sealed, err = keys.Seal(secret, storePlace); err != nil {
		return 0, err
	}
	if err := replace(string(f), sealed); err != nil {
		return 0, fmt.Errorf("seal %s anew: %w", string(f), err)
	}
	return 1, nil
}

func (f StoreKeyFile) read() ([]byte, error) {
	sealed, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return sealed, err
}

// replace writes a file so that it has either the old content or the new.
func replace(path string, content []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDirectory(filepath.Dir(path))
}
