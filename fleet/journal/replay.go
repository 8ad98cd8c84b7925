package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

const (
	// MaxBatch is how many telegrams a Response holds at most.
	MaxBatch = 1000
	// MaxLast is the largest Start.Last.
	MaxLast = 10_000
	// lastSlack is how many records beside telegrams the last N of a building may
	// have among them: the begins and ends of epochs.
	lastSlack = 16
	// maxHeld bounds the telegrams that are held back to find the last N of each
	// building. Beyond, a building may get some more than N.
	maxHeld = 20_000
	// readSlack is read before a mark too: records of buildings that lie below it
	// show whether something is missing after it.
	readSlack = time.Minute
)

// ErrNoHistory is wrapped when a stream or a list cannot begin because the store
// does not answer. What was asked for is not lost by that; try again.
var ErrNoHistory = errors.New("the journal cannot be read now")

// errForeign: see Follow.
var errForeign = fmt.Errorf("%w: it is from a later time than this gateway knows, perhaps because the gateway was restored from a backup; start anew without it", ErrBadToken)

// Subscription is a stream's share of the fan-out. It was subscribed before Follow.
type Subscription[T any] interface {
	// Next waits for telegrams and gives all that wait, in order, and then the
	// ranges that were dropped after them because the queue was full. What it gives is
	// valid until the next call. On an error nothing is taken from the queue.
	Next(ctx context.Context) (telegrams []T, dropped []Missed, err error)
}

// View says what a stream shows of the journal, and makes telegrams of its records.
// It selects the same telegrams as the subscription does.
type View[T any] struct {
	// Buildings are the only ones that are shown. Nil shows all.
	Buildings []string
	// Shows reports whether a building is shown, which is asked for every record, also
	// within Buildings. Nil shows all.
	Shows func(building string) bool
	// Identify gives the identity of a live telegram. Not needed for lists.
	Identify func(T) Identity
	// Restore makes a telegram of a record, with the present table; false if the
	// filter does not select it.
	Restore func(building string, t *Telegram) (T, bool)
}

func (v *View[T]) shows(building string) bool {
	return v.Shows == nil || v.Shows(building)
}

// Start says where a stream begins; at most one field is set, and without any it is
// with the next telegram.
type Start struct {
	// Token goes on after the response that carried it.
	Token string
	// Since begins with the telegrams written from then on, some microseconds after
	// they were received.
	Since time.Time
	// Last begins with so many telegrams of each building, among the last so many of
	// it before any filter, at most MaxLast.
	Last int
}

// Response is what a stream tells at once: telegrams, or a gap, or with neither that
// there was nothing to tell for a while. Telegrams are valid until send returns.
type Response[T any] struct {
	Telegrams []T
	Gap       *Gap
	// Token goes on after this response. Empty without telegrams and gap.
	Token string
}

// Stream gives what the journal has, and then what is live: of each building every
// telegram once and in order, or a gap in its place.
type Stream[T any] struct {
	j      *Journal
	view   View[T]
	sub    Subscription[T]
	core   *core[T]
	tokens tokens
	last   int  // of Start, until replayed
	all    bool // the next replay has to look at everything that is stored
	opens  int  // index of the next of Journal.opens
	live   bool
	quiet  time.Time // when something was sent last
	// silence is after how long an empty response is sent.
	silence time.Duration
	send    func(Response[T]) error
	// patience ends the wait for telegrams when silence may be over; one lasts for many
	// waits. Nil: there is none.
	patience   context.Context //nolint:containedctx // one for each telegram would cost more than all else
	impatience context.CancelFunc
}

// Follow makes a stream. The subscription must exist already, so that what is
// published from now on waits in it. An error wraps ErrBadToken.
func Follow[T any](j *Journal, view View[T], start Start, sub Subscription[T]) (*Stream[T], error) {
	s := &Stream[T]{j: j, view: view, sub: sub, tokens: newTokens(j.identity)}
	from := cursor{run: j.run, mark: j.Mark()}
	switch {
	case start.Token != "":
		var err error
		if from, err = decodeCursor(j.identity, start.Token); err != nil {
			return nil, err
		}
		if s.all, err = j.recognise(&from); err != nil {
			return nil, err
		}
	case !start.Since.IsZero():
		if since := start.Since.UnixNano(); since < from.mark.Stamp {
			from.mark.Stamp = max(since, 0)
			if since <= j.started {
				from.run = 0
			}
		}
	case start.Last > 0:
		from = cursor{}
		s.last = min(start.Last, MaxLast)
	default:
		s.live = true
	}
	s.core = newCore(from, view.Identify, view.Restore)
	s.core.off = j.Off()
	s.core.all = s.last > 0
	return s, nil
}

// recognise refuses a cursor that this journal cannot have made: epochs only rise, so
// what was opened in this process is above every cursor of processes before. It
// reports whether the cursor's process had a clock that was ahead of ours. All that
// such a process stored is below the stamps of this process, and what came after it
// has higher epochs, at whatever time.
func (j *Journal) recognise(c *cursor) (ahead bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.certain && c.mark.Epoch > j.epoch {
		return false, errForeign
	}
	if c.mark.Stamp <= j.mark().Stamp {
		return false, nil
	}
	c.mark.Stamp = j.started + 1
	return true, nil
}

// Run tells everything to send until ctx or the subscription ends, or send fails,
// and returns that error. After silence without anything to tell it sends an empty
// response. send may block: then the subscription's queue fills, and what it drops is
// read again from the journal. An error that wraps ErrNoHistory means that the replay
// at the begin broke off; the token sent last, or the one of Start, still goes on.
func (s *Stream[T]) Run(ctx context.Context, silence time.Duration, send func(Response[T]) error) error {
	s.silence, s.send, s.quiet = silence, send, time.Now()
	defer s.endPatience()
	if err := s.begin(ctx); err != nil {
		return err
	}
	for {
		if err := s.step(ctx); err != nil {
			return err
		}
	}
}

// begin tells what was before, if that was asked for.
func (s *Stream[T]) begin(ctx context.Context) error {
	if s.live {
		s.opens = s.j.snapshot(Mark{}, nil, func(string) bool { return false }).opens
		return nil
	}
	return s.replay(ctx)
}

// step tells what the subscription has, and then again what it dropped.
func (s *Stream[T]) step(ctx context.Context) error {
	mark := s.j.Mark()
	telegrams, dropped, err := s.next(ctx)
	if err != nil {
		return err
	}
	if last := s.newest(telegrams, dropped); last > 0 {
		mark = s.j.markOf(last, mark)
	}
	s.epochs()
	if len(dropped) == 0 && s.core.straight(telegrams, mark) {
		return s.tell(telegrams, nil)
	}
	s.core.live(telegrams, dropped, mark)
	if err := s.flush(); err != nil {
		return err
	}
	if len(dropped) > 0 {
		if err := s.reread(ctx, dropped, mark); err != nil {
			return err
		}
	}
	return nil
}

// next waits for what the subscription has; for nothing, when silence may be over.
func (s *Stream[T]) next(ctx context.Context) (telegrams []T, dropped []Missed, err error) {
	if s.patience == nil {
		s.patience, s.impatience = context.WithDeadline(ctx, s.quiet.Add(s.silence)) //nolint:gosec // endPatience calls it
	}
	telegrams, dropped, err = s.sub.Next(s.patience)
	if err == nil {
		return telegrams, dropped, nil
	}
	over := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	s.endPatience()
	if over {
		err = nil
	}
	return nil, nil, err
}

func (s *Stream[T]) endPatience() {
	if s.patience != nil {
		s.impatience()
		s.patience, s.impatience = nil, nil
	}
}

// newest is the stamp of a telegram that the subscription got about last; 0 if it got
// none.
func (s *Stream[T]) newest(telegrams []T, dropped []Missed) (stamp int64) {
	if n := len(telegrams); n > 0 {
		stamp = s.view.Identify(telegrams[n-1]).Stamp
	}
	for i := range dropped {
		stamp = max(stamp, dropped[i].Last)
	}
	return stamp
}

// epochs tells what the first epochs of buildings in this process say of the process
// before, if the stream reaches back there.
func (s *Stream[T]) epochs() {
	if s.core.told.run == s.j.run {
		return
	}
	opens := s.j.opened(s.opens)
	s.opens += len(opens)
	for i := range opens {
		if o := &opens[i]; s.includes(o.building) {
			s.core.opened(o.building, &o.record)
		}
	}
}

// includes is for what comes from memory; the store knows Buildings.
func (s *Stream[T]) includes(building string) bool {
	if !s.view.shows(building) {
		return false
	}
	return s.view.Buildings == nil || slices.Contains(s.view.Buildings, building)
}

// reread gives from the journal what the subscription dropped.
func (s *Stream[T]) reread(ctx context.Context, dropped []Missed, mark Mark) error {
	if !s.j.Off() {
		err := s.replay(ctx)
		if err == nil || !errors.Is(err, ErrNoHistory) {
			return err
		}
		s.j.log.Warn().Err(err).Msg("a slow stream gets gaps, because the journal cannot be read")
		s.core.abandon(mark)
	}
	s.core.missed(dropped, mark)
	return s.flush()
}

// replay tells what the store and the queue have beyond what was told.
func (s *Stream[T]) replay(ctx context.Context) error {
	told := &s.core.told
	snap := s.j.snapshot(told.mark, told.at, s.includes)
	s.core.begin(snap)
	query, least := engine.Query{Buildings: s.view.Buildings}, MaxBatch
	switch {
	case s.last > 0:
		query.Newest, least = s.last+lastSlack, maxHeld
	case !s.all:
		query.Since = time.Unix(0, max(told.mark.Stamp, 1)).Add(-s.j.slack - snap.ahead)
	}
	lastN := s.last > 0
	tell := func(least int) error {
		if s.core.waiting() < least && time.Since(s.quiet) < s.silence {
			return nil
		}
		if !lastN {
			if err := s.lookForCut(ctx); err != nil {
				return err
			}
		}
		return s.flush()
	}
	if err := s.j.read(ctx, query, &s.view, s.core, func() error { return tell(least) }); err != nil {
		return err
	}
	s.core.finish(snap)
	if lastN {
		s.core.keepLast(s.last)
	}
	s.opens, s.last, s.all = snap.opens, 0, false
	return tell(0)
}

// lookForCut looks whether the store has dropped something that was not told, perhaps
// while it was read. It does so before what was read is told: then it is known in
// which place something is missing.
func (s *Stream[T]) lookForCut(ctx context.Context) error {
	cut, err := s.j.cut(ctx, s.core.told.mark)
	if cut {
		s.core.cut(CauseExpired)
	}
	return err
}

// read brings what the store has to a core, and calls then after each record.
func (j *Journal) read(ctx context.Context, query engine.Query, view interface{ shows(string) bool }, to replayed, then func() error) error {
	if j.store == nil {
		return nil
	}
	var failure error // of then
	err := j.store.Read(ctx, query, func(e engine.Record) error {
		r, err := decodeRecord(e.Data)
		switch {
		case err != nil:
			// The numbers tell that something is missing.
			j.mu.Lock()
			j.stats.Unreadable++
			j.mu.Unlock()
			return nil //nolint:nilerr // counted, and no reason to end the replay
		case view.shows(e.Building):
			to.record(e.Building, &r)
		default:
			to.pass(&r)
		}
		failure = then()
		return failure
	})
	switch {
	case failure != nil:
		return failure
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoHistory, err)
	}
	return nil
}

var errEnough = errors.New("enough was read")

// oldest gives the oldest record that the store has, false if it has none.
func (j *Journal) oldest(ctx context.Context) (oldest engine.Record, some bool, err error) {
	err = j.store.Read(ctx, engine.Query{}, func(e engine.Record) error {
		oldest, some = e, true
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return oldest, some, err
}

// cut reports whether the store may have dropped what is not below a mark: it drops
// the oldest, and what is stored has a stamp from before, unless stamps are ahead of
// the clock.
func (j *Journal) cut(ctx context.Context, m Mark) (bool, error) {
	if j.store == nil {
		return false, nil
	}
	j.mu.Lock()
	ahead, stored := j.ahead, j.queue.stored
	j.mu.Unlock()
	if store, ok := j.store.(Counting); ok { // which costs less than reading
		s, err := store.Stats(ctx)
		if err == nil && s.Records > 0 && s.Oldest.Add(ahead).UnixNano() < m.Stamp {
			return false, nil
		}
	}
	oldest, some, err := j.oldest(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return false, fmt.Errorf("%w: %w", ErrNoHistory, err)
	case some:
		r, err := decodeRecord(oldest.Data)
		return oldest.Time.Add(ahead).UnixNano() >= m.Stamp && (err != nil || !r.genesis), nil
	}
	if j.empty && stored == 0 {
		return false, nil // nothing was ever there
	}
	return m.Stamp < j.started || stored > 0, nil
}

// replayed is what takes the records of a replay.
type replayed interface {
	record(building string, r *record)
	pass(r *record)
}

// flush sends what there is to tell.
func (s *Stream[T]) flush() error {
	for s.core.waiting() > 0 {
		telegrams, gap := s.core.take(MaxBatch)
		err := s.tell(telegrams, gap)
		s.core.release()
		if err != nil {
			return err
		}
	}
	if now := time.Now(); now.Sub(s.quiet) >= s.silence {
		s.quiet = now
		return s.send(Response[T]{})
	}
	return nil
}

// tell sends what the core gave away.
func (s *Stream[T]) tell(telegrams []T, gap *Gap) error {
	token, short := s.tokens.encode(&s.core.told, s.j.maxToken)
	if short > 0 {
		s.j.mu.Lock()
		s.j.stats.ShortTokens++
		s.j.mu.Unlock()
	}
	if err := s.send(Response[T]{Telegrams: telegrams, Gap: gap, Token: token}); err != nil {
		return err
	}
	s.quiet = time.Now()
	return nil
}
