package simulator

import "time"

// Link is what the network between a building's router and the gateway does to
// datagrams, in both directions. The zero value is a perfect network.
type Link struct {
	// Loss, Duplicate and Reorder are shares of the datagrams, 0 to 1. A reordered
	// one is held back by ReorderBy.
	Loss, Duplicate, Reorder float64
	ReorderBy                time.Duration
	// Delay holds every datagram back, and Jitter adds up to that much.
	Delay, Jitter time.Duration
	// Down loses everything.
	Down bool
}

// passes decides about one datagram: when each copy of it arrives, counted from
// now. None means that it is lost. rnd gives numbers in [0, 1).
func (l *Link) passes(rnd func() float64) []time.Duration {
	if l.Down || l.Loss > 0 && rnd() < l.Loss {
		return nil
	}
	copies := 1
	if l.Duplicate > 0 && rnd() < l.Duplicate {
		copies = 2
	}
	after := make([]time.Duration, copies)
	for i := range after {
		after[i] = l.Delay
		if l.Jitter > 0 {
			after[i] += time.Duration(rnd() * float64(l.Jitter))
		}
		if l.Reorder > 0 && rnd() < l.Reorder {
			after[i] += l.ReorderBy
		}
	}
	return after
}
