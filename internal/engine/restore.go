package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"
)

// restoreFile is the backup that is being restored. While it is there a start
// finishes what it says before anything else: so a restore is done as a whole or
// not at all.
const restoreFile = "restore.pending"

// epochLeap is added to the epochs of a backup when it is restored, since the store
// that it came from may have gone on after it: no epoch may come again. A store
// would need thousands of years to spend as many.
const epochLeap = 1_000_000_000_000

// ErrNotEmpty: the store that a backup was to be restored to has buildings or
// tables.
var ErrNotEmpty = errors.New("the store is not empty")

// Restore puts the registry and the tables of a backup in the place of those in the
// data directory of cfg, which is made if need be, and which no process may have
// open. Its journal and who holds what stay as they are, but epochs go on above
// those of the backup. It fails with ErrNotEmpty, unless replace is set, when there
// are buildings or tables, and refuses a backup whose secrets cfg.Keys do not open.
// A refusal changes nothing; when Restore is interrupted the next Open finishes it.
func Restore(ctx context.Context, cfg Config, path string, replace bool) (Summary, error) {
	s, err := restore(ctx, cfg, path, replace)
	if err != nil {
		return Summary{}, fmt.Errorf("restore %s: %w", path, err)
	}
	return s, nil
}

func restore(ctx context.Context, cfg Config, path string, replace bool) (s Summary, err error) {
	h, s, err := readBackup(path, nil)
	if err != nil {
		return s, err
	}
	if err := checkKeys(h, cfg.Keys); err != nil {
		return s, err
	}
	cfg.NoJournal = true
	e, err := Open(ctx, cfg)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if !replace {
		if err := e.empty(ctx); err != nil {
			return s, err
		}
	}
	pending := filepath.Join(e.dir, restoreFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := replaceFile(pending, whole); err != nil {
		return s, err
	}
	return s, e.finishRestore(ctx)
}

// checkKeys refuses a backup that was sealed with other keys.
func checkKeys(h backupHeader, keys Keys) error {
	if keys == nil || len(h.Check) == 0 {
		return nil
	}
	// The backup's secrets are sealed with them, so they must not be made anew.
	if err := keys.Load(true); err != nil {
		return err
	}
	if text, err := keys.Open(h.Check); err != nil || string(text) != backupCheck {
		return fmt.Errorf("the backup's secrets cannot be opened: %w; put the keys that belong to it in their place first; nothing was changed", err)
	}
	return nil
}

func (e *Engine) empty(ctx context.Context) error {
	buildings, err := e.registry.Keys(ctx, buildingPrefix)
	if err != nil {
		return err
	}
	tables, err := e.tables.Keys(ctx, "")
	if err != nil {
		return err
	}
	if len(buildings)+len(tables) > 0 {
		return fmt.Errorf("%w: it has %d buildings and %d tables; nothing was changed", ErrNotEmpty, len(buildings), len(tables))
	}
	return nil
}

// finishRestore does what a pending restore says. Doing it again does no harm.
func (e *Engine) finishRestore(ctx context.Context) error {
	path := filepath.Join(e.dir, restoreFile)
	if !exists(path) {
		return nil
	}
	kept := map[string]map[string]bool{registryBucket: {}, tablesBucket: {}}
	h, _, err := readBackup(path, func(r backupRecord) error {
		kept[r.Bucket][r.Key] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("finish a restore: %s: %w", restoreFile, err)
	}
	buckets := map[string]*Bucket{registryBucket: e.registry, tablesBucket: e.tables}
	_, _, err = readBackup(path, func(r backupRecord) error {
		b := buckets[r.Bucket]
		have, err := b.Get(ctx, r.Key)
		if err == nil && bytes.Equal(have.Value, r.Value) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		_, err = b.Put(ctx, r.Key, r.Value)
		return err
	})
	if err != nil {
		return fmt.Errorf("finish a restore: %w", err)
	}
	for name, b := range buckets {
		keys, err := b.Keys(ctx, "")
		if err != nil {
			return fmt.Errorf("finish a restore: %w", err)
		}
		for _, key := range keys {
			if kept[name][key] {
				continue
			}
			if err := b.Delete(ctx, key, 0); err != nil {
				return fmt.Errorf("finish a restore: %w", err)
			}
		}
	}
	if err := e.raiseEpochs(ctx, h.Epoch+epochLeap); err != nil {
		return fmt.Errorf("finish a restore: %w", err)
	}
	return errors.Join(os.Remove(path), syncDirectory(e.dir))
}

// raiseEpochs lets the revisions of the fleet bucket go on from at least a number.
// If it is interrupted, claims are lost: the buildings then seem to have been
// released in order.
func (e *Engine) raiseEpochs(ctx context.Context, to uint64) error {
	state, err := e.streamState(ctx, e.fleet.stream())
	if err != nil || state.LastSeq >= to {
		return err
	}
	claims, err := e.fleet.List(ctx, "")
	if err != nil {
		return err
	}
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	stream, err := e.js.Stream(opCtx, e.fleet.stream())
	if err != nil {
		return unavailable(ctx, err)
	}
	e.marks.reset(e.fleet.name, 0)
	if err := stream.Purge(opCtx, jetstream.WithPurgeSequence(to)); err != nil {
		return unavailable(ctx, err)
	}
	for _, claim := range claims {
		if _, err := e.fleet.Put(ctx, claim.Key, claim.Value); err != nil {
			return err
		}
	}
	// At least one record carries the number on.
	if err := e.Probe(ctx); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	return nil
}
