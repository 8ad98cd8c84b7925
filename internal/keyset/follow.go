package keyset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// Holder keeps secrets that were sealed with a keyset.
type Holder interface {
	// Opens fails when a keyset does not open what is sealed here.
	Opens(ctx context.Context, keys *Keyset) error
	// Reseal seals anew what another key than the primary one has sealed, and tells
	// how many secrets that were. It is safe beside all other use.
	Reseal(ctx context.Context, keys *Keyset) (resealed int, err error)
	// Settled is told when all that all holders keep is sealed with a primary key, and
	// nothing that another one has sealed is on its way.
	Settled(primary uint32) error
}

const (
	// pollInterval is how often the source is looked at. Kubernetes takes a minute to
	// bring a changed secret; an administrator wants to see it work.
	pollInterval = 5 * time.Second
	// settleTime is longer than a write takes that began with the keys before.
	settleTime = 15 * time.Second
)

// Follow keeps everything sealed with the primary key of a keyset until ctx ends;
// then it returns nil. A source that changed is taken over within seconds, without
// a stop, but only if it opens all that is sealed; otherwise the keys in use stay,
// and the log says so.
func Follow(ctx context.Context, keys *Keyset, log zerolog.Logger, holders ...Holder) error {
	f := follower{keys: keys, holders: holders, log: log.With().Str("keyset", keys.Source()).Logger()}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	f.unsettled = time.Now().Add(-settleTime) // nothing was on its way before this process
	for {
		f.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

type follower struct {
	keys    *Keyset
	holders []Holder
	log     zerolog.Logger

	unsettled time.Time // since when something may be sealed with another key; zero: nothing is
	passed    bool      // everything was looked at once since then
	resealed  int       // since then
	complaint string    // the last that was logged
}

func (f *follower) look(ctx context.Context) {
	changed, err := f.keys.Reload(func(candidate *Keyset) error {
		for _, h := range f.holders {
			if err := h.Opens(ctx, candidate); err != nil {
				return fmt.Errorf("the keyset changed, and is not taken over: %w; the keys in use stay until it is right", err)
			}
		}
		return nil
	})
	if changed {
		f.log.Info().Uint32("primary", f.keys.keys.Load().id).Msg("the keyset changed; everything is sealed with its primary key from now on")
		f.unsettled, f.passed, f.resealed = time.Now(), false, 0
	}
	if warning := f.keys.Warning(); changed && warning != "" {
		f.log.Warn().Msg(warning)
	}
	began := time.Now()
	if f.unsettled.IsZero() || f.passed && began.Sub(f.unsettled) < settleTime {
		f.complain(ctx, err)
		return
	}
	for _, h := range f.holders {
		n, resealErr := h.Reseal(ctx, f.keys)
		f.resealed += n
		err = errors.Join(err, resealErr)
	}
	f.complain(ctx, err)
	if err != nil || ctx.Err() != nil {
		return
	}
	f.passed = true
	if began.Sub(f.unsettled) < settleTime {
		return // once more, later: what was on its way is sealed with the key before
	}
	loaded := f.keys.keys.Load()
	for _, h := range f.holders {
		err = errors.Join(err, h.Settled(loaded.id))
	}
	if err != nil {
		f.complain(ctx, err)
		return
	}
	f.unsettled = time.Time{}
	if f.resealed > 0 || loaded.count > 1 {
		f.log.Info().Int("resealed", f.resealed).Uint32("primary", loaded.id).Int("others", loaded.count-1).
			Msg("all secrets are sealed with the keyset's primary key; the other keys are needed for older backups alone")
	}
}

// complain logs an error when it is new.
func (f *follower) complain(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != f.complaint {
		f.log.Error().Err(err).Msg("the keyset is not followed")
	}
	f.complaint = text
}
