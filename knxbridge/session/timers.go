package session

import "time"

// timer names one of the machine's deadlines. Expire runs those that are due in
// this order.
type timer uint8

const (
	timerConnect         timer = iota // CONNECT_REQUEST unanswered
	timerDescribe                     // DESCRIPTION_REQUEST unanswered
	timerDial                         // TCP connection not open
	timerLeave                        // DISCONNECT_REQUEST before an attempt unanswered
	timerRetry                        // next attempt
	timerAck                          // TUNNELLING_REQUEST not acknowledged
	timerConfirm                      // L_Data.con missing
	timerResync                       // receive window not found again
	timerHeartbeatDoubt               // heartbeat unanswered: leave ONLINE
	timerHeartbeatAnswer              // heartbeat unanswered: repeat or give up
	timerHeartbeat                    // next heartbeat
	timerFeature                      // ask for the bus status again
	timerNegative                     // try the bus again
	timerProbe                        // the bus has been quiet for long, or the last probe unanswered
	timerClose                        // DISCONNECT_REQUEST unanswered: give up
	timerCloseRepeat                  // DISCONNECT_REQUEST unanswered: repeat
	timerCount
)

func (m *Machine) arm(t timer, at time.Time) { m.timers[t] = at }

func (m *Machine) disarm(t timer) { m.timers[t] = time.Time{} }

func (m *Machine) armed(t timer) bool { return !m.timers[t].IsZero() }

// Deadline returns when Expire must be called next. It is false only before
// Start and after the machine has stopped.
func (m *Machine) Deadline() (time.Time, bool) {
	var first time.Time
	for _, at := range m.timers {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, !first.IsZero()
}

// Expire does what is due at now. Calling it early does nothing; calling it
// late does everything missed once.
func (m *Machine) Expire(now time.Time) {
	for t := range timerCount {
		// Looked up each time: an earlier timer's work may have cleared this one.
		if at := m.timers[t]; at.IsZero() || at.After(now) {
			continue
		}
		m.disarm(t)
		m.expired(now, t)
	}
}

func (m *Machine) expired(now time.Time, t timer) {
	switch t {
	case timerConnect:
		m.connectUnanswered(now)
	case timerDescribe:
		m.requestConnection(now)
	case timerDial:
		m.emit(Hangup{})
		m.StreamLost(now, errDialTimeout)
	case timerLeave:
		m.approach(now)
	case timerRetry:
		m.connect(now)
	case timerAck:
		m.ackFailed(now)
	case timerConfirm:
		m.confirmMissing(now)
	case timerResync:
		m.lose(now, loss{reason: ReasonSequenceLost, disconnect: true})
	case timerHeartbeatDoubt:
		m.raise(now, doubtHeartbeat)
	case timerHeartbeatAnswer:
		m.heartbeatUnanswered(now)
	case timerHeartbeat:
		m.heartbeat(now)
	case timerNegative:
		m.tryBus(now)
	case timerProbe:
		m.probe(now)
	case timerFeature:
		m.askBusStatus(now)
	case timerClose:
		m.stopped()
	case timerCloseRepeat:
		m.closeRepeat(now)
	}
}
