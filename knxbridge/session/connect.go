package session

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// connect asks for a session. If the interface may still hold the slot of one
// that we left, it is first told to free it: there may be no other.
func (m *Machine) connect(now time.Time) {
	m.enter(phaseConnecting)
	m.lastAttempt = now
	m.choosePeer()
	if m.disconnectOrphan(now) {
		m.arm(timerLeave, now.Add(leaveTimeout))
	} else {
		m.approach(now)
	}

	reason, message := m.reported.Reason, m.reported.Message
	if m.reported.State == 0 {
		reason, message = ReasonStarting, m.explain(ReasonStarting, "")
	}
	m.report(now, StateConnecting, reason, message, time.Time{})
}

// requestConnection sends the CONNECT_REQUEST.
func (m *Machine) requestConnection(now time.Time) {
	m.counters.Connects++
	request := frame.ConnectRequest{Control: m.hpai(), Data: m.hpai(), Layer: m.cfg.Layer}
	if !m.peer.basicOnly {
		request.Fixed = m.cfg.FixedAddress
	}
	m.control(request)
	m.arm(timerConnect, now.Add(connectTimeout))
}

func (m *Machine) connectUnanswered(now time.Time) {
	if m.phase == phaseClosing {
		m.stopped()
		return
	}
	m.backOff(now, ReasonConnectUnanswered, "")
}

func (m *Machine) onConnectResponse(now time.Time, from origin, r frame.ConnectResponse) {
	granted := r.Status == frame.StatusNoError
	awaited := m.armed(timerConnect) && m.fromPeer(from)
	switch {
	case awaited && m.phase == phaseConnecting && granted:
		m.connected(now, from, r)
	case awaited && m.phase == phaseConnecting:
		m.refused(now, r.Status)
	case awaited: // phaseClosing
		// The answer that Stop waits for.
		if !granted {
			m.stopped()
			return
		}
		m.link.channel, m.link.grantor = r.Channel, from.addr.Addr()
		m.close(now)
	case !granted:
		m.counters.Unexpected++
	case m.phase == phaseUp && r.Channel == m.link.channel:
		// A duplicate of the datagram that granted our session, or the interface has
		// granted the same channel anew. A heartbeat does not tell which, but it tells
		// if the session is gone; counters that no longer meet do the rest.
		m.counters.Unexpected++
		m.heartbeatNow(now)
	default:
		// An interface that was frozen grants every request that waited in its
		// queue. Nobody will use this slot: give it back.
		m.counters.UnawaitedConnected++
		m.answer(from, frame.DisconnectRequest{Channel: r.Channel, Control: m.hpai()})
	}
}

// connected starts the life of a granted session.
func (m *Machine) connected(now time.Time, from origin, r frame.ConnectResponse) {
	m.enter(phaseUp)
	m.counters.Sessions++
	m.slots.reset()
	m.order = nil
	if m.peer.orphan.channel == r.Channel {
		m.peer.orphan = orphan{} // the number is in use again, by us
	}
	m.link = link{
		channel: r.Channel,
		// Where the interface wants to get telegrams; what it leaves zero is taken
		// from the sender (route-back).
		data:     r.Data.Resolve(from.addr),
		grantor:  from.addr.Addr(),
		stream:   from.stream,
		assigned: r.Assigned,
		since:    now,
		answered: now,
	}
	if m.distrust {
		// A session is easily granted. Whether this one is better, a heartbeat tells.
		m.distrust = false
		m.link.doubts = doubtData
		m.heartbeat(now)
	} else {
		m.planHeartbeat(now, jitter(heartbeatEvery, heartbeatJitter, m.rnd()))
	}
	m.planProbe(now)
	m.reportUp(now)
	m.askFeatures(now)
}

// refused sorts a refusal: KNX 03_08_02 Core and 03_08_04 Tunnelling §2.2,
// CONNECT_RESPONSE status codes.
func (m *Machine) refused(now time.Time, s frame.Status) {
	detail := statusDetail(s)
	switch s {
	case frame.StatusNoMoreConnections, frame.StatusNoMoreUniqueConnections, frame.StatusConnectionInUse:
		m.counters.SlotsRefused++
		m.backOff(now, ReasonSlotsFull, detail)
	case frame.StatusConnectionType, frame.StatusConnectionOption:
		if m.cfg.FixedAddress != 0 && !m.peer.basicOnly {
			// It does not know the extended CRI. Once per interface, so never a loop.
			m.peer.basicOnly = true
			m.requestConnection(now)
			return
		}
		m.backOff(now, ReasonTunnellingUnsupported, detail)
	case frame.StatusAuthorisationError, frame.StatusTunnellingLayer, frame.StatusNoTunnellingAddress:
		m.backOff(now, ReasonConfigurationRefused, detail)
	case frame.StatusKNXConnection:
		m.backOff(now, ReasonBusDown, detail)
	default:
		m.backOff(now, ReasonConnectRefused, detail)
	}
}

// backOff waits for the next attempt, unless there is another interface to try.
func (m *Machine) backOff(now time.Time, r Reason, detail string) {
	if len(m.order) > 0 {
		m.failOver(now, r, detail)
		return
	}
	m.enter(phaseBackingOff)
	m.link = link{}
	var wait time.Duration
	if r == ReasonSlotsFull {
		// The interface lives and answers: only its slots are waited for.
		m.retry.reset()
		m.slots.limit = slotsBackoff.limit
		if now.Sub(m.outage) >= longOutage {
			m.slots.limit = slotsLastLimit
		}
		wait = m.slots.next(m.rnd())
	} else {
		m.slots.reset()
		wait = m.retry.next(m.rnd())
	}
	at := now.Add(wait)
	m.arm(timerRetry, at)
	m.report(now, StateBackingOff, r, m.explain(r, detail), at)
}

// SendFailed says that a datagram could not be sent, also not when tried again.
// An attempt to connect ends with it; a living session treats the datagram as
// lost on the way, its timers find out.
func (m *Machine) SendFailed(now time.Time, err error) {
	if m.phase == phaseConnecting && m.stream == streamNone {
		m.backOff(now, ReasonTransportFailed, errDetail(err))
	}
}

// TransportLost says that the socket is gone or cannot be opened. A session
// does not survive it, unless it goes over TCP. The next Send may use a new
// socket.
func (m *Machine) TransportLost(now time.Time, err error) {
	if m.stream != streamNone {
		return
	}
	m.order = nil // no interface can be reached
	switch m.phase {
	case phaseConnecting:
		m.backOff(now, ReasonTransportFailed, errDetail(err))
	case phaseUp:
		m.lose(now, loss{reason: ReasonTransportFailed, detail: errDetail(err), disconnect: true, transport: true})
	case phaseClosing:
		m.stopped()
	}
}

func errDetail(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
