package fleet

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/tunnel"
)

// What was asked of a building during an outage does not wait for its end: its
// interface is asked for a session a few times, and not once for each attempt.
func TestOutageLeavesNothingWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, knxserver.Config{})
		w.add("a")
		w.online("a")
		var before knxserver.Counts
		w.do(0, func(_ time.Time, b *simulator.Building) {
			before = b.KNX.Counts()
			b.Link.Down = true
		})
		time.Sleep(time.Hour)
		w.wait("a", time.Second, "HANDSHAKING", func(s Status) bool {
			return s.State == StateHandshaking && s.Reason == ReasonHandshakeUnanswered
		})
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = false })
		w.online("a")
		time.Sleep(10 * time.Second)
		w.do(0, func(_ time.Time, b *simulator.Building) {
			after := b.KNX.Counts()
			if asked := after.Granted + after.Refused - before.Granted - before.Refused; asked > 8 {
				t.Errorf("the interface was asked for a session %d times when it came back", asked)
			}
		})
		w.stop()
	})
}

// names is a resolver in memory.
type names struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
	slow  time.Duration
}

func (n *names) set(err error, slow time.Duration, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs, n.err, n.slow = addrs, err, slow
}

func (n *names) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	n.mu.Lock()
	addrs, err, slow := n.addrs, n.err, n.slow
	n.mu.Unlock()
	select {
	case <-time.After(slow):
		return addrs, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A name that leads to an address that we have no socket for, and then to one that
// works: the second is called at once. A look-up that comes back late does not
// touch a tunnel that works.
func TestNamesOfRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, knxserver.Config{})
		there := w.sim.Buildings()[0].Outside.Addr()
		resolver := &names{}
		resolver.set(nil, 0, netip.MustParseAddr("2001:db8::1"), there)
		w.fleet.cfg.Resolver = resolver
		b := buildingOf(t, "a", w.sim.Buildings()[0])
		b.Tunnel.Endpoint = tunnel.Endpoint{Host: "router.example.org", Port: b.Tunnel.Endpoint.Port}
		began := time.Now()
		w.desired.put(b)
		w.online("a")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("ONLINE after %v: the address that cannot be called cost a turn", took)
		}

		// The router is gone for a while; the name's server gives a stale answer, late.
		resolver.set(nil, 9*time.Second, netip.MustParseAddr("203.0.113.9"))
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = true })
		w.wait("a", time.Minute, "not ONLINE", func(s Status) bool { return s.State != StateOnline })
		time.Sleep(30 * time.Second)
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = false })
		resolver.set(nil, 9*time.Second, there)
		w.wait("a", time.Minute, "ONLINE", func(s Status) bool { return s.State == StateOnline })
		resolver.set(nil, 0, netip.MustParseAddr("203.0.113.9"))
		time.Sleep(5 * time.Minute)
		if v, _ := w.fleet.View("a"); v.Status.State != StateOnline {
			t.Errorf("%s %s: a look-up touched a tunnel that works", v.Status.State, v.Status.Reason)
		}

		// The name is gone too: both are said.
		resolver.set(&netError{}, 0)
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = true })
		w.wait("a", 5*time.Minute, "a message that names both", func(s Status) bool {
			return s.Reason == ReasonHandshakeUnanswered && strings.Contains(s.Message, "router.example.org leads nowhere")
		})
		w.stop()
	})
}

type netError struct{}

func (*netError) Error() string { return "no such host" }

// A building that is disabled is never told as ONLINE while it stops, and a change
// that needs no new site is in effect at once.
func TestStoppingAndRelabelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 5, knxserver.Config{})
		w.add("a")
		w.online("a")
		b := buildingOf(t, "a", w.sim.Buildings()[0])
		b.Generation, b.Labels = 7, map[string]string{"region": "north"}
		epoch := w.wait("a", time.Second, "ONLINE", func(s Status) bool { return true }).Epoch
		w.desired.put(b)
		w.wait("a", time.Second, "generation 7", func(s Status) bool {
			return s.ObservedGeneration == 7 && s.State == StateOnline && s.Epoch == epoch
		})
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = true })
		b.Enabled = false
		w.desired.put(b)
		w.wait("a", 100*time.Millisecond, "stopping", func(s Status) bool {
			return s.State == StateWaiting && s.Reason == ReasonStopping
		})
		w.wait("a", 10*time.Second, "DISABLED", func(s Status) bool { return s.State == StateDisabled })
		w.stop()
	})
}
