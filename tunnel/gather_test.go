package tunnel

import (
	"testing"
	"time"
)

// play has a socket get rate datagrams a second for a time, and returns how often
// its reader was woken and how long a datagram waited at most.
func (g *gathering) play(start time.Time, rate int, length time.Duration) (woken int, waited time.Duration) {
	each, now := time.Second/time.Duration(rate), start
	for next := start; next.Before(start.Add(length)); {
		if now.Before(next) {
			now = next // it is woken by this one
		}
		waited = max(waited, now.Sub(next))
		n := int(now.Sub(next)/each) + 1
		next = next.Add(time.Duration(n) * each)
		woken++
		now = now.Add(g.read(now, min(n, batchSize), n >= batchSize))
	}
	return woken, waited
}

func TestBusySocketsGather(t *testing.T) {
	start := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		rate  int
		woken int // at most, in a second that begins at rest
		waits bool
	}{
		{name: "quiet", rate: 100, woken: 100},
		{name: "1,000 buildings with a telegram a second", rate: 1000, woken: 1000},
		{name: "busy", rate: 5000, woken: 1100, waits: true},
		{name: "very busy", rate: 20_000, woken: 1400, waits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g gathering
			woken, waited := g.play(start, c.rate, time.Second)
			if woken > c.woken {
				t.Errorf("woken %d times for %d datagrams, want at most %d", woken, c.rate, c.woken)
			}
			if most := gatherFor; waited > most || waited > 0 != c.waits {
				t.Errorf("a datagram waited %v", waited)
			}
			// Quiet again: within two windows nothing waits any more.
			g.play(start.Add(time.Second), 100, 2*gatherWindow)
			if _, waited := g.play(start.Add(2*time.Second), 100, time.Second); waited > 0 {
				t.Errorf("at rest again, a datagram waited %v", waited)
			}
		})
	}
}

func TestFullBatchesDoNotWait(t *testing.T) {
	var g gathering
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for range 10_000 {
		if wait := g.read(now, batchSize, true); wait > 0 {
			t.Fatalf("waits %v while more are there", wait)
		}
		now = now.Add(100 * time.Microsecond)
	}
}
