package wireguard

import (
	"io"
	"net/netip"
	"time"
)

// What an End may be waiting for.
const (
	timerCall       = iota // call the peer: for the first time, again, or to renew a session
	timerSilence           // data was sent and nothing heard since, §6.4
	timerKeepalive         // data was received and nothing sent since, §6.5
	timerPersistent        // Config.Keepalive
	timerErase             // forget keys that nobody may use any more
	timerCount
)

func (r *End) arm(timer int, at time.Time) { r.timers[timer] = at }
func (r *End) disarm(timer int)            { r.timers[timer] = time.Time{} }
func (r *End) armed(timer int) bool        { return !r.timers[timer].IsZero() }

// Deadline returns when Expire wants to be called next; ok is false if nothing
// is due at any time. It may have passed already. Every other call may change it.
func (r *End) Deadline() (at time.Time, ok bool) {
	for _, t := range r.timers {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at, !at.IsZero()
}

// Expire does one thing that is due and returns the datagram that it calls for;
// ok is false if there is none. It never does harm to call it early, and it is
// called again until the Deadline lies ahead.
func (r *End) Expire(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
	for timer, at := range r.timers {
		if at.IsZero() || now.Before(at) {
			continue
		}
		r.disarm(timer)
		switch timer {
		case timerCall:
			if now.Before(r.giveUp) {
				datagram, ok = r.dial(now)
			} else {
				r.call = nil
				r.waiting.drop()
			}
		case timerSilence:
			r.wantSession(now)
		case timerKeepalive, timerPersistent:
			if r.current.live(now) {
				datagram, ok = r.keepalive(now), true
			} else if timer == timerPersistent && r.calls() {
				r.wantSession(now)
			}
		case timerErase:
			r.previous, r.current, r.next = nil, nil, nil
		}
		if ok {
			return datagram, r.endpoint, true
		}
	}
	return nil, netip.AddrPort{}, false
}

func (r *End) keepalive(now time.Time) []byte {
	datagram := r.current.seal(nil, nil, 0)
	r.stats.Keepalives++
	r.sent(now, false)
	r.renewAfter(now, rekeyAfter)
	return datagram
}

// Prod says something at once, if there is a session and it is known where the peer
// is: a keepalive. Else it makes a call due as soon as one may be made, which Deadline
// tells, and ok is false.
func (r *End) Prod(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
	if !r.current.live(now) || !r.endpoint.IsValid() {
		r.Call(now)
		return nil, netip.AddrPort{}, false
	}
	return r.keepalive(now), r.endpoint, true
}

// Call makes a call due as soon as one may be made, 5 s after the last one: Deadline
// tells when. Without knowing where the peer is it does nothing.
func (r *End) Call(now time.Time) {
	r.disarm(timerCall)
	r.wantSession(now)
}

// Renew is Call, unless there was a call within the last 5 s.
func (r *End) Renew(now time.Time) {
	if !now.Before(r.called.Add(rekeyTimeout)) {
		r.Call(now)
	}
}

// CallDue reports whether the next Expire will call.
func (r *End) CallDue(now time.Time) bool {
	return r.armed(timerCall) && !now.Before(r.timers[timerCall]) && now.Before(r.giveUp)
}

// HoldCall takes a call that is due back, and those that come after it, until
// ReleaseCall, or until a session makes it needless.
func (r *End) HoldCall() {
	r.disarm(timerCall)
	r.held = true
}

// ReleaseCall makes the call due that was held, and reports whether it is still wanted.
func (r *End) ReleaseCall(now time.Time) bool {
	if !r.held {
		return false
	}
	r.held = false
	r.arm(timerCall, now)
	if soon := now.Add(rekeyTimeout); r.giveUp.Before(soon) {
		r.giveUp = soon // waiting for its turn is not the peer's silence
	}
	return true
}

// Initiate calls the peer: when an end that calls in is switched on, and to
// renew a session early. Until there is an answer, Expire repeats the call every
// 5 s for 90 s. ok is false if it is not known where the peer is, and within
// 5 s of the last call, which then is repeated in time.
func (r *End) Initiate(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
	r.Call(now)
	if !r.armed(timerCall) || now.Before(r.timers[timerCall]) {
		return nil, netip.AddrPort{}, false
	}
	datagram, ok = r.dial(now)
	return datagram, r.endpoint, ok
}

// wantSession makes a call due as soon as one may be made, unless calls are
// under way.
func (r *End) wantSession(now time.Time) {
	if r.armed(timerCall) || r.held {
		// There is a new reason: the attempts begin anew, as in Linux.
		if later := now.Add(rekeyAttempts); r.giveUp.Before(later) {
			r.giveUp = later
		}
		return
	}
	if !r.endpoint.IsValid() {
		return
	}
	at := now
	if earliest := r.called.Add(rekeyTimeout); now.Before(earliest) {
		at = earliest
	}
	r.giveUp = at.Add(rekeyAttempts)
	r.arm(timerCall, at)
}

// dial makes an initiation and sees to the next one.
func (r *End) dial(now time.Time) ([]byte, bool) {
	// Jitter, so that ends that lost their peers together do not call
	// together for ever, §6.1. A source that fails gives no jitter.
	var b [1]byte
	_, _ = io.ReadFull(r.random, b[:])
	r.arm(timerCall, now.Add(rekeyTimeout+time.Duration(b[0])*time.Second/3/256))
	return r.initiate(now)
}

// calls reports whether this is an end that calls on its own.
func (r *End) calls() bool { return r.cfg.Calls || r.cfg.Endpoint.IsValid() }

// heard is called for each authentic and new datagram.
func (r *End) heard(now time.Time, from netip.AddrPort, data bool) {
	r.endpoint = from
	r.disarm(timerSilence)
	r.keepPersistent(now)
	if data && !r.armed(timerKeepalive) {
		r.arm(timerKeepalive, now.Add(keepaliveTimeout))
	}
}

// sent is called for each datagram that the peer can authenticate.
func (r *End) sent(now time.Time, data bool) {
	r.disarm(timerKeepalive)
	r.keepPersistent(now)
	if data && r.calls() && !r.armed(timerSilence) {
		r.arm(timerSilence, now.Add(keepaliveTimeout+rekeyTimeout))
	}
}

func (r *End) keepPersistent(now time.Time) {
	if r.cfg.Keepalive > 0 {
		r.arm(timerPersistent, now.Add(r.cfg.Keepalive))
	}
}

// renewAfter makes a call due if we began the session and it is older than age.
// The end that did not begin it leaves that to the other.
func (r *End) renewAfter(now time.Time, age time.Duration) {
	if r.current.live(now) && r.current.initiator && now.Sub(r.current.created) > age {
		r.wantSession(now)
	}
}
