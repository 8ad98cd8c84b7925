package session

import (
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Receive takes one datagram. The machine keeps no part of it. When it is a
// request to be acknowledged, the ACK is the first output: servers drop a
// tunnel two seconds after one missing ACK.
func (m *Machine) Receive(now time.Time, from netip.AddrPort, datagram []byte) {
	m.receive(now, origin{addr: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, datagram)
}

func (m *Machine) receive(now time.Time, from origin, datagram []byte) {
	if m.phase == phaseIdle || m.phase == phaseStopped {
		return
	}
	f, err := frame.Parse(datagram)
	if err != nil {
		m.counters.Malformed++
		return
	}
	switch f := f.(type) {
	case frame.ConnectResponse:
		m.onConnectResponse(now, from, f)
	case frame.DisconnectRequest:
		m.onDisconnectRequest(now, from, f)
	case frame.DisconnectResponse:
		m.onDisconnectResponse(now, from, f)
	case frame.DescriptionResponse:
		m.onDescription(now, from, f)
	case frame.TunnellingRequest:
		if m.accept(now, from, f.Channel, f.Sequence) {
			m.onCEMI(now, f.CEMI)
		}
	case frame.FeatureInfo:
		if m.accept(now, from, f.Channel, f.Sequence) {
			m.onFeature(now, f.Feature, f.Value)
		}
	case frame.FeatureResponse:
		if m.accept(now, from, f.Channel, f.Sequence) && f.Code < featureFailed {
			m.onFeature(now, f.Feature, f.Value)
		}
	case frame.TunnellingAck:
		if m.ours(from, f.Channel) {
			m.onAck(now, f)
		}
	case frame.ConnectionStateResponse:
		if m.ours(from, f.Channel) {
			m.onHeartbeatResponse(now, f)
		}
	default:
		m.counters.Unexpected++
	}
}

// ours reports if a frame belongs to the living session: its channel, and a
// host of our interface, which is the one we asked, the one that answered, or
// the one it named for data. Another interface in the building may use the same
// channel number.
func (m *Machine) ours(from origin, channel uint8) bool {
	a := from.addr.Addr()
	known := a == m.peer.addr.Addr() || a == m.link.grantor || a == m.link.data.Addr()
	if m.link.stream || from.stream {
		known = m.link.stream && from.stream
	}
	if m.phase == phaseUp && channel == m.link.channel && known {
		return true
	}
	m.counters.Foreign++
	return false
}

// accept applies the receive window (KNX 03_08_04 Tunnelling §2.6) to a request
// of the tunnel and reports if it is to be processed.
func (m *Machine) accept(now time.Time, from origin, channel, sequence uint8) bool {
	if !m.ours(from, channel) {
		return false
	}
	if from.stream {
		// TCP keeps the order: there are no ACKs, and the counter does not matter
		// (KNX 03_08_04 Tunnelling, TCP).
		return true
	}
	switch sequence {
	case m.link.receiveSequence:
		m.ack(sequence)
		m.link.receiveSequence++
		m.disarm(timerResync)
		return true
	case m.link.receiveSequence - 1:
		// Our ACK was lost. Again, but processed only once.
		m.ack(sequence)
		m.counters.Duplicates++
		return false
	default:
		m.counters.OutOfSequence++
		if !m.armed(timerResync) {
			m.arm(timerResync, now.Add(resyncTimeout))
		}
		return false
	}
}

func (m *Machine) ack(sequence uint8) {
	m.send(m.link.data, frame.TunnellingAck{Channel: m.link.channel, Sequence: sequence})
}

// onCEMI takes the content of a request that was acknowledged.
func (m *Machine) onCEMI(now time.Time, cemi []byte) {
	if m.cfg.Layer == frame.LayerBusmonitor {
		m.onBusmonitor(cemi)
		return
	}
	data, err := frame.ParseLData(cemi)
	switch {
	case err != nil:
		m.counters.Unparsable++
	case data.Message == frame.LDataCon:
		m.onConfirmation(now, data)
	case data.Message == frame.LDataInd && data.GroupService():
		// Whatever its source: a device may share our address, and an interface may
		// show what another of its clients sent with it.
		m.counters.Telegrams++
		m.heardBus(now)
		m.publish(data, false)
	default:
		m.counters.OtherFrames++
	}
}

// onBusmonitor takes a frame that the bus carried.
func (m *Machine) onBusmonitor(cemi []byte) {
	heard, err := frame.ParseBusmonitor(cemi)
	if err != nil {
		m.counters.Unparsable++
		return
	}
	m.counters.BusFrames++
	heard.Frame = slices.Clone(heard.Frame)
	m.emit(BusFrame{heard})
}

// publish emits a telegram with data of its own: the datagram's buffer is reused.
func (m *Machine) publish(data frame.LData, own bool) {
	m.emit(Telegram{LData: data.Clone(), Own: own})
}
