package knxbridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Write is a group telegram to send.
type Write struct {
	// Command is frame.GroupValueRead, GroupValueResponse or GroupValueWrite.
	Command     frame.APCI
	Destination frame.GroupAddress
	// Data is the value, 1 to frame.MaxData bytes; one, 0 to 63, with SixBit; none
	// for a read.
	Data   []byte
	SixBit bool
	// Priority on the bus; zero means frame.PriorityLow.
	Priority frame.Priority
	// Within is how long the write may wait for its turn; then it is not sent. Zero
	// or less leaves that to the context of Write.
	Within time.Duration
	// Client is who writes. Those whose writes wait take turns, one telegram each.
	Client string
	// Tag comes back in the Telegram that a confirmed write becomes; its handler gets
	// that before Write returns.
	Tag any
}

// Written is what became of a telegram.
type Written struct {
	Outcome Outcome
	// Waited is how long it waited for its turn; zero if nobody knows.
	Waited time.Duration
}

// Outcome is what became of a write: see the constants of package session.
type Outcome = session.Outcome

// Causes of a NotSentError, beside the end of the caller's context.
var (
	// ErrQueueFull: as many writes as the queue holds are waiting.
	ErrQueueFull = errors.New("the queue of writes is full")
	// ErrTooLate: the write's turn did not come within the time it was given.
	ErrTooLate = errors.New("its turn did not come in time")
	// ErrStopped: the bridge has been stopped.
	ErrStopped = errors.New("the KNX session has been stopped")
)

// NotSentError says that nothing of a write left for the bus, so that it is safe
// to try again.
type NotSentError struct {
	// Cause is ErrQueueFull, ErrTooLate, ErrStopped, or the cause of the end of the
	// caller's context.
	Cause error
	// State is what the session was doing.
	State State
}

// Error tells the cause, and the session's state when it was not ONLINE.
func (e *NotSentError) Error() string {
	text := "not sent: " + e.Cause.Error()
	switch {
	case e.State.State == session.StateOnline:
	case e.State.Message == "":
		text += "; the KNX session is not online"
	default:
		text += fmt.Sprintf("; the KNX session is %s: %s", e.State.State, e.State.Message)
	}
	return text
}

// Unwrap returns the cause.
func (e *NotSentError) Unwrap() error { return e.Cause }

// Write queues a group telegram and waits until the bus has answered or ctx
// ends. It waits also while the session is not ONLINE, so give ctx a deadline,
// or w a time to be sent within.
//
// The error is nil exactly when the telegram was sent; what became of it is the
// outcome then, session.Unknown when ctx ended or the session was lost before
// the answer. A *NotSentError means that it was not sent; any other error that
// w is not valid. Write may be called from many goroutines at once.
func (b *Bridge) Write(ctx context.Context, w Write) (Written, error) {
	return b.submit(ctx, newPending(w), w.Within)
}

// Read asks the bus for the value of w's destination, as Write does with a
// GroupValueRead, calls sent when it was sent, and then goes on holding one of the
// two places for reads until ctx ends: cancel it when the answer has come. Before, as
// soon as it cannot be taken back, the bridge's loop calls turn, which must not wait
// for anything. The error is as that of Write.
func (b *Bridge) Read(ctx context.Context, w Write, turn func(), sent func(Written)) error {
	w.Command, w.Data, w.SixBit = frame.GroupValueRead, nil, false
	p := newPending(w)
	p.reads, p.turn = true, turn
	defer b.queue.release(p)
	written, err := b.submit(ctx, p, w.Within)
	if err != nil {
		return err
	}
	sent(written)
	<-ctx.Done()
	return nil
}

func newPending(w Write) *pending {
	return &pending{
		write: session.Write{
			Command: w.Command, Destination: w.Destination, Data: slices.Clone(w.Data), SixBit: w.SixBit, Priority: w.Priority,
		},
		client: w.Client,
		tag:    w.Tag,
		// The queue's owner answers once and does not wait.
		result: make(chan session.Result, 1),
	}
}

func (b *Bridge) submit(ctx context.Context, p *pending, within time.Duration) (Written, error) {
	if err := p.write.Validate(); err != nil {
		return Written{}, fmt.Errorf("knxbridge: write: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Written{}, b.notSent(err)
	}
	p.queued = time.Now()
	if err := b.queue.push(p); err != nil {
		return Written{}, b.notSent(err)
	}
	tooLate, stop := after(within)
	defer stop()
	select {
	case r := <-p.result:
		return b.written(p, r)
	case <-tooLate:
		if b.queue.remove(p, true) {
			return Written{}, b.notSent(ErrTooLate)
		}
	case <-ctx.Done():
		cause := context.Cause(ctx)
		if b.queue.remove(p, errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, ErrTooLate)) {
			return Written{}, b.notSent(cause)
		}
	}
	// It is on its way.
	select {
	case r := <-p.result:
		return b.written(p, r)
	case <-ctx.Done():
	}
	select {
	case r := <-p.result:
		return b.written(p, r)
	default:
		return Written{Outcome: session.Unknown}, nil
	}
}

// after is a timer's channel, and what stops it; nil, which never receives,
// without a duration.
func after(d time.Duration) (expired <-chan time.Time, stop func() bool) {
	if d <= 0 {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(d)
	return timer.C, timer.Stop
}

func (b *Bridge) written(p *pending, r session.Result) (Written, error) {
	if r.Outcome == session.NotSent {
		return Written{}, b.notSent(r.Err)
	}
	return Written{Outcome: r.Outcome, Waited: p.waited}, nil
}

func (b *Bridge) notSent(cause error) error {
	return &NotSentError{Cause: cause, State: b.State()}
}

// sendWrites gives the machine the next write when it is ready and the pace
// allows it, and returns when to look again; zero: at the next event.
func (b *Bridge) sendWrites(now time.Time) time.Time {
	for b.machine.Ready() {
		if !b.queue.sendable() {
			return time.Time{}
		}
		turn := b.pace.ReserveN(now, 1)
		if wait := turn.DelayFrom(now); wait > 0 {
			turn.CancelAt(now)
			return now.Add(wait)
		}
		p := b.queue.pop()
		if p == nil {
			// Taken back by its writer in this moment.
			turn.CancelAt(now)
			return time.Time{}
		}
		p.waited = now.Sub(p.queued)
		b.lastWait = p.waited
		b.nextID++
		p.write.ID = b.nextID
		b.inFlight = p
		if p.turn != nil {
			p.turn()
		}
		b.machine.Write(now, p.write)
		b.settle(now)
	}
	return time.Time{}
}

// telegram hands a telegram to the handler; an own one with the tag of its write, if
// that still waits for its answer.
func (b *Bridge) telegram(now time.Time, out session.Telegram) {
	t := telegramOf(now, out)
	if out.Own && b.inFlight != nil {
		t.Tag = b.inFlight.tag
	}
	b.handler.Telegram(t)
}

// answer hands the machine's result to its writer, after the telegram that it may
// have become.
func (b *Bridge) answer() {
	p, r := b.inFlight, b.result
	if r == nil {
		return
	}
	b.result = nil
	if p != nil && p.write.ID == r.ID {
		b.inFlight = nil
		p.result <- *r
	}
}

// answerInFlight answers a write that the machine has not, because the loop was
// left by a panic of the handler. Nobody knows what became of it.
func (b *Bridge) answerInFlight() {
	if b.inFlight != nil && b.result == nil {
		b.result = &session.Result{ID: b.inFlight.write.ID, Outcome: session.Unknown}
	}
	b.answer()
}

// refuseWrites ends the queue: what waits is answered, what comes is refused.
func (b *Bridge) refuseWrites() {
	for _, p := range b.queue.close() {
		p.result <- session.Result{Outcome: session.NotSent, Err: ErrStopped}
	}
}
