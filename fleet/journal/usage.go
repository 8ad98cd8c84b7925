package journal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// usageAge is how long a count of the store's records is good: counting reads the
// state of every building.
const usageAge = 5 * time.Second

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
	defer c.mu.Unlock()
	if c.usage != nil && time.Since(c.at) < usageAge {
		return c.usage, nil
	}
	usage, err := store.Usage(ctx)
	if err != nil {
		return nil, err
	}
	c.usage, c.at = usage, time.Now()
	return usage, nil
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
