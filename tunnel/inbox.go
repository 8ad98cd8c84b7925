package tunnel

import (
	"net/netip"
	"sync"
	"time"
)

const (
	inboxDatagrams = 512     // TCP through a tunnel needs about this many
	inboxBytes     = 1 << 20 // and no tunnel may hold more than this
	inboxStart     = 8       // ring slots of a tunnel that begins to be busy

	// directPerSecond is how many packets of a building in a second the socket's reader
	// decrypts by itself, as long as nothing else of it waits. It is several times what a
	// KNX line carries; what is more, such as a download or a flood, goes to the workers,
	// as handshakes do, so that no other building waits behind it.
	directPerSecond = 200
	// turn is how many datagrams of one tunnel a worker takes before it takes the next
	// tunnel.
	turn = 16
)

// received is a datagram and where it came from.
type received struct {
	data []byte
	from netip.AddrPort
}

// inbox holds the datagrams of one tunnel that wait for a worker. It is bounded
// in datagrams and in bytes: when full, the newest is dropped, as a socket's
// buffer would. At rest it holds nothing; it grows by doubling.
type inbox struct {
	mu   sync.Mutex
	ring []received
	head int  // of the oldest
	n    int  // datagrams held
	size int  // bytes held
	busy bool // the tunnel waits for a worker, or has one
}

// idle reports whether nothing of the tunnel waits or is worked on.
func (in *inbox) idle() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.busy
}

// push queues a datagram and reports whether there was room, and whether the tunnel must
// be given to the workers for it.
func (in *inbox) push(d received) (ok, wakes bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.n == inboxDatagrams || in.size+len(d.data) > inboxBytes {
		return false, false
	}
	if in.n == len(in.ring) {
		in.grow()
	}
	in.ring[(in.head+in.n)%len(in.ring)] = d
	in.n++
	in.size += len(d.data)
	wakes = !in.busy
	in.busy = true
	return true, wakes
}

func (in *inbox) grow() {
	ring := make([]received, min(max(2*len(in.ring), inboxStart), inboxDatagrams))
	for i := range in.n {
		ring[i] = in.ring[(in.head+i)%len(in.ring)]
	}
	in.ring, in.head = ring, 0
}

// pop takes the oldest datagram. When there is none, the tunnel is idle again, and costs
// what it cost before.
func (in *inbox) pop() (received, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.n == 0 {
		in.ring, in.head, in.busy = nil, 0, false
		return received{}, false
	}
	d := in.ring[in.head]
	in.ring[in.head] = received{}
	in.head = (in.head + 1) % len(in.ring)
	in.n--
	in.size -= len(d.data)
	return d, true
}

// work is the tunnels whose datagrams wait, each once, in turn.
type work struct {
	mu     sync.Mutex
	wake   sync.Cond
	ready  []*Tunnel // no more than there are tunnels
	closed bool
}

// give leaves a datagram of a tunnel for a worker, and reports whether there was room.
func (w *work) give(t *Tunnel, d received) bool {
	ok, wakes := t.in.push(d)
	if wakes {
		w.enter(t)
	}
	return ok
}

func (w *work) enter(t *Tunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = append(w.ready, t)
	w.wake.Signal()
}

// next waits for a tunnel; nil is the end.
func (w *work) next() *Tunnel {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.ready) == 0 && !w.closed {
		w.wake.Wait()
	}
	if w.closed {
		return nil
	}
	t := w.ready[0]
	w.ready[0] = nil
	w.ready = w.ready[1:]
	return t
}

// close drops what waits and ends the workers.
func (w *work) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.ready = true, nil
	w.wake.Broadcast()
}

// run is a worker, until close.
func (w *work) run() error {
	for t := w.next(); t != nil; t = w.next() {
		more := true
		for i := 0; more && i < turn; i++ {
			var d received
			if d, more = t.in.pop(); more {
				t.receive(time.Now(), d.data, d.from)
			}
		}
		if more {
			w.enter(t)
		}
	}
	return nil
}
