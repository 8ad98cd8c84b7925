package fleet

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/tunnel"
)

// session is how often a building's interface granted a session.
func (w *world) granted(i int) (n uint64) {
	w.t.Helper()
	w.do(i, func(_ time.Time, b *simulator.Building) { n = b.KNX.Counts().Granted })
	return n
}

// waitGranted waits until a building is ONLINE with another session, and returns
// how long that took.
func (w *world) waitGranted(i int, id string, before uint64, patience time.Duration) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.wait(id, patience, "ONLINE with a new session", func(s Status) bool {
		return s.State == StateOnline && w.granted(i) > before
	})
	return time.Since(began)
}

// Whenever the power goes, and for whatever time, the building is back within 30 s
// of its return: the session misses an answer, asks for new keys, and with them
// finds that the interface does not know it.
func TestBackAfterAPowerCut(t *testing.T) {
	for _, after := range []time.Duration{50 * time.Millisecond, 5 * time.Second, 10 * time.Second, 17 * time.Second, 19 * time.Second} {
		for _, down := range []time.Duration{2 * time.Second, 20 * time.Second, 3 * time.Minute, 20 * time.Minute} {
			t.Run(fmt.Sprintf("%v after a heartbeat, for %v", after, down), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1, 7, knxserver.Config{})
					w.add("a")
					w.online("a")
					heartbeats := func() uint64 {
						v, _ := w.fleet.View("a")
						return v.Status.Counters.Session.Heartbeats
					}
					for first := heartbeats(); heartbeats() == first; {
						time.Sleep(10 * time.Millisecond)
					}
					time.Sleep(after)
					before := w.granted(0)
					if err := w.sim.PowerCut(t.Context(), w.sim.Buildings()[0], down); err != nil {
						t.Fatal(err)
					}
					time.Sleep(down)
					if took := w.waitGranted(0, "a", before, time.Minute); took > 30*time.Second {
						t.Errorf("back after %v", took)
					} else {
						t.Logf("back after %v", took)
					}
					w.stop()
				})
			})
		}
	}
}

// A provider gives the router another address each day, and its name follows. With
// or without its keys, the building is back within a minute.
func TestDailyAddressChange(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts=%v", restarts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 8, knxserver.Config{})
				sim := w.sim.Buildings()[0]
				resolver := &names{}
				resolver.set(nil, 100*time.Millisecond, sim.Outside.Addr())
				w.fleet.cfg.Resolver = resolver
				b := buildingOf(t, "a", sim)
				b.Tunnel.Endpoint = tunnel.Endpoint{Host: "router.example.org", Port: b.Tunnel.Endpoint.Port}
				w.desired.put(b)
				w.online("a")
				for day := range 5 {
					time.Sleep(24*time.Hour + time.Duration(day)*7*time.Second)
					w.online("a")
					v, _ := w.fleet.View("a")
					to := netip.AddrFrom4([4]byte{203, 0, 113, byte(day + 1)})
					if err := w.sim.Move(t.Context(), sim, to); err != nil {
						t.Fatal(err)
					}
					if restarts {
						if err := w.sim.PowerCut(t.Context(), sim, 2*time.Second); err != nil {
							t.Fatal(err)
						}
					}
					moved := time.Now()
					time.Sleep(5 * time.Second) // dynamic DNS is not quick
					resolver.set(nil, 100*time.Millisecond, to)
					after := w.wait("a", time.Minute-5*time.Second, "ONLINE at the new address", func(s Status) bool {
						return s.State == StateOnline && netip.MustParseAddrPort(s.Endpoint).Addr() == to && s.LastHandshakeAt.After(moved)
					})
					t.Logf("day %d: followed after %v", day, time.Since(moved))
					if after.Epoch != v.Status.Epoch {
						t.Errorf("epoch %d after %d: it was started anew", after.Epoch, v.Status.Epoch)
					}
				}
				w.stop()
			})
		})
	}
}

// A name with several addresses is called at all of them together: those that
// nobody answers at cost no time.
func TestAddressesAreRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 9, knxserver.Config{})
		there := w.sim.Buildings()[0].Outside.Addr()
		resolver := &names{}
		resolver.set(nil, 0, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("203.0.113.2"), there)
		w.fleet.cfg.Resolver = resolver
		b := buildingOf(t, "a", w.sim.Buildings()[0])
		b.Tunnel.Endpoint = tunnel.Endpoint{Host: "router.example.org", Port: b.Tunnel.Endpoint.Port}
		began := time.Now()
		w.desired.put(b)
		w.online("a")
		if took := time.Since(began); took > time.Second {
			t.Errorf("ONLINE after %v", took)
		}
		// Hours of new keys later it is called where it answers, and nowhere else.
		time.Sleep(10 * time.Hour)
		if s := w.wait("a", time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline }); s.Endpoint != netip.AddrPortFrom(there, b.Tunnel.Endpoint.Port).String() {
			t.Errorf("the router is called at %s", s.Endpoint)
		}
		w.stop()
	})
}

// Where a router was is called again after our restart, also if it has no endpoint
// and calls us: it would do so only when its keys run out.
func TestCallerIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 10, knxserver.Config{})
		b := buildingOf(t, "a", w.sim.Buildings()[0])
		w.desired.put(b)
		w.online("a")
		at := w.sim.Buildings()[0].Outside
		if err := w.fleet.cfg.Ownership.Found(t.Context(), "a", at); err != nil {
			t.Fatal(err)
		}
		b.Tunnel.Endpoint = tunnel.Endpoint{}
		b.Enabled = false
		w.desired.put(b)
		w.wait("a", 10*time.Second, "DISABLED", func(s Status) bool { return s.State == StateDisabled })
		b.Enabled = true
		w.desired.put(b)
		began := time.Now()
		w.online("a")
		if took := time.Since(began); took > time.Second {
			t.Errorf("ONLINE after %v", took)
		}
		w.stop()
	})
}

// A router that was away for hours is not given up, and not called too often.
func TestNeverStuckNeverHot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 11, knxserver.Config{})
		w.add("a")
		w.online("a")
		v, _ := w.fleet.View("a")
		before := v.Status.Counters
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = true })
		time.Sleep(12 * time.Hour)
		v, _ = w.fleet.View("a")
		sent := v.Status.Counters.SentDatagrams - before.SentDatagrams
		if hourly := sent / 12; hourly > 3600/5 { // WireGuard's own pace
			t.Errorf("%d datagrams an hour to a router that is not there", hourly)
		}
		if v.Status.State != StateHandshaking || v.Status.Reason != ReasonHandshakeUnanswered {
			t.Errorf("it is %s %s", v.Status.State, v.Status.Reason)
		}
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Down = false })
		w.online("a")
		w.stop()
	})
}
