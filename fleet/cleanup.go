package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
)

// CleanerConfig is what a Cleaner is made of. All but Log and Interval is required.
type CleanerConfig struct {
	Claims interface {
		// Claimed gives every building that was ever claimed and not forgotten.
		Claimed(ctx context.Context) ([]ownership.Past, error)
		// Retire notes since when a building is no more.
		Retire(ctx context.Context, p ownership.Past, since time.Time) error
		// Forget removes what is noted of a building.
		Forget(ctx context.Context, p ownership.Past) error
	}
	Buildings interface {
		// List gives the buildings that match, but for those that cannot be read.
		List(ctx context.Context, match func(registry.Building) bool) ([]registry.Building, error)
		Get(ctx context.Context, id string) (registry.Building, error)
	}
	Journal interface {
		Purge(ctx context.Context, building string) error
	}
	// Grace is how long the telegrams of a deleted building are kept.
	Grace time.Duration
	// Interval is how often it is looked at. 0 means a minute.
	Interval time.Duration
	Log      zerolog.Logger
}

// Cleaner removes the telegrams of buildings that were deleted, some time after. A
// building that is created again under the same id meanwhile has its past back.
type Cleaner struct{ cfg CleanerConfig }

// cleanInterval is how often deleted buildings are looked for.
const cleanInterval = time.Minute

// NewCleaner makes a cleaner. It does nothing until Run.
func NewCleaner(cfg CleanerConfig) *Cleaner {
	if cfg.Interval <= 0 {
		cfg.Interval = cleanInterval
	}
	return &Cleaner{cfg}
}

// Run cleans up until ctx ends, and returns nil. What fails is tried again the next
// time.
func (c *Cleaner) Run(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Interval)
	defer tick.Stop()
	for {
		if err := c.clean(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Msg("cleaning up after deleted buildings; it is tried again")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// clean looks at every building that ever ran.
func (c *Cleaner) clean(ctx context.Context, now time.Time) error {
	all, err := c.cfg.Claims.Claimed(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(all))
	if _, err = c.cfg.Buildings.List(ctx, func(b registry.Building) bool {
		listed[b.ID] = true
		return false
	}); err != nil {
		return err
	}
	var failed []error
	for _, p := range all {
		if listed[p.Building] {
			continue
		}
		// Only what is certainly not there is taken for deleted; what cannot be read is
		// in no list.
		if _, err := c.cfg.Buildings.Get(ctx, p.Building); !errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err := c.gone(ctx, p, now); err != nil {
			failed = append(failed, fmt.Errorf("building %s: %w", p.Building, err))
		}
	}
	return errors.Join(failed...)
}

// gone does what is due for a building that is no more.
func (c *Cleaner) gone(ctx context.Context, p ownership.Past, now time.Time) error {
	switch {
	case p.Running:
		return nil // its site still stops
	case p.RetiredAt.IsZero():
		return c.cfg.Claims.Retire(ctx, p, now)
	case now.Sub(p.RetiredAt) < c.cfg.Grace:
		return nil
	}
	if err := c.cfg.Journal.Purge(ctx, p.Building); err != nil {
		return err
	}
	c.cfg.Log.Info().Str("building", p.Building).Msg("removed the telegrams of a deleted building")
	return c.cfg.Claims.Forget(ctx, p)
}
