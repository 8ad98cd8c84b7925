package session

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// loss says how a session was lost.
type loss struct {
	reason Reason
	detail string
	// disconnect: the interface may still hold our slot and is told to free it.
	disconnect bool
	// dead: the interface does not do its work, so another is tried first.
	dead bool
	// transport: nothing can be sent now, and trying again at once is in vain.
	transport bool
}

// orphan is the slot of a session that we left, until the interface has
// confirmed its end or must have dropped it by itself. The DISCONNECT_REQUEST
// may be lost with the network that failed, and an interface with one slot would
// then refuse us for two minutes: so it is sent again before each attempt.
type orphan struct {
	channel uint8
	until   time.Time // zero: none
}

// lose leaves a session that failed and goes for the next: at once, but only once
// until a session has been stable again; else after a wait.
func (m *Machine) lose(now time.Time, l loss) {
	m.abandonWrite()
	switch {
	case !l.disconnect:
	case m.link.stream:
		// Its end is the end of the session too, in case this comes not through.
		m.control(frame.DisconnectRequest{Channel: m.link.channel, Control: m.hpai()})
	default:
		m.peer.orphan = orphan{channel: m.link.channel, until: m.link.answered.Add(connectionAliveTime)}
	}
	m.peer.forget()
	if now.Sub(m.link.since) >= stableAfter {
		m.outage = now
		m.retry.reset()
		m.hurried = false
	}
	m.planOrder(l)
	switch {
	case l.transport:
		m.backOff(now, l.reason, l.detail)
	case m.hurried:
		m.disconnectOrphan(now)
		m.backOff(now, l.reason, l.detail)
	default:
		m.hurried = true
		if m.peer != &m.peers[m.order[0]] {
			m.counters.Failovers++
			m.disconnectOrphan(now) // now, since it is not tried next
		}
		m.enter(phaseConnecting)
		m.link = link{}
		m.report(now, StateConnecting, l.reason, m.explain(l.reason, l.detail), time.Time{})
		m.connect(now)
	}
}

// abandonWrite answers a write whose session has ended: it was sent, and nobody
// can say what became of it. It is not sent again.
func (m *Machine) abandonWrite() {
	if m.write.active {
		m.result(Unknown)
	}
	m.write = outgoing{}
}

// disconnectOrphan tells the interface to free the slot of a session we left, and
// reports if there is one.
func (m *Machine) disconnectOrphan(now time.Time) bool {
	if !m.peer.orphan.until.After(now) {
		return false
	}
	m.send(m.peer.addr, frame.DisconnectRequest{Channel: m.peer.orphan.channel, Control: m.hpai()})
	return true
}

func (m *Machine) onDisconnectRequest(now time.Time, from origin, r frame.DisconnectRequest) {
	switch {
	case m.closing(r.Channel):
		m.answer(from, frame.DisconnectResponse{Channel: r.Channel})
		m.stopped()
	case m.ours(from, r.Channel):
		m.answer(from, frame.DisconnectResponse{Channel: r.Channel})
		m.lose(now, loss{reason: ReasonServerDisconnected})
	default:
		m.answer(from, frame.DisconnectResponse{Channel: r.Channel, Status: frame.StatusConnectionID})
	}
}

// closing reports if the end of this channel is what Stop waits for.
func (m *Machine) closing(channel uint8) bool {
	return m.phase == phaseClosing && !m.armed(timerConnect) && channel == m.link.channel
}

func (m *Machine) onDisconnectResponse(now time.Time, from origin, r frame.DisconnectResponse) {
	switch {
	case m.closing(r.Channel):
		m.stopped()
	case m.phase == phaseUp && r.Channel == m.link.channel:
		// The answer to a DISCONNECT of an earlier session with the same channel
		// number: perhaps it has ended this one. Ask.
		m.heartbeatNow(now)
	case m.endOrphan(now, from, r.Channel):
		if m.armed(timerLeave) && !m.peer.orphan.until.After(now) {
			m.disarm(timerLeave)
			m.approach(now)
		}
	default:
		m.counters.Unexpected++
	}
}

// Stop ends the session for good: DISCONNECT_REQUEST, and Stopped when it is
// answered or the stop timeout has passed. The write under way ends as Unknown.
// Calling it again does nothing.
func (m *Machine) Stop(now time.Time) {
	if m.phase == phaseClosing || m.phase == phaseStopped {
		return
	}
	m.stopBy = now.Add(m.cfg.StopTimeout)
	switch m.phase {
	case phaseIdle:
		m.stopped()
	case phaseBackingOff:
		m.disconnectOrphan(now) // its answer would change nothing
		m.stopped()
	case phaseConnecting:
		if !m.armed(timerConnect) {
			m.stopped() // nothing was asked for yet
			return
		}
		m.enter(phaseClosing)
		m.arm(timerConnect, now.Add(min(pendingConnectGrace, m.cfg.StopTimeout)))
	case phaseUp:
		m.abandonWrite()
		m.close(now)
	}
}

// close asks for the end of the session in link.
func (m *Machine) close(now time.Time) {
	m.enter(phaseClosing)
	m.arm(timerClose, m.stopBy)
	m.closeRepeat(now)
}

func (m *Machine) closeRepeat(now time.Time) {
	m.control(frame.DisconnectRequest{Channel: m.link.channel, Control: m.hpai()})
	m.arm(timerCloseRepeat, now.Add(disconnectRepeat))
}

func (m *Machine) stopped() {
	m.enter(phaseStopped)
	m.emit(Stopped{})
}
