package journal

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// queue holds what the store has not acknowledged, by stamp. The journal's lock
// guards it. Its bounds are those of Config; what finds it full is counted in a gap,
// of which each building has one at most beyond the bounds.
type queue struct {
	first, last *entry
	// next is where the search for what can be sent begins: nothing before it is
	// queued. Nil: the end.
	next           *entry
	records, bytes int
	inFlight       int

	pause      time.Duration // after the last failure; 0: none
	pauseUntil time.Time
	// stored counts what the store has taken.
	stored uint64
}

// state is where an entry is.
type state uint8

const (
	queued  state = iota // to be sent
	sent                 // the store has it, and has not answered
	failed               // the store refused it; what to do depends on the rest that is sent
	settled              // done with
)

// entry is one record on its way to the store.
type entry struct {
	before, after *entry
	building      *building
	record        record
	state         state
	seq           uint64 // counts the building's entries
	bytes         int
	// attempts counts failures; storedThen is what the queue had stored at the first.
	attempts   int
	storedThen uint64
	settled    chan error // nil: nobody waits
}

// pending is what a building has in the queue.
type pending struct {
	entries  []*entry // in order
	seq      uint64   // of the newest
	stored   uint64   // the highest that the store has acknowledged
	inFlight int
	failed   int
	// beginning: the epoch's begin was sent and not acknowledged. Nothing of the
	// epoch is sent before it, so that an epoch in the store has its begin.
	beginning bool
	heldUntil time.Time
}

// records copies what waits.
func (p *pending) records() []record {
	if len(p.entries) == 0 {
		return nil
	}
	all := make([]record, 0, len(p.entries))
	for _, e := range p.entries {
		all = append(all, e.record)
	}
	return all
}

// enqueue takes a record, or what remains of it when there is no room. It returns
// nil without a store. The lock is held.
func (j *Journal) enqueue(b *building, r record) *entry {
	if j.store == nil {
		return nil
	}
	bytes := recordOverhead + len(r.telegram.Raw)
	q := &j.queue
	if r.kind == kindTelegram && (q.records >= j.limits.records || q.bytes+bytes > j.limits.bytes || len(b.pending.entries) >= j.limits.building) {
		j.stats.Lost++
		if n := len(b.pending.entries); n > 0 {
			if e := b.pending.entries[n-1]; e.state == queued && e.record.kind == kindGap && e.record.Epoch == r.Epoch {
				e.record.Number, e.record.stamp = r.Number, r.stamp
				return e
			}
		}
		r = gapOf(&r)
		bytes = recordOverhead
	}
	b.pending.seq++
	e := &entry{building: b, record: r, seq: b.pending.seq, bytes: bytes, before: q.last}
	b.pending.entries = append(b.pending.entries, e)
	if q.last == nil {
		q.first = e
	} else {
		q.last.after = e
	}
	q.last = e
	if q.next == nil {
		q.next = e
	}
	q.records++
	q.bytes += bytes
	signal(j.wake)
	return e
}

// gapOf is what is stored in place of a telegram that cannot be.
func gapOf(r *record) record {
	return record{
		kind: kindGap, Position: r.Position, stamp: r.stamp, before: r.before,
		from: r.Number, firstStamp: r.stamp, cause: CauseFailed,
	}
}

// signal leaves one pending signal, however often it is called.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// oldest is the stamp of the first telegram that an entry tells of.
func (e *entry) oldest() int64 {
	if e.record.kind == kindGap {
		return e.record.firstStamp
	}
	return e.record.stamp
}

// id makes a record unique for the store. Epochs are, over all buildings.
func (e *entry) id() string {
	var room [64]byte
	r := &e.record
	id := strconv.AppendUint(room[:0], r.Epoch, 10)
	id = append(id, '-')
	switch r.kind {
	case kindBegin:
		id = append(id, "begin"...)
	case kindGap:
		id = strconv.AppendUint(id, r.from, 10)
		id = append(id, '-')
		id = strconv.AppendUint(id, r.Number, 10)
	case kindEnd:
		id = append(id, "end"...)
	case kindTelegram:
		id = strconv.AppendUint(id, r.Number, 10)
	}
	return string(id)
}

// outgoing is an entry that goes to the store.
type outgoing struct {
	*entry
	id   string
	data []byte
}

// pick marks what can be sent now as sent, and encodes it. Without any it says how
// long to wait, 0 for until woken. The batch is valid until the next call.
func (j *Journal) pick(now time.Time) (batch []outgoing, wait time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	q := &j.queue
	if wait := q.pauseUntil.Sub(now); wait > 0 {
		return nil, wait
	}
	clear(j.batch)
	batch = j.batch[:0]
	defer func() { j.batch = batch }()
	moved := true // nothing queued was passed over so far
	for e := q.next; e != nil && len(batch) < sendBatch && q.inFlight < maxInFlight; e = e.after {
		p := &e.building.pending
		held := p.heldUntil.Sub(now)
		switch {
		case e.state != queued:
		case p.failed > 0 || p.beginning:
			moved = false
			continue // woken by the store's answer
		case held > 0:
			moved = false
			if wait == 0 || held < wait {
				wait = held
			}
			continue
		default:
			batch = append(batch, j.send(e))
		}
		if moved {
			q.next = e.after
		}
	}
	return batch, wait
}

func (j *Journal) send(e *entry) outgoing {
	p := &e.building.pending
	e.state = sent
	p.beginning = e.record.kind == kindBegin
	p.inFlight++
	j.queue.inFlight++
	e.record.low = j.queue.first.oldest()
	return outgoing{e, e.id(), e.record.encode()}
}

// pump sends what can be sent, and says when to try again; 0 is when woken.
func (j *Journal) pump() (wait time.Duration) {
	for {
		batch, wait := j.pick(time.Now())
		if len(batch) == 0 {
			return wait
		}
		for i, o := range batch {
			e := o.entry
			err := j.store.Append(e.building.id, o.id, o.data, func(err error) { j.answered(e, err) })
			if err != nil {
				j.refused(batch[i:], err)
				break
			}
		}
	}
}

// answered takes the store's answer to an entry.
func (j *Journal) answered(e *entry, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.back(e)
	if err == nil {
		j.stored(e)
	} else {
		e.state = failed
		e.building.pending.failed++
		j.failing(e, err)
	}
	j.resolve(e.building)
	if j.queue.next != nil || j.queue.records == 0 {
		signal(j.wake) // there is something to send, or it ends
	}
}

// back takes an entry from those that are at the store.
func (j *Journal) back(e *entry) {
	p := &e.building.pending
	p.inFlight--
	j.queue.inFlight--
	if e.record.kind == kindBegin {
		p.beginning = false
	}
}

// refused takes back entries of which the store did not take the first.
func (j *Journal) refused(batch []outgoing, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range batch {
		j.back(o.entry)
		j.requeue(o.entry)
	}
	first := batch[0].entry
	j.failing(first, err)
	j.giveUp(first)
}

// failing slows down, and says so once.
func (j *Journal) failing(e *entry, err error) {
	q := &j.queue
	if e.attempts == 0 {
		e.storedThen = q.stored
	}
	e.attempts++
	now := time.Now()
	q.pause = min(max(2*q.pause, minPause), maxPause)
	q.pauseUntil = now.Add(q.pause)
	e.building.pending.heldUntil = q.pauseUntil.Add(q.pause)
	if j.stats.FailingSince.IsZero() {
		j.stats.FailingSince = now
		j.log.Error().Err(err).Msg("telegrams are not written to the journal; the live stream goes on")
	}
	j.stats.Failure = err
}

func (j *Journal) stored(e *entry) {
	q := &j.queue
	q.stored++
	q.pause, q.pauseUntil = 0, time.Time{}
	if !j.stats.FailingSince.IsZero() {
		j.log.Info().Dur("after", time.Since(j.stats.FailingSince)).Msg("telegrams are written to the journal again")
		j.stats.FailingSince, j.stats.Failure = time.Time{}, nil
	}
	p := &e.building.pending
	p.stored = max(p.stored, e.seq)
	if e.record.kind == kindTelegram {
		j.stats.Written++
	}
	j.drop(e, nil)
}

// resolve decides on what the store refused of a building, once it has answered for
// all that was sent. What comes before something that was stored cannot be stored in
// order any more; its neighbours' numbers tell that it is missing. The rest is sent
// again, in order.
func (j *Journal) resolve(b *building) {
	p := &b.pending
	if p.inFlight > 0 || p.failed == 0 {
		return
	}
	for _, e := range slices.Clone(p.entries) {
		if e.state != failed {
			continue
		}
		p.failed--
		if e.seq < p.stored {
			j.lose(e)
			continue
		}
		j.requeue(e)
		j.giveUp(e)
	}
}

// requeue makes an entry one to be sent.
func (j *Journal) requeue(e *entry) {
	e.state = queued
	if q := &j.queue; q.next == nil || q.next.oldest() > e.oldest() {
		q.next = e
	}
}

// giveUp ends the attempts with a record that the store does not take while it takes
// others: it must not hold up its building for ever.
func (j *Journal) giveUp(e *entry) {
	switch {
	case e.attempts < maxAttempts || e.storedThen == j.queue.stored:
	case e.record.kind == kindTelegram:
		j.stats.Lost++
		e.record = gapOf(&e.record)
		e.attempts = 0
	default:
		j.lose(e)
	}
}

func (j *Journal) lose(e *entry) {
	if e.record.kind == kindTelegram {
		j.stats.Lost++
	}
	j.log.Warn().Str("building", e.building.id).Uint64("epoch", e.record.Epoch).Uint64("number", e.record.Number).
		Msg("a record is missing in the journal")
	j.drop(e, errNotStored)
}

// drop takes an entry out of the queue for good.
func (j *Journal) drop(e *entry, err error) {
	q, b := &j.queue, e.building
	e.state = settled
	if e.before == nil {
		q.first = e.after
	} else {
		e.before.after = e.after
	}
	if e.after == nil {
		q.last = e.before
	} else {
		e.after.before = e.before
	}
	if q.next == e {
		q.next = e.after
	}
	q.records--
	q.bytes -= e.bytes
	switch p := &b.pending; {
	case len(p.entries) == 1: // nearly always; the memory is used again
		p.entries = slices.Delete(p.entries, 0, 1)
	case p.entries[0] == e:
		p.entries[0] = nil
		p.entries = p.entries[1:]
	default:
		i := slices.Index(p.entries, e)
		p.entries = slices.Delete(p.entries, i, i+1)
	}
	if e.settled != nil {
		e.settled <- err
	}
	if !b.open && len(b.pending.entries) == 0 && j.writers[b.id] == b {
		delete(j.writers, b.id)
	}
}

// Run brings what is queued to the store until ctx ends, and then what is still
// queued, as far as the store takes it within some seconds. It returns nil.
func (j *Journal) Run(ctx context.Context) error {
	if j.store == nil {
		<-ctx.Done()
		return nil
	}
	j.pumpUntil(ctx.Done(), false)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushPatience)
	defer cancel()
	j.pumpUntil(patience.Done(), true)
	return nil
}

func (j *Journal) pumpUntil(done <-chan struct{}, orEmpty bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		if wait := j.pump(); wait > 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		if orEmpty && j.Stats().Queued == 0 {
			return
		}
		select {
		case <-j.wake:
		case <-timer.C:
		case <-done:
			return
		}
		if orEmpty {
			continue
		}
		gather.Reset(gatherTime)
		select {
		case <-gather.C:
		case <-done:
			return
		}
	}
}
