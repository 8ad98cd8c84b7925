package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// offline is a socket of a machine whose network is down.
type offline struct {
	*sock
	off *atomic.Bool
}

func (o offline) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if o.off.Load() {
		return 0, syscall.ENETUNREACH
	}
	return o.sock.WriteToUDPAddrPort(b, to)
}

// While the gateway's own network is down, tunnels are opened and changed as ever: what
// cannot be sent is counted, and sent again.
func TestTheNetworkIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var off atomic.Bool
		off.Store(true)
		x := NewExchange(zerolog.Nop(), offline{n.listen(gatewayAddr), &off})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx) }()
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		cfg := configFor(ours, theirs.Public(), "203.0.113.1:1")
		b := openBuilding(t, x, cfg)
		for name, change := range map[string]func() error{
			"endpoint":    func() error { return b.SetEndpoint(netip.MustParseAddrPort("203.0.113.1:1")) },
			"race":        func() error { return b.Race([]netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:1")}) },
			"keepalive":   func() error { return b.SetKeepalive(20 * time.Second) },
			"preshared":   func() error { return b.SetPresharedKey(PresharedKey{}) },
			"allowed IPs": func() error { return b.SetAllowedIPs(cfg.AllowedIPs) },
			"renew":       b.Renew,
			"restart":     b.Restart,
		} {
			time.Sleep(6 * time.Second)
			if err := change(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if x.Stats().SendErrors < 5 || b.Counters().TxDatagrams != 0 {
			t.Errorf("%+v: what could not be sent is not counted as that", x.Stats())
		}
		off.Store(false)
		time.Sleep(6 * time.Second)
		exchangeData(t, b, r)
		r.device.Close()
		err := x.Close()
		cancel()
		if err := errors.Join(err, <-done); err != nil {
			t.Error(err)
		}
	})
}

// An unanswered initiation is told from when the first was sent, whatever is tried
// meanwhile; and a session that was given up is none, also while the call for a new one
// waits for its turn.
func TestTruthAboutRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), "203.0.113.1:1"))
		began := time.Now()
		time.Sleep(5 * time.Minute)
		if err := b.Restart(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if h := b.Handshake(); !h.InitiatingSince.Equal(began) {
			t.Errorf("unanswered for %v, told %v", time.Since(began), time.Since(h.InitiatingSince))
		}
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		time.Sleep(6 * time.Second)
		if !b.Established() {
			t.Error("no session is told")
		}
		g.calls.limiter.ReserveN(time.Now(), callsBurst)
		g.calls.limiter.ReserveN(time.Now(), callsBurst)
		if err := b.Restart(); err != nil {
			t.Error(err)
		}
		if b.Established() {
			t.Error("a session is told that was given up")
		}
		time.Sleep(time.Second)
		exchangeData(t, b, r)
		r.device.Close()
		g.stop(t)
	})
}

// Somebody sends copies of an initiation that he has seen, again and again. The router,
// which must call since its address is not known to us, gets through when it restarts.
func TestReplaysKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const here, elsewhere = "203.0.113.1:4711", "198.18.0.1:9"
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		var mu sync.Mutex
		var seen []byte
		n.lose(func(from, _ netip.AddrPort, p []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			if from.String() == here && wireguard.MessageType(p) == wireguard.Initiation && seen == nil {
				seen = bytes.Clone(p)
			}
			return false
		})
		r := startRouter(t, n.listen(here), theirs, ours.Public(), gatewayAddr)
		time.Sleep(2 * time.Second)
		if b.handshakes.Load() != 1 {
			t.Fatal("no handshake")
		}
		r.device.Close()
		evil, stop := n.listen(elsewhere), make(chan struct{})
		var replaying sync.WaitGroup
		replaying.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					if _, err := evil.WriteToUDPAddrPort(bytes.Clone(seen), netip.MustParseAddrPort(gatewayAddr)); err != nil {
						t.Error(err)
					}
				}
			}
		})
		time.Sleep(10 * time.Second)
		r = startRouter(t, n.listen(here), theirs, ours.Public(), gatewayAddr)
		time.Sleep(time.Second)
		if got := b.handshakes.Load(); got != 2 {
			t.Errorf("%d handshakes, want another one", got)
		}
		if n := g.Stats().RateLimited; n < 1000 {
			t.Errorf("%d replays were limited", n)
		}
		close(stop)
		replaying.Wait()
		r.device.Close()
		if err := evil.Close(); err != nil {
			t.Error(err)
		}
		g.stop(t)
	})
}
