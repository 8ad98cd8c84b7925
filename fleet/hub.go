package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrStopping ends every subscription and watch when the process stops.
var ErrStopping = errors.New("the gateway is stopping")

// Hub is the in-process fan-out: every telegram of every site goes to every
// subscriber whose filter selects it. Publishing never waits: a subscriber
// that does not keep up gets a gap, the others do not notice.
//
// All methods are safe for concurrent use.
type Hub struct {
	subscribers atomic.Pointer[[]*Subscription] // copied on change, so that Publish takes no lock
	published   atomic.Uint64
	dropped     atomic.Uint64 // for all subscribers there were

	mu     sync.Mutex // guards changes of subscribers, and closed
	closed bool
}

// NewHub makes a fan-out without subscribers.
func NewHub() *Hub {
	h := &Hub{}
	h.subscribers.Store(&[]*Subscription{})
	return h
}

// Publish hands a telegram to all subscribers. The telegram must not change
// afterwards.
func (h *Hub) Publish(t *Telegram) {
	h.published.Add(1)
	for _, s := range *h.subscribers.Load() {
		if s.filter.Match(t) {
			s.push(t)
		}
	}
}

// Subscribe adds a subscriber that sees every telegram published from now on
// that the filter selects. Its queue holds at most limit telegrams (0 means
// DefaultQueueLimit). Close it when done.
func (h *Hub) Subscribe(filter Filter, limit int) (*Subscription, error) {
	if limit <= 0 {
		limit = DefaultQueueLimit
	}
	s := &Subscription{
		hub:    h,
		filter: filter,
		limit:  limit,
		wake:   make(chan struct{}, 1), // one pending signal says it all
		done:   make(chan struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrStopping
	}
	next := append(slices.Clone(*h.subscribers.Load()), s)
	h.subscribers.Store(&next)
	return s, nil
}

// HubStats counts since the hub was made.
type HubStats struct {
	Subscribers int    // now
	Published   uint64 // telegrams
	Dropped     uint64 // telegrams that a subscriber did not get because its queue was full
}

// Stats returns a snapshot.
func (h *Hub) Stats() HubStats {
	return HubStats{Subscribers: len(*h.subscribers.Load()), Published: h.published.Load(), Dropped: h.dropped.Load()}
}

// Close ends every subscription with ErrStopping. It is idempotent.
func (h *Hub) Close() {
	h.mu.Lock()
	open := *h.subscribers.Load()
	h.subscribers.Store(&[]*Subscription{})
	h.closed = true
	h.mu.Unlock()
	for _, s := range open {
		s.end(ErrStopping)
	}
}

func (h *Hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(*h.subscribers.Load()), func(o *Subscription) bool { return o == s })
	h.subscribers.Store(&next)
}

// DefaultQueueLimit is how many telegrams wait for one subscriber at most.
const DefaultQueueLimit = 4096

// Gap tells a subscriber which telegrams of a building it did not get.
type Gap struct {
	Building string
	Epoch    uint64
	From, To uint64 // numbers, both included
	Count    uint64 // how many of them its filter would have selected
}

// Batch is what a subscriber gets at once: telegrams in order, and then the
// gaps that follow them.
type Batch struct {
	Telegrams []*Telegram
	Gaps      []Gap
}

// Subscription is one subscriber's queue. When the queue is full, telegrams
// are dropped and counted per building until the subscriber has read
// everything that was queued; the gaps follow the queue, and only then does
// the live stream go on. So order holds and memory stays bounded by the queue
// limit and one gap per building and epoch.
type Subscription struct {
	hub    *Hub
	filter Filter
	limit  int
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	queue   []*Telegram
	gaps    []Gap
	gapOf   map[gapKey]int
	dropped uint64
	err     error
}

type gapKey struct {
	building string
	epoch    uint64
}

func (s *Subscription) push(t *Telegram) {
	s.mu.Lock()
	switch {
	case s.err != nil:
	case len(s.gaps) > 0 || len(s.queue) >= s.limit:
		s.drop(t)
	default:
		s.queue = append(s.queue, t)
	}
	s.mu.Unlock()
	signal(s.wake)
}

func (s *Subscription) drop(t *Telegram) {
	s.dropped++
	s.hub.dropped.Add(1)
	key := gapKey{t.Building, t.Epoch}
	if i, ok := s.gapOf[key]; ok {
		s.gaps[i].To = t.Number
		s.gaps[i].Count++
		return
	}
	if s.gapOf == nil {
		s.gapOf = make(map[gapKey]int)
	}
	s.gapOf[key] = len(s.gaps)
	s.gaps = append(s.gaps, Gap{Building: t.Building, Epoch: t.Epoch, From: t.Number, To: t.Number, Count: 1})
}

// Next waits for telegrams and returns all that wait, at most the queue
// limit. It returns ctx's error, or ErrStopping, when there is nothing left
// to read.
func (s *Subscription) Next(ctx context.Context) (Batch, error) {
	for {
		s.mu.Lock()
		batch := Batch{Telegrams: s.queue, Gaps: s.gaps}
		err := s.err
		s.queue, s.gaps, s.gapOf = nil, nil, nil
		s.mu.Unlock()
		if len(batch.Telegrams) > 0 || len(batch.Gaps) > 0 {
			return batch, nil
		}
		if err != nil {
			return Batch{}, err
		}
		select {
		case <-s.wake:
		case <-s.done:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

// Dropped is how many telegrams this subscriber has lost to a full queue.
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
