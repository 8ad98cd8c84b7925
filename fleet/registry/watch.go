package registry

import (
	"context"
	"fmt"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// ChangeType says what a Change tells.
type ChangeType uint8

const (
	// Stored: the building is new, or changed, or part of the snapshot.
	Stored ChangeType = iota + 1
	// Deleted: the building is no more. Only ID is set.
	Deleted
	// Unreadable: the building's record is damaged or its secrets do not open.
	// ID and Err are set. What was told of it before is still the last known.
	Unreadable
	// SnapshotComplete: every building that existed when the watch began has
	// been told. It comes once; nothing else is set.
	SnapshotComplete
)

// Change is one step of a watch.
type Change struct {
	Type     ChangeType
	ID       string
	Building Building
	Err      error // a *BuildingError
	// Revision is that of the record in the store; everything up to it has been
	// told. 0 with SnapshotComplete.
	Revision uint64
}

// Watch calls fn with each building there is, then with SnapshotComplete, then
// with every change, in the order in which they were stored. When a building
// changes several times in quick succession the steps between may be left out,
// the last one never is. A Deleted is told only of a building that was told
// before.
//
// fn runs in the calling goroutine; while it is busy nothing is lost and memory
// does not grow beyond the engine's bounds. Watch returns nil when ctx is done,
// fn's error when it returns one, and ErrUnavailable when the store is closed.
// Stalls of the store's own watch are found and repaired within half a minute.
func (r *Registry) Watch(ctx context.Context, fn func(Change) error) error {
	var into *mirror // nil: another watch fills it
	if r.mirror.follow() {
		into = &r.mirror
		defer into.leave()
	}
	return r.bucket.Watch(ctx, buildingPrefix, func(event engine.Event) error {
		id, revision := entryID(event.Entry), event.Entry.Revision
		switch event.Type {
		case engine.SnapshotComplete:
			into.snapshotComplete()
			return fn(Change{Type: SnapshotComplete})
		case engine.Deleted:
			into.told(id, nil, revision)
			return fn(Change{Type: Deleted, ID: id, Revision: revision})
		case engine.Stored:
			b, err := r.decode(event.Entry)
			if err != nil {
				into.told(id, nil, revision)
				return fn(Change{Type: Unreadable, ID: id, Err: err, Revision: revision})
			}
			into.told(id, &b, revision)
			return fn(Change{Type: Stored, ID: b.ID, Building: b, Revision: revision})
		}
		return fmt.Errorf("unknown event type %d", event.Type)
	})
}
