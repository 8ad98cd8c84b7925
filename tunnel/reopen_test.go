package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Two hundred tunnels over real sockets are closed and opened again while all of
// them carry traffic. The other side is one exchange too, so that all routers
// are at one address, and all of us are, for them.
func TestReopenUnderTraffic(t *testing.T) {
	const count, rounds = 200, 2
	ours, town := listenLoopback(t), listenLoopback(t)
	ctx, cancel := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return ours.Run(ctx) })
	running.Go(func() error { return town.Run(ctx) })

	keys := make([][2]PrivateKey, count)
	var echoes sync.WaitGroup
	for i := range keys {
		keys[i] = [2]PrivateKey{GeneratePrivateKey(), GeneratePrivateKey()}
		cfg := configFor(keys[i][1], keys[i][0].Public(), "")
		cfg.AllowedIPs = []netip.Prefix{netip.MustParsePrefix(ourIP + "/32")}
		r := &router{stack: newStack()}
		if _, err := town.Open(cfg, r.stack, zerolog.Nop(), nil); err != nil {
			t.Fatal(err)
		}
		echoes.Go(r.echo)
	}

	for round := range rounds {
		buildings := make([]*building, count)
		var opening, talking errgroup.Group
		opening.SetLimit(16)
		for i := range buildings {
			opening.Go(func() error {
				b := &building{stack: newStack()}
				cfg := configFor(keys[i][0], keys[i][1].Public(), town.LocalAddrs()[0].String())
				tunnel, err := ours.Open(cfg, b.stack, zerolog.Nop(), func() { b.handshakes.Add(1) })
				b.Tunnel, buildings[i] = tunnel, b
				return err
			})
		}
		if err := opening.Wait(); err != nil {
			t.Fatal(err)
		}
		var answered sync.WaitGroup
		answered.Add(count)
		for i, b := range buildings {
			talking.Go(func() error { return talk(b, fmt.Sprintf("%d of %d", i, round), answered.Done) })
		}
		all := make(chan struct{})
		go func() { answered.Wait(); close(all) }()
		select {
		case <-all:
		case <-time.After(patience):
			t.Fatalf("some buildings never answered: ours %+v, theirs %+v", ours.Stats(), town.Stats())
		}
		if round == rounds-1 {
			if err := ours.Close(); err != nil { // all at once, traffic going on
				t.Error(err)
			}
		}
		for _, b := range buildings {
			opening.Go(b.Close)
		}
		if err := opening.Wait(); err != nil {
			t.Error(err)
		}
		if err := talking.Wait(); err != nil {
			t.Error(err)
		}
	}
	if s := ours.Stats(); s.Tunnels != 0 || len(ours.demux.index) != 0 {
		t.Errorf("after closing all: %+v", s)
	}
	if err := town.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
	echoes.Wait()
}

// talk sends until the building is closed, and calls answered at the first echo. It sends
// again soon after an echo, and late when none comes: two hundred that send whatever
// comes back keep a busy machine from ever answering all.
func talk(b *building, text string, answered func()) error {
	const soon, late = 50 * time.Millisecond, 2 * time.Second
	turn := time.NewTimer(0)
	defer turn.Stop()
	heard := false
	for {
		select {
		case <-b.stack.closed:
			return nil
		case p := <-b.fromPeer:
			if got := payload(p); got != text {
				return fmt.Errorf("building %s got the packet %q", text, got)
			}
			if !heard {
				heard = true
				answered()
			}
			turn.Reset(soon)
		case <-turn.C:
			b.send(ourIP, lanIP, text)
			turn.Reset(late)
		}
	}
}

func listenLoopback(t testing.TB) *Exchange {
	t.Helper()
	x, err := Listen(ListenConfig{Address: "127.0.0.1:0", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestListen(t *testing.T) {
	x, err := Listen(ListenConfig{Address: "0.0.0.0:0", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	addrs := x.LocalAddrs()
	if !addrs[0].Addr().Is4() || addrs[0].Port() == 0 {
		t.Errorf("first socket at %v, want IPv4 at a free port", addrs[0])
	}
	for _, a := range addrs[1:] {
		if !a.Addr().Is6() || a.Port() != addrs[0].Port() {
			t.Errorf("second socket at %v, want IPv6 at port %d", a, addrs[0].Port())
		}
	}
	if _, err := Listen(ListenConfig{Address: addrs[0].String(), Log: zerolog.Nop()}); err == nil {
		t.Error("a port in use was opened again")
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() { result <- x.Run(ctx) }()
	cancel()
	if err := <-result; err != nil {
		t.Errorf("Run ended with %v on cancel", err)
	}
	for _, bad := range []string{"", "51820", ":51820", "localhost:51820", "0.0.0.0"} {
		if _, err := Listen(ListenConfig{Address: bad}); err == nil {
			t.Errorf("Listen took the address %q", bad)
		}
	}
}
