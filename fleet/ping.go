package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/netstack"
)

// Ping is what is pinged in a building's LAN, and how. The zero values are good.
type Ping struct {
	Building string
	Address  netip.Addr    // within the tunnel's allowed IPs; invalid: the KNX interface
	Count    int           // 1 to 100; 0 is 3
	Interval time.Duration // 200 ms to 10 s between two; 0 is 1 s
	Timeout  time.Duration // 100 ms to 10 s for each answer; 0 is 2 s
	Size     int           // bytes of data in each, 0 to netstack.MaxEchoPayload
}

// DefaultPingSize is what other programs send.
const DefaultPingSize = 56

// Pinged is what came of a Ping.
type Pinged struct {
	Address netip.Addr
	// RoundTrips are in the order of the requests; a negative one is a missing answer.
	RoundTrips []time.Duration
}

// noAnswer is a round trip that did not end.
const noAnswer = -time.Nanosecond

func within[T int | time.Duration](field string, value *T, fallback, least, most T) error {
	if *value == 0 {
		*value = fallback
	}
	if *value < least || *value > most {
		return &registry.FieldError{Field: field, Problem: fmt.Sprintf("is %v; want %v to %v", *value, least, most)}
	}
	return nil
}

// Ping sends echo requests into a building's LAN. No answer is no error. Errors: a
// *registry.FieldError, a *registry.BuildingError with registry.ErrNotFound,
// ErrDisabled or ErrNotStarted, ErrBusy, or ctx's error.
func (f *Fleet) Ping(ctx context.Context, p Ping) (*Pinged, error) {
	if err := errors.Join(
		within("count", &p.Count, 3, 1, 100),
		within("interval", &p.Interval, time.Second, 200*time.Millisecond, 10*time.Second),
		within("timeout", &p.Timeout, 2*time.Second, 100*time.Millisecond, 10*time.Second),
	); err != nil {
		return nil, err
	}
	if p.Size < 0 || p.Size > netstack.MaxEchoPayload {
		return nil, &registry.FieldError{Field: "size", Problem: fmt.Sprintf("is %d; want 0 to %d", p.Size, netstack.MaxEchoPayload)}
	}
	s, done, err := f.inside(p.Building)
	if err != nil {
		return nil, err
	}
	defer done()
	b := s.desired.Load()
	if !p.Address.IsValid() {
		p.Address = b.KNX.Interface.Addr()
	}
	if !covered(b, p.Address) {
		return nil, &registry.FieldError{Field: "address", Problem: fmt.Sprintf("%s is outside of the building's networks (tunnel.allowed_ips: %s)", p.Address, joined(b.Tunnel.AllowedIPs))}
	}
	trips, err := s.ping(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", p.Building, err)
	}
	return &Pinged{Address: p.Address, RoundTrips: trips}, nil
}

// covered reports whether WireGuard lets packets of an address through.
func covered(b *registry.Building, addr netip.Addr) bool {
	for _, network := range b.Tunnel.AllowedIPs {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// ping sends echo requests at their interval, whether those before were answered or
// not. The only errors are ctx's and net.ErrClosed.
func (s *site) ping(ctx context.Context, p Ping) ([]time.Duration, error) {
	trips := make([]time.Duration, p.Count)
	errs := make([]error, p.Count)
	var waiting sync.WaitGroup
	pace := time.NewTicker(p.Interval)
	defer pace.Stop()
	for i := range p.Count {
		trips[i] = noAnswer
		waiting.Go(func() {
			each, cancel := context.WithTimeout(ctx, p.Timeout)
			defer cancel()
			trip, err := s.stack.PingSize(each, p.Address, p.Size)
			switch {
			case err == nil:
				trips[i] = max(trip, 0)
			case errors.Is(err, net.ErrClosed):
				errs[i] = fmt.Errorf("the building was stopped meanwhile: %w", ErrSiteStopped)
			}
		})
		if i == p.Count-1 {
			break
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			waiting.Wait()
			return trips, ctx.Err()
		}
	}
	waiting.Wait()
	return trips, errors.Join(errors.Join(errs...), ctx.Err())
}

// answered counts the answers to echo requests, and gives their longest round trip.
func answered(trips []time.Duration) (n int, longest time.Duration) {
	for _, trip := range trips {
		if trip >= 0 {
			n++
			longest = max(longest, trip)
		}
	}
	return n, longest
}
