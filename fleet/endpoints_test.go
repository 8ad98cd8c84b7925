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
	wantCall := func(candidates []netip.AddrPort, err error, inUse, want netip.AddrPort, differs bool) {
		t.Helper()
		if to, d := e.resolved(now, candidates, err, inUse); to != want || d != differs {
			t.Errorf("call %v (%v), want %v (%v)", to, d, want, differs)
		}
	}
	none := netip.AddrPort{}

	wantDue(now, false, true)
	// Failures are repeated with growing pauses, up to 15 s, for ever.
	for _, pause := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second} {
		wantCall(nil, errors.New("no"), none, none, false)
		wantDue(now.Add(pause-time.Millisecond), false, false)
		now = now.Add(pause)
		wantDue(now, false, true)
	}
	wantCall([]netip.AddrPort{one}, nil, none, one, true)
	// A router that answers is not looked up again; one that does not, is.
	now = now.Add(time.Hour)
	wantDue(now, true, false)
	wantDue(now, false, true)
	// The daily change of address.
	wantCall([]netip.AddrPort{two}, nil, one, two, true)
	// The same address again: nothing to change.
	now = now.Add(lookupRefresh)
	wantCall([]netip.AddrPort{two}, nil, two, two, false)
	// It roamed and went silent: back to where the name leads.
	wantCall([]netip.AddrPort{two}, nil, netip.MustParseAddrPort("192.0.2.9:4"), two, true)
	// Two addresses take turns.
	wantCall([]netip.AddrPort{one, two}, nil, two, one, true)
	wantCall([]netip.AddrPort{one, two}, nil, one, two, true)

	caller := newEndpoints(tunnel.Endpoint{}, nil)
	if caller.due(now, false) {
		t.Error("a router that calls us is looked up")
	}
}
