package session

import (
	"errors"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Transport is what carries a session. TCP needs version 2 of tunnelling and of
// the core (KNX 03_08_02 Core, 03_08_04 Tunnelling).
type Transport uint8

// The transports.
const (
	// TransportUDP is what every interface speaks.
	TransportUDP Transport = iota
	// TransportAuto is TCP where the interface's description offers it, else UDP. It
	// is asked over UDP before each attempt until it has answered. Where TCP does
	// not open, the session goes over UDP.
	TransportAuto
	// TransportTCP asks nothing and falls back to nothing.
	TransportTCP
)

// stream is the state of the TCP connection.
type stream uint8

const (
	streamNone    stream = iota
	streamDialing        // Dial was given out
	streamOpen
)

// origin is where a frame came from: a UDP endpoint or the TCP connection.
type origin struct {
	addr   netip.AddrPort
	stream bool
}

// way is how the interface in use is spoken to.
func (m *Machine) way(addr netip.AddrPort) origin {
	if m.stream == streamOpen {
		return origin{stream: true}
	}
	return origin{addr: addr}
}

var errDialTimeout = errors.New("the TCP connection did not open in time")

// approach takes the steps before the CONNECT_REQUEST.
func (m *Machine) approach(now time.Time) {
	p := m.peer
	switch {
	case m.cfg.Transport == TransportTCP, m.cfg.Transport == TransportAuto && p.tcp && !p.noTCP:
		m.stream = streamDialing
		m.emit(Dial{To: p.addr})
		m.arm(timerDial, now.Add(dialTimeout))
	case m.cfg.Transport == TransportAuto && !p.described:
		m.control(frame.DescriptionRequest{Control: m.hpai()})
		m.arm(timerDescribe, now.Add(describeTimeout))
	default:
		m.requestConnection(now)
	}
}

// onDescription takes what the interface offers.
func (m *Machine) onDescription(now time.Time, from origin, r frame.DescriptionResponse) {
	if !m.armed(timerDescribe) || !m.fromPeer(from) {
		m.counters.Unexpected++
		return
	}
	m.disarm(timerDescribe)
	m.peer.described = true
	m.peer.version2 = r.Version(frame.FamilyTunnelling) >= 2
	m.peer.tcp = m.peer.version2 && r.Version(frame.FamilyCore) >= 2
	m.approach(now)
}

// StreamOpened says that the TCP connection of the last Dial is open.
func (m *Machine) StreamOpened(now time.Time) {
	if m.stream != streamDialing {
		return
	}
	m.stream = streamOpen
	m.disarm(timerDial)
	m.requestConnection(now)
}

// ReceiveStream takes one frame from the TCP connection. The machine keeps no part
// of it.
func (m *Machine) ReceiveStream(now time.Time, datagram []byte) {
	if m.stream == streamOpen {
		m.receive(now, origin{stream: true}, datagram)
	}
}

// StreamLost says that the TCP connection did not open, has ended, or makes no
// sense. A session over it has ended too, at both ends.
func (m *Machine) StreamLost(now time.Time, err error) {
	if m.stream == streamNone {
		return
	}
	m.stream = streamNone
	switch m.phase {
	case phaseConnecting:
		m.disarm(timerDial)
		if m.cfg.Transport == TransportAuto {
			m.peer.noTCP = true
			m.requestConnection(now)
			return
		}
		m.backOff(now, ReasonTransportFailed, errDetail(err))
	case phaseUp:
		m.lose(now, loss{reason: ReasonTransportFailed, detail: errDetail(err), dead: true})
	case phaseClosing:
		m.stopped()
	}
}
