package tunnel

import (
	"net/netip"
	"sync"
	"time"
)

// outboxDatagrams bounds what waits for a socket: who finds it full waits for room, as
// for the socket's own buffer.
const outboxDatagrams = 256

// outbox gathers what several devices send at once. The kernel takes the datagrams of
// one socket one after the other: whoever comes while another goroutine is in the system
// call leaves its datagram here, and all that gathered go out in one call. So they do
// while the socket's reader lets datagrams come together: what answers those that it has
// just read goes out before it reads again. At rest each goes out at once, by its sender.
type outbox struct {
	failed func(error) // is told of what was taken, and then failed

	mu        sync.Mutex
	busy      bool // somebody sends
	gathering bool // the reader will, within gatherFor
	closed    bool // nothing more is gathered
	queue     []outgoing
	spare     []outgoing // the queue that is sent now, or was; its buffers are used again
	room      sync.Cond  // there is, or nobody sends
	sending   sync.WaitGroup
}

// outgoing is a datagram to be sent.
type outgoing struct {
	data []byte
	to   netip.AddrPort
}

// send sends a datagram, or leaves it for whoever sends next; then errors are told to
// failed only.
func (s *socket) send(data []byte, to netip.AddrPort) error {
	o := &s.out
	o.mu.Lock()
	_, batches := s.now().(batchConn)
	for len(o.queue) == outboxDatagrams && !o.closed {
		if !o.busy { // it is the reader that gathers
			o.busy = true
			s.handOn()
		}
		o.room.Wait()
	}
	direct := !batches || o.closed
	if !direct && (o.busy || o.gathering) {
		o.put(data, to)
		o.mu.Unlock()
		return nil
	}
	if !direct {
		o.busy = true
	}
	o.mu.Unlock()
	_, err := s.now().WriteToUDPAddrPort(data, to)
	if direct {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.handOn()
	return err
}

// gather lets what is sent from now on wait for sendGathered.
func (o *outbox) gather() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gathering = true
}

// sendGathered lets what waits be sent.
func (s *socket) sendGathered() {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gathering = false
	if o.busy || len(o.queue) == 0 || o.closed {
		return
	}
	o.busy = true
	s.handOn()
}

// handOn is called with the lock held by who is busy. What waits is sent by another
// goroutine: who is here has a building, or a socket to read, that would wait as long as
// others send.
func (s *socket) handOn() {
	o := &s.out
	if len(o.queue) == 0 || o.closed {
		o.busy, o.queue = false, o.queue[:0]
		o.room.Broadcast()
		return
	}
	o.sending.Go(s.sendQueued)
}

// close drops what waits and returns when nobody sends it any more.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.room.Broadcast()
	o.mu.Unlock()
	o.sending.Wait()
}

// put appends to the queue, in a buffer of an earlier datagram if there is one.
func (o *outbox) put(data []byte, to netip.AddrPort) {
	n := len(o.queue)
	if n < cap(o.queue) {
		o.queue = o.queue[:n+1]
	} else {
		o.queue = append(o.queue, outgoing{})
	}
	o.queue[n] = outgoing{append(o.queue[n].data[:0], data...), to}
}

// take empties the queue. What it returns is the caller's until the next take.
func (o *outbox) take() []outgoing {
	now := o.queue
	o.queue, o.spare = o.spare[:0], now
	o.room.Broadcast()
	return now
}

// sendQueued sends what waits until nothing does.
func (s *socket) sendQueued() {
	o := &s.out
	for {
		o.mu.Lock()
		if len(o.queue) == 0 || o.closed {
			o.busy = false
			o.mu.Unlock()
			return
		}
		now := o.take()
		o.mu.Unlock()
		s.write(now)
	}
}

// write sends datagrams that were taken from the outbox.
func (s *socket) write(now []outgoing) {
	c, ok := s.now().(batchConn)
	for len(now) > 0 && ok {
		sent, err := c.writeBatch(now[:min(len(now), batchSize)])
		now = now[sent:]
		if err != nil && len(now) > 0 {
			s.out.failed(err)
			s.failedToSend(time.Now(), err)
			now = now[1:] // the one that failed
		}
	}
}
