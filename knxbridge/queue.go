package knxbridge

import (
	"slices"
	"sync"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// pending is a write that waits for its turn or its answer.
type pending struct {
	write session.Write
	// result gets exactly one answer once the write has left the queue. Capacity 1:
	// the owner never waits for a writer that has gone.
	result chan session.Result
}

// writeQueue is the bounded queue between writers and the owner. A writer whose
// context ends takes its write back; what the owner has popped is as good as
// sent. When it is full, push fails.
type writeQueue struct {
	// wake (capacity 1) tells the owner that there may be work.
	wake chan struct{}

	mu     sync.Mutex
	limit  int
	items  []*pending
	closed bool
	full   uint64 // pushes refused
}

func newWriteQueue(limit int) *writeQueue {
	// A signal that is already there says all that a second would.
	return &writeQueue{wake: make(chan struct{}, 1), limit: limit}
}

// push appends a write. The error is ErrQueueFull or ErrStopped.
func (q *writeQueue) push(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrStopped
	}
	if len(q.items) >= q.limit {
		q.full++
		return ErrQueueFull
	}
	q.items = append(q.items, p)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// pop takes the oldest write, nil when there is none.
func (q *writeQueue) pop() *pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil
	}
	p := q.items[0]
	q.items = slices.Delete(q.items, 0, 1)
	return p
}

// remove takes a write back and reports if it was still there.
func (q *writeQueue) remove(p *pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.items, p)
	if i < 0 {
		return false
	}
	q.items = slices.Delete(q.items, i, i+1)
	return true
}

// close refuses all further writes and returns those that waited.
func (q *writeQueue) close() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	items := q.items
	q.items = nil
	return items
}

// depth returns how many writes wait, and how many were refused so far.
func (q *writeQueue) depth() (waiting int, refused uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.full
}
