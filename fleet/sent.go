package fleet

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// sentCounts count writes and reads of all buildings, beyond the lives of sites.
type sentCounts struct {
	outcomes [session.Unknown + 1]atomic.Uint64
	dropped  atomic.Uint64
}

// Sent is what became of writes and reads since the start.
type Sent struct {
	// Outcomes counts by outcome what was sent.
	Outcomes map[session.Outcome]uint64
	// Dropped counts what found the queue full, or was not sent in time.
	Dropped uint64
	// Waiting is how many wait now, in all buildings together.
	Waiting int
}

func (c *sentCounts) count(outcome session.Outcome, err error) {
	switch {
	case err == nil:
		c.outcomes[outcome].Add(1)
	case errors.Is(err, ErrQueueFull), errors.Is(err, ErrTooLate), errors.Is(err, context.DeadlineExceeded):
		c.dropped.Add(1)
	}
}

// Sent counts the writes and reads of all buildings.
func (f *Fleet) Sent() Sent {
	sent := Sent{Outcomes: make(map[session.Outcome]uint64), Dropped: f.sent.dropped.Load()}
	for outcome := session.Confirmed; outcome <= session.Unknown; outcome++ {
		sent.Outcomes[outcome] = f.sent.outcomes[outcome].Load()
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, s := range f.live {
		if s.isOpen() {
			sent.Waiting += s.sessions.waiting()
		}
	}
	return sent
}
