package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// Counting the store's records reads the state of every building. A count is told for
// usageAge; then it is told while the next one is under way, which a list of buildings
// would otherwise wait for every few seconds; and from usageStale on whoever asks waits.
const (
	usageAge   = 5 * time.Second
	usageStale = 30 * time.Second
)

// Counting is what a store tells beside its records. *engine.Journal does.
type Counting interface {
	// Usage tells what each building has.
	Usage(ctx context.Context) (map[string]engine.Usage, error)
	// Stats tells what there is in all.
	Stats(ctx context.Context) (engine.Stats, error)
}

// counted is the last count.
type counted struct {
	mu    sync.Mutex
	at    time.Time
	usage map[string]engine.Usage
	next  *counting // under way; nil: none
	tried time.Time // when the last one ended
	err   error     // of the last one
}

// counting is a count under way. done is closed with it, and after the others are set.
type counting struct {
	done  chan struct{}
	usage map[string]engine.Usage
	err   error
}

// Usage tells what each building has in the store, of which its epochs' begins and
// ends are a part; it may be some seconds old. It fails with ErrOff without a store.
func (j *Journal) Usage(ctx context.Context) (map[string]engine.Usage, error) {
	store, ok := j.store.(Counting)
	if !ok {
		return nil, ErrOff
	}
	c := &j.counted
	c.mu.Lock()
	age := time.Since(c.at)
	if c.next == nil && time.Since(c.tried) >= usageAge {
		c.next = &counting{done: make(chan struct{})}
		go c.count(context.WithoutCancel(ctx), store, c.next) // the store bounds its time
	}
	last, next, failed := c.usage, c.next, c.err
	c.mu.Unlock()
	switch {
	case last != nil && age < usageStale:
		return last, nil
	case next == nil:
		return nil, failed // a moment ago; a list asks for each of its buildings
	}
	select {
	case <-next.done:
		return next.usage, next.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *counted) count(ctx context.Context, store Counting, n *counting) {
	defer close(n.done)
	n.usage, n.err = store.Usage(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next, c.tried, c.err = nil, time.Now(), n.err
	if n.err == nil {
		c.usage, c.at = n.usage, c.tried
	}
}

// Oldest tells when the oldest record of a building was stored; zero without any.
func (j *Journal) Oldest(ctx context.Context, building string) (at time.Time, err error) {
	if j.Off() {
		return at, ErrOff
	}
	err = j.store.Read(ctx, engine.Query{Buildings: []string{building}}, func(e engine.Record) error {
		at = e.Time
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, err
}

// Kept tells what the store holds in all, and its limits. It fails with ErrOff
// without a store.
func (j *Journal) Kept(ctx context.Context) (engine.Stats, error) {
	store, ok := j.store.(Counting)
	if !ok {
		return engine.Stats{}, ErrOff
	}
	return store.Stats(ctx)
}
