package tunnel

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// Four thousand buildings call every 2 s or so, bunched as after the loss of an uplink,
// which is twice the budget's pace: what goes out keeps to the budget and is spread
// over the time, each building gets its turn, and preferred ones theirs at once.
func TestCallsKeepToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buildings, every, minute = 4000, 2 * time.Second, 30 * time.Second
		c, closing := newCalls(), make(chan struct{})
		began := time.Now()
		var mu sync.Mutex
		sent := make(map[int]int)                      // by second
		waits := map[bool]time.Duration{}              // the longest, of preferred ones and others
		last := make(map[*Tunnel]time.Time, buildings) // call
		note := func(b *Tunnel) bool {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			sent[int(now.Sub(began).Seconds())]++
			which := b.preferred.Load()
			waits[which] = max(waits[which], now.Sub(last[b]))
			last[b] = now
			return true
		}
		var running, calling sync.WaitGroup
		running.Go(func() {
			if err := c.run(closing, note); err != nil {
				t.Error(err)
			}
		})
		for i := range buildings {
			b := &Tunnel{}
			b.preferred.Store(i%50 == 0) // 2 %
			mu.Lock()
			last[b] = began
			mu.Unlock()
			calling.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				for time.Since(began) < minute {
					if c.atOnce(time.Now()) {
						note(b)
					} else {
						c.wait(b)
					}
					time.Sleep(every + time.Duration(rnd.IntN(100))*time.Millisecond)
				}
			})
		}
		calling.Wait()
		close(closing)
		running.Wait()
		for second := range int(minute.Seconds()) {
			if n := sent[second]; n > callsPerSecond+callsBurst || n < callsPerSecond/2 {
				t.Errorf("%d initiations in second %d; the budget is %d", n, second, callsPerSecond)
			}
		}
		for b, at := range last {
			which := b.preferred.Load()
			waits[which] = max(waits[which], time.Since(at)-every)
		}
		if waits[true] > every+time.Second {
			t.Errorf("a preferred building waited %v, repeating its call every %v", waits[true], every)
		}
		if waits[false] > 8*time.Second {
			t.Errorf("a building waited %v; all together need %v", waits[false], buildings/callsPerSecond*time.Second)
		}
		if c.waited.Load() == 0 {
			t.Error("nothing had to wait, says the counter")
		}
		t.Logf("longest waits: %v", waits)
	})
}

// A call that waits for its turn is made once, however often it is asked for, and not at
// all when a session has come meanwhile or the tunnel is closed.
func TestWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		called := map[string]int{}
		n.lose(func(_, to netip.AddrPort, b []byte) bool {
			if wireguard.MessageType(b) == wireguard.Initiation {
				called[to.String()]++
			}
			return false
		})
		spend := func() { g.calls.limiter.ReserveN(time.Now(), callsBurst) } // a fifth of a second
		open := func(at string) (*building, PrivateKey, PublicKey) {
			ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
			return openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), at)), theirs, ours.Public()
		}
		spend()
		spend()
		once, _, _ := open("203.0.113.1:1")
		done, theirs, ours := open("203.0.113.2:1")
		closed, _, _ := open("203.0.113.3:1")
		for range 3 {
			if err := errors.Join(once.Renew(), once.SetEndpoint(netip.MustParseAddrPort("203.0.113.1:1"))); err != nil {
				t.Error(err)
			}
		}
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
		r := startRouter(t, n.listen("203.0.113.2:1"), theirs, ours, gatewayAddr)
		synctest.Wait()
		if !done.Established() {
			t.Error("a router's call does not make a session while ours waits")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		delete(called, gatewayAddr)
		if len(called) != 1 || called["203.0.113.1:1"] != 1 {
			t.Errorf("called %v; want the one that still waits, once", called)
		}
		r.device.Close()
		g.stop(t)
	})
}

// A building whose call had to wait comes up as any other.
func TestBuildingComesUpAfterItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		ours, theirs := GeneratePrivateKey(), GeneratePrivateKey()
		r := startRouter(t, n.listen("203.0.113.1:1"), theirs, ours.Public(), "")
		g.calls.limiter.AllowN(time.Now(), callsBurst)
		began := time.Now()
		b := openBuilding(t, g.Exchange, configFor(ours, theirs.Public(), ""))
		b.Prefer(true)
		if err := b.Race([]netip.AddrPort{netip.MustParseAddrPort("203.0.113.2:1"), netip.MustParseAddrPort("203.0.113.1:1")}); err != nil {
			t.Fatal(err)
		}
		exchangeData(t, b, r)
		if took := time.Since(began); took > time.Second {
			t.Errorf("answered after %v", took)
		}
		if got := g.Stats().CallsWaited; got != 1 {
			t.Errorf("%d initiations waited, want 1", got)
		}
		r.device.Close()
		g.stop(t)
	})
}

// Whoever waits gets a turn, however many preferred ones there are and were; and one that
// becomes preferred while it waits goes before the others.
func TestTurnsOfCalls(t *testing.T) {
	c := newCalls()
	names := map[*Tunnel]string{nil: ""}
	wait := func(name string, preferred bool) *Tunnel {
		b := &Tunnel{}
		b.preferred.Store(preferred)
		names[b] = name
		c.wait(b)
		return b
	}
	see := func(want ...string) {
		t.Helper()
		for _, name := range want {
			if got := names[c.next()]; got != name {
				t.Errorf("the turn of %q, want %q", got, name)
			}
		}
	}
	for range 5 {
		wait("early", true)
	}
	see("early", "early", "early", "early", "early", "")
	wait("other", false)
	for range 6 {
		wait("preferred", true)
	}
	see("other", "preferred", "preferred", "preferred", "preferred", "preferred", "preferred", "")
	wait("first", false)
	wait("second", false)
	moved := wait("third", false)
	c.prefer(moved)
	c.wait(moved)                       // it repeats it
	see("first", "third", "second", "") // the first is owed a turn
	c.wait(moved)
	see("third", "")
}
