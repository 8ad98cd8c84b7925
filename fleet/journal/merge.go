package journal

import (
	"math"
	"slices"
)

// Identity is what a stream has to know of a live telegram.
type Identity struct {
	Building string
	Position
	// Stamp is what Write returned.
	Stamp int64
}

// Missed is a range of a building's telegrams that a subscription dropped because
// its queue was full.
type Missed struct {
	Building        string
	Epoch, From, To uint64
	// First and Last are the stamps of the first one dropped and of the last. 0: not
	// known; resume tokens are then longer than need be.
	First, Last int64
}

// item is something to tell, and the place in its building that telling it reaches.
type item[T any] struct {
	building string
	position Position
	stamp    int64 // of the position
	// low: nothing that it tells of has a lower stamp; once c.lowest has seen it, nor
	// has anything that waits after it.
	low      int64
	telegram T
	gap      *Gap // nil for a telegram
}

// place is how far the stream is in one building.
type place struct {
	Position
	// known: Position means something. Else only the mark says what was told.
	known bool
	// exact: Position came from the cursor or from what was told. Else it came from a
	// record below the mark, and more after it may have been told.
	exact bool
	// ended: the epoch's end was read.
	ended bool
	// seen: a record of the building was read in this replay. The store drops the
	// oldest first, so what is missing after it was not dropped by age.
	seen bool
	// waiting are records that the store may not have yet, in order.
	waiting []record
}

// theEnd is the number of a position at which all of an epoch was told, whatever
// there was.
const theEnd = maxNumber

// core joins records of the store, records in memory and live telegrams into what a
// stream tells: each telegram once and in order, and gaps where some are missing. It
// is pure. A replay goes
//
//	begin, record or pass..., finish
//
// and then live follows, again and again; take empties it in between. The rules for
// one building are those of apply: numbers have no holes, an epoch begins after the
// one it names, and that one ended in order only where its end was read.
type core[T any] struct {
	identify func(T) Identity
	restore  func(building string, t *Telegram) (T, bool)
	off      bool // no journal is kept

	// start is what had been told when the last replay began, or when places were dropped
	// last.
	start cursor
	// all: everything read is to be told, whatever the start says, and nothing is
	// missing before the first record (the last N of each building).
	all bool
	// epoch and last are the highest epoch and stamp when the last replay began, and
	// published is the stamp below which every telegram had been published then.
	epoch     uint64
	last      int64
	published int64

	places    map[string]*place
	replaying bool
	// overlap: the live queue may hold what the replay has told.
	overlap bool

	// out[head:] is what waits to be told; its memory is used again.
	out    []item[T]
	head   int
	lowest bool   // see item.low
	batch  []T    // what take gave last
	limit  Mark   // below it, everything was told or is in out
	told   cursor // what take has given away
	named  int    // the most that the present told.at has held
}

// newCore makes a core for a stream that goes on after a cursor.
func newCore[T any](from cursor, identify func(T) Identity, restore func(string, *Telegram) (T, bool)) *core[T] {
	if from.at == nil {
		from.at = make(map[string]reached)
	}
	return &core[T]{
		identify: identify, restore: restore,
		start: from, limit: from.mark, told: from, named: len(from.at),
	}
}

// put adds to what waits.
func (c *core[T]) put(it item[T]) {
	c.out = append(c.out, it)
	c.lowest = false
}

// waiting is how many items wait.
func (c *core[T]) waiting() int { return len(c.out) - c.head }

// begin starts a replay from what has been told; nothing may wait. What stands in
// the snapshot's waiting records is told in its place among those of the store.
func (c *core[T]) begin(s *snapshot) {
	c.start = cursor{run: c.told.run, mark: c.told.mark}
	c.limit = c.told.mark
	c.epoch, c.last, c.published = max(s.mark.Epoch, c.told.mark.Epoch), s.last, s.mark.Stamp
	c.replaying, c.overlap = true, false
	c.places = make(map[string]*place, len(s.buildings)+len(c.told.at))
	for building, at := range c.told.at {
		c.places[building] = &place{Position: at.Position, known: true, exact: true, ended: at.Number == theEnd}
	}
	for building, known := range s.buildings {
		c.place(building).waiting = known.waiting
	}
}

// cut says that of what is not below the mark some may be gone from the store, so
// that between what was told and what waits anything may be missing.
func (c *core[T]) cut(cause Cause) {
	gap := item[T]{stamp: math.MaxInt64, low: c.told.mark.Stamp, gap: &Gap{Cause: cause}}
	c.out = slices.Insert(c.out, c.head, gap)
	c.lowest = false
}

func (c *core[T]) place(building string) *place {
	p := c.places[building]
	if p == nil {
		if c.places == nil {
			c.places = make(map[string]*place)
		}
		p = &place{}
		c.places[building] = p
	}
	return p
}

// record takes the next record of the store. Those of buildings that the stream does
// not show go to pass instead.
func (c *core[T]) record(building string, r *record) {
	p := c.place(building)
	for len(p.waiting) > 0 && p.waiting[0].order(r) < 0 {
		c.apply(building, p, &p.waiting[0])
		p.waiting = p.waiting[1:]
	}
	c.apply(building, p, r)
	p.seen = true
	c.pass(r)
}

// pass moves the limit to what a record says of those after it. But a telegram may be
// stored before it is published: the next stream will find it in its queue, and must not
// take it for told because of a mark.
func (c *core[T]) pass(r *record) {
	if low := min(r.low, c.published); low > c.limit.Stamp {
		c.limit = Mark{Epoch: c.epoch, Stamp: low}
	}
}

// finish ends a replay: what waits in memory is told, and every building is brought
// to where its writer was when the snapshot was made.
func (c *core[T]) finish(s *snapshot) {
	c.limit = Mark{Epoch: c.epoch, Stamp: s.mark.Stamp}
	for building, known := range s.buildings {
		p := c.place(building)
		for i := range p.waiting {
			c.apply(building, p, &p.waiting[i])
		}
		p.waiting = nil
		c.reach(building, p, known)
	}
	c.stampAll()
	c.replaying, c.overlap, c.all = false, true, false
}

// keepLast leaves of what is out only the last n telegrams of each building, and what
// comes after the first of these.
func (c *core[T]) keepLast(n int) {
	left := make(map[string]int)
	kept := len(c.out)
	for _, it := range slices.Backward(c.out) {
		if left[it.building] == n {
			continue
		}
		if it.gap == nil {
			left[it.building]++
		}
		kept--
		c.out[kept] = it
	}
	clear(c.out[:kept])
	c.out = c.out[kept:]
}

// stampAll gives the places that came from a token, and that were not read, the
// highest stamp that they can have.
func (c *core[T]) stampAll() {
	for building, at := range c.told.at {
		if at.stamp == 0 {
			at.stamp = c.last
			c.told.at[building] = at
		}
	}
}

// abandon ends a replay that failed. The caller tells, by missed, what is below the
// mark and was not told. What was read and not told yet may lack something.
func (c *core[T]) abandon(m Mark) {
	if c.waiting() > 0 {
		c.cut(CauseFailed)
	}
	c.stampAll()
	c.limit = Mark{Epoch: max(c.epoch, m.Epoch), Stamp: max(c.limit.Stamp, m.Stamp)}
	for _, p := range c.places {
		p.waiting = nil
	}
	c.replaying, c.overlap, c.all = false, true, false
}

// below reports whether the start says that a record was told, as far as nothing is
// known of its building.
func (c *core[T]) below(epoch uint64, stamp int64) bool {
	return !c.all && c.start.mark.below(epoch, stamp)
}

// reach tells what is missing up to the head of a building.
func (c *core[T]) reach(building string, p *place, k known) {
	if c.all && !p.known {
		if k.stamp >= c.limit.Stamp && k.head.Number > 0 {
			k.head.Number-- // is being published, so it may come live
		}
		p.absorb(k.head, false)
		return
	}
	c.apply(building, p, &k.begin) // which the store may have dropped
	switch {
	case p.Compare(k.head) >= 0:
	case !p.exact && c.below(k.head.Epoch, k.stamp):
		p.absorb(k.head, false)
	default:
		c.hole(building, p, k.stamp, k.head.Number, c.lost(p))
		p.exact = true
	}
}

// lost is why a building's next record is not the one that follows its place.
func (c *core[T]) lost(p *place) Cause {
	switch {
	case c.off:
		return CauseOff
	case p.seen:
		return CauseFailed
	default:
		return CauseExpired
	}
}

// after is the number of the first telegram that was not told, 0 if not known.
func (p *place) after() uint64 {
	if !p.exact || p.ended {
		return 0
	}
	return p.Number + 1
}

// absorb moves a place on without telling anything.
func (p *place) absorb(to Position, ended bool) {
	if !p.known || p.Compare(to) <= 0 {
		p.Position, p.known, p.ended = to, true, ended
	}
}

// apply brings a building to a record.
func (c *core[T]) apply(building string, p *place, r *record) {
	switch {
	case !p.exact && c.below(r.Epoch, r.stamp):
		p.absorb(r.Position, r.kind == kindEnd) // told already
		return
	case !p.known:
		c.first(building, p, r)
	case r.Epoch < p.Epoch:
		return
	case r.Epoch > p.Epoch:
		c.next(building, p, r)
	case r.Number <= p.Number && r.kind != kindEnd:
		c.stampTold(building, r)
		return
	}
	switch n := r.firstNumber(); {
	case n <= p.Number+1:
	case !p.exact && c.below(r.Epoch, r.before):
		p.Number = n - 1 // they were told, as the mark says
	default:
		c.hole(building, p, r.stamp, n-1, c.lost(p))
	}
	switch r.kind {
	case kindTelegram:
		if t, selected := c.restore(building, &r.telegram); selected {
			c.put(item[T]{building: building, position: r.Position, stamp: r.stamp, low: r.stamp, telegram: t})
		}
	case kindGap:
		// What the mark says was told of it is told: see hole.
		p.exact = p.exact || !c.below(r.Epoch, r.firstStamp)
		c.hole(building, p, r.stamp, r.Number, r.cause)
	case kindEnd:
		p.ended = true
		c.stampTold(building, r)
	case kindBegin:
	}
	p.Number = max(p.Number, r.Number)
	p.exact = true
}

// stampTold learns the stamp of a place that came from a token.
func (c *core[T]) stampTold(building string, r *record) {
	if at, ok := c.told.at[building]; ok && at.Position == r.Position {
		at.stamp = max(at.stamp, r.stamp)
		c.told.at[building] = at
	}
}

// first tells what is missing before the first record of a building of which only
// the mark is known, and takes the place just before the record.
func (c *core[T]) first(building string, p *place, r *record) {
	p.Position, p.known, p.exact = Position{Epoch: r.Epoch, Number: max(r.firstNumber(), 1) - 1}, true, true
	switch {
	case c.all:
	case r.kind == kindBegin:
		switch {
		case r.previous == 0 || c.own(r):
		case r.unclean || c.off:
			c.gap(building, p.Position, r.stamp, Gap{Epoch: r.previous, Cause: c.unclean()})
		case c.start.mark.Epoch > 0 && r.previous > c.start.mark.Epoch:
			// The epoch before began after the mark, and nothing of it was read.
			c.gap(building, p.Position, r.stamp, Gap{Epoch: r.previous, Cause: c.lost(p)})
		}
	case c.below(r.Epoch, r.before):
		// What came before it was told, and perhaps the first part of a gap.
		p.exact = false
	case p.Number == 0:
		c.gap(building, p.Position, r.stamp, Gap{Cause: c.lost(p)})
	default:
		c.gap(building, p.Position, r.stamp, Gap{Epoch: r.Epoch, To: p.Number, Cause: c.lost(p)})
	}
}

// next tells what is missing between the place and a record of a later epoch, and
// takes the place at the begin of that epoch.
func (c *core[T]) next(building string, p *place, r *record) {
	at := Position{Epoch: r.Epoch}
	cause, more := c.lost(p), Gap{}
	switch {
	case r.kind != kindBegin:
		more.Cause = cause // its epoch's begin is missing, and who knows what else
	case c.own(r):
		p.ended = true
	default:
		if r.unclean {
			cause = c.unclean()
		}
		if r.previous > p.Epoch {
			more = Gap{Epoch: r.previous, Cause: cause}
		}
	}
	if !p.ended {
		reaches := at
		if more.Cause != 0 {
			reaches = Position{p.Epoch, theEnd}
		}
		c.gap(building, reaches, r.stamp, Gap{Epoch: p.Epoch, From: p.after(), Cause: cause})
	}
	if more.Cause != 0 {
		c.gap(building, at, r.stamp, more)
	}
	p.Position, p.exact, p.ended = at, true, false
}

// own reports whether the epoch before a begin lies in a process before the one in
// which the stream began, so that its losses do not concern the stream.
func (c *core[T]) own(r *record) bool {
	return r.first && r.run == c.start.run
}

func (c *core[T]) unclean() Cause {
	if c.off {
		return CauseOff
	}
	return CauseUncleanEnd
}

// hole tells that all after the place up to a number are missing, and takes the
// place there. Where the place is not exact, some of them may have been told: then
// only the last is known. The stamp is that of the record that showed it.
func (c *core[T]) hole(building string, p *place, stamp int64, to uint64, cause Cause) {
	if to <= p.Number {
		return
	}
	g := Gap{Epoch: p.Epoch, To: to, Cause: cause}
	if p.exact {
		g.From, g.Count = p.Number+1, to-p.Number
	}
	p.Number = to
	c.gap(building, p.Position, stamp, g)
}

// gap puts a gap out, and the position that telling it reaches. The stamps of what is
// missing are not known, but that they are not below the mark.
func (c *core[T]) gap(building string, reaches Position, stamp int64, g Gap) {
	g.Building = building
	c.put(item[T]{building: building, position: reaches, stamp: stamp, low: c.told.mark.Stamp, gap: &g})
}

// opened takes the first begin of a building in this process that came after the
// replay.
func (c *core[T]) opened(building string, r *record) {
	c.apply(building, c.place(building), r)
}

// live takes what a subscription had in its queue; the mark is from before it was
// drained. What the queue dropped stays untold, and the limit below it, until a
// replay or missed tells it.
func (c *core[T]) live(telegrams []T, dropped []Missed, m Mark) {
	for _, t := range telegrams {
		id := c.identify(t)
		if len(c.places) > 0 && c.repeats(&id) {
			continue
		}
		c.out = append(c.out, item[T]{building: id.Building, position: id.Position, stamp: id.Stamp, low: id.Stamp, telegram: t})
	}
	c.lowest = false
	for _, d := range dropped {
		m.Stamp = min(m.Stamp, d.First) // 0: not known
	}
	c.limit = Mark{Epoch: max(m.Epoch, c.limit.Epoch), Stamp: max(m.Stamp, c.limit.Stamp)}
	c.overlap = false
}

// repeats reports whether the replay has told a live telegram, and else takes the
// place there.
func (c *core[T]) repeats(id *Identity) bool {
	p := c.places[id.Building]
	switch {
	case p == nil:
		return false
	case p.known && id.Compare(p.Position) <= 0:
		return true
	}
	p.Position, p.known, p.exact, p.ended = id.Position, true, true, false
	return false
}

// missed tells what the queue dropped and no replay has told. The mark is the one
// that was given to live; all below it is told then.
func (c *core[T]) missed(dropped []Missed, m Mark) {
	for _, d := range dropped {
		from, last, p := d.From, d.Last, c.place(d.Building)
		if last == 0 {
			last = math.MaxInt64
		}
		switch {
		case p.known && p.Compare(Position{d.Epoch, d.To}) >= 0, !p.exact && c.told.mark.below(d.Epoch, last):
			continue // told by a replay
		case p.exact && p.Epoch == d.Epoch:
			from = max(from, p.Number+1)
		case !p.exact && c.told.mark.below(d.Epoch, d.First):
			from = 0 // the first of them were told, but how many?
		}
		*p = place{Position: Position{d.Epoch, d.To}, known: true, exact: true}
		g := Gap{Epoch: d.Epoch, From: from, To: d.To, Cause: CauseSlow}
		if from > 0 {
			g.Count = d.To - from + 1
		}
		c.gap(d.Building, p.Position, last, g)
		gap := &c.out[len(c.out)-1]
		gap.low = max(gap.low, d.First)
	}
	c.limit = Mark{Epoch: max(m.Epoch, c.limit.Epoch), Stamp: max(m.Stamp, c.limit.Stamp)}
}

// take gives at most so many telegrams, or one gap, and moves the cursor past them.
// It gives nothing when nothing waits. The telegrams are valid until the next call.
func (c *core[T]) take(most int) (telegrams []T, gap *Gap) {
	if !c.lowest {
		for i := len(c.out) - 2; i >= c.head; i-- {
			c.out[i].low = min(c.out[i].low, c.out[i+1].low)
		}
		c.lowest = true
	}
	rest := c.out[c.head:]
	n := 0
	for n < len(rest) && n < most && rest[n].gap == nil {
		n++
	}
	c.batch = c.batch[:0]
	if n == 0 && len(rest) > 0 {
		n, gap = 1, rest[0].gap
	} else {
		c.batch = slices.Grow(c.batch, n)
		for i := range rest[:n] {
			c.batch = append(c.batch, rest[i].telegram)
		}
	}
	c.tell(rest[:n], rest[n:])
	clear(rest[:n]) // the telegrams are not ours any more
	if c.head += n; c.waiting() == 0 {
		c.forget()
	}
	return c.batch, gap
}

// release lets go of what take gave last.
func (c *core[T]) release() { clear(c.batch) }
