package fleet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

// 200 buildings are opened, closed and opened again while their buses talk; each
// comes back, and no telegram is seen as another building's or twice.
func TestReopenUnderTraffic(t *testing.T) {
	const buildings, rounds = 200, 3
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buildings, 2, knxserver.Config{Profile: knxserver.Building(), Rate: 2})
		seen := collect(subscribe(t, w.hub, Filter{}, 1<<30))
		ids := make([]string, buildings)
		for i := range ids {
			ids[i] = fmt.Sprintf("b%d", i+1)
		}
		w.add(ids...)
		w.online(ids...)
		for round := range rounds {
			for i, id := range ids {
				if i%2 != round%2 {
					continue
				}
				b := buildingOf(t, id, w.sim.Buildings()[i])
				b.Enabled = false
				w.desired.put(b)
			}
			time.Sleep(time.Second)
			for i, id := range ids {
				want := StateOnline
				if i%2 == round%2 {
					want = StateDisabled
				}
				w.wait(id, 10*time.Second, want.String(), func(s Status) bool { return s.State == want })
			}
			w.add(ids...)
			w.online(ids...)
		}
		checkIdentities(t, seen())
		for _, id := range ids {
			w.desired.remove(id)
		}
		time.Sleep(10 * time.Second)
		watch := w.fleet.Watch(Moment{})
		defer watch.Close()
		if left, err := watch.Next(t.Context()); err != nil || len(left) != 1 || left[0].Kind != ChangeSnapshotEnd {
			t.Errorf("%d buildings are left after all were deleted (%v)", len(left)-1, err)
		}
		w.stop()
	})
}

// checkIdentities wants every building's telegrams to be numbered from 1 in each
// epoch, without a hole, and epochs to rise.
func checkIdentities(t *testing.T, telegrams []*Telegram) {
	t.Helper()
	type identity struct{ epoch, number uint64 }
	last := make(map[string]identity)
	for _, tg := range telegrams {
		before := last[tg.Building]
		if tg.Epoch < before.epoch || tg.Epoch == before.epoch && tg.Number != before.number+1 || tg.Epoch > before.epoch && tg.Number != 1 {
			t.Fatalf("%s: telegram %d/%d follows %d/%d", tg.Building, tg.Epoch, tg.Number, before.epoch, before.number)
		}
		last[tg.Building] = identity{tg.Epoch, tg.Number}
	}
	if len(telegrams) == 0 {
		t.Error("no telegram was seen")
	}
}
