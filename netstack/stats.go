package netstack

import "sync/atomic"

// Stats counts what went through a stack since it was made.
type Stats struct {
	// In is the number of valid packets from the building, Out of those to it.
	In, Out uint64
	// Overflowed is the number of received datagrams that found the receive
	// queue of their UDP socket full: the socket's owner does not keep up.
	Overflowed uint64
	// Malformed is the number of things delivered that are not an
	// IPv4 or IPv6 packet, or shorter than they say.
	Malformed uint64
}

type counters struct {
	in, out, overflowed, malformed atomic.Uint64
}

// Stats returns the counters, each exact, read one after another.
func (s *Stack) Stats() Stats {
	c := &s.counters
	return Stats{
		In:         c.in.Load(),
		Out:        c.out.Load(),
		Overflowed: c.overflowed.Load(),
		Malformed:  c.malformed.Load(),
	}
}
