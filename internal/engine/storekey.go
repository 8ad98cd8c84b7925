package engine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// Keys seals and opens small secrets for the engine. The engine knows nothing
// else of how secrets are kept.
type Keys interface {
	// Load makes the keys ready. It is called before the other two. sealed says that
	// something was sealed with them before, so that missing ones must not be made
	// anew.
	Load(sealed bool) error
	// Seal encrypts and authenticates a secret.
	Seal(secret []byte) ([]byte, error)
	// Open undoes Seal, or fails.
	Open(sealed []byte) ([]byte, error)
}

const (
	// storeKeyFile holds the key that the store is encrypted with, sealed. It is
	// the key check too: keys that do not open it are the wrong ones, and the
	// server must not start with any other, since it would throw away what it
	// cannot decrypt.
	storeKeyFile = "store.key"
	storeKeySize = 32

	streamsPattern = "jetstream/*/streams/*"
	// The server's files of a stream: what it is, its sealed key, and an index of
	// its blocks.
	metaFile    = "meta.inf"
	metaKeyFile = "meta.key"
	indexFile   = "msgs/index.db"
)

// StoreKeyPath names the file of a data directory that holds the key of its store,
// as Config.Keys sealed it. It is read when the engine opens, and may be replaced,
// as a whole, by the same key sealed anew.
func StoreKeyPath(dir string) string { return filepath.Join(dir, storeKeyFile) }

// openStoreKey returns the key that the store is encrypted with, in the form that
// the server takes, and makes one for a new store. It is empty for a store that
// is not encrypted.
func openStoreKey(dir string, known *manifest, keys Keys) (string, error) {
	path := filepath.Join(dir, storeKeyFile)
	sealed, err := os.ReadFile(path)
	found := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	switch {
	case !found && known.Encrypted:
		return "", fmt.Errorf("the store is encrypted, but its key file %s is missing: put it back from a backup of the directory; nothing was changed", storeKeyFile)
	case keys == nil && found:
		return "", errors.New("the store is encrypted, and no keys were given to open it with")
	case keys == nil:
		return "", nil
	}
	if err := keys.Load(found || len(known.Buckets) > 0); err != nil {
		return "", err
	}
	if found {
		key, err := keys.Open(sealed)
		if err == nil && len(key) != storeKeySize {
			err = fmt.Errorf("a key of %d bytes", len(key))
		}
		if err != nil {
			return "", fmt.Errorf("the store cannot be opened with these keys: %s: %w; put back the keys and the file that belong to this directory; nothing was changed", storeKeyFile, err)
		}
		return base64.StdEncoding.EncodeToString(key), nil
	}
	key := make([]byte, storeKeySize)
	rand.Read(key)
	if sealed, err = keys.Seal(key); err != nil {
		return "", err
	}
	if err := replaceFile(path, sealed); err != nil {
		return "", fmt.Errorf("make %s: %w", storeKeyFile, err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

const (
	encryptingDir = "encrypting" // a copy that is being encrypted
	clearDir      = "clear"      // the store before it was
)

// encryptStore encrypts a store that an earlier version left in clear. It works
// on a copy, because the server rewrites block by block in place and a crash
// would leave both kinds; the copy then takes the place of the store.
func encryptStore(ctx context.Context, dir, key string, symlink func(to, link string) error, log zerolog.Logger) error {
	store, work, old := filepath.Join(dir, "jetstream"), filepath.Join(dir, encryptingDir), filepath.Join(dir, clearDir)
	_, err := os.Stat(store)
	if errors.Is(err, fs.ErrNotExist) {
		// A crash between the two renames below.
		if err := os.Rename(old, store); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	plain, err := streamsInClear(dir)
	if err != nil || len(plain) == 0 {
		return errors.Join(err, os.RemoveAll(work), os.RemoveAll(old))
	}
	log.Info().Msg("encrypting the store, which an earlier version left in clear")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := copyTree(filepath.Join(work, "jetstream"), store); err != nil {
		return fmt.Errorf("copy the store to encrypt it: %w", err)
	}
	copies, err := streamsInClear(work)
	if err != nil {
		return err
	}
	for _, stream := range copies {
		// Without its index the server reads every block, and encrypts it.
		if err := os.Remove(filepath.Join(stream, indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	h := &host{dir: work, key: key, inClear: true, symlink: symlink, log: log}
	if err := h.start(ctx); err != nil {
		return fmt.Errorf("encrypt the store: %w", err)
	}
	_, err = h.broken()
	h.stop()
	if err != nil {
		return fmt.Errorf("encrypt the store: %w; nothing was changed", err)
	}
	if left, err := streamsInClear(work); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("encrypt the store: %d of its parts stayed in clear; nothing was changed", len(left)))
	}
	if err := os.Rename(store, old); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "jetstream"), store); err != nil {
		return err
	}
	return errors.Join(syncDirectory(dir), os.RemoveAll(work), os.RemoveAll(old))
}

// streamsInClear lists the folders of streams that are not encrypted.
func streamsInClear(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, streamsPattern))
	if err != nil {
		return nil, err
	}
	var plain []string
	for _, stream := range all {
		if _, err := os.Stat(filepath.Join(stream, metaFile)); err != nil {
			continue // no stream, or one that the server will not take for one
		}
		if _, err := os.Stat(filepath.Join(stream, metaKeyFile)); errors.Is(err, fs.ErrNotExist) {
			plain = append(plain, stream)
		}
	}
	return plain, nil
}

// copyTree copies a folder with its files, for this user only, onto the disk.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return copyFile(filepath.Join(to, rel), path)
	})
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
