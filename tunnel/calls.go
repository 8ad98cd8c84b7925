package tunnel

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What all tunnels together call their routers. An initiation that is answered costs
// about a millisecond in all. When an uplink is lost, ten thousand devices repeat theirs
// every 5 s (REKEY_TIMEOUT, WireGuard paper §6.1), within a third of a second of each
// other, for as long as it lasts; and all would be answered in the same moment.
const (
	callsPerSecond = 1000
	callsBurst     = 200
	// preferredInARow is how many preferred tunnels go before one of the others.
	preferredInARow = 3
)

// calls lets initiations out at the pace of the budget: at once while it lasts, and then
// in turn, preferred tunnels first. Each tunnel has one that waits at most, its latest.
type calls struct {
	limiter *rate.Limiter
	wake    chan struct{} // something waits; capacity 1: one pending signal says it all
	waited  atomic.Uint64

	mu              sync.Mutex
	preferred, rest []*bind // whose initiation waits; those that do not any more are passed over
	row             int     // of preferred ones, that went last
}

// call is an initiation that waits.
type call struct {
	initiation []byte
	to         []netip.AddrPort
	place      place // of its bind
}

// place is the queue that a bind counts in. One that was moved has an entry in the other
// queue too, which is passed over.
type place uint8

const (
	nowhere place = iota
	inRest
	inPreferred
)

func newCalls() *calls {
	return &calls{limiter: rate.NewLimiter(callsPerSecond, callsBurst), wake: make(chan struct{}, 1)}
}

// atOnce reports whether a call may go out now.
func (c *calls) atOnce(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.preferred)+len(c.rest) == 0 && c.limiter.AllowN(now, 1)
}

// wait leaves a call for run, in the place of an earlier one of the tunnel.
func (c *calls) wait(b *bind, initiation []byte, to []netip.AddrPort) {
	c.waited.Add(1)
	c.mu.Lock()
	b.call.initiation, b.call.to = append(b.call.initiation[:0], initiation...), to
	c.enter(b, b.preferred.Load())
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// enter gives a bind its place in a queue. It is called with the lock held.
func (c *calls) enter(b *bind, preferred bool) {
	switch {
	case preferred && b.call.place != inPreferred:
		b.call.place = inPreferred
		c.preferred = append(c.preferred, b)
	case b.call.place == nowhere:
		b.call.place = inRest
		c.rest = append(c.rest, b)
	}
}

// prefer moves a call that waits to the preferred ones.
func (c *calls) prefer(b *bind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.call.place == inRest {
		c.enter(b, true)
	}
}

// cancel forgets a call that waits, since a handshake completed or the tunnel closes.
func (c *calls) cancel(b *bind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.call.initiation, b.call.to = nil, nil
}

// next takes the next call that waits; nil for none.
func (c *calls) next() (b *bind, initiation []byte, to []netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.preferred)+len(c.rest) > 0 {
		queue, place := &c.preferred, inPreferred
		if len(c.preferred) == 0 || c.row >= preferredInARow && len(c.rest) > 0 {
			queue, place = &c.rest, inRest
		}
		b := (*queue)[0]
		(*queue)[0] = nil
		*queue = (*queue)[1:]
		if b.call.place != place {
			continue // it was moved
		}
		b.call.place = nowhere
		if c.row++; place == inRest {
			c.row = 0
		}
		if initiation, to := b.call.initiation, b.call.to; initiation != nil {
			b.call.initiation, b.call.to = nil, nil
			return b, initiation, to
		}
	}
	c.preferred, c.rest = nil, nil
	return nil, nil, nil
}

// run sends what waits until closing is closed.
func (c *calls) run(closing <-chan struct{}) error {
	turn := time.NewTimer(0)
	defer turn.Stop()
	for {
		select {
		case <-c.wake:
		case <-closing:
			return nil
		}
		for waiting := true; waiting; {
			turn.Reset(c.limiter.Reserve().Delay())
			select {
			case <-turn.C:
			case <-closing:
				return nil
			}
			b, initiation, to := c.next()
			if waiting = b != nil; waiting {
				_ = b.sendCall(initiation, to) // counted; the device repeats it anyway
			}
		}
	}
}

// sendInitiation sends an initiation to all addresses that the router may have, as soon as the
// budget of all tunnels allows it.
func (b *bind) sendInitiation(initiation []byte, to netip.AddrPort) error {
	addresses := []netip.AddrPort{to}
	if raced := b.others.Load(); raced != nil {
		addresses = append(addresses, *raced...)
	}
	if !b.x.calls.atOnce(time.Now()) {
		b.x.calls.wait(b, initiation, addresses)
		return nil
	}
	return b.sendCall(initiation, addresses)
}

func (b *bind) sendCall(initiation []byte, to []netip.AddrPort) (err error) {
	if !b.open.Load() {
		return nil
	}
	b.initiated(time.Now())
	sent := false
	for _, addr := range to {
		if failed := b.send(initiation, addr); failed == nil {
			sent = true
		} else if err == nil {
			err = failed
		}
	}
	if sent {
		return nil // one of them is enough
	}
	return err
}

// Prefer puts the tunnel before others when more have to call their routers than the
// budget of all tunnels allows, such as because somebody waits for what its building
// says.
func (t *Tunnel) Prefer(preferred bool) {
	if t.bind.preferred.Swap(preferred) != preferred && preferred {
		t.x.calls.prefer(t.bind)
	}
}
