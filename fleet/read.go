package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Read asks for the value of a group address.
type Read struct {
	Building string
	// Address is a group address in any style, or its name, as in a Write.
	Address string
	// DPT is the type to decode with; empty takes that of the building's table.
	DPT string
	// Timeout is how long to wait for the answer, the wait for a turn included.
	Timeout time.Duration
	// MaxAge takes the last value instead if it is at most this old; zero asks the
	// bus.
	MaxAge   time.Duration
	Priority frame.Priority
	// Client is who reads, as in a Write.
	Client string
}

// Answer is the value of a group address.
type Answer struct {
	Telegram *knxfleetv1.Telegram
	// Cached: it is the last value, and the bus was not asked.
	Cached bool
	// Shared: the read was shared with another's.
	Shared bool
}

// NoAnswerError says that a read was sent and that nobody answered in time.
type NoAnswerError struct {
	Building, Address string
	Timeout           time.Duration
	// Outcome is what the bus said to the read.
	Outcome session.Outcome
}

// Error implements error.
func (e *NoAnswerError) Error() string {
	text := fmt.Sprintf("building %s: nobody answered the read of %s within %v", e.Building, e.Address, e.Timeout)
	if e.Outcome == session.Rejected {
		return text + ", nor did any device acknowledge it: no device that is on has this group address"
	}
	return text + ": a device that answers needs the read flag on a communication object with this group address"
}

// GroupRead asks a building's bus for the value of a group address and waits for
// the answer. Reads of one address that are under way at the same time share one
// telegram, and an answer to somebody else's read counts too. The error is as of
// GroupWrite, or a *NoAnswerError.
func (f *Fleet) GroupRead(ctx context.Context, r Read) (Answer, error) {
	address, err := destination(ctx, f.cfg.Tables, r.Building, r.Address)
	if err != nil {
		return Answer{}, err
	}
	var kind dpt.Type
	if r.DPT != "" {
		if kind, err = parseType(r.DPT); err != nil {
			return Answer{}, err
		}
	}
	if _, ok := f.board.get(r.Building); !ok {
		return Answer{}, &registry.BuildingError{ID: r.Building, Cause: registry.ErrNotFound}
	}
	if r.MaxAge > 0 {
		if m := f.lastValue(ctx, r.Building, address, r.MaxAge); m != nil {
			return Answer{Telegram: decodedAs(m, kind), Cached: true}, nil
		}
	}
	s, err := f.online(r.Building)
	if err != nil {
		return Answer{}, err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, r.Timeout, ErrTooLate)
	defer cancel()
	one := s.reads.join(address, func(ctx context.Context, turn func(), sent func(knxbridge.Written)) error {
		err := s.sessions.bridge().Read(ctx, knxbridge.Write{Destination: address, Priority: r.Priority, Client: r.Client}, turn, func(w knxbridge.Written) {
			f.sent.count(w.Outcome, nil)
			sent(w)
		})
		if err != nil {
			f.sent.count(session.NotSent, err)
		}
		return err
	})
	select {
	case <-one.over:
	case <-waiting.Done():
	}
	end := s.reads.leave(address, one, context.Cause(waiting))
	switch {
	case end.telegram != nil:
		return Answer{Telegram: decodedAs(end.telegram.Message(), kind), Shared: end.shared}, nil
	case end.err != nil:
		return Answer{}, fmt.Errorf("building %s: %w", r.Building, end.err)
	case !end.sent: // others wait for it still
		return Answer{}, fmt.Errorf("building %s: %w", r.Building, &NotSentError{Cause: context.Cause(waiting), State: s.sessions.bridge().State()})
	case ctx.Err() != nil:
		return Answer{}, context.Cause(ctx)
	}
	return Answer{}, &NoAnswerError{Building: r.Building, Address: f.written(r.Building, address), Timeout: r.Timeout, Outcome: end.outcome}
}

// decodedAs decodes a telegram with another type than the table's, if one is given.
func decodedAs(m *knxfleetv1.Telegram, kind dpt.Type) *knxfleetv1.Telegram {
	if kind != (dpt.Type{}) {
		decode(m, kind.ID())
	}
	return m
}

// reads are those of one building that are under way. Whoever wants the value of an
// address joins the one that there is.
type reads struct {
	mu     sync.Mutex
	under  map[frame.GroupAddress]*read
	closed bool
	wg     sync.WaitGroup
}

// read is one that is under way, until it is answered, fails, or nobody waits for it
// any more.
type read struct {
	over   chan struct{} // closed at its end
	cancel context.CancelCauseFunc

	// Guarded by reads.mu.
	waiting int
	end     readEnd
	ended   bool
}

// readEnd is what became of a read.
type readEnd struct {
	telegram *Telegram       // nil: no answer
	err      error           // it was not sent
	sent     bool            // or is being sent
	outcome  session.Outcome // Unknown while the bus has not confirmed it
	shared   bool
}

// join waits with others for the value of an address. The first has it asked for,
// by ask, whose context ends with the read. It calls turn when the read cannot be
// taken back any more, and sent when the bus has confirmed it or not.
func (r *reads) join(address frame.GroupAddress, ask func(ctx context.Context, turn func(), sent func(knxbridge.Written)) error) *read {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.under[address]; one != nil {
		one.waiting++
		one.end.shared = true
		return one
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	one := &read{over: make(chan struct{}), cancel: cancel, waiting: 1}
	if r.closed {
		r.finish(address, one, readEnd{err: &NotSentError{Cause: ErrSiteStopped}})
		return one
	}
	if r.under == nil {
		r.under = make(map[frame.GroupAddress]*read)
	}
	r.under[address] = one
	leaves := func(outcome session.Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		one.end.sent, one.end.outcome = true, outcome
	}
	r.wg.Go(func() {
		err := ask(ctx, func() { leaves(session.Unknown) }, func(w knxbridge.Written) { leaves(w.Outcome) })
		r.mu.Lock()
		defer r.mu.Unlock()
		end := one.end
		end.err = err
		r.finish(address, one, end)
	})
	return one
}

// leave waits no longer, for a cause, and tells what became of the read so far. The
// last has the read taken back, which may come too late, and waits until that is
// known: nobody is told that nothing was sent while the telegram leaves.
func (r *reads) leave(address frame.GroupAddress, one *read, cause error) readEnd {
	r.mu.Lock()
	one.waiting--
	end, last := one.end, one.waiting == 0 && !one.ended
	if last && r.under[address] == one {
		delete(r.under, address) // nobody joins it any more
	}
	r.mu.Unlock()
	if !last {
		return end
	}
	one.cancel(cause)
	<-one.over
	r.mu.Lock()
	defer r.mu.Unlock()
	return one.end
}

// finish ends a read, once. The lock is held.
func (r *reads) finish(address frame.GroupAddress, one *read, end readEnd) {
	if one.ended {
		return
	}
	one.ended, one.end = true, end
	if r.under[address] == one {
		delete(r.under, address)
	}
	one.cancel(nil)
	close(one.over)
}

// observe answers the read that a telegram is the response to.
func (r *reads) observe(t *Telegram) {
	if t.Kind != knxfleetv1.Telegram_KIND_RESPONSE {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.under[t.Destination]; one != nil {
		one.end.telegram = t
		r.finish(t.Destination, one, one.end)
	}
}

// close fails the reads under way, and those to come.
func (r *reads) close() {
	r.mu.Lock()
	r.closed = true
	for address, one := range r.under {
		end := one.end
		end.err = ErrSiteStopped
		r.finish(address, one, end)
	}
	r.mu.Unlock()
	r.wg.Wait()
}
