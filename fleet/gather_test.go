package fleet

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// At the pace of a thousand quiet buildings each telegram goes out at once; when all
// subscribers together are told much more, telegrams are gathered, and none is lost.
func TestGatherUnderLoadOnly(t *testing.T) {
	for _, c := range []struct {
		name        string
		perSecond   int
		subscribers int
		most        time.Duration // of a telegram's wait, after a second
		responses   [2]int        // after the first second, in one
	}{
		{"a thousand a second for one", 1000, 1, 0, [2]int{1000, 1000}},
		{"five thousand a second for one", 5000, 1, gatherTime, [2]int{150, 180}},
		{"a thousand a second for a hundred", 1000, 100, gatherTime, [2]int{150, 180}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := NewHub()
				began := time.Now()
				responses, got, slowest := 0, 0, time.Duration(0)
				var reading sync.WaitGroup
				for i := range c.subscribers {
					s := subscribe(t, hub, Filter{}, 0)
					reading.Go(func() {
						for {
							telegrams, _, err := s.Next(context.Background())
							if err != nil {
								return
							}
							if i > 0 {
								continue
							}
							got += len(telegrams)
							if time.Since(began) < time.Second {
								continue
							}
							responses++
							for _, tg := range telegrams {
								slowest = max(slowest, time.Since(began.Add(time.Duration(tg.Number)*time.Second/time.Duration(c.perSecond))))
							}
						}
					})
				}
				for n := range 2 * c.perSecond {
					time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(c.perSecond))))
					hub.Publish(&Telegram{Building: "hq", Epoch: 1, Number: uint64(n)})
				}
				time.Sleep(time.Second)
				hub.Close()
				reading.Wait()
				if got != 2*c.perSecond {
					t.Errorf("%d of %d telegrams came", got, 2*c.perSecond)
				}
				if slowest > c.most {
					t.Errorf("a telegram waited %v, want at most %v", slowest, c.most)
				}
				if responses < c.responses[0] || responses > c.responses[1] {
					t.Errorf("%d responses in a second, want %v", responses, c.responses)
				}
			})
		})
	}
}
