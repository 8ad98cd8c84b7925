package fleet

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

// Of buildings with one key and one router the eldest that is enabled runs, whoever came
// first, and the others say why they do not.
func TestTwins(t *testing.T) {
	inWorld(t, knxserver.Config{}, func(t *testing.T, w *world) {
		twin := func(id string, age time.Duration) registry.Building {
			b := buildingOf(t, id, w.sim.Buildings()[0])
			b.CreatedAt = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(-age)
			return b
		}
		waits := func(id, elder string) {
			t.Helper()
			s := w.wait(id, 10*time.Second, "KEYS_IN_USE", func(s Status) bool { return s.State == StateWaiting && s.Reason == ReasonKeysInUse })
			if !strings.Contains(s.Message, elder) {
				t.Errorf("%s says %q, want it to name %s", id, s.Message, elder)
			}
		}
		hq := twin("hq", 2*time.Hour)
		w.desired.put(hq)
		w.online("hq")
		epoch := w.fleet.site("hq").epoch

		w.desired.put(twin("younger", time.Hour))
		waits("younger", "hq")
		time.Sleep(time.Minute)
		synctest.Wait()
		waits("younger", "hq")
		if w.online("hq"); w.fleet.site("hq").epoch != epoch {
			t.Error("the elder was disturbed")
		}

		w.desired.put(twin("eldest", 3*time.Hour)) // as after a restart, when buildings come in any order
		w.online("eldest")
		waits("hq", "eldest")
		w.desired.remove("eldest")
		w.online("hq")
		waits("younger", "hq")

		hq.Enabled, hq.Generation = false, 2
		w.desired.put(hq)
		w.online("younger")
		hq.Enabled, hq.Generation = true, 3
		w.desired.put(hq)
		w.online("hq")
		waits("younger", "hq")
		b := w.sim.Buildings()[0]
		if n := len(b.KNX.Channels()); n != 1 {
			t.Errorf("%d slots of the interface are taken", n)
		}
	})
}
