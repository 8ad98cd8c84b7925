package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func keyedWrite(key, value string) *knxfleetv1.GroupWriteRequest {
	return &knxfleetv1.GroupWriteRequest{Building: "hq", GroupAddress: "1/2/3", Value: value, IdempotencyKey: key}
}

// caller calls as the handler does; each call that is made answers how often it was.
type caller struct {
	replays *replays
	mu      sync.Mutex
	made    int
	takes   time.Duration
	fails   error
}

func (c *caller) call(ctx context.Context, request *knxfleetv1.GroupWriteRequest) (string, bool, error) {
	answer := &knxfleetv1.GroupWriteResponse{}
	replayed, err := c.replays.once(ctx, request, time.Minute, answer, func(ctx context.Context) error {
		c.mu.Lock()
		c.made++
		made, fails := c.made, c.fails
		c.mu.Unlock()
		timer := time.NewTimer(c.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		answer.Telegram = &knxfleetv1.Telegram{Name: fmt.Sprint(made)}
		return fails
	})
	return answer.GetTelegram().GetName(), replayed, err
}

func TestIdempotencyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &caller{replays: newReplays(), takes: time.Second}
		want := func(request *knxfleetv1.GroupWriteRequest, name string, replayed bool) {
			t.Helper()
			if got, again, err := c.call(t.Context(), request); got != name || again != replayed || err != nil {
				t.Errorf("%v: answer %q, replayed %v, %v; want %q and %v", request, got, again, err, name, replayed)
			}
		}
		want(keyedWrite("a", "on"), "1", false)
		want(keyedWrite("a", "on"), "1", true)
		want(keyedWrite("", "on"), "2", false)
		want(keyedWrite("", "on"), "3", false)
		want(keyedWrite("b", "on"), "4", false)
		if _, _, err := c.call(t.Context(), keyedWrite("a", "off")); !errors.Is(err, errKeyReused) {
			t.Errorf("another value with the same key: %v", err)
		}
		time.Sleep(9 * time.Minute)
		want(keyedWrite("a", "on"), "1", true)
		time.Sleep(2 * time.Minute)
		want(keyedWrite("a", "off"), "5", false)
		if len(c.replays.of) != 1 || len(c.replays.order) != 1 || c.replays.bytes > 2*replayOverhead {
			t.Errorf("%d keys and %d bytes are kept of one", len(c.replays.of), c.replays.bytes)
		}
	})
}

// A repetition that comes while the first is under way waits for it, and the first
// goes on when its client is gone.
func TestRepeatedWhileUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &caller{replays: newReplays(), takes: 5 * time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() {
			if got, _, err := c.call(ctx, keyedWrite("a", "on")); got != "1" || err != nil {
				t.Errorf("the first: %q, %v", got, err)
			}
		})
		synctest.Wait()
		cancel()
		for range 3 {
			calls.Go(func() {
				if got, replayed, err := c.call(t.Context(), keyedWrite("a", "on")); got != "1" || !replayed || err != nil {
					t.Errorf("a repetition: %q, %v, %v", got, replayed, err)
				}
			})
		}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, _, err := c.call(short, keyedWrite("a", "on")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one without patience: %v", err)
		}
		calls.Wait()
	})
}

// A call that sent nothing leaves its key free, also for those that waited for it.
func TestFailureLeavesTheKeyFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &caller{replays: newReplays(), takes: time.Second, fails: errBatchesBusy}
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, _, err := c.call(t.Context(), keyedWrite("a", "on")); !errors.Is(err, errBatchesBusy) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		c.mu.Lock()
		c.fails = nil
		c.mu.Unlock()
		if got, replayed, err := c.call(t.Context(), keyedWrite("a", "on")); got != "2" || replayed || err != nil {
			t.Errorf("the second: %q, %v, %v", got, replayed, err)
		}
		calls.Wait()
	})
}

// What is kept is bounded: a key for which there is no room is refused before
// anything is sent, until older ones have expired.
func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &caller{replays: newReplays()}
		c.replays.limit = 3 * (replayOverhead + 100)
		refused := 0
		for i := range 10 {
			if _, _, err := c.call(t.Context(), keyedWrite(fmt.Sprint(i), "on")); errors.Is(err, errKeysFull) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused != 7 || c.made != 3 || c.replays.bytes > c.replays.limit {
			t.Errorf("%d refused, %d made, %d bytes", refused, c.made, c.replays.bytes)
		}
		time.Sleep(11 * time.Minute)
		if _, _, err := c.call(t.Context(), keyedWrite("x", "on")); err != nil || len(c.replays.of) != 1 {
			t.Errorf("when they have expired: %v, %d keys", err, len(c.replays.of))
		}
	})
}
