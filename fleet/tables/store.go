package tables

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

var (
	// ErrConflict: the table is not the one that an import was based on.
	ErrConflict = errors.New("has another group address table by now; list it again and repeat the import")
	// ErrTooLarge: the table would have more than the store keeps of one.
	ErrTooLarge = errors.New("would have a group address table that is too large")
	// ErrUnreadable: the stored table is damaged. An import replaces it.
	ErrUnreadable = errors.New("has a group address table that cannot be read; import it again")
)

const (
	keyPrefix = "t."
	// maxAttempts bounds how often an unconditional import is repeated because
	// another one came in between.
	maxAttempts = 10
)

// Buildings says which buildings there are. *registry.Registry is one.
type Buildings interface {
	Get(ctx context.Context, id string) (registry.Building, error)
	List(ctx context.Context, match func(registry.Building) bool) ([]registry.Building, error)
}

// Config says what a Store is made of. Bucket and Buildings are required.
type Config struct {
	// Bucket holds the records: the engine's Tables.
	Bucket    *engine.Bucket
	Buildings Buildings
	// Log receives what the store has to say. The zero value is silent.
	Log zerolog.Logger
}

// Store keeps the group address tables of all buildings. Its methods are safe for
// concurrent use; their errors for a building are *registry.BuildingError.
type Store struct {
	bucket    *engine.Bucket
	buildings Buildings
	log       zerolog.Logger
	// slots are the buildings whose table is in use, id to *slot. A building's slot
	// goes when the building does.
	slots sync.Map
	// stored are the ids of the buildings that may have a record, so that nothing is
	// asked for the others. One is in it before its first write, and goes when its
	// record was surely removed.
	stored sync.Map
}

// slot is one building's table in memory.
type slot struct {
	// turn is held by the one who reads or writes the record; capacity 1, and the
	// others wait.
	turn chan struct{}
	gone bool // whether the slot was removed; guarded by turn

	table atomic.Pointer[Table] // nil: not read yet
	// doubtful: a write failed that may have been stored all the same.
	doubtful atomic.Bool
}

// Open opens the store and removes the tables of buildings that are no more, as a
// crash can leave one behind. It must have returned before buildings are created, and
// nobody else may give a building its first table from then on.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{bucket: cfg.Bucket, buildings: cfg.Buildings, log: cfg.Log}
	keys, err := s.bucket.Keys(ctx, keyPrefix)
	if err != nil {
		return nil, fmt.Errorf("open the group address tables: %w", err)
	}
	if len(keys) == 0 {
		return s, nil
	}
	known := make(map[string]bool)
	_, err = s.buildings.List(ctx, func(b registry.Building) bool {
		known[keyPrefix+b.ID] = true
		return false
	})
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		id := strings.TrimPrefix(key, keyPrefix)
		if known[key] {
			s.stored.Store(id, nil)
			continue
		}
		// A building that cannot be read is in no list, but it is there.
		if _, err := s.buildings.Get(ctx, id); !errors.Is(err, registry.ErrNotFound) {
			s.stored.Store(id, nil)
			continue
		}
		if err := s.bucket.Delete(ctx, key, 0); err != nil {
			return nil, fmt.Errorf("remove the group address table of %s, which is no more: %w", id, err)
		}
		s.log.Info().Str("building", id).Msg("removed the group address table of a building that is no more")
	}
	return s, nil
}

// Current returns a building's table as far as it is in memory, without waiting;
// nil if it is not. It is meant for every telegram.
func (s *Store) Current(building string) *Table {
	if sl := s.find(building); sl != nil {
		return sl.table.Load()
	}
	return nil
}

// Load returns a building's table, and keeps it in memory; the empty one when
// nothing was imported. Whether there is such a building is not asked.
func (s *Store) Load(ctx context.Context, building string) (*Table, error) {
	if t := s.known(building); t != nil {
		return t, nil
	}
	if err := registry.ValidateID(building); err != nil {
		return nil, err
	}
	sl, err := s.take(ctx, building)
	if err != nil {
		return nil, err
	}
	defer sl.release()
	if t := s.known(building); t != nil {
		return t, nil // another one has read it meanwhile
	}
	t, err := s.read(ctx, building)
	if err != nil {
		return nil, err
	}
	sl.keep(t)
	return t, nil
}

// known is the table in memory if it is sure to be the one that is stored.
func (s *Store) known(building string) *Table {
	sl := s.find(building)
	if sl == nil || sl.doubtful.Load() {
		return nil
	}
	return sl.table.Load()
}

// Options say how to import.
type Options struct {
	// Prune also removes the addresses that the file does not name.
	Prune bool
	// ValidateOnly changes nothing and tells what would change.
	ValidateOnly bool
	// Etag is that of the table which the import is based on; empty takes any.
	Etag string
}

// Import puts a file into a building's table, as a whole or not at all, and tells
// what changed; what was stored is in use when Import returns. An import that
// changes nothing stores nothing. It fails with ErrConflict, ErrTooLarge, a
// *registry.FieldError, or with registry.ErrNotFound when there is no such
// building.
func (s *Store) Import(ctx context.Context, building string, file ets.Table, opts Options) (Result, error) {
	if opts.Prune && len(file.Entries) == 0 {
		return Result{}, &registry.FieldError{
			Field: "prune", Problem: "would empty the table, as the file names no group address; import the right file, or leave out prune",
		}
	}
	if err := registry.ValidateID(building); err != nil {
		return Result{}, err
	}
	sl, err := s.take(ctx, building)
	if err != nil {
		return Result{}, err
	}
	defer sl.release()
	// Asked only now: Delete waits for its turn too, and comes after the building
	// is gone, so that no table is left of it.
	if _, err := s.buildings.Get(ctx, building); err != nil {
		return Result{}, err
	}
	for attempt := 1; ; attempt++ {
		result, err := s.importOnce(ctx, sl, building, file, opts)
		lost := errors.Is(err, engine.ErrConflict) || errors.Is(err, engine.ErrExists)
		if lost && opts.Etag == "" && attempt < maxAttempts {
			continue
		}
		if lost {
			err = &registry.BuildingError{ID: building, Cause: ErrConflict}
		}
		return result, err
	}
}

func (s *Store) importOnce(ctx context.Context, sl *slot, building string, file ets.Table, opts Options) (Result, error) {
	old, err := s.read(ctx, building)
	damaged := errors.Is(err, ErrUnreadable)
	if err != nil && !damaged {
		return Result{}, err
	}
	if damaged {
		s.log.Warn().Err(err).Msg("the import begins with an empty table")
	}
	if opts.Etag != "" && opts.Etag != old.Etag() {
		return Result{}, &registry.BuildingError{ID: building, Cause: ErrConflict}
	}
	merged, result := merge(old, file, opts.Prune)
	result.Table = old
	switch {
	case opts.ValidateOnly:
		return result, s.fits(building, merged)
	case len(result.Changes) == 0 && merged.style == old.style && !damaged:
		sl.keep(old)
		return result, nil
	}
	result.Table, err = s.write(ctx, building, merged, old.revision)
	if err != nil {
		sl.doubtful.Store(true)
		return Result{}, err
	}
	sl.keep(result.Table)
	return result, nil
}

// Delete removes a building's table, if it has one. Call it once the building is
// deleted.
func (s *Store) Delete(ctx context.Context, building string) error {
	if err := registry.ValidateID(building); err != nil {
		return err
	}
	sl, err := s.take(ctx, building)
	if err != nil {
		return err
	}
	defer sl.release()
	if t, err := s.read(ctx, building); err != nil && !errors.Is(err, ErrUnreadable) {
		return err
	} else if t.revision != 0 { // deleting what is not there would leave a marker
		if err := s.bucket.Delete(ctx, keyPrefix+building, 0); err != nil {
			return storeFailure(building, err)
		}
	}
	s.stored.Delete(building)
	sl.gone = true
	s.slots.CompareAndDelete(building, sl)
	return nil
}

// read gives a building's table as it is stored; the empty one, without asking, if it
// has none. One that cannot be read is ErrUnreadable and has its revision alone.
func (s *Store) read(ctx context.Context, building string) (*Table, error) {
	if _, maybe := s.stored.Load(building); !maybe {
		return &Table{}, nil
	}
	entry, err := s.bucket.Get(ctx, keyPrefix+building)
	if errors.Is(err, engine.ErrNotFound) {
		return &Table{}, nil
	}
	if err != nil {
		return nil, storeFailure(building, err)
	}
	t, err := decode(entry.Value)
	if err != nil {
		return &Table{revision: entry.Revision}, &registry.BuildingError{ID: building, Cause: fmt.Errorf("%w (%w)", ErrUnreadable, err)}
	}
	t.revision = entry.Revision
	return t, nil
}

// write stores a table over the one of the given revision. It returns it as it is
// read back: that shares no memory with the file that was imported.
func (s *Store) write(ctx context.Context, building string, t *Table, revision uint64) (*Table, error) {
	t.importedAt = time.Now().UTC()
	value, err := encode(t)
	if err != nil {
		return nil, &registry.BuildingError{ID: building, Cause: err}
	}
	stored, err := decode(value)
	if err != nil {
		return nil, &registry.BuildingError{ID: building, Cause: err}
	}
	s.stored.Store(building, nil) // even if it fails: it may have been stored all the same
	if revision == 0 {
		stored.revision, err = s.bucket.Create(ctx, keyPrefix+building, value)
	} else {
		stored.revision, err = s.bucket.Update(ctx, keyPrefix+building, value, revision)
	}
	if err != nil {
		return nil, storeFailure(building, err)
	}
	return stored, nil
}

// fits tells whether a table could be stored.
func (s *Store) fits(building string, t *Table) error {
	if _, err := encode(t); err != nil {
		return &registry.BuildingError{ID: building, Cause: err}
	}
	return nil
}

func storeFailure(building string, err error) error {
	return &registry.BuildingError{ID: building, Cause: fmt.Errorf("has a group address table that cannot be reached in the store: %w", err)}
}

// find returns a building's slot, or nil.
func (s *Store) find(building string) *slot {
	found, _ := s.slots.Load(building)
	sl, _ := found.(*slot) // nothing else is stored
	return sl
}

// take waits for the turn at a building's slot.
func (s *Store) take(ctx context.Context, building string) (*slot, error) {
	for {
		// Others wait for their turn as long as their contexts allow.
		found, _ := s.slots.LoadOrStore(building, &slot{turn: make(chan struct{}, 1)})
		sl, _ := found.(*slot) // nothing else is stored
		select {
		case sl.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !sl.gone {
			return sl, nil
		}
		sl.release()
	}
}

func (sl *slot) release() { <-sl.turn }

// keep puts a table that was read or written just now into use.
func (sl *slot) keep(t *Table) {
	sl.table.Store(t)
	sl.doubtful.Store(false)
}
