package fleet

import (
	"context"
	"errors"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

// ErrDisabled: the building is not to run.
var ErrDisabled = errors.New("is disabled; enable it first")

// wish is a call of Reconnect on its way to the loop.
type wish struct {
	building string
	tunnel   bool
	done     chan wished // capacity 1: the loop does not wait
}

// wished is what the loop made of a wish.
type wished struct {
	ending <-chan struct{} // closed when what ran has ended; nil: nothing ran
	err    error
}

// Reconnect ends a building's KNX session, or with tunnel all that runs of it, and
// begins anew at once; it returns when what ran has ended. A building that waits
// for another try has it now. It returns a *registry.BuildingError, with
// ErrDisabled for one that is not to run, ErrStopping, or ctx's error.
func (f *Fleet) Reconnect(ctx context.Context, building string, tunnel bool) error {
	w := wish{building: building, tunnel: tunnel, done: make(chan wished, 1)}
	select {
	case f.wishes <- w:
	case <-f.over:
		return ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := <-w.done
	if answer.err != nil || answer.ending == nil {
		return answer.err
	}
	select {
	case <-answer.ending:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reconnect runs in the loop.
func (f *Fleet) reconnect(w wish) wished {
	want, wanted := f.desired[w.building]
	have := f.sites[w.building]
	switch {
	case !wanted:
		return wished{err: &registry.BuildingError{ID: w.building, Cause: registry.ErrNotFound}}
	case !want.Enabled:
		return wished{err: &registry.BuildingError{ID: w.building, Cause: ErrDisabled}}
	case have == nil:
		return wished{} // about to start
	case !have.stopping && !w.tunnel && f.site(w.building) == have.site && have.site.isOpen():
		current := have.site.sessions.connection()
		signal(have.site.sessions.renew)
		return wished{ending: current.ended}
	}
	have.stopping = true
	have.stop()
	return wished{ending: have.gone}
}
