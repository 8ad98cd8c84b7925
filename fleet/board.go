package fleet

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

// View is one building as clients see it: what is desired, and what is.
type View struct {
	Building registry.Building
	Status   Status
}

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
	// ChangeDeleted: the building is gone; the view is its last.
	ChangeDeleted
)

// Change is one step of a watch: a building as it is now.
type Change struct {
	Kind ChangeKind
	View View
}

// board holds the view of every building and tells watchers of each change.
// The fleet's loop writes what is desired, the one writer of a building's state
// its status. Safe for concurrent use; nothing here blocks.
type board struct {
	mu       sync.Mutex
	views    map[string]*View
	watchers map[*Watcher]struct{}
	closed   bool
}

func newBoard() *board {
	return &board{views: make(map[string]*View), watchers: make(map[*Watcher]struct{})}
}

// desire sets what is desired of a building, and keeps its status.
func (b *board) desire(building registry.Building) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind := ChangeUpdated
	v := b.views[building.ID]
	if v != nil && reflect.DeepEqual(v.Building, building) {
		return // its record was written again, with nothing new in it
	}
	if v == nil {
		v = &View{Status: NewBuilding(building)}
		b.views[building.ID] = v
		kind = ChangeCreated
	}
	v.Building = building
	b.tell(Change{Kind: kind, View: *v})
}

// report sets a building's status. Nothing happens if it was deleted meanwhile
// and its site is still stopping.
func (b *board) report(id string, status Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil {
		return
	}
	v.Status = status
	b.tell(Change{Kind: ChangeUpdated, View: *v})
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil {
		return
	}
	delete(b.views, id)
	b.tell(Change{Kind: ChangeDeleted, View: *v})
}

func (b *board) get(id string) (View, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil {
		return View{}, false
	}
	return *v, true
}

// labels gives a building's labels; nil for one that is not there.
func (b *board) labels(id string) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.views[id]; v != nil {
		return v.Building.Labels
	}
	return nil
}

// tell is called with the lock held.
func (b *board) tell(c Change) {
	for w := range b.watchers {
		w.push(c)
	}
}

func (b *board) watch() *Watcher {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &Watcher{board: b, wake: make(chan struct{}, 1)} // one pending signal says it all
	for _, id := range slices.Sorted(maps.Keys(b.views)) {
		w.queue = append(w.queue, Change{Kind: ChangeSnapshot, View: *b.views[id]})
	}
	w.queue = append(w.queue, Change{Kind: ChangeSnapshotEnd})
	w.limit = len(w.queue) + watchLimit
	b.watchers[w] = struct{}{}
	if b.closed {
		w.end(ErrStopping)
	}
	signal(w.wake)
	return w
}

func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for w := range b.watchers {
		w.end(ErrStopping)
	}
}

// watchLimit is how many changes wait for one watcher beyond its snapshot; one
// more ends the watch with ErrSlowWatcher, and the watcher starts over.
const watchLimit = 8192

// ErrSlowWatcher ends a watch whose changes were not read in time.
var ErrSlowWatcher = errors.New("the watch was read too slowly")

// Watcher receives a snapshot of all buildings and then every change.
type Watcher struct {
	board *board
	wake  chan struct{}
	// guarded by board.mu
	queue []Change
	limit int
	err   error
}

// push is called with the board's lock held.
func (w *Watcher) push(c Change) {
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

// states counts the buildings in each state.
func (b *board) states() map[State]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := make(map[State]int)
	for _, v := range b.views {
		counts[v.Status.State]++
	}
	return counts
}
