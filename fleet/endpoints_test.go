package fleet

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

func TestEndpoints(t *testing.T) {
	now := time.Unix(1000, 0)
	one, two := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820")
	e := newEndpoints(tunnel.Endpoint{Host: "router.example.org", Port: 51820}, func() float64 { return 0.5 })
	wantDue := func(at time.Time, answering, want bool) {
		t.Helper()
		if got := e.due(at, answering); got != want {
			t.Errorf("due after %v: %v, want %v", at.Sub(now), got, want)
		}
	}
	wantCall := func(candidates []netip.AddrPort, err error, want netip.AddrPort) {
		t.Helper()
		if to := e.resolved(now, candidates, err); to != want {
			t.Errorf("call %v, want %v", to, want)
		}
	}
	none := netip.AddrPort{}

	wantDue(now, false, true)
	// Failures are repeated with growing pauses, up to 15 s, for ever.
	for _, pause := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second} {
		wantCall(nil, errors.New("no"), none)
		wantDue(now.Add(pause-time.Millisecond), false, false)
		now = now.Add(pause)
		wantDue(now, false, true)
	}
	wantCall([]netip.AddrPort{one}, nil, one)
	// A router that answers is not looked up again; one that does not, is.
	now = now.Add(time.Hour)
	wantDue(now, true, false)
	wantDue(now, false, true)
	// The daily change of address.
	wantCall([]netip.AddrPort{two}, nil, two)
	// The same address again.
	now = now.Add(lookupRefresh)
	wantCall([]netip.AddrPort{two}, nil, two)
	// Two addresses take turns.
	wantCall([]netip.AddrPort{one, two}, nil, one)
	wantCall([]netip.AddrPort{one, two}, nil, two)

	caller := newEndpoints(tunnel.Endpoint{}, nil)
	if caller.due(now, false) {
		t.Error("a router that calls us is looked up")
	}
}
