package tunnel

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Four thousand buildings call every 2 s or so, bunched as after the loss of an uplink,
// which is twice the budget's pace: what goes out keeps to the budget and is spread
// over the time, each building gets its turn, and preferred ones theirs at once.
func TestCallsKeepToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buildings, every, minute = 4000, 2 * time.Second, 30 * time.Second
		n := newNetwork()
		g := startGateway(n)
		began := time.Now()
		var mu sync.Mutex
		sent := make(map[int]int)                          // by second
		waits := map[bool]time.Duration{}                  // the longest, of preferred ones and others
		last := make(map[uint16]time.Time, buildings)      // by port
		preferred := func(i int) bool { return i%50 == 0 } // 2 %
		at := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(i+1)) }
		n.lose(func(_, to netip.AddrPort, _ []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			sent[int(now.Sub(began).Seconds())]++
			waited := now.Sub(last[to.Port()])
			which := preferred(int(to.Port()) - 1)
			waits[which] = max(waits[which], waited)
			last[to.Port()] = now
			return true
		})
		for i := range buildings {
			last[at(i).Port()] = began
		}
		var calling sync.WaitGroup
		for i := range buildings {
			b := &bind{x: g.Exchange}
			b.open.Store(true)
			b.preferred.Store(preferred(i))
			calling.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
				for time.Since(began) < minute {
					if err := b.sendInitiation(make([]byte, sizeInitiation), at(i)); err != nil {
						t.Error(err)
					}
					time.Sleep(every + time.Duration(rnd.IntN(100))*time.Millisecond)
				}
			})
		}
		calling.Wait()
		mu.Lock()
		for second := range int(minute.Seconds()) {
			if n := sent[second]; n > callsPerSecond+callsBurst || n < callsPerSecond/2 {
				t.Errorf("%d initiations in second %d; the budget is %d", n, second, callsPerSecond)
			}
		}
		for i := range buildings {
			which := preferred(i)
			waits[which] = max(waits[which], time.Since(last[at(i).Port()])-every)
		}
		if waits[true] > every+time.Second {
			t.Errorf("a preferred building waited %v, repeating its call every %v", waits[true], every)
		}
		if waits[false] > 8*time.Second {
			t.Errorf("a building waited %v; all together need %v", waits[false], buildings/callsPerSecond*time.Second)
		}
		if g.Stats().CallsWaited == 0 {
			t.Error("nothing had to wait, says the counter")
		}
		t.Logf("longest waits: %v", waits)
		mu.Unlock()
		time.Sleep(10 * time.Second)
		g.stop(t)
	})
}

// A call that waits goes out as the latest of its tunnel, and not at all when it has
// become idle.
func TestWaitingCallIsTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		g := startGateway(n)
		var sent []byte
		n.lose(func(_, _ netip.AddrPort, b []byte) bool { sent = append(sent, b[4]); return true })
		to := netip.MustParseAddrPort("203.0.113.1:1")
		call := func(b *bind, mark byte) {
			initiation := make([]byte, sizeInitiation)
			initiation[4] = mark
			if err := b.sendInitiation(initiation, to); err != nil {
				t.Error(err)
			}
			clear(initiation) // the device uses its buffer again
		}
		g.calls.limiter.AllowN(time.Now(), callsBurst)
		var once, done, closed bind
		for _, b := range []*bind{&once, &done, &closed} {
			b.x, b.inbox = g.Exchange, newInbox()
			b.open.Store(true)
		}
		call(&done, 1)
		call(&once, 2)
		call(&closed, 3)
		call(&once, 4)
		g.calls.cancel(&done)
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(sent) != 1 || sent[0] != 4 {
			t.Errorf("sent %v; want the latest call of the one that still waits", sent)
		}
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
	names := map[*bind]string{}
	bindOf := func(name string, preferred bool) *bind {
		b := &bind{}
		b.preferred.Store(preferred)
		names[b] = name
		return b
	}
	wait := func(name string, preferred bool) *bind {
		b := bindOf(name, preferred)
		c.wait(b, make([]byte, sizeInitiation), nil)
		return b
	}
	see := func(want ...string) {
		t.Helper()
		for _, name := range want {
			b, _, _ := c.next()
			if got := names[b]; got != name {
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
	c.wait(moved, make([]byte, sizeInitiation), nil) // its device repeats it
	see("first", "third", "second", "")              // the first is owed a turn
	c.wait(moved, make([]byte, sizeInitiation), nil)
	see("third", "")
}
