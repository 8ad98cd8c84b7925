package fleet

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Whichever way an interface tells that its bus is dead, the building leaves ONLINE
// within 30 s, says why, and is ONLINE again when the bus is back.
func TestDeadBus(t *testing.T) {
	for _, r := range []struct {
		name   string
		style  knxserver.Style
		faults knxserver.Faults
		writes bool // somebody writes every 2 s
		reason string
		words  string
	}{
		{"heartbeats are answered 0x27", knxserver.StyleKnxd, knxserver.Faults{Heartbeat: frame.StatusKNXConnection}, false, "BUS_DOWN", "power supply"},
		{"heartbeats are answered 0x26", knxserver.StyleKnxd, knxserver.Faults{Heartbeat: frame.StatusDataConnection}, false, "DATA_CONNECTION_ERROR", "connecting anew"},
		{"the feature bus status", knxserver.StyleCalimero, knxserver.Faults{BusDown: true}, false, "BUS_DOWN", "power supply"},
		{"negative confirmations", knxserver.StyleKnxd, knxserver.Faults{BusDown: true}, true, "BUS_UNACKNOWLEDGED", "power supply"},
		{"nobody acknowledges", knxserver.StyleKnxd, knxserver.Faults{Confirmation: knxserver.ConfirmNegative}, true, "BUS_UNACKNOWLEDGED", "power supply"},
	} {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 15, knxserver.Config{Style: r.style})
				w.add("a")
				w.online("a")
				time.Sleep(5 * time.Second)
				w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, r.faults) })
				began := time.Now()
				w.wait("a", 30*time.Second, "not ONLINE, and why", func(s Status) bool {
					if r.writes && time.Since(began)%(2*time.Second) == 0 {
						_, _ = w.fleet.GroupWrite(t.Context(), Write{Building: "a", Address: "1/2/4", DPT: "1.001", Value: "on", Within: time.Second})
					}
					return s.State == StateConnecting && s.Reason == r.reason && strings.Contains(s.Message, r.words)
				})
				t.Logf("seen after %v", time.Since(began))
				for range 90 {
					time.Sleep(time.Second)
					// That of a write's answer is tried again after a while, as if it were well.
					if v, _ := w.fleet.View("a"); v.Status.State == StateOnline && !r.writes {
						t.Fatalf("it is ONLINE %v after its bus died", time.Since(began))
					}
				}
				w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, knxserver.Faults{}) })
				mended := time.Now()
				w.wait("a", 30*time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline })
				t.Logf("ONLINE again after %v", time.Since(mended))
				w.stop()
			})
		})
	}
}
