package tunnel

import (
	"testing"
	"time"
)

// What a building may send in a second passes, and a quarter of it at once; the rest
// does not.
func TestWall(t *testing.T) {
	for _, c := range []struct {
		name                  string
		limits                Limits
		size                  int // of each datagram
		atOnce, inTenSeconds  int
		changed               Limits // after that
		inTenSecondsThereupon int
	}{
		{"default, small", Limits{}, 100, 5000, 200_000, Limits{}, 200_000},
		{"default, as large as can be", Limits{}, largestDatagram, 114, 4577, Limits{}, 4577},
		{"packets", Limits{Packets: 100}, 1500, 25, 1000, Limits{Packets: 10}, 100},
		{"bytes", Limits{Bytes: 1_000_000}, 1000, 250, 10_000, Limits{}, 200_000},
		{"very few bytes: the largest datagram passes in time", Limits{Bytes: 10_000}, largestDatagram, 1, 1, Limits{Packets: 10}, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, now := &wall{}, time.Now()
			w.init()
			w.set(now, c.limits)
			flood := func(d time.Duration) (passed int) {
				for end := now.Add(d); now.Before(end); now = now.Add(20 * time.Microsecond) {
					if w.admit(now, c.size) {
						passed++
					}
				}
				return passed
			}
			about := func(what string, got, want int) {
				t.Helper()
				if got < want*98/100 || got > want*102/100+1 {
					t.Errorf("%s: %d passed, want %d", what, got, want)
				}
			}
			atOnce := 0
			for w.admit(now, c.size) {
				atOnce++
			}
			about("at once", atOnce, c.atOnce)
			about("in ten seconds", flood(10*time.Second), c.inTenSeconds)
			w.set(now, c.changed)
			about("in ten seconds after a change", flood(10*time.Second), c.inTenSecondsThereupon)
		})
	}
}
