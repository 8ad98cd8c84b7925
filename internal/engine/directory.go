package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/rs/zerolog"
)

const (
	lockFile     = "lock"
	manifestFile = "engine.json"
)

// prepareDirectory makes the data directory if need be and returns its
// absolute path.
func prepareDirectory(dir string, log zerolog.Logger) (string, error) {
	if dir == "" {
		return "", errors.New("data directory: none given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", accessError(dir, "cannot be made", err)
		}
		if err := syncDirectory(filepath.Dir(dir)); err != nil {
			return "", fmt.Errorf("data directory %s: %w", dir, err)
		}
	case errors.Is(err, syscall.ENOTDIR):
		return "", fmt.Errorf("data directory %s: a part of this path is a file; name a directory", dir)
	case err != nil:
		return "", accessError(dir, "cannot be reached", err)
	case !info.IsDir():
		return "", fmt.Errorf("data directory %s: this is a file; name a directory", dir)
	case info.Mode().Perm()&0o002 != 0:
		// Not refused: Kubernetes makes its volumes so. What is stored inside
		// has modes of its own that shut others out.
		log.Warn().Str("dir", dir).Str("mode", info.Mode().Perm().String()).
			Msg("the data directory can be written by every user of this machine; mode 0700 is right")
	}
	return dir, nil
}

// lockDirectory takes the lock of a data directory, or tells that another
// process has it. The kernel releases it when the process dies.
func lockDirectory(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, lockFile))
	held, err := lock.TryLock()
	if err != nil {
		return nil, accessError(dir, "cannot be written", err)
	}
	if !held {
		return nil, fmt.Errorf("data directory %s: another process holds it; stop that one, or name another directory", dir)
	}
	return lock, nil
}

// accessError says who was refused, so that the right owner or mode can be set.
func accessError(dir, what string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("data directory %s: %s by uid %d: %w; it needs read, write and execute permission for this user", dir, what, os.Geteuid(), err)
	}
	return fmt.Errorf("data directory %s: %s: %w", dir, what, err)
}

// manifest records which buckets a data directory has. A server that cannot
// recover a bucket's files goes on without it; without this record the bucket
// would then be made anew over them.
type manifest struct {
	Version int      `json:"v"`
	Buckets []string `json:"buckets"`
	// Encrypted says that a key belongs to the store.
	Encrypted bool `json:"encrypted,omitempty"`
}

func readManifest(dir string) (*manifest, error) {
	m := &manifest{Version: 1}
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; restore it from a backup", manifestFile, err)
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s has version %d, this program knows version 1: use the newer program that wrote it", manifestFile, m.Version)
	}
	return m, nil
}

// writeManifest stores a manifest that names every bucket and says whether the
// store is encrypted, unless it does so already.
func writeManifest(dir string, m *manifest, encrypted bool) error {
	names := []string{fleetBucket, tablesBucket, registryBucket}
	if slices.Equal(m.Buckets, names) && m.Encrypted == encrypted {
		return nil
	}
	m.Buckets, m.Encrypted = names, encrypted
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, manifestFile), append(text, '\n'))
}

// replaceFile writes a file so that, whatever happens, it has either the old
// content or the new, and the new one for good once it has returned.
func replaceFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// The first error is the one to report.
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(content); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
