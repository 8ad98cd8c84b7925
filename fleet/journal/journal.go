package journal

import (
	"context"
	"errors"
	"math/rand/v2"
	"sort"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// Store keeps records by building. *engine.Journal is one.
type Store interface {
	// Append stores a record and does not wait. An error means that it was not
	// taken; else done is called exactly once, from any goroutine and in any order,
	// and what failed may have been stored all the same. The id is the same when a
	// record is tried again.
	Append(building, id string, record []byte, done func(error)) error
	// Read calls fn with what matches, oldest first, up to what was there at the call.
	Read(ctx context.Context, q engine.Query, fn func(engine.Record) error) error
	// Purge removes all records of a building.
	Purge(ctx context.Context, building string) error
}

// Our own tuning of the queue, and of the store's failures.
const (
	// DefaultMaxRecords and DefaultMaxBytes bound what waits for the store in all:
	// some seconds of a large fleet.
	DefaultMaxRecords = 100_000
	DefaultMaxBytes   = 32 << 20
	// DefaultMaxBuildingRecords bounds what waits of one building, so that none
	// takes the room of the others.
	DefaultMaxBuildingRecords = 5_000

	// maxInFlight bounds what the store has not answered; the engine takes 8192.
	maxInFlight = 4096
	// gatherTime is for how long records are gathered before they go to the store:
	// waking the store for each costs several times what storing it does. A crash
	// loses so much more.
	gatherTime = 10 * time.Millisecond
	// sendBatch is how many records are encoded under one lock.
	sendBatch = 64
	// A store that fails is tried again after minPause, then after twice that and so
	// on up to maxPause.
	minPause = 50 * time.Millisecond
	maxPause = time.Second
	// maxAttempts is how often a record may fail while the store takes others'.
	maxAttempts = 10
	// flushPatience bounds how long Run waits at its end for the store to take what
	// is queued.
	flushPatience = 3 * time.Second
	// lookBack is of what age records are read at the start: the last ones of the
	// process before, whose stamps may be ahead of a clock that was set back.
	lookBack = 5 * time.Second
	// recordOverhead is what a record costs in memory besides its value.
	recordOverhead = 320
)

// Config is what a Journal is made of.
type Config struct {
	// Store keeps the records. Nil: no journal is kept, but live streams and their
	// resume tokens work within the process.
	Store Store
	// Identity tells this journal from others: resume tokens of another one are
	// refused. Empty tells nothing.
	Identity string
	// Epoch is the highest epoch that a process before may have opened, of any
	// building. 0: none was, or it is not known; then an empty store is taken for a
	// new one, and if the clock was set back, a stream that resumes with a token from
	// between the start and the first Open may lack telegrams.
	Epoch uint64
	// Limits of the queue. 0 means the default.
	MaxRecords, MaxBytes, MaxBuildingRecords int
	Log                                      zerolog.Logger
}

// Journal is the log of telegrams of one process. All methods are safe for
// concurrent use.
type Journal struct {
	store    Store
	identity string
	log      zerolog.Logger
	limits   struct{ records, bytes, building int }
	run      uint32 // names this process; never 0
	empty    bool   // nothing was ever stored before the process started
	started  int64  // below every stamp of this process

	// Tests change these.
	now      func() time.Time
	maxToken int
	slack    time.Duration

	mu      sync.Mutex
	last    int64         // the last stamp that was given out
	ahead   time.Duration // by how much stamps were ahead of the clock, at most
	epoch   uint64        // the highest that was opened, as far as known
	certain bool          // epoch is the highest
	writers map[string]*building
	// opens are the first begins of all buildings in this process: one for each
	// building there ever was.
	opens []opening
	begun map[string]bool

	publishing publishing
	marks      marks
	queue      queue
	batch      []outgoing    // of Run: what pick gave last
	wake       chan struct{} // for Run; capacity 1: one pending signal says it all
	stats      Stats
	counted    counted
}

// opening is the first begin of a building in this process.
type opening struct {
	building string
	record   record
}

// Stats are counters since the start of the process, and what waits now.
type Stats struct {
	// Written and Lost are telegrams that the store has acknowledged, and that it
	// will not have.
	Written, Lost uint64
	// Queued and QueuedBytes are what the store has not acknowledged.
	Queued, QueuedBytes int
	// FailingSince is when the store began to fail; zero while it does not.
	FailingSince time.Time
	// Failure is the store's last error while it fails.
	Failure error
	// Unreadable counts records that were read and not understood.
	Unreadable uint64
	// ShortTokens counts resume tokens that had to leave out buildings, so that what
	// came last from these would come again.
	ShortTokens uint64
}

// New makes a journal. It reads the last seconds of the store, to begin above every
// stamp that is stored. Run has to be called for anything to be written.
func New(ctx context.Context, cfg Config) *Journal { return newJournal(ctx, cfg, time.Now) }

func newJournal(ctx context.Context, cfg Config, clock func() time.Time) *Journal {
	j := &Journal{
		now:      clock,
		slack:    readSlack,
		store:    cfg.Store,
		identity: cfg.Identity,
		log:      cfg.Log,
		run:      rand.Uint32() | 1, // a name, no secret
		maxToken: MaxToken,
		writers:  make(map[string]*building),
		begun:    make(map[string]bool),
		wake:     make(chan struct{}, 1),
	}
	or := func(n, otherwise int) int {
		if n <= 0 {
			return otherwise
		}
		return n
	}
	j.limits.records = or(cfg.MaxRecords, DefaultMaxRecords)
	j.limits.bytes = or(cfg.MaxBytes, DefaultMaxBytes)
	j.limits.building = or(cfg.MaxBuildingRecords, DefaultMaxBuildingRecords)
	now := j.now()
	j.last, j.epoch, j.certain = now.UnixNano(), cfg.Epoch, cfg.Epoch > 0
	if j.store != nil {
		_, some, err := j.oldest(ctx)
		j.empty = err == nil && !some && cfg.Epoch == 0
		if some {
			err = j.store.Read(ctx, engine.Query{Since: now.Add(-lookBack)}, func(e engine.Record) error {
				if r, err := decodeRecord(e.Data); err == nil {
					j.last, j.epoch = max(j.last, r.stamp), max(j.epoch, r.Epoch)
					j.ahead = max(j.ahead, time.Duration(r.stamp-e.Time.UnixNano()))
				}
				return nil
			})
		}
		if err != nil {
			j.log.Warn().Err(err).Msg("journal not read; if the clock was set back, resumed streams may repeat telegrams")
		}
	}
	if ahead := time.Duration(j.last - now.UnixNano()); ahead > 0 {
		j.ahead = max(j.ahead, ahead)
		j.log.Warn().Dur("ahead", ahead).Msg("the journal has telegrams from the future: the clock was set back")
	}
	j.started = j.last
	return j
}

// stamp gives the next stamp. The lock is held.
func (j *Journal) stamp() int64 {
	now := j.now().UnixNano()
	j.last = max(now, j.last+1)
	j.ahead = max(j.ahead, time.Duration(j.last-now))
	return j.last
}

// Mark gives a watermark: every telegram below it was published, and none to come is
// below.
func (j *Journal) Mark() Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mark()
}

func (j *Journal) mark() Mark {
	m := Mark{Epoch: j.epoch, Stamp: j.last + 1}
	if b := j.publishing.first; b != nil {
		m.Stamp = b.publishing
	}
	return m
}

// markOf gives the mark of the moment in which the telegram with that stamp was
// written, or the one that is passed if that is higher, or if it was long ago.
func (j *Journal) markOf(stamp int64, or Mark) Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	if m := j.marks.at(stamp); m.Stamp > or.Stamp {
		return m
	}
	return or
}

// marks are the watermarks of the moments in which the last telegrams were written.
type marks struct {
	of    [1024]written // ring
	count uint64        // of all there were
}

type written struct {
	stamp int64
	mark  Mark
}

func (m *marks) add(stamp int64, mark Mark) {
	m.of[m.count%uint64(len(m.of))] = written{stamp, mark}
	m.count++
}

// at gives the mark of the last telegram that was not written after a stamp; zero if
// that is not known.
func (m *marks) at(stamp int64) Mark {
	n := min(m.count, uint64(len(m.of)))
	back := sort.Search(int(n), func(back int) bool { return m.back(back).stamp <= stamp })
	if back == int(n) {
		return Mark{}
	}
	return m.back(back).mark
}

// back gives what was added so many telegrams ago.
func (m *marks) back(n int) *written {
	return &m.of[(m.count-1-uint64(n))%uint64(len(m.of))]
}

// Stats returns a snapshot.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Queued, s.QueuedBytes = j.queue.records, j.queue.bytes
	return s
}

// Purge removes what is kept of a building that does not run any more.
func (j *Journal) Purge(ctx context.Context, id string) error {
	if j.store == nil {
		return nil
	}
	return j.store.Purge(ctx, id)
}

// Off reports whether no journal is kept.
func (j *Journal) Off() bool { return j.store == nil }

// building is a building's state while it runs, and until the store has answered
// for all of it. The journal's lock guards it.
type building struct {
	id    string
	epoch uint64
	head  uint64 // number of the last telegram
	stamp int64  // of the last telegram, or of the epoch's begin
	begin record // of the epoch
	open  bool

	// publishing is the stamp of the telegram between Write and Published, 0 without
	// one; before and after are its neighbours in that list.
	publishing    int64
	before, after *building

	pending pending
}

// publishing are the buildings with a telegram between Write and Published, by
// stamp.
type publishing struct{ first, last *building }

func (l *publishing) add(b *building, stamp int64) {
	l.remove(b)
	b.publishing, b.before = stamp, l.last
	if l.last == nil {
		l.first = b
	} else {
		l.last.after = b
	}
	l.last = b
}

func (l *publishing) remove(b *building) {
	if b.publishing == 0 {
		return
	}
	if b.before == nil {
		l.first = b.after
	} else {
		b.before.after = b.after
	}
	if b.after == nil {
		l.last = b.before
	} else {
		b.after.before = b.before
	}
	b.publishing, b.before, b.after = 0, nil, nil
}

// Writer writes the telegrams of one epoch of one building. Its methods are called
// by the building's site, one at a time, and do not wait, but for End.
type Writer struct {
	j     *Journal
	b     *building
	epoch uint64
}

// Open begins an epoch of a building: higher than every epoch that was opened
// before, of this building or another. previous is the building's epoch before, 0
// if there was none or it is not known. unclean says that its end may not be on
// disk: its End failed or was not called, or the process that held it was killed.
// Call it as soon as the epoch is claimed. A writer that was open for the building
// writes nothing any more.
func (j *Journal) Open(id string, epoch, previous uint64, unclean bool) *Writer {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.writers[id]
	if b == nil {
		b = &building{id: id}
		j.writers[id] = b
	}
	j.publishing.remove(b)
	j.epoch, j.certain = max(j.epoch, epoch), true
	b.epoch, b.head, b.open = epoch, 0, true
	b.stamp = j.stamp()
	if previous >= epoch {
		previous = 0
	}
	r := record{
		kind: kindBegin, Position: Position{Epoch: epoch}, stamp: b.stamp, before: b.stamp,
		previous: previous, unclean: unclean, run: j.run, first: !j.begun[id],
		genesis: j.empty && len(j.begun) == 0,
	}
	b.begin = r
	if r.first {
		j.begun[id] = true
		j.opens = append(j.opens, opening{id, r})
	}
	j.enqueue(b, r)
	return &Writer{j: j, b: b, epoch: epoch}
}

// Write queues the telegram for the store and returns its stamp. Its Epoch is set;
// its Number is one more than that of the telegram before. What the queue has no
// room for is marked in the journal as missing; Write itself cannot fail. Call it
// before the telegram is published, and Published after.
func (w *Writer) Write(t Telegram) (stamp int64) {
	j, b := w.j, w.b
	t.Epoch = w.epoch
	if len(t.Raw) > MaxRaw {
		t.Raw = t.Raw[:MaxRaw] // no bus carries more
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	stamp = j.stamp()
	if !b.open || b.epoch != w.epoch || t.Number <= b.head {
		return stamp
	}
	t.Stamp = stamp
	r := record{kind: kindTelegram, Position: t.Position, stamp: stamp, before: b.stamp, telegram: t}
	b.head, b.stamp = t.Number, stamp
	j.publishing.add(b, stamp)
	j.marks.add(stamp, j.mark())
	j.enqueue(b, r)
	return stamp
}

// Published says that the telegram written last was handed to every subscriber.
func (w *Writer) Published() {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	if w.b.epoch == w.epoch {
		w.j.publishing.remove(w.b)
	}
}

// errNotStored: see End.
var errNotStored = errors.New("the journal did not store the end of the epoch")

// End ends the epoch in order, and waits until that is stored. An error means that
// the epoch counts as unclean.
func (w *Writer) End(ctx context.Context) error {
	settled, err := w.end()
	if err != nil {
		return err
	}
	select {
	case err := <-settled:
		return err
	case <-ctx.Done():
		return errors.Join(errNotStored, ctx.Err())
	}
}

// end ends the epoch and gives what tells, once, whether that was stored.
func (w *Writer) end() (settled <-chan error, err error) {
	j, b := w.j, w.b
	j.mu.Lock()
	defer j.mu.Unlock()
	if !b.open || b.epoch != w.epoch {
		return nil, errNotStored
	}
	b.open = false
	j.publishing.remove(b)
	r := record{kind: kindEnd, Position: Position{w.epoch, b.head}, stamp: j.stamp(), before: b.stamp}
	b.stamp = r.stamp
	told := make(chan error, 1) // one value
	if e := j.enqueue(b, r); e != nil {
		e.settled = told
	} else {
		// Without a store, the head that stays is all that tells what was missed.
		told <- nil
	}
	return told, nil
}

// snapshot is what memory knows of the buildings at one moment. What the store gives
// when it is read afterwards, and this, are all there is.
type snapshot struct {
	mark      Mark
	last      int64 // the highest stamp
	opens     int   // index into Journal.opens
	ahead     time.Duration
	buildings map[string]known
}

// known is what memory knows of a building.
type known struct {
	head    Position
	stamp   int64
	begin   record   // of the head's epoch
	waiting []record // that the store may not have yet, in order
}

// snapshot takes the buildings that may have something above the mark, or that are
// named.
func (j *Journal) snapshot(m Mark, named map[string]reached, shown func(building string) bool) *snapshot {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &snapshot{mark: j.mark(), last: j.last, opens: len(j.opens), ahead: j.ahead, buildings: make(map[string]known)}
	for id, b := range j.writers {
		_, is := named[id]
		if !is && m.below(b.epoch, b.stamp) || !shown(id) {
			continue
		}
		s.buildings[id] = known{head: Position{b.epoch, b.head}, stamp: b.stamp, begin: b.begin, waiting: b.pending.records()}
	}
	return s
}

// opened gives the first begins that came after an index.
func (j *Journal) opened(after int) []opening {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.opens[after:len(j.opens):len(j.opens)]
}
