package fleet

import (
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

// Our own tuning of name resolution.
const (
	// lookupTimeout bounds one look-up of the router's name.
	lookupTimeout = 10 * time.Second
	// A failed look-up is repeated after firstLookupRetry at most, doubled each time up
	// to lastLookupRetry.
	firstLookupRetry = 2 * time.Second
	lastLookupRetry  = 15 * time.Second
	// A name that resolved is looked up again after lookupRefresh at most while the
	// router does not answer: consumer routers change their address daily. Whoever
	// answers look-ups here keeps to the record's time to live.
	lookupRefresh = 15 * time.Second
)

// An outage that lasts for longOutage is looked at more rarely.
const (
	longOutage       = 10 * time.Minute
	longOutageLookup = 60 * time.Second
)

// endpoints decides at which addresses the router is called, and when its name is
// looked up. It does no I/O and keeps no clock.
type endpoints struct {
	endpoint tunnel.Endpoint
	fresh    bool // it was named while the site ran, and not called yet
	rnd      func() float64
	answered netip.AddrPort // where the router was when it last answered; invalid: never
	turn     int            // of the name's addresses, the one to prefer next
	failures int
	since    time.Time // of the first look-up of this outage; zero: there is none
	err      error     // of the last look-up
	again    time.Time // earliest next look-up
}

func newEndpoints(endpoint tunnel.Endpoint, rnd func() float64) *endpoints {
	return &endpoints{endpoint: endpoint, rnd: rnd}
}

// rename starts over with another endpoint: it is called also if the router
// answers where it was called so far.
func (e *endpoints) rename(endpoint tunnel.Endpoint) {
	*e = endpoints{endpoint: endpoint, rnd: e.rnd, fresh: true}
}

// handshaken notes where the router has answered.
func (e *endpoints) handshaken(at netip.AddrPort) {
	e.since, e.turn = time.Time{}, 0
	if !e.fresh {
		e.answered = at
	}
}

// due reports whether a look-up should start: at once at first, and then only
// while the router does not answer.
func (e *endpoints) due(now time.Time, answering bool) bool {
	if e.endpoint.IsZero() || answering && !e.fresh {
		return false
	}
	return !now.Before(e.again)
}

// resolved takes the result of a look-up and returns the addresses to call, all at
// once and the preferred one first: those of the name, which take turns in being
// preferred, and where the router answered last, because it may have moved to
// where its name does not lead. None when nobody knows any.
func (e *endpoints) resolved(now time.Time, candidates []netip.AddrPort, err error) []netip.AddrPort {
	e.err = err
	if e.since.IsZero() {
		e.since = now
	}
	limit, wait := lastLookupRetry, lookupRefresh
	if now.Sub(e.since) >= longOutage {
		limit, wait = longOutageLookup, longOutageLookup
	}
	if err != nil {
		wait = min(firstLookupRetry<<min(e.failures, 8), limit)
		e.failures++
		candidates = nil
	} else {
		e.failures, e.fresh = 0, false
	}
	e.again = now.Add(e.jitter(wait))
	var call []netip.AddrPort
	for i := range candidates {
		call = append(call, candidates[(e.turn+i)%len(candidates)])
	}
	e.turn++
	if e.answered.IsValid() && !slices.Contains(call, e.answered) {
		// Before what the race leaves out.
		call = slices.Insert(call, min(1, len(call)), e.answered)
	}
	return call
}

// jitter shortens retries of many buildings by up to 40 %, so that they spread.
func (e *endpoints) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.6 + 0.4*e.rnd()))
}
