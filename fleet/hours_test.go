package fleet

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// seedVariable names the seed to replay, and no other.
const seedVariable = "KNXFLEET_SEED"

// TestVirtualHours plays two hours of bad network on the whole path, from the
// buses to the fan-out: 5 % loss, reordering, power cuts, sites that are stopped
// and started, and WireGuard's own re-keys every two minutes. Whatever a
// building's interface got acknowledged must have been seen: once, in order, and
// as that building's.
//
// A failing seed is in the test's name; KNXFLEET_SEED=N replays it.
func TestVirtualHours(t *testing.T) {
	first, last := uint64(1), uint64(seeds)
	if text := os.Getenv(seedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		first, last = seed, seed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playHours(t, seed) })
		})
	}
}

const (
	hoursBuildings = 3
	hoursLength    = 2 * time.Hour
	hoursPause     = 5 * time.Second // mean, between two telegrams of a bus
	hoursFault     = 7 * time.Minute // mean, between two restarts
)

func playHours(t *testing.T, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, hoursBuildings, seed, knxserver.Config{RecordLimit: 1 << 20})
	seen := collect(subscribe(t, w.hub, Filter{}, 1<<30))
	ids := []string{"a", "b", "c"}
	w.add(ids...)
	w.online(ids...)
	for i := range ids {
		w.do(i, func(_ time.Time, b *simulator.Building) {
			b.Link = simulator.Link{Loss: 0.05, Duplicate: 0.01, Reorder: 0.02, ReorderBy: 30 * time.Millisecond, Delay: 15 * time.Millisecond, Jitter: 10 * time.Millisecond}
		})
	}
	around := func(mean time.Duration) time.Duration { return time.Duration(rnd.ExpFloat64() * float64(mean)) }
	end := time.Now().Add(hoursLength)
	telegramAt, faultAt := time.Now(), time.Now().Add(around(hoursFault))
	var counter uint32
	for time.Now().Before(end) {
		time.Sleep(time.Until(earlier(telegramAt, faultAt)))
		i := rnd.IntN(len(ids))
		if !time.Now().Before(faultAt) {
			faultAt = time.Now().Add(around(hoursFault))
			w.restart(rnd.IntN(3), i, ids[i], around(20*time.Second))
			continue
		}
		telegramAt = time.Now().Add(around(hoursPause / hoursBuildings))
		counter++
		w.do(i, func(now time.Time, b *simulator.Building) {
			if _, err := b.KNX.Inject(now, knxserver.Telegram{
				Destination: frame.GroupAddress(1 + rnd.IntN(1000)), Command: frame.GroupValueWrite, Data: marked(i, counter),
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
	time.Sleep(time.Minute)
	w.online(ids...)
	telegrams := seen()
	checkIdentities(t, telegrams)
	w.checkDelivered(telegrams, ids)
	w.stop()
}

// marked is a value that says where a telegram comes from, and is never the same.
func marked(building int, counter uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(building)}, counter)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// restart is one of the things that happen to buildings.
func (w *world) restart(kind, i int, id string, length time.Duration) {
	w.t.Helper()
	switch kind {
	case 0: // the building loses power
		if err := w.sim.PowerCut(w.t.Context(), w.sim.Buildings()[i], length); err != nil {
			w.t.Fatal(err)
		}
	case 1: // our side starts anew
		b := buildingOf(w.t, id, w.sim.Buildings()[i])
		b.Enabled = false
		w.desired.put(b)
		time.Sleep(length)
		w.desired.put(buildingOf(w.t, id, w.sim.Buildings()[i]))
	default: // the LAN goes away
		w.do(i, func(_ time.Time, b *simulator.Building) { b.LANDown = true })
		time.Sleep(length)
		w.do(i, func(_ time.Time, b *simulator.Building) { b.LANDown = false })
	}
}

// checkDelivered compares what was seen with what the interfaces noted.
func (w *world) checkDelivered(telegrams []*Telegram, ids []string) {
	w.t.Helper()
	times := make(map[string]int)
	for _, tg := range telegrams {
		value := tg.Message().GetRaw()
		if len(value) != 5 || ids[value[0]] != tg.Building {
			w.t.Errorf("%s: telegram %x is not of this building", tg.Building, value)
		}
		if times[string(value)]++; times[string(value)] > 1 {
			w.t.Errorf("%s: telegram %x was seen twice", tg.Building, value)
		}
	}
	acked, lost := 0, 0
	for i := range ids {
		w.do(i, func(_ time.Time, b *simulator.Building) {
			record := b.KNX.TakeRecord()
			if record.BusMissed > 0 || record.DeliveriesMissed > 0 {
				w.t.Fatal("the referee's record is too short")
			}
			values := make(map[uint64]string)
			for _, bus := range record.Bus {
				values[bus.Number] = string(bus.LData.Data)
			}
			for _, d := range record.Deliveries {
				switch {
				case d.Content != knxserver.ContentIndication:
				case d.Outcome != knxserver.Acked:
					lost++
				default:
					acked++
					if times[values[d.Number]] != 1 {
						w.t.Errorf("%s: telegram %x was acknowledged at %v and not seen", ids[i], values[d.Number], d.Ended)
					}
				}
			}
		})
	}
	w.t.Logf("%d telegrams seen, %d acknowledged, %d never came through", len(telegrams), acked, lost)
}
