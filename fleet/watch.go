package fleet

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

// ChangeKind says what a Change tells.
type ChangeKind uint8

// The kinds of changes.
const (
	// ChangeSnapshot: a building that was there when the watch began.
	ChangeSnapshot ChangeKind = iota + 1
	// ChangeSnapshotEnd: the snapshot is complete; there is no building.
	ChangeSnapshotEnd
	// ChangeCreated: the building is new.
	ChangeCreated
	// ChangeUpdated: the building's configuration or status differs.
	ChangeUpdated
	// ChangeDeleted: the building is gone; the view is its last. Of one that went
	// before the watch was resumed, the id is all there is.
	ChangeDeleted
	// ChangeKept: the watch was resumed, and the building is as it was then.
	ChangeKept
	// ChangeResumed: the watch was resumed, and what was missed has been told; there
	// is no building.
	ChangeResumed
)

// Change is one step of a watch: a building as it is now.
type Change struct {
	Kind ChangeKind
	View View
	// Moment is where another watch goes on after this change, if everything up to it
	// was told. Zero within a snapshot.
	Moment Moment
}

// Moment is a place in the changes of all buildings, for a watch to go on there. The
// zero value is none.
type Moment struct {
	// Board is the process, and Version counts its changes.
	Board, Version uint64
}

// watch begins a watch. After a moment that the board knows it goes on from there;
// otherwise with a snapshot.
//
// What was missed is told once for each building, as it is now, in the order of the
// last changes: a building carries the version of its last change, so only those that
// are gone need a log.
func (b *board) watch(after Moment) *Watcher {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &Watcher{board: b, wake: make(chan struct{}, 1)} // one pending signal says it all
	switch {
	case after.Board == b.id && after.Version >= b.horizon && after.Version <= b.version:
		w.begin(append(b.since(after.Version), Change{Kind: ChangeResumed, Moment: b.moment(b.version)}))
	case b.filled:
		w.begin(b.snapshot())
	}
	b.watchers[w] = struct{}{}
	if b.closed {
		w.end(ErrStopping)
	}
	return w
}

// fill notes that every building is on the board that there was when the process
// started. Watches wait for it: who takes a snapshot for all there is would think the
// rest deleted.
func (b *board) fill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filled = true
	for w := range b.watchers {
		if !w.begun {
			w.begin(b.snapshot())
		}
	}
}

// snapshot is called with the lock held.
func (b *board) snapshot() []Change {
	all := make([]Change, 0, len(b.views)+1)
	for _, id := range slices.Sorted(maps.Keys(b.views)) {
		all = append(all, Change{Kind: ChangeSnapshot, View: b.views[id].View})
	}
	return append(all, Change{Kind: ChangeSnapshotEnd, Moment: b.moment(b.version)})
}

// since is what a watcher that knows the board as of version has missed: first what
// did not change, then what did, in order. It is called with the lock held.
func (b *board) since(version uint64) []Change {
	missed := make([]Change, 0, len(b.views))
	for _, v := range b.views {
		c := Change{Kind: ChangeUpdated, View: v.View, Moment: b.moment(v.changed)}
		switch {
		case v.changed <= version:
			c.Kind, c.Moment = ChangeKept, Moment{}
		case v.created > version:
			c.Kind = ChangeCreated
		}
		missed = append(missed, c)
	}
	for _, gone := range b.removed {
		if gone.created <= version && version < gone.removed {
			missed = append(missed, Change{Kind: ChangeDeleted, View: View{Building: registry.Building{ID: gone.id}}, Moment: b.moment(gone.removed)})
		}
	}
	slices.SortFunc(missed, func(a, b Change) int { return cmp.Compare(a.Moment.Version, b.Moment.Version) })
	return missed
}

func (b *board) moment(version uint64) Moment { return Moment{Board: b.id, Version: version} }

// watchLimit is how many changes wait for one watcher beyond its snapshot; one
// more ends the watch with ErrSlowWatcher, and the watcher starts over.
const watchLimit = 8192

// ErrSlowWatcher ends a watch whose changes were not read in time.
var ErrSlowWatcher = errors.New("the watch was read too slowly")

// Watcher receives a snapshot of all buildings, or what was missed since a moment, and
// then every change.
type Watcher struct {
	board *board
	wake  chan struct{}
	// guarded by board.mu
	begun bool // what it begins with is in the queue, or was read
	queue []Change
	limit int
	err   error
}

// begin is called with the board's lock held.
func (w *Watcher) begin(with []Change) {
	w.begun, w.queue, w.limit = true, with, len(with)+watchLimit
	signal(w.wake)
}

// push is called with the board's lock held.
func (w *Watcher) push(c Change) {
	if !w.begun {
		return // the snapshot will have it
	}
	if len(w.queue) >= w.limit {
		w.end(ErrSlowWatcher)
		return
	}
	w.queue = append(w.queue, c)
	signal(w.wake)
}

// end is called with the board's lock held.
func (w *Watcher) end(err error) {
	delete(w.board.watchers, w)
	if w.err == nil {
		w.err = err
	}
	signal(w.wake)
}

// Next waits for changes and returns all that wait. When there are no more, it
// returns why the watch ended: ErrStopping, ErrSlowWatcher, or ctx's error.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) {
	for {
		w.board.mu.Lock()
		changes, err := w.queue, w.err
		w.queue = nil
		w.board.mu.Unlock()
		if len(changes) > 0 {
			return changes, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the watch. It is idempotent.
func (w *Watcher) Close() {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	w.end(context.Canceled)
	w.queue = nil
}
