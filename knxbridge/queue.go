package knxbridge

import (
	"slices"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// maxUnanswered is how many reads may be on the bus without an answer: each answer is
// a telegram that comes beside all others.
const maxUnanswered = 2

// pending is a write or a read that waits for its turn or its answer.
type pending struct {
	write  session.Write
	client string
	tag    any
	// reads: it takes one of the places for reads from its turn to its release.
	reads  bool
	placed bool // it has one; guarded by the queue
	// turn, of a read, tells that it has left the queue. The owner calls it before it
	// sends the telegram.
	turn func()

	queued time.Time
	// waited is set when its turn has come, before the result.
	waited time.Duration
	// result gets exactly one answer once the write has left the queue. Capacity 1:
	// the owner never waits for a writer that has gone.
	result chan session.Result
}

// lane is what waits of one client, in the order it came; never empty.
type lane struct {
	client string
	items  []*pending
}

// writeQueue is the bounded queue between writers and the owner. The clients take
// turns. A writer whose context ends takes its write back; what the owner has
// popped is as good as sent. When it is full, the client with the most in it loses
// its newest, so that nobody who asks for little is kept out by one who asks for
// much.
type writeQueue struct {
	// wake (capacity 1) tells the owner that there may be work.
	wake chan struct{}

	mu      sync.Mutex
	limit   int
	lanes   []*lane // in the order of their turns; at most limit
	waiting int     // in all lanes
	reading int     // places for reads that are taken
	closed  bool
	dropped uint64 // refused, or taken back because their time was over
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
	own := q.lane(p.client)
	if q.waiting >= q.limit && !q.makeRoom(own) {
		q.dropped++
		return ErrQueueFull
	}
	if own == nil {
		own = &lane{client: p.client}
		q.lanes = append(q.lanes, own)
	}
	own.items = append(own.items, p)
	q.waiting++
	q.signal()
	return nil
}

func (q *writeQueue) lane(client string) *lane {
	if i := slices.IndexFunc(q.lanes, func(l *lane) bool { return l.client == client }); i >= 0 {
		return q.lanes[i]
	}
	return nil
}

// makeRoom refuses the newest of the client with the most, if that leaves it no
// less than the client of own would have.
func (q *writeQueue) makeRoom(own *lane) bool {
	longest := slices.MaxFunc(q.lanes, func(a, b *lane) int { return len(a.items) - len(b.items) })
	have := 0
	if own != nil {
		have = len(own.items)
	}
	if len(longest.items) <= have+1 {
		return false
	}
	p := longest.items[len(longest.items)-1]
	q.take(longest, len(longest.items)-1)
	q.dropped++
	p.result <- session.Result{Outcome: session.NotSent, Err: ErrQueueFull}
	return true
}

// take removes an item; a lane that it leaves empty goes too.
func (q *writeQueue) take(l *lane, i int) *pending {
	p := l.items[i]
	l.items = slices.Delete(l.items, i, i+1)
	q.waiting--
	if len(l.items) == 0 {
		q.lanes = slices.DeleteFunc(q.lanes, func(other *lane) bool { return other == l })
	}
	return p
}

// next finds what is to be sent next: the oldest of the client whose turn it is. A
// read passes while there is no place for it.
func (q *writeQueue) next() (*lane, int) {
	for _, l := range q.lanes {
		if i := slices.IndexFunc(l.items, func(p *pending) bool { return !p.reads || q.reading < maxUnanswered }); i >= 0 {
			return l, i
		}
	}
	return nil, 0
}

// sendable reports if pop would give something.
func (q *writeQueue) sendable() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, _ := q.next()
	return l != nil
}

// pop takes what is to be sent next, nil when there is nothing.
func (q *writeQueue) pop() *pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	l, i := q.next()
	if l == nil {
		return nil
	}
	p := q.take(l, i)
	if p.reads {
		p.placed = true
		q.reading++
	}
	if len(l.items) > 0 { // the others come first
		at := slices.Index(q.lanes, l)
		q.lanes = append(slices.Delete(q.lanes, at, at+1), l)
	}
	return p
}

// release gives back the place of a read, if it has one.
func (q *writeQueue) release(p *pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.placed {
		p.placed = false
		q.reading--
		q.signal()
	}
}

// remove takes a write back and reports if it was still there; late says that its
// time was over.
func (q *writeQueue) remove(p *pending, late bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lane(p.client)
	if l == nil {
		return false
	}
	i := slices.Index(l.items, p)
	if i < 0 {
		return false
	}
	q.take(l, i)
	if late {
		q.dropped++
	}
	return true
}

// limitTo changes how many may wait. Those that wait already stay.
func (q *writeQueue) limitTo(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
}

// close refuses all further writes and returns those that waited.
func (q *writeQueue) close() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	var items []*pending
	for _, l := range q.lanes {
		items = append(items, l.items...)
	}
	q.lanes, q.waiting = nil, 0
	return items
}

// depth returns how many writes wait, how many may, and how many were dropped so far.
func (q *writeQueue) depth() (waiting, limit int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.limit, q.dropped
}

func (q *writeQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
