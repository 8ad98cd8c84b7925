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
// call leaves its datagram here, and all that gathered go out in one call. At rest each
// goes out at once, by its sender.
type outbox struct {
	mu      sync.Mutex
	busy    bool // somebody sends
	closed  bool // nothing more is gathered
	queue   []outgoing
	spare   []outgoing // the queue that is sent now, or was; its buffers are used again
	room    sync.Cond  // there is, or nobody sends
	sending sync.WaitGroup
}

// outgoing is a datagram to be sent.
type outgoing struct {
	data []byte
	to   netip.AddrPort
}

// send sends a datagram, or leaves it for whoever sends now; then errors are told to
// failed only.
func (s *socket) send(data []byte, to netip.AddrPort, failed func(error)) error {
	o := &s.out
	o.mu.Lock()
	_, batches := s.now().(batchConn)
	for o.busy && len(o.queue) == outboxDatagrams && !o.closed {
		o.room.Wait()
	}
	direct := !batches || o.closed
	if !direct && o.busy {
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
	if len(o.queue) == 0 || o.closed {
		o.busy, o.queue = false, o.queue[:0]
		o.room.Broadcast()
		return err
	}
	// Not by this goroutine: its own building would wait as long as others send.
	o.sending.Go(func() { s.sendQueued(failed) })
	return err
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

// sendQueued sends what waits until nothing does.
func (s *socket) sendQueued(failed func(error)) {
	o := &s.out
	for {
		o.mu.Lock()
		now := o.queue
		if len(now) == 0 || o.closed {
			o.busy = false
			o.mu.Unlock()
			return
		}
		o.queue, o.spare = o.spare[:0], now
		o.room.Broadcast()
		o.mu.Unlock()
		c, ok := s.now().(batchConn)
		for len(now) > 0 && ok {
			sent, err := c.writeBatch(now[:min(len(now), batchSize)])
			now = now[sent:]
			if err != nil && len(now) > 0 {
				failed(err)
				s.failedToSend(time.Now(), err)
				now = now[1:] // the one that failed
			}
		}
	}
}
