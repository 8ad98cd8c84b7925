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
	rnd        func() float64
	candidates []netip.AddrPort
	current    netip.AddrPort
	failures   int
	err        error     // of the last look-up; nil after a good one
	next       time.Time // earliest next look-up
}

func newEndpoints(endpoint tunnel.Endpoint, rnd func() float64) *endpoints {
	return &endpoints{endpoint: endpoint, rnd: rnd}
}

// due reports whether a look-up should start: at once at first, and then only
// while the router does not answer.
func (e *endpoints) due(now time.Time, answering bool) bool {
	if e.endpoint.IsZero() || answering {
		return false
	}
	return !now.Before(e.next)
}

// resolved takes the result of a look-up and returns the address to call from
// now on, and whether it differs from the one called so far. inUse is the
// address that WireGuard uses, which roams by itself: it is kept while the name
// still leads to it, unless it has stopped answering and there is another.
func (e *endpoints) resolved(now time.Time, candidates []netip.AddrPort, err error, inUse netip.AddrPort) (netip.AddrPort, bool) {
	e.err = err
	if err != nil {
		wait := min(firstLookupRetry<<min(e.failures, 8), lastLookupRetry)
		e.failures++
		e.next = now.Add(e.jitter(wait))
		return e.current, false
	}
	e.failures = 0
	e.next = now.Add(e.jitter(lookupRefresh))
	e.candidates = candidates
	if at := slices.Index(candidates, e.current); at >= 0 {
		// Called and not answering: try the name's next address.
		e.current = candidates[(at+1)%len(candidates)]
	} else {
		e.current = candidates[0]
	}
	return e.current, e.current != inUse
}

// jitter spreads retries of many buildings over ±20 %.
func (e *endpoints) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*e.rnd()))
}
