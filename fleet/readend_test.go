package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// A read whose time ends while the bus has not confirmed it yet was sent, and nobody
// who waited for it is told otherwise.
func TestReadEndsBeforeItsConfirmation(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		w.faults(knxserver.Faults{Confirmation: knxserver.ConfirmNever})
		var readers sync.WaitGroup
		for _, patience := range []time.Duration{time.Second, 2 * time.Second} {
			readers.Go(func() {
				_, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "9/7/1", Timeout: patience})
				if unanswered, ok := errors.AsType[*NoAnswerError](err); !ok || unanswered.Outcome != session.Unknown {
					t.Errorf("after %v: %v, want that nobody answered", patience, err)
				}
			})
		}
		readers.Wait()
		if sent := w.onTheBus(frame.GroupValueRead); len(sent) != 1 {
			t.Errorf("%d reads were sent, want 1", len(sent))
		}
		if n := w.fleet.Sent().Outcomes[session.Unknown]; n != 1 {
			t.Errorf("%d are counted as sent with an unknown end, want 1", n)
		}
	})
}

// Where a read's time ends in the moment in which its turn comes, what its caller is
// told is what the bus saw: not sent, or sent and not answered.
func TestReadEndsAtItsTurn(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		const patience = 2 * time.Second
		late := uint64(0)
		for range 50 {
			var mu sync.Mutex
			sent := map[string]bool{}
			var readers sync.WaitGroup
			for i := range 8 {
				address := fmt.Sprintf("9/7/%d", 1+i)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if i >= 4 { // the caller's own deadline
					ctx, cancel = context.WithTimeout(t.Context(), patience)
				}
				readers.Go(func() {
					defer cancel()
					_, err := w.fleet.GroupRead(ctx, Read{Building: "hq", Address: address, Timeout: patience})
					_, unsent := errors.AsType[*NotSentError](err)
					mu.Lock()
					defer mu.Unlock()
					if !unsent {
						sent[address] = true
					} else {
						late++
					}
				})
			}
			readers.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			seen := map[string]bool{}
			for _, bus := range w.onTheBus(frame.GroupValueRead) {
				seen[frame.GroupAddress(bus.LData.Destination).String()] = true
			}
			if !maps.Equal(sent, seen) {
				t.Fatalf("told that it was sent: %v; the bus saw %v", slices.Sorted(maps.Keys(sent)), slices.Sorted(maps.Keys(seen)))
			}
		}
		if dropped := w.fleet.Sent().Dropped; late == 0 || dropped != late {
			t.Errorf("%d came too late, %d are counted", late, dropped)
		}
	})
}
