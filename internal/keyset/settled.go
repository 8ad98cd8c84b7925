package keyset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// settledFile, in a data directory, has the id of the primary key that all is sealed with
// there.
const settledFile = "keyset.settled"

// Settled implements Holder. It leaves on disk, beside the file, which key alone is needed.
func (f StoreKeyFile) Settled(primary uint32) error {
	dir := filepath.Dir(string(f))
	if was, err := SettledWith(dir); err == nil && was == primary {
		return nil
	}
	if err := replace(filepath.Join(dir, settledFile), fmt.Appendln(nil, primary)); err != nil {
		return fmt.Errorf("note that all is sealed with key %d: %w", primary, err)
	}
	return nil
}

// SettledWith tells which primary key alone opens everything in a data directory, as the
// gateway has found; 0: that is not known.
func SettledWith(dir string) (primary uint32, err error) {
	text, err := os.ReadFile(filepath.Join(dir, settledFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, nil //nolint:nilerr // as if it were not there: the gateway writes it anew
	}
	return uint32(id), nil
}

// Unsettle is for who brings something into a data directory that older keys may have
// sealed.
func Unsettle(dir string) error {
	err := os.Remove(filepath.Join(dir, settledFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDirectory(dir))
}

// Hint says which file that Retire kept opens what the keyset does not, as the end of an
// error; it is empty without one.
func (k *Keyset) Hint(sealed []byte, place Place) string {
	if strings.HasPrefix(k.source, environment) {
		return ""
	}
	var kept []string
	names := []string{k.source}
	if target, err := filepath.EvalSymlinks(k.source); err == nil && target != k.source {
		names = append(names, target)
	}
	for _, name := range names {
		dir, base := filepath.Split(name)
		entries, err := os.ReadDir(filepath.Clean(dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), base+keptInfix) {
				kept = append(kept, filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, path := range kept {
		if old, err := Load(path); err == nil {
			if _, err := old.Open(sealed, place); err == nil {
				return fmt.Sprintf("; %s, which `keyset retire` has kept, opens it: copy it over %s", path, k.source)
			}
		}
	}
	return ""
}
