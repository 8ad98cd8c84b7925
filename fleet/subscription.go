package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/fleet/journal"
)

const (
	// DefaultQueueBytes bounds what waits for one subscriber: some 10,000 telegrams.
	DefaultQueueBytes = 4 << 20
	// gatherTime is how long telegrams are gathered for one subscriber when all
	// subscribers together are told more than gatherFrom in a second: a response for each
	// would cost far more than it brings, here and at the client, which answers each
	// with a ping and a window. Below that, and after a rest, each goes out at once, which
	// costs some 40 µs. Half of this is what a telegram waits under load, of the 5 ms that
	// it may be on its way then.
	gatherTime = 6 * time.Millisecond
	gatherFrom = 4000
	// rateOver is the time over which a subscriber's telegrams in a second are averaged.
	rateOver = 100 * time.Millisecond
	// gatherMost ends gathering: more does not make a response cheaper.
	gatherMost = 500
)

// Subscription is one subscriber's queue. When the queue is full, telegrams are
// dropped and noted per building until the subscriber has read everything that was
// queued; what was dropped follows the queue, and only then does the live stream go
// on. So order holds and memory stays bounded by the queue and one note for each
// building and epoch. It is a [journal.Subscription].
type Subscription struct {
	hub    *Hub
	filter Filter
	limit  int // of bytes
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	queue   []*Telegram
	bytes   int // of the queue
	missed  []journal.Missed
	place   map[missedKey]int // in missed
	dropped uint64
	err     error

	// Of the one goroutine that calls Next.
	given []*Telegram // what it returned last
	last  time.Time   // when
	rate  float64     // telegrams in a second, lately
	timer *time.Timer
}

type missedKey struct {
	building string
	epoch    uint64
}

func (s *Subscription) push(t *Telegram) {
	s.mu.Lock()
	first := len(s.queue)+len(s.missed) == 0 // whoever reads looks before it waits
	switch size := t.size(); {
	case s.err != nil:
	case len(s.missed) > 0 || s.bytes+size > s.limit:
		s.drop(t)
	default:
		s.queue = append(s.queue, t)
		s.bytes += size
	}
	s.mu.Unlock()
	if first {
		signal(s.wake)
	}
}

func (s *Subscription) drop(t *Telegram) {
	s.dropped++
	s.hub.dropped.Add(1)
	key := missedKey{t.Building, t.Epoch}
	if i, ok := s.place[key]; ok {
		s.missed[i].To, s.missed[i].Last = t.Number, t.Stamp
		return
	}
	if s.place == nil {
		s.place = make(map[missedKey]int)
	}
	s.place[key] = len(s.missed)
	s.missed = append(s.missed, journal.Missed{
		Building: t.Building, Epoch: t.Epoch, From: t.Number, To: t.Number, First: t.Stamp, Last: t.Stamp,
	})
}

// Next waits for telegrams and returns all that wait, in order, and then what was
// dropped after them. It returns ctx's error, or ErrStopping, when there is nothing
// left to read. One goroutine may call it at a time; what it returns is valid until
// the next call.
func (s *Subscription) Next(ctx context.Context) (telegrams []*Telegram, missed []journal.Missed, err error) {
	clear(s.given) // the queue's memory is used again
	spare := s.given[:0]
	for {
		gather := time.Duration(0)
		if s.rate*float64(len(*s.hub.subscribers.Load())) > gatherFrom {
			gather = time.Until(s.last.Add(gatherTime))
		}
		s.mu.Lock()
		switch n := len(s.queue); {
		case n == 0 && len(s.missed) == 0 && s.err != nil:
			err = s.err
			s.mu.Unlock()
			return nil, nil, err
		case n > 0 && (gather <= 0 || n >= gatherMost || s.err != nil) || len(s.missed) > 0:
			telegrams, missed = s.queue, s.missed
			s.queue, s.bytes, s.missed, s.place = spare, 0, nil, nil
			s.mu.Unlock()
			s.given = telegrams
			s.measure(time.Now())
			return telegrams, missed, nil //nolint:nilerr // what was queued comes before the end
		case n == 0 && s.rate*gather.Seconds() < 1:
			gather = 0 // perhaps none comes: wait for one. Else it would be woken twice
		}
		s.mu.Unlock()
		if err := s.wait(ctx, gather); err != nil {
			return nil, nil, err
		}
	}
}

// measure notes that what is given was told now.
func (s *Subscription) measure(now time.Time) {
	since := max(now.Sub(s.last), time.Microsecond)
	weight := float64(since) / float64(since+rateOver)
	s.rate += weight * (float64(len(s.given))/since.Seconds() - s.rate)
	s.last = now
}

// wait waits for a telegram, or, when some are being gathered, so long.
func (s *Subscription) wait(ctx context.Context, gather time.Duration) error {
	if gather <= 0 {
		select {
		case <-s.wake:
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	if s.timer == nil {
		s.timer = time.NewTimer(gather)
	} else {
		s.timer.Reset(gather)
	}
	select {
	case <-s.timer.C:
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Dropped is how many telegrams have found this queue full.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close ends the subscription. It is idempotent.
func (s *Subscription) Close() {
	s.hub.remove(s)
	s.end(context.Canceled)
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}
