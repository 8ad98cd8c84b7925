package fleet

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Whenever a session is new, the addresses asked for are read at their pace, and the
// answers are marked initial, but no others.
func TestReadOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, lit(t))
		w.tables.put("hq", kitchen(frame.StyleThreeLevel))
		seen := collect(subscribe(t, w.hub, Filter{Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_RESPONSE}}, 0))
		b := buildingOf(t, "hq", w.sim.Buildings()[0])
		b.ReadOnStart = registry.ReadOnStart{Addresses: []string{"2/0/5", "1/2/*"}, PerSecond: 1}
		w.desired.put(b)
		w.online("hq")
		time.Sleep(20 * time.Second)
		reads := w.onTheBus(frame.GroupValueRead)
		var order []string
		for i, r := range reads {
			order = append(order, frame.GroupAddress(r.LData.Destination).String())
			if i > 0 && r.At.Sub(reads[i-1].At) < 900*time.Millisecond {
				t.Errorf("read %d came %v after the one before", i, r.At.Sub(reads[i-1].At))
			}
		}
		if got, want := strings.Join(order, " "), "2/0/5 1/2/1 1/2/2 1/2/3 1/2/4 1/2/5 1/2/6 1/2/7"; got != want {
			t.Errorf("read %s, want %s", got, want)
		}
		var answers []string
		for _, a := range seen() {
			answers = append(answers, fmt.Sprint(a.Message().GetDestination(), " ", a.Message().GetInitial()))
		}
		if got, want := strings.Join(answers, ", "), "2/0/5 true, 1/2/1 true, 1/2/3 true"; got != want {
			t.Errorf("answers %s, want %s", got, want)
		}

		// A read of a client's is none of these.
		if answer, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "1/2/3", Timeout: time.Second}); err != nil || answer.Telegram.GetInitial() {
			t.Errorf("a client's read: %v, %v", answer, err)
		}
		w.onTheBus(frame.GroupValueRead)

		// Another session, and all is read again.
		w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.Disconnect(now) })
		time.Sleep(20 * time.Second)
		if n := len(w.onTheBus(frame.GroupValueRead)); n != len(reads) {
			t.Errorf("%d reads after a reconnect, want %d", n, len(reads))
		}
		// Nothing more until then.
		time.Sleep(time.Minute)
		if n := len(w.onTheBus(frame.GroupValueRead)); n != 0 {
			t.Errorf("%d reads without a cause", n)
		}
		w.stop()
	})
}

// An outage ends the reads under way; off is off.
func TestReadOnStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, lit(t))
		b := buildingOf(t, "hq", w.sim.Buildings()[0])
		b.ReadOnStart = registry.ReadOnStart{Addresses: []string{"9/7/1", "9/7/2", "9/7/3", "9/7/4", "9/7/5"}}
		w.desired.put(b)
		w.online("hq")
		time.Sleep(time.Second)
		w.faults(knxserver.Faults{Silent: true})
		time.Sleep(time.Minute)
		before := len(w.onTheBus(frame.GroupValueRead))
		if before == 0 || before > 3 {
			t.Errorf("%d reads before the outage", before)
		}
		b.ReadOnStart, b.Generation = registry.ReadOnStart{}, 2
		w.desired.put(b)
		w.faults(knxserver.Faults{})
		w.wait("hq", 2*time.Minute, "ONLINE", func(s Status) bool { return s.State == StateOnline })
		time.Sleep(10 * time.Second)
		if n := len(w.onTheBus(frame.GroupValueRead)); n != 0 {
			t.Errorf("%d reads although it is off", n)
		}
		w.stop()
	})
}
