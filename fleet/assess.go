package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/knxbridge/session"
	"github.com/knxfleet/knxfleet/tunnel"
)

const (
	// handshakePatience is how long an initiation may stay unanswered before
	// the building is said to be without a tunnel: two WireGuard retries.
	handshakePatience = 11 * time.Second
	// firstRetry is when WireGuard sends an initiation again (REKEY_TIMEOUT,
	// WireGuard paper §6.1); until then an answer may just be on its way.
	firstRetry = 5 * time.Second
	// sessionLifetime is how long keys live without a new handshake
	// (REJECT_AFTER_TIME, WireGuard paper §6.1).
	sessionLifetime = 180 * time.Second
)

// answering reports whether the router takes part in WireGuard: it has agreed on
// keys that still hold, and no newer initiation waits for too long.
func (s *site) answering(now time.Time) bool { return s.answers(now, handshakePatience) }

// stale reports whether the router is to be looked for again: an initiation went
// unanswered for as long as WireGuard itself waits for an answer.
func (s *site) stale(now time.Time) bool { return !s.answers(now, firstRetry) }

func (s *site) answers(now time.Time, patience time.Duration) bool {
	h := s.tunnel.Handshake()
	if h.Last.IsZero() || now.Sub(h.Last) > sessionLifetime {
		return false
	}
	return h.InitiatingSince.IsZero() || now.Sub(h.InitiatingSince) < patience
}

// assess finds the building's state from its parts. The lowest part that does
// not work gives the reason, but an ONLINE session proves all below it.
func (s *site) assess(now time.Time, lookupErr error, answering bool) Status {
	knx := s.session.Load()
	if s.sessions.renewing {
		knx = nil // what it says is how it ends
	}
	status := Status{Epoch: s.epoch, ObservedGeneration: s.applied.Generation}
	if endpoint := s.tunnel.Endpoint(); endpoint.IsValid() {
		status.Endpoint = endpoint.String()
	}
	switch {
	case knx != nil && knx.State == session.StateOnline:
		status.State = StateOnline
	case !answering:
		s.assessTunnel(&status, now, lookupErr)
		return status
	case knx == nil || knx.State == session.StateConnecting:
		status.State = StateConnecting
	default:
		status.State = StateBackingOff
	}
	if knx == nil {
		status.Reason = string(session.ReasonStarting)
		return status
	}
	status.Reason, status.Message, status.RetryAt = string(knx.Reason), knx.Message, knx.RetryAt
	if knx.Assigned != 0 {
		status.Assigned = knx.Assigned.String()
		status.Interface, status.TCP = knx.Interface.String(), knx.TCP
	}
	return status
}

// assessTunnel says why there is no tunnel.
func (s *site) assessTunnel(status *Status, now time.Time, lookupErr error) {
	config := &s.applied.Tunnel
	status.State = StateHandshaking
	switch {
	case config.Endpoint.IsZero():
		status.Reason = ReasonAwaitingRouter
		status.Message = fmt.Sprintf("waiting for the router to call: it has no endpoint of its own (tunnel.endpoint), "+
			"so the router needs this gateway as endpoint, a persistent keepalive, and %s as its peer's public key", s.ourKey())
	case status.Endpoint == "" && errors.Is(lookupErr, tunnel.ErrNoSocket):
		status.State, status.Reason = StateResolving, ReasonNoSocket
		status.Message = fmt.Sprintf("%v: give the gateway an address of that family (--tunnel-listen), or the router one of the other", lookupErr)
	case status.Endpoint == "" && errors.Is(lookupErr, tunnel.ErrNameNotFound):
		status.State, status.Reason = StateResolving, ReasonNameNotFound
		status.Message = fmt.Sprintf("the name %s has no address: check tunnel.endpoint, and the router's dynamic DNS", config.Endpoint.Host)
	case status.Endpoint == "" && lookupErr != nil:
		status.State, status.Reason = StateResolving, ReasonResolverFailed
		status.Message = fmt.Sprintf("the name %s could not be looked up (%v): check the gateway's name servers; it is tried again", config.Endpoint.Host, lookupErr)
	case status.Endpoint == "":
		status.State, status.Reason = StateResolving, ReasonResolving
	default:
		if h := s.tunnel.Handshake(); h.InitiatingSince.IsZero() || now.Sub(h.InitiatingSince) < firstRetry {
			status.Reason = ReasonHandshakeStarted
			return
		}
		status.Reason = ReasonHandshakeUnanswered
		status.Message = fmt.Sprintf("the router at %s does not answer WireGuard: check that tunnel.endpoint is right and its UDP port open, "+
			"that tunnel.peer_public_key is the router's key, and that the router has %s as its peer's public key and the same preshared key",
			status.Endpoint, s.ourKey())
		if lookupErr != nil {
			status.Message += fmt.Sprintf("; and the name %s leads nowhere now (%v)", config.Endpoint.Host, lookupErr)
		}
	}
}

// tell reports a status if it differs from the last; since-when moves with the
// state.
func (s *site) tell(status Status) {
	status.Since = s.status.Since
	if status.State != s.status.State {
		status.Since = time.Now()
	}
	if status.State != s.status.State || onTheWay(s.status) && !onTheWay(status) {
		s.log.WithLevel(logLevel(status)).Str("reason", status.Reason).Str("detail", status.Message).Msgf("building is %s", status.State)
	}
	if status == s.status {
		return
	}
	s.status = status
	s.report(status)
}

// logLevel is that of a state in the log. The steps of every start are for whoever looks
// for a fault: a building that comes up has one line, and so has one that is held up.
func logLevel(status Status) zerolog.Level {
	if onTheWay(status) {
		return zerolog.DebugLevel
	}
	return zerolog.InfoLevel
}

// onTheWay reports whether a status is a step of every start.
func onTheWay(status Status) bool {
	return status.Reason == ReasonHandshakeStarted || status.Reason == string(session.ReasonStarting)
}

// isOpen reports whether tunnel, stack and bridge may be used by others.
func (s *site) isOpen() bool {
	select {
	case <-s.opened:
		return true
	default:
		return false
	}
}

// live adds what changes too often to be reported: counters and last times. Safe
// for concurrent use once the site is open.
func (s *site) live(status *Status) {
	if !s.isOpen() {
		return
	}
	if at := s.lastTelegramAt.Load(); at != 0 {
		status.LastTelegramAt = time.Unix(0, at)
	}
	status.LastHandshakeAt = s.tunnel.Handshake().Last
	wire, inside := s.tunnel.Counters(), s.stack.Stats()
	status.Counters = Counters{
		Handshakes:        s.handshakes.Load(),
		ReceivedDatagrams: wire.RxDatagrams,
		SentDatagrams:     wire.TxDatagrams,
		ReceivedBytes:     wire.RxBytes,
		SentBytes:         wire.TxBytes,
		DroppedPackets:    wire.RxDropped + inside.Overflowed,
		JournalLost:       s.writer.Lost(),
		Session:           s.sessions.stats(),
	}
}
