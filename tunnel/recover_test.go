package tunnel

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// A router that restarted has lost its keys. Renew brings new ones in one round
// trip, with packets of both sides kept in order of the keys; Restart does so too.
func TestRenewAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		synctest.Wait()
		exchangeData(t, b, r)
		for i, again := range []func() error{b.Renew, b.Restart, b.Renew} {
			// A device whose answer overtook its own call repeats the call 5 s later,
			// and no other may follow within 5 s.
			for time.Since(b.Handshake().Last) < 10*time.Second {
				time.Sleep(10 * time.Second)
			}
			r.device.Close()
			r = startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
			before, at := b.handshakes.Load(), time.Now()
			if err := again(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if b.handshakes.Load() == before || !b.Handshake().Last.Equal(at) {
				t.Errorf("step %d: no new handshake at once: %+v", i, b.Handshake())
			}
			exchangeData(t, b, r)
		}
		// While the keys hold, Renew interrupts nothing, and asks once in 5 s at most.
		before := b.handshakes.Load()
		time.Sleep(10 * time.Second)
		for range 100 {
			if err := b.Renew(); err != nil {
				t.Fatal(err)
			}
			exchangeData(t, b, r)
		}
		synctest.Wait() // the new keys may still be on their way
		if made := b.handshakes.Load() - before; made != 1 {
			t.Errorf("%d handshakes for 100 wishes in a moment", made)
		}
		r.device.Close()
		g.stop(t)
		for _, again := range []func() error{b.Renew, b.Restart} {
			if err := again(); err == nil {
				t.Error("a closed tunnel begins anew")
			}
		}
	})
}

// All addresses are called until one answers; then only that one.
func TestRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.7:1"), theirs, ours.Public(), "")
		cfg := configFor(ours, theirs.Public(), "")
		b := openBuilding(t, g.Exchange, cfg)
		called := map[netip.AddrPort]int{}
		n.lose(func(_, to netip.AddrPort, b []byte) bool {
			if wireguard.MessageType(b) == wireguard.Initiation {
				called[to]++
			}
			return false
		})
		addrs := []netip.AddrPort{
			netip.MustParseAddrPort("203.0.113.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1"),
			netip.MustParseAddrPort("203.0.113.7:1"), netip.MustParseAddrPort("203.0.113.3:1"),
		}
		if err := b.Race(addrs); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.handshakes.Load() != 1 || b.Endpoint() != addrs[2] {
			t.Fatalf("%d handshakes, at %v", b.handshakes.Load(), b.Endpoint())
		}
		exchangeData(t, b, r)
		time.Sleep(10 * time.Minute)
		exchangeData(t, b, r)
		synctest.Wait()
		n.lose(nil)
		if called[addrs[0]] != 1 || called[addrs[3]] != 1 || called[addrs[2]] < 3 {
			t.Errorf("called %v", called)
		}
		if err := b.Race(addrs[1:2]); !errors.Is(err, ErrNoSocket) {
			t.Errorf("an address without a socket: %v", err)
		}
		if err := b.Race(nil); err == nil {
			t.Error("no addresses: no error")
		}
		r.device.Close()
		g.stop(t)
	})
}
