package session

import (
	"fmt"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// phase is the state of the machine. Every change of it goes through enter,
// which clears all timers: a phase starts with exactly the timers it arms.
type phase uint8

const (
	// phaseIdle: before Start. Sends nothing, ignores everything, has no deadline.
	// Ends with Start.
	phaseIdle phase = iota

	// phaseConnecting: an attempt is under way. Sends a DISCONNECT_REQUEST if the
	// interface has not confirmed the end of a session that we left, and waits 1 s
	// for its answer; where the transport is not settled, a DESCRIPTION_REQUEST, and
	// waits 1 s; then opens TCP, if it is to be that; then CONNECT_REQUEST, once.
	// Ignores tunnelled frames: their channel is not known yet. Ends with a
	// CONNECT_RESPONSE (phaseUp, or phaseBackingOff when refused; phaseConnecting
	// again when only the extended CRI was refused), with the transport failing, or
	// 10 s after the CONNECT_REQUEST (both phaseBackingOff; phaseConnecting again
	// while there is another interface to try).
	phaseConnecting

	// phaseUp: the session exists. It is ONLINE unless something speaks against
	// it: a doubt. Sends CONNECTIONSTATE_REQUESTs, one TUNNELLING_REQUEST at a time,
	// and an ACK for each request in the receive window. Ignores frames for other
	// channels, except that it answers them where the rules say so. Ends with a
	// DISCONNECT_REQUEST of the interface, a heartbeat answered 0x21 or with an error
	// (in the minute after such an end with another 0x21 only), four heartbeats without
	// an answer, a request without ACK twice, a receive window that is not found again
	// within 2 s, or the transport's end: then phaseConnecting at once, or
	// phaseBackingOff if that was done already and no session has been stable since.
	phaseUp

	// phaseBackingOff: waits for the next attempt. Sends nothing but answers to
	// late CONNECT_RESPONSEs and foreign DISCONNECT_REQUESTs. Ends at the retry
	// time, or by Kick (both phaseConnecting).
	phaseBackingOff

	// phaseClosing: after Stop. Sends DISCONNECT_REQUEST, repeated every 2 s; a
	// CONNECT_REQUEST still under way is first waited for. Ignores tunnelled
	// frames. Ends with the DISCONNECT_RESPONSE, the interface's own
	// DISCONNECT_REQUEST, the transport's end, or after the stop timeout
	// (phaseStopped).
	phaseClosing

	// phaseStopped: sends nothing, ignores everything, has no deadline. Final.
	phaseStopped
)

// doubt is a set of reasons why a living session is not ONLINE.
type doubt uint8

const (
	doubtHeartbeat doubt = 1 << iota // a heartbeat is unanswered for 5 s
	doubtAck                         // a request was not acknowledged
	doubtBus                         // a heartbeat's answer says that the bus is down
	doubtBusStatus                   // the interface's feature says that the bus is down
	doubtData                        // the session before, or this one, had a heartbeat answered with an error
	doubtNegative                    // no telegram of ours is acknowledged on the bus, and none is heard
)

// reason is what a session in doubt reports. The bus comes first because it
// outlasts the others, and the missing ACK before the heartbeat because it
// explains it.
func (d doubt) reason() Reason {
	switch {
	case d&(doubtBus|doubtBusStatus) != 0:
		return ReasonBusDown
	case d&doubtAck != 0:
		return ReasonAckMissing
	case d&doubtHeartbeat != 0:
		return ReasonHeartbeatUnanswered
	case d&doubtData != 0:
		return ReasonDataConnection
	case d&doubtNegative != 0:
		return ReasonBusUnacknowledged
	default:
		return ReasonNone
	}
}

// enter is the one place where the phase changes.
func (m *Machine) enter(p phase) {
	if m.stream != streamNone && p != phaseUp && p != phaseClosing {
		m.stream = streamNone
		m.emit(Hangup{})
	}
	m.phase = p
	m.timers = [timerCount]time.Time{}
}

// raise adds a doubt and tells if the session thereby leaves ONLINE.
func (m *Machine) raise(now time.Time, d doubt) {
	m.link.doubts |= d
	m.reportUp(now)
}

// settle removes doubts and tells if the session is thereby ONLINE again.
func (m *Machine) settle(now time.Time, d doubt) {
	m.link.doubts &^= d
	m.reportUp(now)
}

// reportUp reports the state of a living session from its doubts.
func (m *Machine) reportUp(now time.Time) {
	reason := m.link.doubts.reason()
	if reason != ReasonNone {
		detail := ""
		if reason == ReasonBusUnacknowledged && m.probing() {
			detail = fmt.Sprintf("the probe of %s too", m.cfg.Probe)
		}
		m.report(now, StateConnecting, reason, m.explain(reason, detail), time.Time{})
		return
	}
	if fixed := m.cfg.FixedAddress; fixed != 0 && m.link.assigned != fixed {
		detail := fmt.Sprintf("asked for %s, got %s", fixed, m.link.assigned)
		m.report(now, StateOnline, ReasonAddressNotFixed, m.explain(ReasonAddressNotFixed, detail), time.Time{})
		return
	}
	m.report(now, StateOnline, ReasonNone, "", time.Time{})
}

// report emits a StateChanged when anything that an observer sees has changed.
// Since moves only with the state itself.
func (m *Machine) report(now time.Time, s State, r Reason, message string, retryAt time.Time) {
	next := StateChanged{State: s, Reason: r, Message: message, Since: now, RetryAt: retryAt}
	if m.phase == phaseUp {
		next.Assigned = m.link.assigned
		next.Interface, next.TCP = m.peer.addr, m.link.stream
	}
	if m.reported.State == s {
		next.Since = m.reported.Since
	}
	if next == m.reported {
		return
	}
	m.reported = next
	m.emit(next)
}

// explain builds the sentence of a state: what is known, then what to do.
func (m *Machine) explain(r Reason, detail string) string {
	text := r.Sentence(m.peer.addr)
	if detail != "" {
		text += " (" + detail + ")"
	}
	if advice := r.Advice(); advice != "" {
		text += ": " + advice
	}
	return text
}

// statusDetail is how an interface's answer appears in a state's sentence.
func statusDetail(s frame.Status) string {
	return fmt.Sprintf("it answered 0x%02X %s", uint8(s), s)
}
