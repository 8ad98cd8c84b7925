package session

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// probing reports whether a group address is read while nothing is heard of the bus.
func (m *Machine) probing() bool { return m.cfg.Probe != 0 && m.cfg.Layer == frame.LayerLink }

// planProbe plans the next probe for when the bus will have been quiet for long.
func (m *Machine) planProbe(now time.Time) {
	if m.probing() {
		m.arm(timerProbe, now.Add(m.cfg.ProbeEvery))
	}
}

// probe reads the address. Anything that is heard of the bus plans the next one anew;
// until then it is repeated. It goes on when the bus is taken for dead, since it may
// prove the contrary, but not beside a write nor when the interface itself is in doubt.
func (m *Machine) probe(now time.Time) {
	again := probeAgain
	if m.link.doubts == doubtNegative {
		again = busRecheck
	}
	m.arm(timerProbe, now.Add(again))
	if m.write.active || m.link.doubts&^doubtNegative != 0 {
		return
	}
	m.counters.Probes++
	m.request(now, outgoing{probe: true, data: frame.LData{
		Message: frame.LDataReq, Priority: frame.PriorityLow, HopCount: frame.DefaultHopCount,
		Destination: uint16(m.cfg.Probe), Group: true, APCI: frame.GroupValueRead,
	}})
}

// unproven counts a write without a confirmation against the bus, if it is a probe and
// was not answered either. That of other writes may be the interface's habit.
func (m *Machine) unproven(now time.Time) {
	if m.write.probe && !m.write.bus {
		m.unacknowledged(now)
	}
}
