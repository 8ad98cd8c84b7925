package fleet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

// A building whose first interface is not there is online by the other one, and says
// which it is.
func TestFallbackInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 5, knxserver.Config{})
		b := buildingOf(t, "hq", w.sim.Buildings()[0])
		b.KNX.Interface = netip.AddrPortFrom(netip.MustParseAddr("192.168.1.99"), simulator.Interface.Port())
		b.KNX.Fallback = simulator.Interface
		w.desired.put(b)
		s := w.wait("hq", time.Minute, "online by the fallback", func(s Status) bool { return s.State == StateOnline })
		if s.Interface != simulator.Interface.String() || s.TCP {
			t.Errorf("online by %s, TCP %v; want %s by UDP", s.Interface, s.TCP, simulator.Interface)
		}
		w.stop()
	})
}
