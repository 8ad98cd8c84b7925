package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

const gatewayAddr = "198.51.100.1:51820"

// gateway is an exchange on a network in memory, running.
type gateway struct {
	*Exchange
	sock   *sock
	cancel context.CancelFunc
	result chan error
}

func startGateway(n *network) *gateway {
	s := n.listen(gatewayAddr)
	ctx, cancel := context.WithCancel(context.Background())
	g := &gateway{Exchange: NewExchange(zerolog.Nop(), s), sock: s, cancel: cancel, result: make(chan error, 1)}
	go func() { g.result <- g.Run(ctx) }()
	return g
}

func (g *gateway) stop(t testing.TB) {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	g.cancel()
	if err := <-g.result; err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if n := g.Stats().Tunnels; n != 0 {
		t.Errorf("%d tunnels are left after closing", n)
	}
	if n := len(g.demux.index); n != 0 {
		t.Errorf("%d receiver indices are left after closing", n)
	}
}

// building is our end of one tunnel.
type building struct {
	*stack
	*Tunnel
	handshakes atomic.Int32
}

func (b *building) Close() error { return b.Tunnel.Close() }

func configFor(private PrivateKey, peer PublicKey, endpoint string) Config {
	cfg := Config{
		PrivateKey: private,
		Addresses:  []netip.Prefix{netip.MustParsePrefix(ourIP + "/24")},
		Peer:       peer,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix(lanNet)},
		Keepalive:  DefaultKeepalive,
	}
	if endpoint != "" {
		addr := netip.MustParseAddrPort(endpoint)
		cfg.Endpoint = Endpoint{Host: addr.Addr().String(), Port: addr.Port()}
	}
	return cfg
}

func openBuilding(t testing.TB, x *Exchange, cfg Config) *building {
	t.Helper()
	b := &building{stack: newStack()}
	tunnel, err := x.Open(cfg, b.stack, zerolog.Nop(), func() { b.handshakes.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	b.Tunnel = tunnel
	return b
}

// expect waits for a packet with a payload.
func expect(t testing.TB, from *stack, want string) {
	t.Helper()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case p := <-from.fromPeer:
			if got := payload(p); got != want {
				t.Fatalf("got packet %q, want %q", got, want)
			}
			return
		case <-timeout.C:
			t.Fatalf("packet %q did not come", want)
		}
	}
}

// exchangeData sends a packet each way.
func exchangeData(t testing.TB, b *building, r *router) {
	t.Helper()
	b.send(ourIP, lanIP, "to the building")
	expect(t, r.stack, "to the building")
	r.send(lanIP, ourIP, "from the building")
	expect(t, b.stack, "from the building")
}

func TestWeCallTheRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		start := time.Now()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		synctest.Wait()

		h := b.Handshake()
		if !h.Last.Equal(start) || !h.InitiatingSince.IsZero() {
			t.Errorf("handshake %+v, want it completed at %v and none waiting", h, start)
		}
		if got := b.handshakes.Load(); got != 1 {
			t.Errorf("%d handshakes told, want 1", got)
		}
		if got := b.Endpoint(); got.String() != "203.0.113.1:1" {
			t.Errorf("endpoint %v", got)
		}
		exchangeData(t, b, r)
		synctest.Wait() // what is sent is counted after it was
		c := b.Counters()
		if c.TxDatagrams < 3 || c.RxDatagrams < 2 || c.TxBytes < 148 || c.RxBytes < 92 {
			t.Errorf("counters %+v do not cover a handshake and a packet each way", c)
		}
		r.device.Close()
		g.stop(t)
	})
}

func TestTheRouterCallsUs(t *testing.T) {
	for _, keepalive := range []time.Duration{0, DefaultKeepalive} {
		t.Run(keepalive.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				g := startGateway(n)
				ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
				cfg := configFor(ours, theirs.Public(), "")
				cfg.Keepalive = keepalive
				b := openBuilding(t, g.Exchange, cfg)
				synctest.Wait()
				if h := b.Handshake(); h != (Handshake{}) || b.Endpoint().IsValid() || b.Counters().TxDatagrams != 0 {
					t.Errorf("before the call: handshake %+v, endpoint %v, counters %+v", h, b.Endpoint(), b.Counters())
				}

				r := startRouter(t, n.listen("203.0.113.1:4711"), theirs, ours.Public(), gatewayAddr)
				synctest.Wait()
				if got := b.handshakes.Load(); got != 1 {
					t.Errorf("%d handshakes told, want 1 as soon as the router called", got)
				}
				if got := b.Endpoint(); got.String() != "203.0.113.1:4711" {
					t.Errorf("endpoint %v, want the router's", got)
				}
				exchangeData(t, b, r)
				r.device.Close()
				g.stop(t)
			})
		})
	}
}

func TestKeepalivesBeginOnceTheRouterCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		// A router without keepalives of its own: it calls for one packet.
		r := startRouter(t, n.listen("203.0.113.1:4711"), theirs, ours.Public(), "")
		if err := r.device.IpcSet("public_key=" + uapi(ours.Public()) + "\nendpoint=" + gatewayAddr + "\n"); err != nil {
			t.Fatal(err)
		}
		r.send(lanIP, ourIP, "one")
		expect(t, b.stack, "one")
		synctest.Wait()
		before := b.Counters().TxDatagrams
		time.Sleep(110 * time.Second)
		if got := b.Counters().TxDatagrams - before; got < 4 {
			t.Errorf("%d datagrams in 110 s of silence, want a keepalive each 25 s", got)
		}
		r.device.Close()
		g.stop(t)
	})
}

func TestNothingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(newNetwork())
		start := time.Now()
		b := openBuilding(t, g.Exchange, configFor(GeneratePrivateKey(), GeneratePrivateKey().Public(), "203.0.113.1:1"))
		time.Sleep(30 * time.Minute)
		if h := b.Handshake(); !h.Last.IsZero() || !h.InitiatingSince.Equal(start) {
			t.Errorf("handshake %+v, want none and waiting since %v", h, start)
		}
		if got := b.Counters().TxDatagrams; got < 200 {
			t.Errorf("%d initiations in 30 minutes: it gave up", got)
		}
		g.stop(t)
	})
}

func TestSetEndpointCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		cfg := configFor(ours, theirs.Public(), "")
		cfg.Endpoint = Endpoint{Host: "router.example.org", Port: 1}
		b := openBuilding(t, g.Exchange, cfg)
		time.Sleep(time.Second)
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		if err := b.SetEndpoint(netip.MustParseAddrPort("[::ffff:203.0.113.1]:1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := b.handshakes.Load(); got != 1 {
			t.Errorf("%d handshakes when the address was known, want 1", got)
		}
		for _, bad := range []string{"0.0.0.0:1", "224.0.0.1:1", "203.0.113.1:0"} {
			if err := b.SetEndpoint(netip.MustParseAddrPort(bad)); err == nil {
				t.Errorf("endpoint %s was taken", bad)
			}
		}
		if got := b.Endpoint().String(); got != "203.0.113.1:1" {
			t.Errorf("endpoint %s after refused ones", got)
		}
		exchangeData(t, b, r)
		r.device.Close()
		g.stop(t)
		if err := b.SetEndpoint(netip.MustParseAddrPort("203.0.113.1:1")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetEndpoint after Close: %v, want net.ErrClosed", err)
		}
	})
}

func TestRouterRoams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		s := n.listen("203.0.113.1:1")
		r := startRouter(t, s, theirs, ours.Public(), gatewayAddr)
		synctest.Wait()
		exchangeData(t, b, r)

		// The router's NAT gives it another address.
		n.mu.Lock()
		delete(n.socks, s.addr)
		s.addr = netip.MustParseAddrPort("203.0.113.99:9")
		n.socks[s.addr] = s
		n.mu.Unlock()
		r.send(lanIP, ourIP, "from elsewhere")
		expect(t, b.stack, "from elsewhere")
		exchangeData(t, b, r)
		if got := b.Endpoint().String(); got != "203.0.113.99:9" {
			t.Errorf("endpoint %s, want the new one", got)
		}
		r.device.Close()
		g.stop(t)
	})
}

func TestRouterRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		synctest.Wait()
		exchangeData(t, b, r)
		r.device.Close()
		time.Sleep(time.Minute)

		r = startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		h := b.Handshake()
		if !h.InitiatingSince.IsZero() || b.handshakes.Load() < 2 {
			t.Errorf("handshake %+v, %d in all: the restart was not survived", h, b.handshakes.Load())
		}
		exchangeData(t, b, r)
		r.device.Close()
		g.stop(t)
	})
}

// Many buildings with the same addresses, half of them calling us, half of them
// sharing one private key.
func TestManyBuildingsOneSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 24
		n := newNetwork()
		g := startGateway(n)
		shared := GeneratePrivateKey()
		var buildings []*building
		var routers []*router
		for i := range count {
			ours, theirs := shared, GeneratePrivateKey()
			if i%2 == 0 {
				ours = GeneratePrivateKey()
			}
			theirAddr := fmt.Sprintf("203.0.113.%d:51820", i+1)
			endpoint, call := theirAddr, ""
			if i%4 < 2 {
				endpoint, call = "", gatewayAddr
			}
			buildings = append(buildings, openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), endpoint)))
			routers = append(routers, startRouter(t, n.listen(theirAddr), theirs, ours.Public(), call))
		}
		synctest.Wait()
		for i, b := range buildings {
			b.send(ourIP, lanIP, fmt.Sprint("to ", i))
			routers[i].send(lanIP, ourIP, fmt.Sprint("from ", i))
		}
		for i, b := range buildings {
			expect(t, routers[i].stack, fmt.Sprint("to ", i))
			expect(t, b.stack, fmt.Sprint("from ", i))
			// A router's wireguard-go starts its timer for a repetition after it has sent
			// its initiation: an answer may overtake that, and then it calls once more.
			if got := b.handshakes.Load(); got < 1 || got > 2 {
				t.Errorf("building %d: %d handshakes, want 1", i, got)
			}
		}
		synctest.Wait()
		for i, b := range buildings {
			if len(b.fromPeer)+len(routers[i].fromPeer) > 0 {
				t.Errorf("building %d got somebody else's packet", i)
			}
			routers[i].device.Close()
		}
		g.stop(t)
	})
}

func TestFloodFromStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		var initiations [][]byte
		n.lose(func(_, to netip.AddrPort, b []byte) bool {
			if wireguard.MessageType(b) == wireguard.Initiation && to.String() == gatewayAddr {
				initiations = append(initiations, b)
			}
			return false
		})
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), gatewayAddr)
		synctest.Wait()
		before := b.Counters()

		stranger := n.listen("192.0.2.66:666")
		random := rand.NewChaCha8([32]byte{1})
		flood := func(datagram []byte) {
			if _, err := stranger.WriteToUDPAddrPort(datagram, g.sock.addr); err != nil {
				t.Error(err)
			}
		}
		const each = 500
		for range each {
			garbage := make([]byte, random.Uint64()%1500)
			random.Read(garbage)
			flood(garbage)
			forged := make([]byte, 96)
			random.Read(forged)
			copy(forged, []byte{wireguard.Transport, 0, 0, 0})
			flood(forged)
			unknown := make([]byte, 148)
			random.Read(unknown)
			copy(unknown, []byte{wireguard.Initiation, 0, 0, 0})
			flood(unknown)
			flood(initiations[0])
			synctest.Wait()
		}
		s := g.Stats()
		if s.Malformed < each-1 || s.UnknownIndex < each || s.UnknownInitiator < each {
			t.Errorf("%+v: every stranger's datagram must be counted", s)
		}
		if got := b.Counters().RxDatagrams - before.RxDatagrams; got > initiationsBurst+1 {
			t.Errorf("%d of %d replayed initiations reached the device", got, each)
		}
		exchangeData(t, b, r)
		r.device.Close()
		g.stop(t)
	})
}

// Hours of traffic with loss: the session is renewed, and the
// handshake is never told older than WireGuard lets it be.
func TestVirtualHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		random := rand.New(rand.NewPCG(1, 2))
		n.lose(func(_, _ netip.AddrPort, _ []byte) bool { return random.IntN(20) == 0 })
		type pair struct {
			*building
			*router
		}
		var pairs []pair
		for i, call := range []string{"", gatewayAddr} {
			ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
			addr := fmt.Sprintf("203.0.113.%d:1", i+1)
			endpoint := addr
			if call != "" {
				endpoint = ""
			}
			b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), endpoint))
			r := startRouter(t, n.listen(addr), theirs, ours.Public(), call)
			go r.echo()
			pairs = append(pairs, pair{b, r})
		}
		got := 0
		const steps = 6 * 360
		for range steps {
			for _, p := range pairs {
				p.building.send(ourIP, lanIP, "hello")
			}
			time.Sleep(10 * time.Second)
			for _, p := range pairs {
				for len(p.building.fromPeer) > 0 {
					<-p.building.fromPeer
					got++
				}
				if h := p.Handshake(); time.Since(h.Last) > 4*time.Minute {
					t.Fatalf("the last handshake was %v ago: %+v", time.Since(h.Last), h)
				}
			}
		}
		if want := 2 * steps * 8 / 10; got < want {
			t.Errorf("%d echoes, want at least %d", got, want)
		}
		for _, p := range pairs {
			if n := p.handshakes.Load(); n < 170 || n > 400 {
				t.Errorf("%d handshakes in 6 hours, want one each 2 minutes", n)
			}
		}
		for _, p := range pairs {
			p.router.device.Close()
		}
		g.stop(t)
	})
}

func TestReadErrorsAreSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		for range 20 {
			g.sock.fail <- errors.New("network is down")
		}
		time.Sleep(pauseAtMost)
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		exchangeData(t, b, r)
		if got := g.Stats().ReadErrors; got != 20 {
			t.Errorf("%d read errors counted, want 20", got)
		}
		r.device.Close()
		g.stop(t)
	})
}

func TestSocketClosedByOthers(t *testing.T) {
	n := newNetwork()
	g := startGateway(n)
	if err := g.sock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-g.result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run ended with %v, want net.ErrClosed", err)
	}
	g.cancel()
	b := newStack()
	if _, err := g.Open(configFor(GeneratePrivateKey(), GeneratePrivateKey().Public(), ""), b, zerolog.Nop(), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open on a dead exchange: %v, want net.ErrClosed", err)
	}
	select {
	case <-b.closed:
	default:
		t.Error("the refused tunnel's device was left open")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoSocketOfTheFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(newNetwork())
		b := openBuilding(t, g.Exchange, configFor(GeneratePrivateKey(), GeneratePrivateKey().Public(), "[2001:db8::1]:1"))
		time.Sleep(time.Minute)
		if to := b.Endpoint(); to.IsValid() {
			t.Errorf("the tunnel sends to %v, which it cannot", to)
		}
		there := netip.MustParseAddrPort("[2001:db8::1]:1")
		if err := b.SetEndpoint(there); !errors.Is(err, ErrNoSocket) {
			t.Errorf("SetEndpoint gave %v, want ErrNoSocket", err)
		}
		if err := g.send(make([]byte, 32), there); !errors.Is(err, ErrNoSocket) {
			t.Errorf("sending gave %v, want ErrNoSocket", err)
		}
		if s := g.Stats(); s.NoSocket != 1 || s.SendErrors != 1 {
			t.Errorf("%+v: sending to IPv6 without a socket must be counted", s)
		}
		g.stop(t)
	})
}

func TestOpenRefusesBadInput(t *testing.T) {
	g := startGateway(newNetwork())
	defer g.stop(t)
	cfg := configFor(GeneratePrivateKey(), GeneratePrivateKey().Public(), "")
	cfg.AllowedIPs = nil
	dev := newStack()
	_, err := g.Open(cfg, dev, zerolog.Nop(), nil)
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.Field != "AllowedIPs" {
		t.Errorf("got %v, want a ConfigError for AllowedIPs", err)
	}
	<-dev.closed
	if n := g.Stats().Tunnels; n != 0 {
		t.Errorf("%d tunnels are open", n)
	}
}

// One router's file under two names would make two sessions that end each other.
func TestOneTunnelForEachPairOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(newNetwork())
		private, router := GeneratePrivateKey(), GeneratePrivateKey().Public()
		first := openBuilding(t, g.Exchange, configFor(private, router, ""))
		dev := newStack()
		if _, err := g.Open(configFor(private, router, ""), dev, zerolog.Nop(), nil); !errors.Is(err, ErrKeysInUse) {
			t.Errorf("the second got %v, want ErrKeysInUse", err)
		}
		<-dev.closed
		openBuilding(t, g.Exchange, configFor(private, GeneratePrivateKey().Public(), "")) // another router
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		openBuilding(t, g.Exchange, configFor(private, router, ""))
		g.stop(t)
	})
}
