package fleet

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// GroupValue is the last value of a group address.
type GroupValue struct {
	Address frame.GroupAddress
	// Telegram said it. It is marked initial, and stale when it is older than the
	// building's present session, so that changes may have been missed since.
	Telegram *knxfleetv1.Telegram
	Age      time.Duration
}

// Proto is the value as clients see it.
func (v GroupValue) Proto() *knxfleetv1.GroupValue {
	return &knxfleetv1.GroupValue{Telegram: v.Telegram, Age: durationpb.New(v.Age)}
}

// GroupValues gives the last values of a building's group addresses that the filter
// selects, by address. While restoring they are not complete; ask again.
func (f *Fleet) GroupValues(ctx context.Context, building string, filter Filter) (values []GroupValue, restoring bool, err error) {
	view, ok := f.board.get(building)
	if !ok {
		return nil, false, &registry.BuildingError{ID: building, Cause: registry.ErrNotFound}
	}
	last, restoring, err := f.values.Get(building)
	if err != nil {
		return nil, false, &registry.BuildingError{ID: building, Cause: err}
	}
	r := restorer{ctx: ctx, fleet: f, filter: filter}
	now := time.Now()
	for i := range last {
		t, selected := r.restore(building, &last[i])
		if !selected {
			continue
		}
		values = append(values, GroupValue{
			Address: t.Destination, Telegram: initial(t, view.Status, last[i].ReceivedAt), Age: age(now, &last[i]),
		})
	}
	return values, restoring, nil
}

// initial is a telegram that tells what was known.
func initial(t *Telegram, status Status, received time.Time) *knxfleetv1.Telegram {
	m := t.Message()
	m.Initial = true
	m.Stale = status.State != StateOnline || received.Before(status.Since)
	return m
}

const (
	// restorePatience is how long a read waits for last values that are being
	// restored, rather than ask the bus.
	restorePatience = 500 * time.Millisecond
	restoreLook     = 10 * time.Millisecond
)

// restored gives a building's last values, when they are complete or patience ends.
func (f *Fleet) restored(ctx context.Context, building string) ([]journal.Telegram, error) {
	ctx, cancel := context.WithTimeout(ctx, restorePatience)
	defer cancel()
	look := time.NewTicker(restoreLook)
	defer look.Stop()
	for {
		last, restoring, err := f.values.Get(building)
		if err != nil || !restoring {
			return last, err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return last, nil
		}
	}
}

// lastValue is the last value of one group address if it is at most so old; nil if
// there is none.
func (f *Fleet) lastValue(ctx context.Context, building string, address frame.GroupAddress, maxAge time.Duration) *knxfleetv1.Telegram {
	view, ok := f.board.get(building)
	if !ok {
		return nil
	}
	last, err := f.restored(ctx, building)
	if err != nil {
		return nil // it cannot be told now; the bus can
	}
	i, found := slices.BinarySearchFunc(last, address, func(t journal.Telegram, a frame.GroupAddress) int { return int(t.Destination) - int(a) })
	if !found || age(time.Now(), &last[i]) > maxAge {
		return nil
	}
	r := restorer{ctx: ctx, fleet: f}
	t, ok := r.restore(building, &last[i])
	if !ok {
		return nil
	}
	return initial(t, view.Status, last[i].ReceivedAt)
}

// Selected gives the ids of the buildings that there are and that the filter selects
// now, in order.
func (f *Fleet) Selected(filter Filter) []string {
	return f.board.ids(func(b *registry.Building) bool {
		return (len(filter.Buildings) == 0 || filter.Buildings[b.ID]) &&
			(filter.Labels == nil || filter.Labels.Matches(labels.Set(b.Labels)))
	})
}

// ids gives the ids of the buildings that match, in order.
func (b *board) ids(match func(*registry.Building) bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for id, v := range b.views {
		if match(&v.Building) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
