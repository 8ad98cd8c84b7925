package tunnel

import (
	"net"
	"net/netip"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
)

const (
	inboxDatagrams = 512     // TCP through a tunnel needs about this many
	inboxBytes     = 1 << 20 // and no tunnel may hold more than this
	inboxStart     = 8       // ring slots of a tunnel at rest
)

// received is a datagram and where it came from. The bytes are shared between
// tunnels and only read.
type received struct {
	data []byte
	from netip.AddrPort
}

// inbox is the queue between the sockets' readers and one device. It is bounded
// in datagrams and in bytes: when full, the newest is dropped, as a socket's
// buffer would. At rest it holds a few slots; it grows by doubling.
type inbox struct {
	mu   sync.Mutex
	wake sync.Cond
	ring []received
	head int // of the oldest
	n    int // datagrams held
	size int // bytes held

	epoch uint          // raised by start; a reader of an earlier one ends
	open  bool          // between start and stop
	shut  bool          // for good
	ended chan struct{} // closed when the reader of the last epoch has ended; nil before the first
}

func newInbox() *inbox {
	in := &inbox{}
	in.wake.L = &in.mu
	return in
}

// start opens the inbox for one reader and returns its epoch for pop.
func (in *inbox) start() (epoch uint, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.shut:
		return 0, net.ErrClosed
	case in.open:
		return 0, conn.ErrBindAlreadyOpen
	}
	in.open = true
	in.epoch++
	in.ended = make(chan struct{})
	return in.epoch, nil
}

// stop drops what is queued, refuses more and ends the reader. With forGood it
// cannot be started again. It may be called at any time and repeatedly.
func (in *inbox) stop(forGood bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut = in.shut || forGood
	in.open = false
	in.ring, in.head, in.n, in.size = nil, 0, 0, 0
	in.wake.Broadcast()
}

// readerEnded returns a channel that is closed when the reader was told of the
// end, and nil when there never was one.
func (in *inbox) readerEnded() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

// push queues a datagram and reports whether there was room.
func (in *inbox) push(d received) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.open || in.n == inboxDatagrams || in.size+len(d.data) > inboxBytes {
		return false
	}
	if in.n == len(in.ring) {
		in.grow()
	}
	in.ring[(in.head+in.n)%len(in.ring)] = d
	in.n++
	in.size += len(d.data)
	in.wake.Signal()
	return true
}

func (in *inbox) grow() {
	ring := make([]received, min(max(2*len(in.ring), inboxStart), inboxDatagrams))
	for i := range in.n {
		ring[i] = in.ring[(in.head+i)%len(in.ring)]
	}
	in.ring, in.head = ring, 0
}

// pop waits for a datagram. It reports false when the reader's epoch is over.
func (in *inbox) pop(epoch uint) (received, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		if epoch != in.epoch || !in.open {
			in.end(epoch)
			return received{}, false
		}
		if in.n > 0 {
			break
		}
		in.wake.Wait()
	}
	d := in.ring[in.head]
	in.ring[in.head] = received{}
	in.head = (in.head + 1) % len(in.ring)
	in.n--
	in.size -= len(d.data)
	if in.n == 0 && len(in.ring) > inboxStart {
		in.ring, in.head = nil, 0 // a burst is over: back to rest
	}
	return d, true
}

func (in *inbox) end(epoch uint) {
	if epoch != in.epoch {
		return
	}
	select {
	case <-in.ended:
	default:
		close(in.ended)
	}
}
