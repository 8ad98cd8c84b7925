package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

const (
	// defaultStartReads is how many reads a second read-on-start sends: a device that
	// answers doubles them, and everything else on the bus goes on beside.
	defaultStartReads = 2
	// startReadTimeout is how long read-on-start waits for one answer before it goes
	// on. It has one read under way, so that a place is left for clients.
	startReadTimeout = time.Second
	// startAnswerWithin is for how long a response counts as the answer to a read of
	// read-on-start.
	startAnswerWithin = 5 * time.Second
	// startClient is who reads then, in the queue of the bus.
	startClient = "read-on-start"
)

// startReads are the reads that follow each new session.
type startReads struct {
	// Owned by the site's loop.
	session uint64             // of the session that was read for, counted from 1
	stop    context.CancelFunc // ends the reads under way; nil: none

	mu    sync.Mutex
	asked map[frame.GroupAddress]time.Time // those whose answers are awaited: some seconds' worth
}

// ask notes that an address is about to be read.
func (r *startReads) ask(now time.Time, a frame.GroupAddress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == nil {
		r.asked = make(map[frame.GroupAddress]time.Time)
	}
	for other, at := range r.asked {
		if now.Sub(at) > startAnswerWithin {
			delete(r.asked, other)
		}
	}
	r.asked[a] = now
}

// answered reports whether a telegram is the answer to a read of read-on-start.
func (r *startReads) answered(t *knxbridge.Telegram) bool {
	if t.Command != frame.GroupValueResponse {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at, asked := r.asked[t.Destination]
	delete(r.asked, t.Destination)
	return asked && t.At.Sub(at) <= startAnswerWithin
}

// followStart begins to read when a session is new, and ends it when the building is
// no longer ONLINE.
func (s *site) followStart(ctx context.Context, beside func(func())) {
	wanted := s.applied.ReadOnStart
	if len(wanted.Addresses) == 0 && s.starts.stop == nil {
		return
	}
	online := s.status.State == StateOnline
	if s.starts.stop != nil && (!online || len(wanted.Addresses) == 0) {
		s.starts.stop()
		s.starts.stop = nil
	}
	stats := s.sessions.stats()
	if !online || stats.Sessions == s.starts.session {
		return
	}
	s.starts.session = stats.Sessions
	if s.starts.stop != nil {
		s.starts.stop()
	}
	reading, stop := context.WithCancel(ctx)
	s.starts.stop = stop
	bridge := s.sessions.bridge()
	beside(func() {
		defer stop()
		s.readOnStart(reading, bridge, wanted)
	})
}

// readOnStart reads one address after the other.
func (s *site) readOnStart(ctx context.Context, bridge *knxbridge.Bridge, wanted registry.ReadOnStart) {
	table, err := s.tables.Load(ctx, s.building.ID)
	if err != nil {
		s.log.Warn().Err(err).Msg("read on start goes without the group address table")
	}
	perSecond := wanted.PerSecond
	if perSecond == 0 {
		perSecond = defaultStartReads
	}
	pause := time.NewTicker(time.Second / time.Duration(perSecond))
	defer pause.Stop()
	answers := 0
	all := startAddresses(table, wanted.Addresses)
	for _, address := range all {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		if s.readAtStart(ctx, bridge, address) {
			answers++
		}
	}
	s.log.Info().Int("addresses", len(all)).Int("answers", answers).Msg("read on start is through")
}

// readAtStart reads one address, and reports if it was answered in time.
func (s *site) readAtStart(ctx context.Context, bridge *knxbridge.Bridge, address frame.GroupAddress) bool {
	ctx, cancel := context.WithTimeout(ctx, startReadTimeout)
	defer cancel()
	one := s.reads.join(address, func(ctx context.Context, turn func(), sent func(knxbridge.Written)) error {
		s.starts.ask(time.Now(), address)
		return bridge.Read(ctx, knxbridge.Write{Destination: address, Client: startClient}, turn, sent)
	})
	select {
	case <-one.over:
	case <-ctx.Done():
	}
	return s.reads.leave(address, one, context.Cause(ctx)).telegram != nil
}

// startAddresses are those of the table that a pattern selects, in order, and those
// that are named by themselves.
func startAddresses(table *tables.Table, patterns []string) []frame.GroupAddress {
	var all []frame.GroupAddress
	seen := make(map[frame.GroupAddress]bool)
	add := func(a frame.GroupAddress) {
		if !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	for _, text := range patterns {
		if a, err := frame.ParseGroupAddress(text); err == nil {
			add(a)
			continue
		}
		pattern, err := ParseAddressPattern(text)
		if err != nil {
			continue // was checked when it was given
		}
		for _, line := range table.Entries() {
			if pattern.Match(line.Address) {
				add(line.Address)
			}
		}
	}
	return all
}
