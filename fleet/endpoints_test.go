package fleet

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

func TestEndpoints(t *testing.T) {
	now := time.Unix(1000, 0)
	one, two, away := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("192.0.2.2:51820"), netip.MustParseAddrPort("198.51.100.9:4000")
	e := newEndpoints(tunnel.Endpoint{Host: "router.example.org", Port: 51820}, func() float64 { return 1 })
	wantDue := func(at time.Time, answering, want bool) {
		t.Helper()
		if got := e.due(at, answering); got != want {
			t.Errorf("due after %v: %v, want %v", at.Sub(now), got, want)
		}
	}
	wantCall := func(candidates []netip.AddrPort, err error, want ...netip.AddrPort) {
		t.Helper()
		if to := e.resolved(now, candidates, err); !slices.Equal(to, want) {
			t.Errorf("call %v, want %v", to, want)
		}
	}
	no := errors.New("no")

	wantDue(now, false, true)
	// Failures are repeated with growing pauses, up to 15 s in the first ten minutes
	// and then up to 60 s, for ever.
	wantPause := func(pause time.Duration) {
		t.Helper()
		wantCall(nil, no)
		wantDue(now.Add(pause-time.Millisecond), false, false)
		now = now.Add(pause)
		wantDue(now, false, true)
	}
	began := now
	for _, pause := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second} {
		wantPause(pause)
	}
	for now.Sub(began) < 10*time.Minute {
		wantPause(15 * time.Second)
	}
	wantPause(60 * time.Second)
	wantPause(60 * time.Second)
	wantCall([]netip.AddrPort{one}, nil, one)
	// A router that answers is not looked up again; one that does not, is.
	e.handshaken(one)
	now = now.Add(time.Hour)
	wantDue(now, true, false)
	wantDue(now, false, true)
	// The daily change of address; it may still be where it was.
	wantCall([]netip.AddrPort{two}, nil, two, one)
	wantDue(now.Add(15*time.Second), false, true)
	e.handshaken(two)
	// Addresses are called together and take turns in being preferred.
	wantCall([]netip.AddrPort{one, two}, nil, one, two)
	wantCall([]netip.AddrPort{one, two}, nil, two, one)
	// A router that called from elsewhere is called there too, also when its name is
	// gone.
	e.handshaken(away)
	wantCall([]netip.AddrPort{one, two}, nil, one, away, two)
	wantCall(nil, no, away)
	// Another endpoint is called alone.
	e.rename(tunnel.Endpoint{Host: "other.example.org", Port: 51820})
	wantDue(now, true, true)
	wantCall([]netip.AddrPort{two}, nil, two)

	caller := newEndpoints(tunnel.Endpoint{}, nil)
	if caller.due(now, false) {
		t.Error("a router that calls us is looked up")
	}
}
