package engine

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A backup is a text file of lines in JSON: what it is, one line for each record
// of the registry and the tables, and the SHA-256 of all lines before the last. Values
// are as they are stored, so that secrets stay sealed.
const (
	backupFormat  = "knxfleet backup"
	backupVersion = 1
	// maxBackupLine is the largest table in base64, and more than its key.
	maxBackupLine = MaxTableValue*4/3 + 64<<10
	backupCheck   = "knxfleet backup check"
)

type backupHeader struct {
	Format    string    `json:"format"`
	Version   int       `json:"v"`
	CreatedAt time.Time `json:"createdAt"`
	// Epoch is a revision that no epoch of the store had reached.
	Epoch uint64 `json:"epoch"`
	// Check is sealed with the keys that sealed the secrets.
	Check   []byte `json:"check,omitempty"`
	Records int    `json:"records"`
}

type backupRecord struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Value  []byte `json:"value"`
}

type backupSum struct {
	SHA256 string `json:"sha256"`
}

// Summary tells what a backup holds.
type Summary struct {
	CreatedAt time.Time
	Buildings int
	Tables    int
}

func (s *Summary) add(r backupRecord) {
	switch {
	case r.Bucket == tablesBucket:
		s.Tables++
	case len(r.Key) > 2 && r.Key[:2] == buildingPrefix:
		s.Buildings++
	}
}

// buildingPrefix is how the registry's keys of buildings begin. The engine counts
// them and knows nothing else of them.
const buildingPrefix = "b."

// Backup writes the registry and the tables to a new file at path, mode 0600. The
// file is there, complete and on disk, or not at all. Secrets in it are sealed as
// they are in the store; names and addresses are not. keys are those the engine
// was opened with; they need not open anything for it.
func (e *Engine) Backup(ctx context.Context, path string, keys Keys) (Summary, error) {
	s, err := e.backup(ctx, path, keys)
	if err != nil {
		return Summary{}, fmt.Errorf("backup to %s: %w", path, err)
	}
	return s, nil
}

func (e *Engine) backup(ctx context.Context, path string, keys Keys) (s Summary, err error) {
	var records []backupRecord
	for _, b := range []*Bucket{e.registry, e.tables} {
		entries, err := b.List(ctx, "")
		if err != nil {
			return s, err
		}
		for _, entry := range entries {
			records = append(records, backupRecord{b.name, entry.Key, entry.Value})
		}
	}
	state, err := e.streamState(ctx, e.fleet.stream())
	if err != nil {
		return s, err
	}
	h := backupHeader{backupFormat, backupVersion, time.Now().UTC().Truncate(time.Second), state.LastSeq + 1, nil, len(records)}
	if keys != nil {
		if h.Check, err = keys.Seal([]byte(backupCheck)); err != nil {
			return s, err
		}
	}
	s.CreatedAt = h.CreatedAt
	if _, err := os.Lstat(path); err == nil {
		return s, errors.New("there is a file already; name another")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return s, err
	}
	defer func() {
		// The backup has its own name by now, or was not made.
		err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
	}()
	out := bufio.NewWriterSize(tmp, 1<<20)
	sum := sha256.New()
	lines := json.NewEncoder(io.MultiWriter(out, sum))
	if err := lines.Encode(h); err != nil {
		return s, err
	}
	for _, r := range records {
		s.add(r)
		if err := lines.Encode(r); err != nil {
			return s, err
		}
	}
	last := json.NewEncoder(out).Encode(backupSum{hex.EncodeToString(sum.Sum(nil))})
	if err := errors.Join(last, out.Flush(), tmp.Sync()); err != nil {
		return s, err
	}
	// A link, unlike a rename, never replaces a file.
	if err := os.Link(tmp.Name(), path); err != nil {
		return s, err
	}
	return s, syncDirectory(filepath.Dir(path))
}

// readBackup reads a backup from its begin to its end and fails when anything in
// it is not as it was written. With fn it tells each record, but only tells all
// when it does not fail.
func readBackup(path string, fn func(backupRecord) error) (h backupHeader, s Summary, err error) {
	file, err := os.Open(path)
	if err != nil {
		return h, s, err
	}
	defer file.Close() // was only read
	damaged := func(format string, args ...any) error {
		return fmt.Errorf("not a whole backup: "+format, args...)
	}
	in := bufio.NewReaderSize(file, maxBackupLine)
	sum := sha256.New()
	line, err := in.ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &h) != nil || h.Format != backupFormat {
		return h, s, errors.New("not a backup of knxfleet")
	}
	if h.Version != backupVersion {
		return h, s, fmt.Errorf("a backup of version %d, this program knows version %d: use the newer program that wrote it", h.Version, backupVersion)
	}
	s.CreatedAt = h.CreatedAt
	sum.Write(line)
	for i := range h.Records {
		if line, err = in.ReadSlice('\n'); err != nil {
			return h, s, damaged("it ends at record %d of %d", i+1, h.Records)
		}
		sum.Write(line)
		var r backupRecord
		if err := json.Unmarshal(line, &r); err != nil || r.Bucket != registryBucket && r.Bucket != tablesBucket || r.Key == "" {
			return h, s, damaged("record %d cannot be read", i+1)
		}
		s.add(r)
		if fn != nil {
			if err := fn(r); err != nil {
				return h, s, err
			}
		}
	}
	var want backupSum
	line, err = in.ReadSlice('\n')
	if err != nil || json.Unmarshal(line, &want) != nil || want.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
		return h, s, damaged("its checksum is missing or does not fit")
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return h, s, damaged("something follows its end")
	}
	return h, s, nil
}

// Exists reports whether a store was made in a data directory.
func Exists(dir string) bool {
	return exists(filepath.Join(dir, manifestFile)) || exists(filepath.Join(dir, "jetstream"))
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
