package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

const (
	// handshakeWindow is how long a diagnosis waits for a handshake: two tries of
	// WireGuard, which are 5 s apart, or of a router that calls.
	handshakeWindow = 11 * time.Second
	// youngKeys are proof enough that the router answers.
	youngKeys = 5 * time.Second
	// pollEvery is how often what is waited for is looked at.
	pollEvery = 50 * time.Millisecond
	// clockTolerance is how far two times may differ that mean the same.
	clockTolerance = 2 * time.Second
)

// resolve looks the router's name up, beside what the site does.
func (d *diagnosing) resolve(ctx context.Context) (CheckResult, string) {
	endpoint := d.building.Tunnel.Endpoint
	if endpoint.IsZero() {
		return CheckSkipped, "the router has no endpoint; it calls us"
	}
	if addr, ok := endpoint.AddrPort(); ok {
		return CheckSkipped, fmt.Sprintf("the endpoint is an address, %s", addr)
	}
	found := d.site.lookup(ctx, endpoint)
	d.resolveErr, d.candidates = found.err, len(found.candidates)
	if found.err != nil {
		return CheckFailed, found.err.Error()
	}
	return CheckPassed, fmt.Sprintf("%s is %s", endpoint.Host, joined(found.candidates))
}

// joined joins addresses for people, the first few of them.
func joined[T fmt.Stringer](all []T) string {
	text := ""
	for i, each := range all {
		if i == maxListed {
			return text + ", …"
		}
		if i > 0 {
			text += ", "
		}
		text += each.String()
	}
	return text
}

// clock compares the clock with the latest time on record.
func (d *diagnosing) clock() (CheckResult, string) {
	now := time.Now().Round(0)
	if behind := d.seen.Sub(now); behind > clockTolerance {
		return CheckFailed, fmt.Sprintf("it is %s here, but %s is on record for this building already: the clock is at least %v behind",
			now.UTC().Format(time.RFC3339), d.seen.UTC().Format(time.RFC3339), behind.Round(time.Second))
	}
	return CheckPassed, fmt.Sprintf("it is %s here, and nothing on record for this building is later", now.UTC().Format(time.RFC3339))
}

// handshake has the router prove that it agrees on keys now, and returns the
// messages that passed meanwhile.
func (d *diagnosing) handshake(ctx context.Context) (CheckResult, string, tunnel.Messages) {
	t := d.site.tunnel
	began, before, first := time.Now(), t.Messages(), t.Handshake()
	if !first.Last.IsZero() && began.Sub(first.Last) < youngKeys && first.InitiatingSince.IsZero() {
		return CheckPassed, fmt.Sprintf("the router at %s agreed on keys a moment ago", t.Endpoint()), tunnel.Messages{}
	}
	if err := t.Renew(); err != nil { // the tunnel is closed
		return CheckFailed, err.Error(), tunnel.Messages{}
	}
	window := min(handshakeWindow, d.timeout/2)
	agreed := waitFor(ctx, window, func() bool { return t.Handshake().Last.After(first.Last) })
	passed := between(before, t.Messages())
	took := time.Since(began).Round(time.Millisecond)
	if agreed {
		return CheckPassed, fmt.Sprintf("the router at %s agreed on new keys in %v", t.Endpoint(), took), passed
	}
	at := "nobody knows where the router is"
	if endpoint := t.Endpoint(); endpoint.IsValid() {
		at = "router at " + endpoint.String()
	}
	evidence := fmt.Sprintf("%s; in %v: %d initiations sent, %d answers and %d cookies received; %d initiations of the router received, %d answered",
		at, took.Round(time.Second), passed.InitiationsSent, passed.Responses, passed.Cookies, passed.Initiations, passed.ResponsesSent)
	if first.Last.IsZero() {
		evidence += "; there has been no handshake since the building was started"
	} else {
		evidence += fmt.Sprintf("; the last handshake was %v ago", began.Sub(first.Last).Round(time.Second))
	}
	if stranger := t.StrangerAt(); !stranger.IsZero() {
		evidence += fmt.Sprintf("; somebody at that address called with keys that are not known here, %v ago", time.Since(stranger).Round(time.Second))
	}
	return CheckFailed, evidence, passed
}

func between(a, b tunnel.Messages) tunnel.Messages {
	return tunnel.Messages{
		InitiationsSent: b.InitiationsSent - a.InitiationsSent,
		ResponsesSent:   b.ResponsesSent - a.ResponsesSent,
		Initiations:     b.Initiations - a.Initiations,
		Responses:       b.Responses - a.Responses,
		Cookies:         b.Cookies - a.Cookies,
	}
}

// waitFor polls until ok, for a time at most.
func waitFor(ctx context.Context, patience time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ok()
		}
	}
	return true
}

// unreached says why there is no handshake. A WireGuard router answers nothing to
// whom it does not know (paper §5.3), so that much is told by what does not come.
func (d *diagnosing) unreached(ctx context.Context, clockBehind bool, seen tunnel.Messages) *finding {
	t := d.site.tunnel
	endpoint := d.building.Tunnel.Endpoint
	ours := d.site.ourKey()
	switch {
	case ctx.Err() != nil:
		return &finding{verdict: VerdictUnclear}
	case seen.Responses > 0:
		return &finding{
			VerdictWrongPresharedKey,
			fmt.Sprintf("the router at %s answers, but its answers do not fit our preshared key", t.Endpoint()),
			"give both sides the same preshared key, or none on both (tunnel.preshared_key here, PresharedKey in the router)",
		}
	case seen.Initiations > 0 && seen.ResponsesSent > 0:
		return &finding{
			VerdictWrongPresharedKey,
			"the router calls and is answered, but never goes on: the preshared keys differ, or our answers do not reach it",
			"give both sides the same preshared key, or none on both; if they are the same, look for a firewall between here and the router",
		}
	case seen.Initiations > 0:
		return &finding{
			VerdictWrongKey,
			"the router calls us by our key, but with a key of its own that is not the one known here",
			"set tunnel.peer_public_key to the router's public key (wg show on the router prints it)",
		}
	case clockBehind:
		return &finding{
			VerdictClockBehind,
			"our clock is behind the time of an earlier handshake, and a router takes such a handshake for a replay and says nothing (TAI64N, WireGuard paper §5.1)",
			"set the gateway's clock (NTP); or restart the router's WireGuard, which makes it forget",
		}
	case !t.StrangerAt().IsZero():
		return &finding{
			VerdictWrongKey,
			fmt.Sprintf("somebody at the router's address %s calls with keys that do not fit those known here", t.Endpoint().Addr()),
			fmt.Sprintf("compare the keys: the router's public key with tunnel.peer_public_key (%s), and ours, %s, with the peer in the router", d.building.Tunnel.Peer, ours),
		}
	case seen.Cookies > 0:
		return &finding{
			VerdictWrongKey,
			fmt.Sprintf("the router at %s has the key that is known here, but agrees on nothing with us: it does not know our key, or it is overloaded (it answers with cookies)", t.Endpoint()),
			fmt.Sprintf("give the router %s as its peer's public key", ours),
		}
	case d.resolveErr != nil && !endpoint.IsZero():
		return d.unresolved()
	case endpoint.IsZero() && !t.Handshake().Last.IsZero():
		return &finding{
			VerdictAwaitingRouter,
			fmt.Sprintf("the router used to call, and does not answer any more where it was, %s", t.Endpoint()),
			"check that the building has power and Internet; its router has to call, with a persistent keepalive",
		}
	case endpoint.IsZero():
		return &finding{
			VerdictAwaitingRouter,
			"the router has not called yet" + d.calledBefore() + ", and nobody told where it could be called",
			fmt.Sprintf("give the router this gateway as endpoint, a persistent keepalive, and %s as its peer's public key; or set tunnel.endpoint", ours),
		}
	}
	return d.nothingBack()
}

// unresolved: there is a name, and it leads nowhere.
func (d *diagnosing) unresolved() *finding {
	host := d.building.Tunnel.Endpoint.Host
	if errors.Is(d.resolveErr, tunnel.ErrNameNotFound) {
		return &finding{
			VerdictNameUnresolved,
			fmt.Sprintf("the name of the router, %s, has no address", host),
			"check tunnel.endpoint for a mistake, and that the router's dynamic DNS is registered",
		}
	}
	return &finding{
		VerdictNameUnresolved,
		fmt.Sprintf("the name of the router, %s, cannot be looked up", host),
		"check the name servers of the machine that the gateway runs on",
	}
}

// nothingBack: initiations were sent and nothing came.
func (d *diagnosing) nothingBack() *finding {
	t := d.site.tunnel
	at := t.Endpoint()
	if at == (netip.AddrPort{}) {
		return &finding{VerdictUDPBlocked, "there is no way to send to the router's address", "give the gateway an address of that family (--tunnel-listen), or the router one of the other"}
	}
	last, b := d.lastKept(), d.building
	elsewhere := "check that the building has power and Internet, that its address is still this one, and that no firewall between closes the UDP port"
	compare := fmt.Sprintf("the router's with tunnel.peer_public_key (%s), and ours, %s, with the peer in the router", b.Tunnel.Peer, d.site.ourKey())
	switch {
	case !t.Handshake().Last.IsZero():
		return &finding{
			VerdictUDPBlocked,
			fmt.Sprintf("nothing comes back from %s; it has answered with these keys before, so UDP is blocked now, or the router is off or elsewhere", at),
			elsewhere,
		}
	case !last.IsZero() && b.UpdatedAt.After(last):
		return &finding{VerdictUDPBlocked, fmt.Sprintf("nothing comes back from %s, %s", at, d.changedSince(last)), "compare the keys: " + compare + "; if they agree, " + elsewhere}
	case !last.IsZero():
		return &finding{
			VerdictUDPBlocked,
			fmt.Sprintf("nothing comes back from %s; its last telegram came at %s, and nothing was changed here since, so UDP is blocked now, or the router is off or elsewhere", at, wallClock(last)),
			elsewhere,
		}
	}
	return &finding{
		VerdictUDPBlocked,
		fmt.Sprintf("nothing comes back from %s, and nothing has since the building was started: UDP is blocked, the address or port is wrong, the router is off, or the keys differ, since WireGuard does not answer strangers", at),
		fmt.Sprintf("check that the UDP port %d is forwarded to the router and open; then compare the keys: %s", at.Port(), compare),
	}
}

// calledBefore says of a router that has not called since the building was started
// whether it has before.
func (d *diagnosing) calledBefore() string {
	switch last := d.lastKept(); {
	case last.IsZero():
		return ""
	case d.building.UpdatedAt.After(last):
		return " since the building was started, " + d.changedSince(last)
	default:
		return fmt.Sprintf(" since the building was started (its last telegram came at %s)", wallClock(last))
	}
}

// changedSince says that the building was another one when its last telegram came. Which
// key it had then is not kept.
func (d *diagnosing) changedSince(last time.Time) string {
	b := d.building
	if b.CreatedAt.After(last) {
		return fmt.Sprintf("though a telegram of this building came at %s: it was created anew after that, at %s, and if that gave us a new key, the router does not know it",
			wallClock(last), wallClock(b.CreatedAt))
	}
	return fmt.Sprintf("though a telegram of this building came at %s: it was changed after that, at %s, and if that gave us a new key, the router does not know it",
		wallClock(last), wallClock(b.UpdatedAt))
}

func wallClock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
