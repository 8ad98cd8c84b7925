package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What all tunnels together call their routers. An initiation that is answered costs
// a good part of a millisecond in all. When an uplink is lost, ten thousand tunnels repeat
// theirs every 5 s (REKEY_TIMEOUT, WireGuard paper §6.1), within a third of a second of each
// other, for as long as it lasts; and all would be answered in the same moment.
const (
	callsPerSecond = 1000
	callsBurst     = 200
	// preferredInARow is how many preferred tunnels go before one of the others.
	preferredInARow = 3
)

// calls lets tunnels call at the pace of the budget: at once while it lasts, and then
// in turn, preferred tunnels first. An initiation is made when its turn has come.
type calls struct {
	limiter *rate.Limiter
	wake    chan struct{} // something waits; capacity 1: one pending signal says it all
	waited  atomic.Uint64

	mu              sync.Mutex
	preferred, rest []*Tunnel // that wait; those that were moved are passed over. At most each tunnel once in each
	row             int       // of preferred ones, that went last
}

// place is the queue that a tunnel counts in. One that was moved has an entry in the other
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

// wait gives a tunnel its turn later.
func (c *calls) wait(t *Tunnel) {
	c.waited.Add(1)
	c.mu.Lock()
	c.enter(t, t.preferred.Load())
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// enter gives a tunnel its place in a queue. It is called with the lock held.
func (c *calls) enter(t *Tunnel, preferred bool) {
	switch {
	case preferred && t.call != inPreferred:
		t.call = inPreferred
		c.preferred = append(c.preferred, t)
	case t.call == nowhere:
		t.call = inRest
		c.rest = append(c.rest, t)
	}
}

// prefer moves a tunnel that waits to the preferred ones.
func (c *calls) prefer(t *Tunnel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.call == inRest {
		c.enter(t, true)
	}
}

// next takes the next tunnel that waits; nil for none.
func (c *calls) next() *Tunnel {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.preferred)+len(c.rest) > 0 {
		queue, place := &c.preferred, inPreferred
		if len(c.preferred) == 0 || c.row >= preferredInARow && len(c.rest) > 0 {
			queue, place = &c.rest, inRest
		}
		t := (*queue)[0]
		(*queue)[0] = nil
		*queue = (*queue)[1:]
		if t.call != place {
			continue // it was moved
		}
		t.call = nowhere
		if c.row++; place == inRest {
			c.row = 0
		}
		return t
	}
	c.preferred, c.rest = nil, nil
	return nil
}

// run lets those that wait call, one after the other, until closing is closed. call
// reports whether there was still something to call for.
func (c *calls) run(closing <-chan struct{}, call func(*Tunnel) bool) error {
	turn := time.NewTimer(0)
	defer turn.Stop()
	for {
		select {
		case <-c.wake:
		case <-closing:
			return nil
		}
		for spent := true; ; {
			if spent {
				turn.Reset(c.limiter.Reserve().Delay())
				select {
				case <-turn.C:
				case <-closing:
					return nil
				}
			}
			t := c.next()
			if t == nil {
				break
			}
			spent = call(t)
		}
	}
}

// callNow makes the call that waited for its turn. It reports whether there was one: a
// session may have come meanwhile, or the end of the tunnel.
func (t *Tunnel) callNow() (called bool) {
	_ = t.change("call", func(now time.Time) bool { // after Close there is none
		called = t.end.ReleaseCall(now)
		t.mayCall = called
		return false
	})
	return called
}

// Prefer puts the tunnel before others when more have to call their routers than the
// budget of all tunnels allows, such as because somebody waits for what its building
// says.
func (t *Tunnel) Prefer(preferred bool) {
	if t.preferred.Swap(preferred) != preferred && preferred {
		t.x.calls.prefer(t)
	}
}
