package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// maxAttempts bounds how often a change is repeated because somebody else wrote the
// building in between.
const maxAttempts = 10

// Create stores a new building and returns it as stored. An invalid one gives a
// *FieldError, an id in use ErrExists.
func (r *Registry) Create(ctx context.Context, b Building) (Building, error) {
	b = b.Clone()
	b.SetDefaults()
	if err := b.Validate(); err != nil {
		return Building{}, err
	}
	b.CreatedAt = now()
	b.UpdatedAt = b.CreatedAt
	b.Generation = 1
	b.Revision = 0
	value, err := encodeRecord(b, r.keys)
	if err != nil {
		return Building{}, err
	}
	b.Revision, err = r.bucket.Create(ctx, buildingPrefix+b.ID, value)
	if err != nil {
		return Building{}, failure(b.ID, err)
	}
	r.stored(b)
	return b, nil
}

// Get returns a building, or ErrNotFound.
func (r *Registry) Get(ctx context.Context, id string) (Building, error) {
	entry, err := r.entry(ctx, id)
	if err != nil {
		return Building{}, err
	}
	return r.decode(entry)
}

// List returns the buildings that match, sorted by id; a nil match takes all. They may
// be shared and must not be changed. A building that cannot be read is left out, and
// logged. While [Registry.Watch] runs the list comes from memory; it has all that was
// written through this registry, and what others wrote as far as the watch has told it.
func (r *Registry) List(ctx context.Context, match func(Building) bool) ([]Building, error) {
	if buildings, ok := r.mirror.list(match); ok {
		return buildings, nil
	}
	entries, err := r.bucket.List(ctx, buildingPrefix)
	if err != nil {
		return nil, fmt.Errorf("list the buildings: %w", err)
	}
	buildings := make([]Building, 0, len(entries))
	for _, entry := range entries {
		b, err := r.decode(entry)
		if err != nil {
			r.log.Error().Err(err).Str("building", entryID(entry)).Msg("left out of the list")
			continue
		}
		if match == nil || match(b) {
			buildings = append(buildings, b)
		}
	}
	slices.SortFunc(buildings, func(x, y Building) int { return cmp.Compare(x.ID, y.ID) })
	return buildings, nil
}

// Update changes a building by calling change with a copy of it, and returns it
// as stored. It fails with ErrConflict when the building is not at the given
// revision; revision 0 takes any. change may be called several times, since
// somebody else may change the building in between; its error is returned as it
// is. A change of nothing stores nothing. An invalid result gives a *FieldError.
func (r *Registry) Update(ctx context.Context, id string, revision uint64, change func(*Building) error) (Building, error) {
	for attempt := 1; ; attempt++ {
		p, err := r.plan(ctx, id, revision, change)
		if err != nil || !p.differs {
			return p.building, err
		}
		b, err := r.store(ctx, p)
		if attempt == maxAttempts || !errors.Is(err, ErrConflict) {
			return b, err
		}
	}
}

// Preview is Update without storing anything: it returns what the building would
// be, at the revision that it has now.
func (r *Registry) Preview(ctx context.Context, id string, revision uint64, change func(*Building) error) (Building, error) {
	p, err := r.plan(ctx, id, revision, change)
	return p.building, err
}

func (r *Registry) store(ctx context.Context, p planned) (Building, error) {
	b := p.building
	value, err := encodeRecord(b, r.keys)
	if err != nil {
		return Building{}, err
	}
	b.Revision, err = r.bucket.Update(ctx, p.entry.Key, value, p.entry.Revision)
	if err != nil {
		return Building{}, failure(b.ID, err)
	}
	r.stored(b)
	return b, nil
}

// stored notes what has been stored, before its writer is told.
func (r *Registry) stored(b Building) {
	r.mirror.stored(b)
	for {
		before := r.written.Load()
		if before >= b.Revision || r.written.CompareAndSwap(before, b.Revision) {
			return
		}
	}
}

// Written is the highest revision of a building that Create or Update returned in this
// process; 0 when there is none. A [Registry.Watch] has told all of them once it has told
// a change of that revision or a higher one. Deletions do not count.
func (r *Registry) Written() uint64 { return r.written.Load() }

// planned is a change that was checked and not yet stored.
type planned struct {
	building Building // as it would be
	differs  bool     // from what is stored
	entry    engine.Entry
}

func (r *Registry) plan(ctx context.Context, id string, revision uint64, change func(*Building) error) (planned, error) {
	entry, err := r.entry(ctx, id)
	if err != nil {
		return planned{}, err
	}
	if revision != 0 && revision != revisionOf(entry) {
		return planned{}, &BuildingError{id, ErrConflict}
	}
	old, err := r.decode(entry)
	if err != nil {
		return planned{}, err
	}
	b := old.Clone()
	if err := change(&b); err != nil {
		return planned{}, err
	}
	if b.ID != old.ID {
		return planned{}, &FieldError{"id", "cannot be changed; create another building"}
	}
	b.CreatedAt, b.UpdatedAt, b.Generation, b.Revision = old.CreatedAt, old.UpdatedAt, old.Generation, old.Revision
	b.SetDefaults()
	if err := b.Validate(); err != nil {
		return planned{}, err
	}
	p := planned{building: b, differs: !reflect.DeepEqual(b, old), entry: entry}
	if p.differs {
		p.building.UpdatedAt = now()
		p.building.Generation++
	}
	return p, nil
}

// Delete removes a building together with its earlier revisions. It fails with
// ErrNotFound when there is none, and with ErrConflict when it is not at the
// given revision; revision 0 takes any. A building that cannot be read can be
// deleted.
func (r *Registry) Delete(ctx context.Context, id string, revision uint64) error {
	for attempt := 1; ; attempt++ {
		entry, err := r.entry(ctx, id)
		if err != nil {
			return err
		}
		if revision != 0 && revision != revisionOf(entry) {
			return &BuildingError{id, ErrConflict}
		}
		err = r.bucket.Delete(ctx, entry.Key, entry.Revision)
		if err == nil {
			r.mirror.deleted(id, entry.Revision)
			return nil
		}
		if attempt == maxAttempts || !errors.Is(err, engine.ErrConflict) {
			return failure(id, err)
		}
	}
}

func (r *Registry) entry(ctx context.Context, id string) (engine.Entry, error) {
	// The id becomes a key, so its syntax matters for reading too.
	if err := ValidateID(id); err != nil {
		return engine.Entry{}, err
	}
	entry, err := r.bucket.Get(ctx, buildingPrefix+id)
	if err != nil {
		return engine.Entry{}, failure(id, err)
	}
	return entry, nil
}

func (r *Registry) decode(entry engine.Entry) (Building, error) {
	id := entryID(entry)
	b, err := decodeRecord(id, entry.Value, r.keys)
	if err != nil {
		return Building{}, &BuildingError{id, fmt.Errorf("%w: %w", ErrUnreadable, err)}
	}
	b.Revision = revisionOf(entry)
	return b, nil
}

// revisionOf is the revision of what an entry says: sealing it anew does not count.
// A record that cannot be read is as old as its entry.
func revisionOf(entry engine.Entry) uint64 {
	var r struct {
		ContentRevision uint64 `json:"contentRevision"`
	}
	if json.Unmarshal(entry.Value, &r) == nil && r.ContentRevision != 0 {
		return r.ContentRevision
	}
	return entry.Revision
}

func entryID(entry engine.Entry) string { return strings.TrimPrefix(entry.Key, buildingPrefix) }

// now returns the time as it is read back: in UTC, without the monotonic clock.
func now() time.Time { return time.Now().UTC().Round(0) }
