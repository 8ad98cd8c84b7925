package fleet

import (
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// An interface whose description offers TCP is spoken to by TCP, through the tunnel,
// both ways; by UDP where it then takes no connection; and by TCP again in the next
// session that it takes one for. Real time: TCP does not block durably in a bubble.
func TestTCPIsChosenAndFallsBack(t *testing.T) {
	bus := lit(t)
	bus.Style, bus.TCP = knxserver.StyleCalimero, true
	w := newWorld(t, 1, 1, bus)
	w.tables.put("hq", kitchen(frame.StyleThreeLevel))
	subscription, err := w.hub.Subscribe(Filter{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	telegrams := collect(subscription)
	w.add("hq")

	heard := 0
	works := func(by string, tcp bool) {
		t.Helper()
		s := w.wait("hq", 20*time.Second, "ONLINE by "+by, func(s Status) bool { return s.State == StateOnline && s.TCP == tcp })
		if s.Interface != simulator.Interface.String() {
			t.Errorf("online by %s, want %s", s.Interface, simulator.Interface)
		}
		// More than the sequence counter holds, which only UDP has.
		for n := range 300 {
			w.do(0, func(now time.Time, b *simulator.Building) {
				if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: 0x0A03, Command: frame.GroupValueWrite, Data: []byte{0x0C, byte(n)}}); err != nil {
					t.Error(err)
				}
			})
			if n%100 != 0 {
				continue // up to 128 wait in the interface for a client
			}
			w.untilHeard(telegrams, heard+n+1)
		}
		heard += 300
		w.untilHeard(telegrams, heard)
		written, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "Kitchen light", Value: "on", Within: 5 * time.Second})
		if err != nil || written.Outcome != session.Confirmed {
			t.Errorf("a write by %s: %v, %v", by, written, err)
		}
		answer, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "Kitchen light", Timeout: 5 * time.Second})
		if err != nil || answer.Telegram.GetValue() != "on" {
			t.Errorf("a read by %s: %v, %v", by, answer, err)
		}
		heard += 3 // our write, our read, its response
		for _, sent := range w.onTheBus(frame.GroupValueWrite) {
			if udp := sent.Client.Port() == localPort; udp == tcp {
				t.Errorf("%s: the write came from port %d; that of UDP is %d", by, sent.Client.Port(), localPort)
			}
		}
	}
	works("TCP", true)

	w.do(0, func(now time.Time, b *simulator.Building) {
		b.KNX.SetFaults(now, knxserver.Faults{RefuseTCP: true})
		b.KNX.HangUp(now)
	})
	works("UDP", false)

	w.do(0, func(now time.Time, b *simulator.Building) {
		b.KNX.SetFaults(now, knxserver.Faults{})
		b.KNX.Disconnect(now)
	})
	works("TCP again", true)

	// What makes no sense in the stream ends it, as nobody knows where the next frame
	// begins; the session comes back.
	before := w.wait("hq", time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline }).Counters.Session.Sessions
	w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, knxserver.Faults{Malformed: 1}) })
	w.telegrams(time.Second, 50*time.Millisecond)
	w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, knxserver.Faults{}) })
	w.wait("hq", 20*time.Second, "ONLINE in a new session", func(s Status) bool {
		return s.State == StateOnline && s.Counters.Session.Sessions > before
	})
	heard = len(telegrams())
	works("TCP after nonsense", true)

	w.stop()
	if slots := w.sim.Buildings()[0].KNX.Channels(); len(slots) != 0 {
		t.Errorf("%d slots of the interface are still taken", len(slots))
	}
}

// untilHeard waits until a subscriber has a number of telegrams.
func (w *world) untilHeard(telegrams func() []*Telegram, n int) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(telegrams()) < n {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d telegrams, want %d", len(telegrams()), n)
		}
		<-time.After(5 * time.Millisecond)
	}
}
