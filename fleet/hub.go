package fleet

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrStopping ends every subscription and watch when the process stops.
var ErrStopping = errors.New("the gateway is stopping")

// Hub is the in-process fan-out: every telegram of every site goes to every
// subscriber whose filter selects it. Publishing never waits: a subscriber
// that does not keep up is told what it missed, the others do not notice.
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

// WaitedFor reports whether a subscriber's filter selects a building, of which the
// labels are given.
func (h *Hub) WaitedFor(building string, labels map[string]string) bool {
	return slices.ContainsFunc(*h.subscribers.Load(), func(s *Subscription) bool {
		return s.filter.matchBuilding(building, labels)
	})
}

// Subscribe adds a subscriber that sees every telegram published from now on
// that the filter selects. Its queue holds at most so many bytes (0 means
// DefaultQueueBytes). Close it when done.
func (h *Hub) Subscribe(filter Filter, bytes int) (*Subscription, error) {
	if bytes <= 0 {
		bytes = DefaultQueueBytes
	}
	s := &Subscription{
		hub:    h,
		filter: filter,
		limit:  bytes,
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
	// Dropped are telegrams that found a subscriber's queue full. The journal gives
	// it most of them all the same.
	Dropped uint64
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
