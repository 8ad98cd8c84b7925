package session

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// heartbeat sends a CONNECTIONSTATE_REQUEST (KNX 03_08_02 Core §5.4).
func (m *Machine) heartbeat(now time.Time) {
	m.disarm(timerHeartbeat)
	m.counters.Heartbeats++
	m.link.beats++
	m.control(frame.ConnectionStateRequest{Channel: m.link.channel, Control: m.hpai()})
	m.arm(timerHeartbeatAnswer, now.Add(heartbeatTimeout))
	if m.link.beats == 1 {
		m.arm(timerHeartbeatDoubt, now.Add(heartbeatDoubt))
	}
}

// heartbeatNow asks at once, unless an answer is already waited for.
func (m *Machine) heartbeatNow(now time.Time) {
	if m.link.beats == 0 {
		m.heartbeat(now)
	}
}

// heartbeatAgain asks at once. One that is waited for already is sent once more,
// and counts as the same: its time does not begin anew.
func (m *Machine) heartbeatAgain(now time.Time) {
	if m.link.beats == 0 {
		m.heartbeat(now)
		return
	}
	m.counters.Heartbeats++
	m.control(frame.ConnectionStateRequest{Channel: m.link.channel, Control: m.hpai()})
}

func (m *Machine) heartbeatUnanswered(now time.Time) {
	m.counters.HeartbeatsMissed++
	if m.link.beats <= heartbeatRepeats {
		m.heartbeat(now)
		return
	}
	m.lose(now, loss{reason: ReasonHeartbeatUnanswered, disconnect: true, dead: true})
}

func (m *Machine) onHeartbeatResponse(now time.Time, r frame.ConnectionStateResponse) {
	switch {
	case r.Status == frame.StatusNoError:
		m.heartbeatAnswered(now, jitter(heartbeatEvery, heartbeatJitter, m.rnd()))
		m.settle(now, doubtHeartbeat|doubtBus|doubtData)
	case r.Status == frame.StatusConnectionID:
		// The channel is not ours any more, perhaps another client's: no DISCONNECT.
		m.lose(now, loss{reason: ReasonConnectionUnknown, detail: statusDetail(r.Status)})
	case r.Status == frame.StatusKNXConnection:
		if m.link.doubts&doubtBus != 0 && len(m.peers) > 1 {
			// Not a moment's trouble: the other interface may have its bus.
			m.lose(now, loss{reason: ReasonBusDown, detail: statusDetail(r.Status), disconnect: true, dead: true})
			return
		}
		// Connecting anew would not bring the bus back. The session waits for it.
		m.heartbeatAnswered(now, busRecheck)
		m.link.doubts &^= doubtHeartbeat
		m.raise(now, doubtBus)
	case m.link.doubts&doubtData != 0 && len(m.peers) == 1 && now.Sub(m.link.since) < dataRetry:
		// Connecting anew did not help. The session waits for the interface to mend itself.
		m.heartbeatAnswered(now, busRecheck)
		m.settle(now, doubtHeartbeat)
	default:
		again := m.link.doubts&doubtData != 0
		m.lose(now, loss{reason: ReasonDataConnection, detail: statusDetail(r.Status), disconnect: true, dead: again})
		m.distrust = true
	}
}

// heartbeatAnswered ends the wait for an answer and plans the next heartbeat.
func (m *Machine) heartbeatAnswered(now time.Time, next time.Duration) {
	m.link.answered = now
	m.link.beats = 0
	m.disarm(timerHeartbeatAnswer)
	m.disarm(timerHeartbeatDoubt)
	m.planHeartbeat(now, next)
}

// planHeartbeat plans the next heartbeat: with Config.Together on its last multiple
// that is not after the time given.
func (m *Machine) planHeartbeat(now time.Time, next time.Duration) {
	at := now.Add(next)
	if each := m.cfg.Together; each > 0 {
		// Unlike at.Truncate this keeps the monotonic time.
		at = at.Add(-time.Duration(at.UnixNano() % int64(each)))
	}
	m.arm(timerHeartbeat, at)
}

// proven notes another answer of the interface than one to a heartbeat: an ACK
// or a confirmation. It takes back the doubts that it disproves; a heartbeat
// still without an answer may raise its own again.
func (m *Machine) proven(now time.Time, disproved doubt) {
	m.link.answered = now
	if m.link.beats > 0 {
		m.arm(timerHeartbeatDoubt, now.Add(heartbeatDoubt))
	}
	m.settle(now, disproved|doubtHeartbeat)
}
