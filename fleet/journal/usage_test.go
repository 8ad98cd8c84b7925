package journal

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// slowCount is a store whose counting takes three seconds, and counts its calls.
type slowCount struct {
	*memoryStore

	calls uint64
	fails bool
}

func (s *slowCount) Usage(context.Context) (map[string]engine.Usage, error) {
	s.calls++
	n, fails := s.calls, s.fails
	time.Sleep(3 * time.Second)
	if fails {
		return nil, errors.New("the disk is busy")
	}
	return map[string]engine.Usage{"hq": {Records: n}}, nil
}

func (*slowCount) Stats(context.Context) (engine.Stats, error) { return engine.Stats{}, nil }

// Who asks what is kept waits for the first count only, and for one after a long time
// without a question: lists of buildings ask again and again.
func TestUsageDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowCount{}
		j := &Journal{store: store}
		ask := func(records uint64, wait time.Duration) {
			t.Helper()
			began := time.Now()
			usage, err := j.Usage(t.Context())
			if err != nil || usage["hq"].Records != records || time.Since(began) != wait {
				t.Errorf("%v %v after %v; want count %d after %v", usage, err, time.Since(began), records, wait)
			}
		}
		ask(1, 3*time.Second)
		time.Sleep(usageAge - time.Second)
		ask(1, 0)
		time.Sleep(2 * time.Second)
		ask(1, 0) // and the second count begins
		time.Sleep(time.Second)
		ask(1, 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		ask(2, 0)
		time.Sleep(usageStale)
		ask(3, 3*time.Second)

		time.Sleep(usageStale)
		store.fails = true
		if usage, err := j.Usage(t.Context()); err == nil {
			t.Errorf("a count that failed told %v", usage)
		}
		began := time.Now()
		for range 100 { // as a list of buildings asks
			if usage, err := j.Usage(t.Context()); err == nil {
				t.Errorf("a count that failed told %v", usage)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("a store that does not count made a list wait %v", took)
		}
		time.Sleep(usageAge)
		store.fails = false
		ask(5, 3*time.Second)

		time.Sleep(usageStale)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := j.Usage(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past the deadline: %v", err)
		}
		time.Sleep(3 * time.Second) // the count that it began ends
	})
}
