package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// silent fails the test when a packet comes.
func silent(t *testing.T, s *stack, what string) {
	t.Helper()
	synctest.Wait()
	select {
	case p := <-s.fromPeer:
		t.Errorf("%s: got packet %q", what, payload(p))
	default:
	}
}

func TestReconfigureKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		synctest.Wait()
		exchangeData(t, b, r)
		kept := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			exchangeData(t, b, r)
			if got := b.handshakes.Load(); got != 1 {
				t.Errorf("%s: %d handshakes, want the first one alone", what, got)
			}
		}
		lan := netip.MustParsePrefix(lanNet)
		kept("keepalive off", b.SetKeepalive(0))
		before := b.Counters().TxDatagrams
		time.Sleep(60 * time.Second)
		if got := b.Counters().TxDatagrams - before; got > 1 { // the passive keepalive that answers data
			t.Errorf("%d datagrams in a minute without keepalives", got)
		}
		kept("keepalive on", b.SetKeepalive(5*time.Second))
		before = b.Counters().TxDatagrams
		time.Sleep(30 * time.Second)
		if got := b.Counters().TxDatagrams - before; got < 5 {
			t.Errorf("%d datagrams in 30 s with a keepalive each 5 s", got)
		}
		kept("more networks", b.SetAllowedIPs([]netip.Prefix{lan, netip.MustParsePrefix("10.1.2.3/16")}))
		r.send("10.1.9.9", ourIP, "from the new network")
		expect(t, b.stack, "from the new network")
		kept("fewer networks", b.SetAllowedIPs([]netip.Prefix{lan}))
		r.send("10.1.9.9", ourIP, "from the old network")
		silent(t, b.stack, "a network that was removed")
		b.send(ourIP, "10.1.9.9", "to the old network")
		silent(t, r.stack, "a network that was removed")

		// Both sides get a preshared key; the session goes on, and the next handshakes
		// use it.
		psk := PresharedKey(GeneratePrivateKey())
		kept("preshared key", b.SetPresharedKey(psk))
		if err := r.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\npreshared_key=%s\n", uapi(ours.Public()), uapi(psk))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		exchangeData(t, b, r)
		if got := b.handshakes.Load(); got < 3 {
			t.Errorf("%d handshakes in five minutes with a new preshared key", got)
		}
		// A key that the router does not have ends it at the next handshake.
		if err := b.SetPresharedKey(PresharedKey{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if b.Established() {
			t.Error("established without the router's preshared key")
		}
		// The right one mends it, at WireGuard's next try.
		if err := b.SetPresharedKey(psk); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		exchangeData(t, b, r)

		for what, err := range map[string]error{
			"half a second":  b.SetKeepalive(time.Second / 2),
			"for ever":       b.SetKeepalive(time.Hour * 24),
			"no network":     b.SetAllowedIPs(nil),
			"a mapped one":   b.SetAllowedIPs([]netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}),
			"an invalid one": b.SetAllowedIPs([]netip.Prefix{{}}),
		} {
			if _, ok := errors.AsType[*ConfigError](err); !ok {
				t.Errorf("%s: %v, want a ConfigError", what, err)
			}
		}
		exchangeData(t, b, r)
		r.device.Close()
		g.stop(t)
		for what, err := range map[string]error{
			"preshared key": b.SetPresharedKey(psk), "keepalive": b.SetKeepalive(0), "allowed IPs": b.SetAllowedIPs([]netip.Prefix{lan}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v, want net.ErrClosed", what, err)
			}
		}
	})
}

// Before the router has called there is nobody to send to, and the changes hold
// when it calls.
func TestReconfigureBeforeTheRouterCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		psk := PresharedKey(GeneratePrivateKey())
		if err := errors.Join(b.SetPresharedKey(psk), b.SetKeepalive(5*time.Second), b.SetAllowedIPs([]netip.Prefix{netip.MustParsePrefix(lanNet)})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := b.Counters().TxDatagrams; got != 0 {
			t.Errorf("%d datagrams to a router that is not known", got)
		}
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), gatewayAddr)
		if err := r.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\npreshared_key=%s\n", uapi(ours.Public()), uapi(psk))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		exchangeData(t, b, r)
		before := b.Counters().TxDatagrams
		time.Sleep(30 * time.Second)
		if got := b.Counters().TxDatagrams - before; got < 5 {
			t.Errorf("%d datagrams in 30 s with a keepalive each 5 s", got)
		}
		r.device.Close()
		g.stop(t)
	})
}
