package session

import (
	"encoding/binary"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// featureFailed is the first return code that means "no" (KNX 03_03_07 Application
// Layer).
const featureFailed = 0x80

// minAPDU is what every interface carries: the APDU of a standard frame.
const minAPDU = 15

// askFeatures asks an interface with tunnelling version 2 to tell changes, whether
// its bus is there, and how long a telegram may be (KNX 03_08_04 Tunnelling,
// interface features). Over UDP only its description tells the version.
func (m *Machine) askFeatures(now time.Time) {
	if m.cfg.Layer != frame.LayerLink || m.peer.mute || (!m.peer.version2 && !m.link.stream) {
		return
	}
	m.link.asks = []frame.Frame{
		frame.FeatureSet{Feature: frame.FeatureInfoServiceEnable, Value: []byte{1, 0}},
		frame.FeatureGet{Feature: frame.FeatureBusStatus},
		frame.FeatureGet{Feature: frame.FeatureMaxAPDULength},
	}
	m.ask(now)
}

func (m *Machine) askBusStatus(now time.Time) {
	m.link.asks = append(m.link.asks, frame.FeatureGet{Feature: frame.FeatureBusStatus})
	m.ask(now)
}

// ask sends the next question. It takes its place in the sequence of the tunnel
// and is acknowledged as a telegram is; its answer comes by itself or not at all.
func (m *Machine) ask(now time.Time) {
	if m.write.active || len(m.link.asks) == 0 {
		return
	}
	question := m.link.asks[0]
	m.link.asks = m.link.asks[1:]
	switch q := question.(type) {
	case frame.FeatureGet:
		q.Channel, q.Sequence = m.link.channel, m.link.sendSequence
		question = q
	case frame.FeatureSet:
		q.Channel, q.Sequence = m.link.channel, m.link.sendSequence
		question = q
	}
	m.write = outgoing{request: question, sequence: m.link.sendSequence, feature: true, active: true}
	m.sendRequest(now)
}

// heardBus takes back what spoke against the bus: something came from it.
func (m *Machine) heardBus(now time.Time) {
	m.link.negatives = 0
	m.disarm(timerNegative)
	m.write.bus = true
	m.planProbe(now)
	m.settle(now, doubtBusStatus|doubtNegative)
}

// tryBus lets telegrams of ours try a bus that was taken for dead. One more that nobody
// acknowledges is enough.
func (m *Machine) tryBus(now time.Time) {
	m.link.negatives = negativeLimit - 1
	m.settle(now, doubtNegative)
}

// unacknowledged counts a telegram of ours that nobody on the bus acknowledged, or a
// probe of which nothing was heard.
func (m *Machine) unacknowledged(now time.Time) {
	if m.link.negatives == 0 {
		m.link.negativeSince = now
	}
	m.link.negatives++
	if m.phase != phaseUp || m.link.busTold || m.link.negatives < negativeLimit || now.Sub(m.link.negativeSince) < negativeSpan {
		return
	}
	if !m.probing() { // which tries the bus all the time
		m.arm(timerNegative, now.Add(negativeDoubt))
	}
	m.raise(now, doubtNegative)
}

// onFeature takes the value of a feature, asked for or not.
func (m *Machine) onFeature(now time.Time, f frame.Feature, value []byte) {
	m.counters.Features++
	switch {
	case f == frame.FeatureBusStatus && len(value) > 0 && value[0]&1 == 1:
		m.link.busTold = true
		m.disarm(timerFeature)
		m.settle(now, doubtBusStatus)
	case f == frame.FeatureBusStatus && len(value) > 0:
		m.link.busTold = false
		m.arm(timerFeature, now.Add(busRecheck))
		m.raise(now, doubtBusStatus)
	case f == frame.FeatureMaxAPDULength && len(value) > 1:
		m.link.maxAPDU = max(int(binary.BigEndian.Uint16(value)), minAPDU)
	}
}
