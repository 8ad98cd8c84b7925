package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	marksFile  = "marks"
	damageFile = "damaged.json"
)

// marks remember the revision of the last write that each bucket acknowledged, and
// about how far the journal has come. The server cuts what it cannot read off a
// damaged file, and would go on with the rest in silence.
//
// They are written after each write, without waiting for the disk: after a power
// cut they may be some seconds old, and so show less than was acknowledged, never
// more.
type marks struct {
	file *os.File
	read bool // those of a process before, whole

	mu   sync.Mutex
	last map[string]uint64
}

var markOrder = []string{registryBucket, fleetBucket, tablesBucket, journalStream}

// openMarks reads the marks. Damaged ones prove nothing, and count as none.
func openMarks(dir string) (*marks, error) {
	file, err := os.OpenFile(filepath.Join(dir, marksFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	m := &marks{file: file, last: make(map[string]uint64)}
	data := make([]byte, 8*len(markOrder)+4)
	if n, err := file.ReadAt(data, 0); err != nil || n != len(data) {
		return m, nil //nolint:nilerr // too short: a new file
	}
	body := data[:len(data)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(data[len(body):]) {
		return m, nil
	}
	m.read = true
	for i, name := range markOrder {
		m.last[name] = binary.LittleEndian.Uint64(body[8*i:])
	}
	return m, nil
}

func (m *marks) get(bucket string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last[bucket]
}

// unused reports that no process before was ever acknowledged anything in a bucket.
func (m *marks) unused(bucket string) bool { return m.read && m.get(bucket) == 0 }

// raise notes a revision that was acknowledged.
func (m *marks) raise(bucket string, revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision > m.last[bucket] {
		m.set(bucket, revision)
	}
}

// reset notes the revision that a bucket has.
func (m *marks) reset(bucket string, revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(bucket, revision)
}

func (m *marks) set(bucket string, revision uint64) {
	m.last[bucket] = revision
	data := make([]byte, 0, 8*len(markOrder)+4)
	for _, name := range markOrder {
		data = binary.LittleEndian.AppendUint64(data, m.last[name])
	}
	data = binary.LittleEndian.AppendUint32(data, crc32.ChecksumIEEE(data))
	// A mark that cannot be written proves less, and breaks nothing.
	_, _ = m.file.WriteAt(data, 0)
}

func (m *marks) close() {
	// What it holds is written, or is of no use.
	_ = m.file.Close()
}

// damage is what is missing from a store, on record so that it is refused until
// somebody has decided to do without.
type damage struct {
	FoundAt time.Time `json:"foundAt"`
	What    []string  `json:"what"`
}

func (d damage) error() error {
	return fmt.Errorf("the store is damaged: %s: restore a backup into a new directory, or go on without what is missing by `knxfleet engine check --accept-loss`", strings.Join(d.What, "; "))
}

// checkDamage refuses a store that was found damaged before.
func checkDamage(dir string, accept bool) error {
	text, err := os.ReadFile(filepath.Join(dir, damageFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && accept {
		return nil
	}
	if err != nil {
		return err
	}
	var d damage
	if err := json.Unmarshal(text, &d); err != nil {
		d.What = []string{"as found on an earlier start"}
	}
	return d.error()
}

func recordDamage(dir string, d damage) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, damageFile), append(text, '\n'))
}

// forgetDamage is called when a store has opened: there was none, or it was
// accepted.
func forgetDamage(dir string) error {
	if err := os.Remove(filepath.Join(dir, damageFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// verify reads all buckets and compares what is there with what must be. With
// accept it only tells what is missing.
func (e *Engine) verify(ctx context.Context, accept bool) error {
	d := damage{FoundAt: time.Now().UTC()}
	for _, b := range e.buckets() {
		missing, err := e.verifyBucket(ctx, b, accept)
		if err != nil {
			return fmt.Errorf("check bucket %s: %w", b.name, err)
		}
		if missing != "" {
			d.What = append(d.What, fmt.Sprintf("bucket %s: %s", b.name, missing))
		}
	}
	if len(d.What) == 0 {
		return nil
	}
	if accept {
		e.log.Warn().Strs("missing", d.What).Msg("going on with a damaged store, as was asked for")
		return nil
	}
	return errors.Join(d.error(), recordDamage(e.dir, d))
}

func (e *Engine) verifyBucket(ctx context.Context, b *Bucket, accept bool) (missing string, err error) {
	state, err := e.streamState(ctx, b.stream())
	if err != nil {
		return "", err
	}
	var count, last uint64
	err = scan{stream: b.stream(), metaOnly: true}.run(ctx, e, func(m scanned) error {
		count++
		last = m.seq
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return "", err
	}
	mark := e.marks.get(b.name)
	switch {
	case err != nil:
		missing = err.Error()
	case count != state.Messages:
		missing = fmt.Sprintf("%d of %d records can be read", count, state.Messages)
	case last < mark:
		missing = fmt.Sprintf("its last record is revision %d, and %d was acknowledged", last, mark)
	case state.Lost != nil:
		// What was being written when the machine went down was not acknowledged,
		// and looks the same.
		e.log.Warn().Str("bucket", b.name).Uint64("bytes", state.Lost.Bytes).
			Msg("an incomplete record was dropped: expected after a power cut or on a disk that was full, otherwise a sign of damage")
	}
	if missing == "" || accept {
		e.marks.reset(b.name, last)
	}
	return missing, nil
}
