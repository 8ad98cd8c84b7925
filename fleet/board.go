package fleet

import (
	"context"
	"math/rand/v2"
	"reflect"
	"sync"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

// View is one building as clients see it: what is desired, and what is.
type View struct {
	Building registry.Building
	Status   Status
}

// board holds the view of every building and tells watchers of each change.
// The fleet's loop writes what is desired, the one writer of a building's state
// its status. Safe for concurrent use; nothing here blocks.
type board struct {
	id uint64 // of this board among those of all processes

	mu       sync.Mutex
	version  uint64 // of the last change
	views    map[string]*posted
	filled   bool      // with every building there was when the process started
	removed  []removal // in order, maxRemovals at most
	horizon  uint64    // the version of the last removal that is not known any more
	watchers map[*Watcher]struct{}
	closed   bool
	heard    uint64        // the registry's revision up to which all is here
	news     chan struct{} // closed when heard rises or the board closes; nil: nobody waits
}

// posted is a building on the board.
type posted struct {
	View

	created, changed uint64 // the versions of its first change and its last
}

// removal is a building that was taken off the board.
type removal struct {
	id               string
	created, removed uint64
}

// maxRemovals is how many buildings that are gone the board remembers, for watches
// that are resumed.
const maxRemovals = 8192

func newBoard() *board {
	return &board{
		id:    rand.Uint64() | 1, // never 0, which is no board's
		views: make(map[string]*posted), watchers: make(map[*Watcher]struct{}),
	}
}

// desire sets what is desired of a building, and keeps its status.
func (b *board) desire(building registry.Building) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[building.ID]
	if v != nil && reflect.DeepEqual(v.Building, building) {
		return // its record was written again, with nothing new in it
	}
	b.version++
	kind := ChangeUpdated
	if v == nil {
		v = &posted{View: View{Status: NewBuilding(building)}, created: b.version}
		b.views[building.ID] = v
		kind = ChangeCreated
	}
	v.Building, v.changed = building, b.version
	b.tell(Change{Kind: kind, View: v.View, Moment: b.moment(b.version)})
}

// report sets a building's status. Nothing happens if that is nothing new, or if it
// was deleted meanwhile and its site is still stopping.
func (b *board) report(id string, status Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil || v.Status == status {
		return
	}
	b.version++
	v.Status, v.changed = status, b.version
	b.tell(Change{Kind: ChangeUpdated, View: v.View, Moment: b.moment(b.version)})
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil {
		return
	}
	b.version++
	delete(b.views, id)
	if len(b.removed) == maxRemovals {
		b.horizon = b.removed[0].removed
		b.removed = b.removed[1:]
	}
	b.removed = append(b.removed, removal{id: id, created: v.created, removed: b.version})
	b.tell(Change{Kind: ChangeDeleted, View: v.View, Moment: b.moment(b.version)})
}

func (b *board) get(id string) (View, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.views[id]
	if v == nil {
		return View{}, false
	}
	return v.View, true
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

func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.wakeHearing()
	for w := range b.watchers {
		w.end(ErrStopping)
	}
}

// hear notes that all up to a revision of the registry is on the board.
func (b *board) hear(revision uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if revision > b.heard {
		b.heard = revision
		b.wakeHearing()
	}
}

// wakeHearing is called with the lock held.
func (b *board) wakeHearing() {
	if b.news != nil {
		close(b.news)
		b.news = nil
	}
}

// awaitHeard waits until the board has heard of a revision, or is closed.
func (b *board) awaitHeard(ctx context.Context, revision uint64) error {
	for {
		b.mu.Lock()
		if b.heard >= revision || b.closed {
			b.mu.Unlock()
			return nil
		}
		if b.news == nil {
			b.news = make(chan struct{})
		}
		news := b.news
		b.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
