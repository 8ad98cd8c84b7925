package fleet

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Where nobody writes and nothing happens on the bus, only the probe tells that it is
// dead: also where the interface says nothing of it. The building is ONLINE again when
// the bus is back, and not a moment in between.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name   string
		normal knxserver.Faults // of an interface as it always is
		dead   knxserver.Faults
	}{
		{"negative confirmations", knxserver.Faults{}, knxserver.Faults{BusDown: true}},
		{"no confirmations any more", knxserver.Faults{}, knxserver.Faults{BusDown: true, Confirmation: knxserver.ConfirmNever}},
		{"an interface that never confirms", knxserver.Faults{Confirmation: knxserver.ConfirmNever}, knxserver.Faults{BusDown: true, Confirmation: knxserver.ConfirmNever}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				knx := lit(t)
				knx.Style = knxserver.StyleKnxd // which does not tell of its bus
				w := newWorld(t, 1, 21, knx)
				b := buildingOf(t, "hq", w.sim.Buildings()[0])
				b.KNX.Probe, b.KNX.ProbeInterval = 0x0A03, time.Minute
				w.desired.put(b)
				w.faults(c.normal)
				w.online("hq")

				// Ten quiet minutes: the bus lives, and that is seen.
				for range 10 {
					time.Sleep(time.Minute)
					w.wait("hq", time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline })
				}
				v, _ := w.fleet.View("hq")
				if since := time.Since(v.Status.LastTelegramAt); since > 62*time.Second {
					t.Errorf("the last telegram came %v ago, though the bus is read every minute", since)
				}
				if n := len(w.onTheBus(frame.GroupValueRead)); n < 9 || n > 11 {
					t.Errorf("%d reads in ten quiet minutes", n)
				}

				w.faults(c.dead)
				began := time.Now()
				s := w.wait("hq", 75*time.Second, "not ONLINE, and why", func(s Status) bool {
					return s.State == StateConnecting && s.Reason == "BUS_UNACKNOWLEDGED" && strings.Contains(s.Message, "1/2/3")
				})
				t.Logf("seen after %v: %s", time.Since(began), s.Message)
				for range 5 * 60 {
					time.Sleep(time.Second)
					if v, _ := w.fleet.View("hq"); v.Status.State != StateConnecting {
						t.Fatalf("it is %s %v after the bus died", v.Status.State, time.Since(began))
					}
				}
				if v, _ := w.fleet.View("hq"); v.Status.LastTelegramAt.After(began) {
					t.Error("a dead bus gave a telegram")
				}
				w.faults(c.normal)
				mended := time.Now()
				w.wait("hq", 30*time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline })
				t.Logf("ONLINE again after %v", time.Since(mended))
				if v, _ := w.fleet.View("hq"); v.Status.Counters.Session.Sessions != 1 {
					t.Errorf("%d sessions", v.Status.Counters.Session.Sessions)
				}
				w.stop()
			})
		})
	}
}

// A bus on which something happens is not read.
func TestNoProbeOnALivelyBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 22, lit(t))
		b := buildingOf(t, "hq", w.sim.Buildings()[0])
		b.KNX.Probe = 0x0A03
		w.desired.put(b)
		w.online("hq")
		for range 20 {
			if _, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "1/2/1", DPT: "1.001", Value: "on", Within: time.Second}); err != nil {
				t.Error(err)
			}
			time.Sleep(15 * time.Second)
		}
		if n := len(w.onTheBus(frame.GroupValueRead)); n != 0 {
			t.Errorf("%d reads", n)
		}
		w.stop()
	})
}
