package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dropUnborn removes the files of messages that were being made when the process was
// killed. The server makes such a file first, and the key that it is encrypted with after. At
// the next start it takes a file without a key for damage to the whole stream, and removes
// that, with all that is in it. An empty file holds nothing; one that has messages and no key
// is refused here, while all the others are still there; but in a store in clear none has a key.
func dropUnborn(dir string, inClear bool) error {
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil {
		return err
	}
	for _, file := range files {
		_, err := os.Stat(strings.TrimSuffix(file, ".blk") + ".key")
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		switch info, err := os.Stat(file); {
		case err != nil:
			return err
		case info.Size() > 0 && inClear:
			continue
		case info.Size() > 0:
			return fmt.Errorf("%s has lost its key, and cannot be read without: restore the directory from a backup; nothing was changed", file)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
