package fleet

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/tunnel"
)

// change makes the next generation of a building known.
func (w *world) change(b *registry.Building, change func(*registry.Building)) {
	w.t.Helper()
	next := b.Clone()
	change(&next)
	next.Generation++
	if err := next.Validate(); err != nil {
		w.t.Fatal(err)
	}
	*b = next
	w.desired.put(next)
}

// talk lets the building's bus say something.
func (w *world) talk(i int) {
	w.t.Helper()
	w.do(i, func(now time.Time, b *simulator.Building) {
		if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: 0x0A03, Command: frame.GroupValueWrite, Data: []byte{1}, SixBit: true}); err != nil {
			w.t.Error(err)
		}
	})
}

// changedQueue is how many writes may wait.
func changedQueue(l registry.Limits) int {
	if l.WriteQueue == 0 {
		return 64
	}
	return l.WriteQueue
}

// What a change may touch: each touches what it must, and of everything below it
// nothing.
func TestChangesTouchOnlyWhatTheyMust(t *testing.T) {
	const (
		nothing = iota
		session // begins anew, in the same tunnel
		site    // begins anew, with a new epoch
	)
	elsewhere := tunnel.Endpoint{Host: "192.0.2.99", Port: 1}
	for name, c := range map[string]struct {
		change  func(*registry.Building)
		touches int
	}{
		"label":            {func(b *registry.Building) { b.Labels = map[string]string{"tier": "gold"} }, nothing},
		"name":             {func(b *registry.Building) { b.DisplayName = "Head office" }, nothing},
		"endpoint":         {func(b *registry.Building) { b.Tunnel.Endpoint = elsewhere }, nothing},
		"no endpoint":      {func(b *registry.Building) { b.Tunnel.Endpoint = tunnel.Endpoint{} }, nothing},
		"preshared key":    {func(b *registry.Building) { b.Tunnel.PresharedKey = tunnel.PresharedKey(tunnel.GeneratePrivateKey()) }, nothing},
		"no preshared key": {func(b *registry.Building) { b.Tunnel.PresharedKey = tunnel.PresharedKey{} }, nothing},
		"keepalive":        {func(b *registry.Building) { b.Tunnel.Keepalive = 0 }, nothing},
		"networks": {func(b *registry.Building) {
			b.Tunnel.AllowedIPs = append(b.Tunnel.AllowedIPs, netip.MustParsePrefix("10.9.0.0/16"))
		}, nothing},
		"limits":   {func(b *registry.Building) { b.Limits = registry.Limits{PacketsPerSecond: 100, WriteQueue: 7} }, nothing},
		"probe":    {func(b *registry.Building) { b.KNX.Probe = 0x0A03 }, session},
		"NAT mode": {func(b *registry.Building) { b.KNX.NAT = registry.NATExplicit }, session},
		"keys and NAT mode": {func(b *registry.Building) {
			b.Tunnel.PresharedKey, b.KNX.NAT = tunnel.PresharedKey{}, registry.NATExplicit
		}, session},
		"MTU": {func(b *registry.Building) { b.Tunnel.MTU = 1300 }, site},
		"address": {func(b *registry.Building) {
			b.Tunnel.Addresses = append(b.Tunnel.Addresses, netip.MustParsePrefix("10.9.0.2/16"))
		}, site},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, 1, knxserver.Config{})
				seen := collect(subscribe(t, w.hub, Filter{}, 0))
				w.add("a", "b")
				w.online("a", "b")
				w.talk(0)
				time.Sleep(time.Second)
				before, _ := w.fleet.View("a")
				other, _ := w.fleet.View("b")

				building := before.Building
				w.change(&building, c.change)
				w.wait("a", 20*time.Second, "ONLINE again", func(s Status) bool { return s.State == StateOnline && s.ObservedGeneration == 2 })
				w.talk(0)
				time.Sleep(time.Second)
				after, _ := w.fleet.View("a")
				if got, want := after.Status.Counters.Pacing().Limit, changedQueue(building.Limits); got != want {
					t.Errorf("%d writes may wait, want %d", got, want)
				}
				sameSite, sameSession := c.touches != site, c.touches == nothing
				if got := after.Status.Epoch == before.Status.Epoch; got != sameSite {
					t.Errorf("epoch %d after %d", after.Status.Epoch, before.Status.Epoch)
				}
				if got := after.Status.Counters.Handshakes == before.Status.Counters.Handshakes; sameSite && !got {
					t.Errorf("%d handshakes after %d", after.Status.Counters.Handshakes, before.Status.Counters.Handshakes)
				}
				if got := after.Status.Counters.Session.Sessions; sameSession && got != 1 || c.touches == session && got != 2 {
					t.Errorf("%d sessions in this epoch", got)
				}
				if sameSession && after.Status.Since != before.Status.Since {
					t.Error("it left ONLINE")
				}
				if want := uint64(2); sameSite && after.Status.Counters.Session.Telegrams != want {
					t.Errorf("%d telegrams counted, want %d", after.Status.Counters.Session.Telegrams, want)
				}
				telegrams := seen()
				checkIdentities(t, telegrams)
				if len(telegrams) != 2 || telegrams[1].Number != map[bool]uint64{true: 2, false: 1}[sameSite] {
					t.Errorf("%d telegrams seen", len(telegrams))
				}
				if now, _ := w.fleet.View("b"); now.Status.Epoch != other.Status.Epoch || now.Status.Since != other.Status.Since || now.Status.Counters.Session.Sessions != 1 {
					t.Error("the other building was touched")
				}
				w.do(0, func(_ time.Time, b *simulator.Building) {
					if used := len(b.KNX.Channels()); used != 1 {
						t.Errorf("%d slots of the interface are in use, want 1", used)
					}
				})
				w.stop()
			})
		})
	}
}

// A new endpoint is called while the old one still answers, and taken back the
// same way.
func TestEndpointIsFollowedWhileOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knxserver.Config{})
		w.add("a")
		w.online("a")
		v, _ := w.fleet.View("a")
		building, right := v.Building, v.Building.Tunnel.Endpoint
		w.change(&building, func(b *registry.Building) { b.Tunnel.Endpoint = tunnel.Endpoint{Host: "192.0.2.99", Port: 1} })
		w.wait("a", time.Second, "called elsewhere", func(s Status) bool { return s.Endpoint == "192.0.2.99:1" })
		w.change(&building, func(b *registry.Building) { b.Tunnel.Endpoint = right })
		got := w.wait("a", time.Second, "called at home", func(s Status) bool { return s.Endpoint == right.String() })
		if got.State != StateOnline || got.Epoch != v.Status.Epoch || got.Since != v.Status.Since {
			t.Errorf("it was touched: %+v", got)
		}
		w.stop()
	})
}

// Another interface, which is not there, and then the first one again: the tunnel
// stays, and no slot is left behind.
func TestInterfaceMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knxserver.Config{})
		w.add("a")
		w.online("a")
		v, _ := w.fleet.View("a")
		building := v.Building
		w.change(&building, func(b *registry.Building) { b.KNX.Interface = netip.MustParseAddrPort("192.168.1.77:3671") })
		w.wait("a", 30*time.Second, "backing off", func(s Status) bool { return s.State == StateBackingOff && s.Interface == "" })
		w.do(0, func(_ time.Time, b *simulator.Building) {
			if used := len(b.KNX.Channels()); used != 0 {
				t.Errorf("%d slots in use of an interface that was left", used)
			}
		})
		w.change(&building, func(b *registry.Building) { b.KNX.Interface = simulator.Interface })
		got := w.wait("a", 20*time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline })
		if got.Epoch != v.Status.Epoch || got.ObservedGeneration != 3 {
			t.Errorf("epoch %d after %d, generation %d", got.Epoch, v.Status.Epoch, got.ObservedGeneration)
		}
		w.stop()
	})
}

func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knxserver.Config{})
		w.add("a")
		w.online("a")
		first, _ := w.fleet.View("a")
		if err := w.fleet.Reconnect(t.Context(), "a", false); err != nil {
			t.Fatal(err)
		}
		w.online("a")
		second, _ := w.fleet.View("a")
		if second.Status.Epoch != first.Status.Epoch || second.Status.Counters.Session.Reconnects() != 1 || second.Status.Counters.Handshakes != first.Status.Counters.Handshakes {
			t.Errorf("the session alone: %+v after %+v", second.Status, first.Status)
		}
		if err := w.fleet.Reconnect(t.Context(), "a", true); err != nil {
			t.Fatal(err)
		}
		w.wait("a", 20*time.Second, "a new epoch", func(s Status) bool { return s.State == StateOnline && s.Epoch > first.Status.Epoch })
		w.do(0, func(_ time.Time, b *simulator.Building) {
			if used := len(b.KNX.Channels()); used != 1 {
				t.Errorf("%d slots of the interface are in use, want 1", used)
			}
		})
		if err := w.fleet.Reconnect(t.Context(), "nowhere", false); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("of no building: %v", err)
		}
		building := first.Building
		w.change(&building, func(b *registry.Building) { b.Enabled = false })
		w.wait("a", 10*time.Second, "DISABLED", func(s Status) bool { return s.State == StateDisabled })
		if err := w.fleet.Reconnect(t.Context(), "a", false); !errors.Is(err, ErrDisabled) {
			t.Errorf("of a disabled building: %v", err)
		}
		w.stop()
		if err := w.fleet.Reconnect(t.Context(), "a", false); !errors.Is(err, ErrStopping) {
			t.Errorf("after the end: %v", err)
		}
	})
}
