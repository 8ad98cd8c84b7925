package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Three buildings with one subnet: a telegram of one is seen as its own, and a
// write reaches its bus alone.
func TestBuildingsDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1, knxserver.Config{RecordLimit: 100})
		s := subscribe(t, w.hub, Filter{}, 0)
		seen := collect(s)
		w.add("a", "b", "c")
		w.online("a", "b", "c")
		w.do(1, func(now time.Time, b *simulator.Building) {
			if _, err := b.KNX.Inject(now, knxserver.Telegram{
				Destination: 0x0A03, Command: frame.GroupValueWrite, Data: []byte{1}, SixBit: true,
			}); err != nil {
				t.Error(err)
			}
		})
		outcome, err := w.fleet.GroupWrite(t.Context(), Write{Building: "c", Address: "1/2/4", DPT: "9.001", Value: "-20.3", Within: time.Second})
		if outcome.Outcome != session.Confirmed && outcome.Outcome != session.Rejected || err != nil {
			t.Errorf("write: %v, %v", outcome, err)
		}
		time.Sleep(time.Second)
		for i, id := range []string{"a", "b", "c"} {
			w.do(i, func(_ time.Time, b *simulator.Building) {
				for _, bus := range b.KNX.TakeRecord().Bus {
					fromClient := bus.Origin == knxserver.FromClient
					if fromClient != (id == "c") || id == "a" {
						t.Errorf("the bus of %s saw %+v", id, bus)
					}
					if fromClient && (bus.LData.Destination != 0x0A04 || string(bus.LData.Data) != "\x80\x12") {
						t.Errorf("the write arrived as %+v", bus.LData)
					}
				}
			})
		}
		// Our own confirmed write is a telegram of the stream too, earlier or later.
		got := make(map[string]string)
		for _, tg := range seen() {
			got[tg.Building] += tg.Message().GetDestination() + " "
		}
		if len(got) > 2 || got["b"] != "1/2/3 " || got["c"] != "" && got["c"] != "1/2/4 " {
			t.Errorf("seen: %v", got)
		}
		w.stop()
	})
}

// Whatever a session goes through in a moment, a watcher is told of it: also when the
// building is ONLINE again before anybody has looked. Of more than that the end is told.
func TestShortOutagesAreTold(t *testing.T) {
	inWorld(t, knxserver.Config{}, func(t *testing.T, w *world) {
		for _, ends := range []int{1, 2, 3} {
			told := w.sights(t)
			s := w.fleet.site("hq")
			was := *s.session.Load()
			for range ends {
				s.State(knxbridge.State{State: session.StateConnecting, Reason: session.ReasonServerDisconnected})
				s.State(was)
			}
			synctest.Wait()
			if n := len(told()); n != 1 && ends == 1 || n == 0 {
				t.Errorf("a watcher is told of %d ends of the session, of %d", n, ends)
			}
			if v, _ := w.fleet.View("hq"); v.Status.State != StateOnline {
				t.Errorf("after %d ends and as many returns the building is %s", ends, v.Status.State)
			}
		}
	})
}
