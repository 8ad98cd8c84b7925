package keyset

import (
	"fmt"

	"github.com/rs/zerolog"
)

// storePlace is where the key of the store belongs.
var storePlace = Place{Field: "store.key"}

// StoreKeys seal, with the keyset in a file, what the engine needs sealed for
// itself: it takes them for its Keys. The file is made on the first start.
type StoreKeys struct {
	path string
	log  zerolog.Logger
	keys *Keyset
}

// ForStore names the keyset file to use. Nothing is read until Load.
func ForStore(path string, log zerolog.Logger) *StoreKeys { return &StoreKeys{path: path, log: log} }

// Load reads the keyset, or makes it when nothing has been sealed yet.
func (s *StoreKeys) Load(sealed bool) error {
	keys, created, err := OpenOrCreate(s.path, sealed)
	if err != nil {
		return err
	}
	if created {
		s.log.Info().Str("keyset", s.path).
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
		return nil, fmt.Errorf("keyset %s: %w", s.path, err)
	}
	return secret, nil
}
