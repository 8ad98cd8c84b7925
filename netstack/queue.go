package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// queueStart is the first size of a queue, in packets: a KNX session never
	// has more under way.
	queueStart = 8
	// queueLimit is the largest size, in packets. TCP needs it: with 64 places a
	// bulk transfer runs at half the speed, with 8 at a fifth.
	queueLimit = 512
	// queueLean is how many times in a row a queue must have needed less than a
	// quarter of its size before it is given back.
	queueLean = 64
)

// queue holds the packets that wait for the device's reader, in a ring that is
// made when needed and doubled up to queueLimit. When it is full the newest
// packet is dropped: the protocols above repeat what matters.
type queue struct {
	mu     sync.Mutex
	filled sync.Cond // a packet has come, or the queue was closed
	ring   []*stack.PacketBuffer
	first  int
	count  int
	closed bool

	deepest int // largest count since the queue was last empty
	lean    int // how often in a row deepest was less than a quarter of the ring
}

func newQueue() *queue {
	q := &queue{}
	q.filled.L = &q.mu
	return q
}

// push appends pkt and takes it over, unless it returns an error: full or closed.
func (q *queue) push(pkt *stack.PacketBuffer) tcpip.Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return &tcpip.ErrClosedForSend{}
	}
	if q.count == len(q.ring) {
		if q.count == queueLimit {
			return &tcpip.ErrNoBufferSpace{}
		}
		q.grow()
	}
	q.ring[(q.first+q.count)%len(q.ring)] = pkt
	q.count++
	q.deepest = max(q.deepest, q.count)
	q.filled.Signal()
	return nil
}

// pop waits for a packet and hands it over. It returns os.ErrClosed once the
// queue is closed.
func (q *queue) pop() (*stack.PacketBuffer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.count == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return nil, os.ErrClosed
	}
	pkt := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) % len(q.ring)
	q.count--
	if q.count == 0 {
		q.emptied()
	}
	return pkt, nil
}

// close drops what waits and wakes the readers. It may be called again.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.count > 0; q.count-- {
		q.ring[q.first].DecRef()
		q.first = (q.first + 1) % len(q.ring)
	}
	q.ring = nil
	q.filled.Broadcast()
}

func (q *queue) grow() {
	ring := make([]*stack.PacketBuffer, max(queueStart, 2*len(q.ring)))
	n := copy(ring, q.ring[q.first:])
	copy(ring[n:], q.ring[:q.first])
	q.ring, q.first, q.lean = ring, 0, 0
}

// emptied gives a ring back that has been too large for a while: after a bulk
// transfer a building costs again what it cost before.
func (q *queue) emptied() {
	if len(q.ring) > queueStart && q.deepest < len(q.ring)/4 {
		q.lean++
	} else {
		q.lean = 0
	}
	q.deepest = 0
	if q.lean == queueLean {
		q.ring, q.first, q.lean = nil, 0, 0
	}
}
