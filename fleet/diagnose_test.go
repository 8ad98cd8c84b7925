package fleet

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/tunnel"
)

// errNoSuchName is the answer of a name server that knows no such name.
var errNoSuchName = &net.DNSError{Err: "no such host", Name: "router.example.org", IsNotFound: true}

// other is a key that nobody has.
func other() tunnel.PrivateKey { return tunnel.GeneratePrivateKey() }

// diagnosisRow is something wrong, and what has to be found.
type diagnosisRow struct {
	name string
	// configure changes the building before it starts, spoil the world then or, with
	// later, once it is ONLINE.
	configure func(*registry.Building)
	resolver  *names
	spoil     func(now time.Time, b *simulator.Building)
	later     bool
	calls     bool          // its router calls the gateway
	after     time.Duration // from then to the diagnosis
	want      Verdict
	failed    string // the check that fails
	words     string // in the summary or the next step
}

func faulty(f knxserver.Faults) func(time.Time, *simulator.Building) {
	return func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, f) }
}

func diagnosisRows() []diagnosisRow {
	named := func(b *registry.Building) {
		b.Tunnel.Endpoint = tunnel.Endpoint{Host: "router.example.org", Port: b.Tunnel.Endpoint.Port}
	}
	gone := &names{}
	gone.set(errNoSuchName, 0)
	broken := &names{}
	broken.set(&netError{}, 0)
	lanDown := func(_ time.Time, b *simulator.Building) { b.LANDown = true }
	linkDown := func(_ time.Time, b *simulator.Building) { b.Link.Down = true }
	return []diagnosisRow{
		{name: "all is well", want: VerdictHealthy, later: true},
		{name: "the name has no address", configure: named, resolver: gone, want: VerdictNameUnresolved, failed: "RESOLVE", words: "router.example.org, has no address"},
		{name: "the name server fails", configure: named, resolver: broken, want: VerdictNameUnresolved, failed: "RESOLVE", words: "name servers"},
		{
			name: "nobody has called", want: VerdictAwaitingRouter, failed: "HANDSHAKE", words: "has not called yet",
			configure: func(b *registry.Building) { b.Tunnel.Endpoint = tunnel.Endpoint{} },
		},
		{name: "nothing comes back, ever", spoil: linkDown, want: VerdictUDPBlocked, failed: "HANDSHAKE", words: "nothing has since the building was started"},
		{name: "nothing comes back any more", spoil: linkDown, later: true, after: time.Minute, want: VerdictUDPBlocked, failed: "HANDSHAKE", words: "has answered with these keys before"},
		{
			name: "a router with another key", want: VerdictUDPBlocked, failed: "HANDSHAKE", words: "the keys differ",
			configure: func(b *registry.Building) { b.Tunnel.Peer = other().Public() },
		},
		{
			name: "another preshared key", want: VerdictWrongPresharedKey, failed: "HANDSHAKE", words: "preshared",
			configure: func(b *registry.Building) { b.Tunnel.PresharedKey = tunnel.GeneratePresharedKey() },
		},
		{
			name: "no preshared key", want: VerdictWrongPresharedKey, failed: "HANDSHAKE", words: "preshared",
			configure: func(b *registry.Building) { b.Tunnel.PresharedKey = tunnel.PresharedKey{} },
		},
		{
			name: "a caller with another key", calls: true, want: VerdictWrongKey, failed: "HANDSHAKE", words: "tunnel.peer_public_key",
			configure: func(b *registry.Building) { b.Tunnel.Peer = other().Public() },
		},
		{
			name: "a caller that calls somebody else", calls: true, want: VerdictWrongKey, failed: "HANDSHAKE", words: "compare the keys",
			configure: func(b *registry.Building) {
				b.Tunnel.PrivateKey = other()
				b.Tunnel.Endpoint = tunnel.Endpoint{Host: "127.64.0.1", Port: simulator.WirePort}
			},
		},
		{
			name: "a caller with another preshared key", calls: true, want: VerdictWrongPresharedKey, failed: "HANDSHAKE", words: "preshared key",
			configure: func(b *registry.Building) { b.Tunnel.PresharedKey = tunnel.GeneratePresharedKey() },
		},
		{name: "a caller that is well", calls: true, later: true, want: VerdictHealthy},
		{
			name: "the clock was put back", want: VerdictClockBehind, failed: "CLOCK", words: "NTP",
			configure: func(b *registry.Building) { b.UpdatedAt = time.Now().Add(time.Hour) },
			spoil:     func(now time.Time, b *simulator.Building) { b.ClockAhead(now.Add(time.Hour)) },
		},
		{
			name: "our networks do not cover the interface", want: VerdictAllowedIPs, failed: "ALLOWED_IPS", words: "192.168.1.0/24",
			configure: func(b *registry.Building) {
				b.Tunnel.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("10.200.0.0/24")}
			},
		},
		{
			name: "the router's networks do not cover us", want: VerdictAllowedIPs, failed: "LAN", words: "10.200.0.77/32",
			configure: func(b *registry.Building) {
				b.Tunnel.Addresses = []netip.Prefix{netip.MustParsePrefix("10.200.0.77/32")}
			},
		},
		{name: "the LAN is dead", spoil: lanDown, want: VerdictLANDead, failed: "LAN", words: "cable"},
		{name: "the LAN has died", spoil: lanDown, later: true, after: 20 * time.Second, want: VerdictLANDead, failed: "LAN"},
		{name: "the interface is unplugged", spoil: faulty(knxserver.Faults{Silent: true}), want: VerdictInterfaceSilent, failed: "INTERFACE_KNX", words: "LAN answers"},
		{name: "the interface is frozen", spoil: faulty(knxserver.Faults{Frozen: true}), want: VerdictInterfaceSilent, failed: "INTERFACE_KNX", words: "answers pings"},
		{
			name: "another port", want: VerdictInterfaceSilent, failed: "INTERFACE_KNX", words: "3672",
			configure: func(b *registry.Building) { b.KNX.Interface = netip.MustParseAddrPort("192.168.1.3:3672") },
		},
		{name: "no free slot", spoil: faulty(knxserver.Faults{Full: true}), want: VerdictSlotsFull, failed: "KNX_CONNECT", words: "close another KNX client"},
		{name: "the session is refused", spoil: faulty(knxserver.Faults{Refuse: frame.StatusTunnellingLayer}), want: VerdictInterfaceRefused, failed: "KNX_CONNECT"},
		{name: "the bus is dead", spoil: faulty(knxserver.Faults{Heartbeat: frame.StatusKNXConnection}), later: true, after: 30 * time.Second, want: VerdictBusDead, failed: "KNX_CONNECT", words: "power supply"},
		{
			name: "a weak network", later: true, want: VerdictLossy, failed: "LOSS", words: "Internet",
			spoil: func(_ time.Time, b *simulator.Building) { b.Link = simulator.Link{Loss: 0.25} },
		},
	}
}

// Every verdict is provoked, with the check that fails and words that help.
func TestDiagnose(t *testing.T) {
	for _, r := range diagnosisRows() {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { r.play(t) })
		})
	}
}

func (r *diagnosisRow) play(t *testing.T) {
	t.Helper()
	cfg := simulator.Config{Buildings: 1, Seed: 12}
	if r.calls {
		cfg.Gateway, cfg.RouterKeepalive = gatewayAddress, 5*time.Second
	}
	w := newWorldOf(t, cfg)
	defer w.stop()
	if r.resolver != nil {
		w.fleet.cfg.Resolver = r.resolver
	}
	b := buildingOf(t, "a", w.sim.Buildings()[0])
	if r.configure != nil {
		r.configure(&b)
	}
	spoil := func() {
		if r.spoil != nil {
			w.do(0, r.spoil)
		}
	}
	if !r.later {
		spoil()
	}
	w.desired.put(b)
	if r.later {
		w.online("a")
		spoil()
	} else {
		time.Sleep(3 * time.Second)
	}
	time.Sleep(r.after)
	before, _ := w.fleet.View("a")
	began := time.Now()
	d, err := w.fleet.Diagnose(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > DefaultDiagnoseTimeout+time.Second {
		t.Errorf("it took %v", took)
	}
	t.Logf("%s after %v: %s → %s", d.Verdict, time.Since(began).Round(time.Millisecond), d.Summary, d.NextStep)
	names := make([]string, 0, len(d.Checks))
	for _, c := range d.Checks {
		t.Logf("  %-14s %-8s %s", c.Name, c.Result, c.Evidence)
		names = append(names, c.Name)
		if (c.Name == r.failed) != (c.Result == CheckFailed) && c.Name == r.failed {
			t.Errorf("check %s %s", c.Name, c.Result)
		}
		if c.Result != CheckSkipped && c.Evidence == "" {
			t.Errorf("check %s has no evidence", c.Name)
		}
	}
	if d.Verdict != r.want || d.Summary == "" || (d.NextStep == "") != (r.want == VerdictHealthy) {
		t.Errorf("verdict %s, want %s", d.Verdict, r.want)
	}
	if text := d.Summary + d.NextStep; !strings.Contains(text, r.words) {
		t.Errorf("%q does not mention %q", text, r.words)
	}
	if !slices.Equal(names, checkOrder) {
		t.Errorf("checks %v", names)
	}
	for _, secret := range []string{b.Tunnel.PrivateKey.Base64(), b.Tunnel.PresharedKey.Base64()} {
		for _, c := range d.Checks {
			if strings.Contains(c.Evidence+d.Summary+d.NextStep, secret) {
				t.Error("it tells a secret")
			}
		}
	}
	if after, _ := w.fleet.View("a"); after.Status.Epoch != before.Status.Epoch {
		t.Error("the building was started anew")
	}
}

// What cannot be diagnosed is told, and what cannot run any more either.
func TestDiagnoseRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 13, knxserver.Config{})
		b := buildingOf(t, "off", w.sim.Buildings()[0])
		b.Enabled = false
		w.desired.put(b)
		w.wait("off", time.Second, "DISABLED", func(s Status) bool { return s.State == StateDisabled })
		ctx := t.Context()
		if _, err := w.fleet.Diagnose(ctx, "nowhere", 0); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("no building: %v", err)
		}
		if _, err := w.fleet.Ping(ctx, Ping{Building: "off"}); !errors.Is(err, ErrDisabled) {
			t.Errorf("a disabled building: %v", err)
		}
		w.add("a")
		w.online("a")
		for _, bad := range []error{
			second(w.fleet.Diagnose(ctx, "a", time.Second)),
			second(w.fleet.Ping(ctx, Ping{Building: "a", Count: 101})),
			second(w.fleet.Ping(ctx, Ping{Building: "a", Size: 1401})),
			second(w.fleet.Ping(ctx, Ping{Building: "a", Address: netip.MustParseAddr("8.8.8.8")})),
			third(w.fleet.Discover(ctx, Discovery{Building: "a", Subnets: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/24")}})),
			third(w.fleet.Discover(ctx, Discovery{Building: "a", Rate: 501})),
		} {
			if _, ok := errors.AsType[*registry.FieldError](bad); !ok {
				t.Errorf("bad input: %v", bad)
			}
		}
		for range diagnosesAtOnce {
			go func() {
				_, _ = w.fleet.Ping(ctx, Ping{Building: "a", Count: 10})
			}()
		}
		synctest.Wait()
		if _, err := w.fleet.Ping(ctx, Ping{Building: "a"}); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := w.fleet.Ping(ctx, Ping{Building: "a"}); err != nil {
			t.Errorf("after the others: %v", err)
		}
		w.stop()
	})
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

func TestPingAndDiscover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 14, knxserver.Config{})
		w.add("a")
		w.online("a")
		w.do(0, func(_ time.Time, b *simulator.Building) { b.Link.Delay = 20 * time.Millisecond })
		ping, err := w.fleet.Ping(t.Context(), Ping{Building: "a", Count: 4, Size: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if n, longest := answered(ping.RoundTrips); n != 4 || longest < 40*time.Millisecond || longest > 60*time.Millisecond || ping.Address != simulator.Interface.Addr() {
			t.Errorf("ping: %+v", ping)
		}
		nobody, err := w.fleet.Ping(t.Context(), Ping{Building: "a", Address: netip.MustParseAddr("192.168.1.77"), Count: 2, Interval: time.Second})
		if err != nil || len(nobody.RoundTrips) != 2 || nobody.RoundTrips[0] >= 0 {
			t.Errorf("ping of nobody: %+v, %v", nobody, err)
		}
		began := time.Now()
		found, asked, err := w.fleet.Discover(t.Context(), Discovery{Building: "a", Rate: 100})
		took := time.Since(began)
		if err != nil || asked != 2*254 || len(found) != 1 {
			t.Fatalf("discover: %d asked, %+v, %v", asked, found, err)
		}
		if i := found[0]; i.Endpoint != simulator.Interface || i.Description.Device.Name != "Building 1" || i.RoundTrip != 40*time.Millisecond {
			t.Errorf("found %+v", i)
		}
		if took < 6*time.Second || took > 8*time.Second {
			t.Errorf("%d addresses, 100 a second: it took %v", asked, took)
		}
		if v, _ := w.fleet.View("a"); v.Status.State != StateOnline || v.Status.Counters.Session.Reconnects() != 0 {
			t.Errorf("the session was disturbed: %+v", v.Status)
		}
		w.stop()
	})
}

func TestSearchedAddresses(t *testing.T) {
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for _, r := range []struct {
		allowed, subnets []netip.Prefix
		want             int // -1: refused
	}{
		{prefixes("192.168.1.0/24"), nil, 254},
		{prefixes("0.0.0.0/0", "::/0"), nil, 254},
		{prefixes("192.168.0.0/16", "10.0.0.1/32"), nil, 255},
		{prefixes("0.0.0.0/0"), prefixes("10.1.0.0/20"), 4094},
		{prefixes("0.0.0.0/0"), prefixes("10.1.0.0/19"), -1},
		{prefixes("0.0.0.0/0"), prefixes("10.0.0.0/8"), -1},
		{prefixes("0.0.0.0/0"), prefixes("10.1.0.0/20", "10.2.0.0/24"), -1},
		{prefixes("0.0.0.0/0"), prefixes("10.1.0.0/24", "10.1.0.0/25"), 254},
		{prefixes("0.0.0.0/0"), prefixes("10.1.0.0/31"), 2},
		{prefixes("192.168.1.0/24"), prefixes("192.168.0.0/16"), -1},
		{prefixes("::/0"), prefixes("2001:db8::/120"), -1},
	} {
		b := &registry.Building{Tunnel: tunnel.Config{AllowedIPs: r.allowed}, KNX: registry.KNX{Interface: simulator.Interface}}
		got, err := searched(b, r.subnets)
		if r.want < 0 && err == nil || r.want >= 0 && len(got) != r.want {
			t.Errorf("%v of %v: %d addresses, %v; want %d", r.subnets, r.allowed, len(got), err, r.want)
		}
	}
}
