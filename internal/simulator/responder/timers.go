package responder

import (
	"io"
	"net/netip"
	"time"
)

// What a Responder may be waiting for.
const (
	timerCall       = iota // call the gateway: for the first time, again, or to renew a session
	timerSilence           // data was sent and nothing heard since, §6.4
	timerKeepalive         // data was received and nothing sent since, §6.5
	timerPersistent        // the caller's keepalive
	timerCount
)

func (r *Responder) arm(timer int, at time.Time) { r.timers[timer] = at }
func (r *Responder) disarm(timer int)            { r.timers[timer] = time.Time{} }
func (r *Responder) armed(timer int) bool        { return !r.timers[timer].IsZero() }

// Deadline returns when Expire wants to be called next; ok is false if nothing
// is due at any time. It may have passed already. Every other call may change it.
func (r *Responder) Deadline() (at time.Time, ok bool) {
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
func (r *Responder) Expire(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
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
			}
		case timerSilence:
			r.wantSession(now)
		case timerKeepalive, timerPersistent:
			if r.current.live(now) {
				datagram, ok = r.current.seal(nil), true
				r.stats.Keepalives++
				r.sent(now, false)
				r.renewAfter(now, rekeyAfter)
			} else if timer == timerPersistent && r.calls() {
				r.wantSession(now)
			}
		}
		if ok {
			return datagram, r.endpoint, true
		}
	}
	return nil, netip.AddrPort{}, false
}

// Initiate calls the gateway: when a router that calls in is switched on, and to
// renew a session early. Until there is an answer, Expire repeats the call every
// 5 s for 90 s. ok is false if it is not known where the gateway is, and within
// 5 s of the last call, which then is repeated in time.
func (r *Responder) Initiate(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
	r.disarm(timerCall)
	r.wantSession(now)
	if !r.armed(timerCall) || now.Before(r.timers[timerCall]) {
		return nil, netip.AddrPort{}, false
	}
	datagram, ok = r.dial(now)
	return datagram, r.endpoint, ok
}

// wantSession makes a call due as soon as one may be made, unless calls are
// under way.
func (r *Responder) wantSession(now time.Time) {
	if r.armed(timerCall) || !r.endpoint.IsValid() {
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
func (r *Responder) dial(now time.Time) ([]byte, bool) {
	// Jitter, so that routers that lost the gateway together do not call
	// together for ever, §6.1. A source that fails gives no jitter.
	var b [1]byte
	_, _ = io.ReadFull(r.random, b[:])
	r.arm(timerCall, now.Add(rekeyTimeout+time.Duration(b[0])*time.Second/3/256))
	return r.initiate(now)
}

// calls reports whether this is a router that calls on its own.
func (r *Responder) calls() bool { return r.cfg.Endpoint.IsValid() }

// heard is called for each authentic and new datagram.
func (r *Responder) heard(now time.Time, from netip.AddrPort, data bool) {
	r.endpoint = from
	r.disarm(timerSilence)
	r.keepPersistent(now)
	if data && !r.armed(timerKeepalive) {
		r.arm(timerKeepalive, now.Add(keepaliveTimeout))
	}
}

// sent is called for each datagram that the peer can authenticate.
func (r *Responder) sent(now time.Time, data bool) {
	r.disarm(timerKeepalive)
	r.keepPersistent(now)
	if data && r.calls() && !r.armed(timerSilence) {
		r.arm(timerSilence, now.Add(keepaliveTimeout+rekeyTimeout))
	}
}

func (r *Responder) keepPersistent(now time.Time) {
	if r.cfg.Keepalive > 0 {
		r.arm(timerPersistent, now.Add(r.cfg.Keepalive))
	}
}

// renewAfter makes a call due if we began the session and it is older than age.
// The end that did not begin it leaves that to the other.
func (r *Responder) renewAfter(now time.Time, age time.Duration) {
	if r.current.live(now) && r.current.initiator && now.Sub(r.current.created) > age {
		r.wantSession(now)
	}
}
