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
	// A failed look-up is repeated after firstLookupRetry, doubled each time up
	// to lastLookupRetry.
	firstLookupRetry = 2 * time.Second
	lastLookupRetry  = 15 * time.Second
	// A name that resolved is looked up again every lookupRefresh while the
	// router does not answer: consumer routers change their address daily.
	lookupRefresh = 15 * time.Second
)

// endpoints decides which address of the router is called, and when its name is
// looked up. It does no I/O and keeps no clock.
type endpoints struct {
	endpoint   tunnel.Endpoint
	fresh      bool // it was named while the site ran, and not called yet
	rnd        func() float64
	candidates []netip.AddrPort
	current    netip.AddrPort
	failures   int
	err        error     // of the last look-up; nil after a good one
	again      time.Time // earliest next look-up
}

func newEndpoints(endpoint tunnel.Endpoint, rnd func() float64) *endpoints {
	return &endpoints{endpoint: endpoint, rnd: rnd}
}

// rename starts over with another endpoint: it is called also if the router
// answers where it was called so far.
func (e *endpoints) rename(endpoint tunnel.Endpoint) {
	*e = endpoints{endpoint: endpoint, rnd: e.rnd, fresh: true}
}

// due reports whether a look-up should start: at once at first, and then only
// while the router does not answer.
func (e *endpoints) due(now time.Time, answering bool) bool {
	if e.endpoint.IsZero() || answering && !e.fresh {
		return false
	}
	return !now.Before(e.again)
}

// resolved takes the result of a look-up and returns the address to call: the
// one called so far does not answer, so if the name has others, they take turns.
func (e *endpoints) resolved(now time.Time, candidates []netip.AddrPort, err error) netip.AddrPort {
	e.err = err
	if err != nil {
		wait := min(firstLookupRetry<<min(e.failures, 8), lastLookupRetry)
		e.failures++
		e.again = now.Add(e.jitter(wait))
		return e.current
	}
	e.failures = 0
	e.fresh = false
	e.again = now.Add(e.jitter(lookupRefresh))
	e.candidates = candidates
	return e.next()
}

// next returns the candidate after the one called last.
func (e *endpoints) next() netip.AddrPort {
	at := slices.Index(e.candidates, e.current) // -1: begin with the first
	e.current = e.candidates[(at+1)%len(e.candidates)]
	return e.current
}

// jitter spreads retries of many buildings over ±20 %.
func (e *endpoints) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*e.rnd()))
}
