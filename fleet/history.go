package fleet

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/tables"
)

// Stream is one client's stream of telegrams: what the journal has from where it
// starts, and then what is live. Close it when done.
type Stream struct {
	stream       *journal.Stream[*Telegram]
	subscription *Subscription
}

// Follow opens a stream. From its return on it misses nothing. The error is
// ErrStopping, or wraps [journal.ErrBadToken].
func (f *Fleet) Follow(filter Filter, start journal.Start) (*Stream, error) {
	subscription, err := f.cfg.Hub.Subscribe(filter, 0)
	if err != nil {
		return nil, err
	}
	stream, err := journal.Follow(f.cfg.Journal, f.view(context.Background(), filter), start, subscription)
	if err != nil {
		subscription.Close()
		return nil, err
	}
	return &Stream{stream, subscription}, nil
}

// Run calls send with what there is to tell, until ctx ends, the gateway stops, or
// send fails; it returns that error. After silence it sends an empty response. While
// send blocks, the stream's queue fills; what it drops then is read again from the
// journal, or told as a gap. A response and what it holds are valid until send
// returns.
func (s *Stream) Run(ctx context.Context, silence time.Duration, send func(journal.Response[*Telegram]) error) error {
	return s.stream.Run(ctx, silence, send)
}

// Close ends the stream. It is idempotent.
func (s *Stream) Close() { s.subscription.Close() }

// History lists telegrams that the journal has. An error wraps [journal.ErrOff],
// [journal.ErrNoHistory] or [journal.ErrBadToken], or is ctx's.
func (f *Fleet) History(ctx context.Context, filter Filter, r journal.Range) (journal.Page[*Telegram], error) {
	return journal.List(ctx, f.cfg.Journal, f.view(ctx, filter), r)
}

// view shows of the journal what the filter selects, with names and values of now.
func (f *Fleet) view(ctx context.Context, filter Filter) journal.View[*Telegram] {
	r := restorer{ctx: ctx, fleet: f, filter: filter}
	v := journal.View[*Telegram]{Shows: r.shows, Identify: identify, Restore: r.restore}
	if len(filter.Buildings) > 0 {
		v.Buildings = slices.Sorted(maps.Keys(filter.Buildings))
	}
	return v
}

// restorer makes telegrams of what the journal keeps. It belongs to one goroutine.
type restorer struct {
	ctx     context.Context //nolint:containedctx // bounds the loading of tables; restore has none
	fleet   *Fleet
	filter  Filter
	encoder encoder
	// without are buildings whose table could not be had, which is not tried at each
	// telegram.
	without map[string]bool
}

// shows reports whether the filter selects the building as it is now. One that is no
// more has no labels.
func (r *restorer) shows(building string) bool {
	return r.filter.Labels == nil || r.filter.Labels.Matches(labels.Set(r.fleet.board.labels(building)))
}

func (r *restorer) restore(building string, t *journal.Telegram) (*Telegram, bool) {
	table := r.table(building)
	// Most of what a narrow filter does not select is left out before it costs much.
	seen := Telegram{
		Building: building, Labels: r.fleet.board.labels(building), Source: t.Source, Destination: t.Destination, Kind: kindOf(t.Command),
	}
	if len(r.filter.Names) > 0 {
		if line := table.Lookup(t.Destination); line != nil {
			seen.Name = line.Name
		}
	}
	if !r.filter.Match(&seen) {
		return nil, false
	}
	return r.encoder.telegram(building, seen.Labels, table, t), true
}

// table gives a building's table; nil for one that is no more, or whose table cannot
// be had: then its telegrams are without names.
func (r *restorer) table(building string) *tables.Table {
	if t := r.fleet.cfg.Tables.Current(building); t != nil {
		return t
	}
	if _, exists := r.fleet.board.get(building); !exists || r.without[building] {
		return nil
	}
	t, err := r.fleet.cfg.Tables.Load(r.ctx, building)
	if err == nil {
		return t
	}
	if r.without == nil {
		r.without = make(map[string]bool)
	}
	r.without[building] = true
	return nil
}

// Kept is what a building's telegrams take in the journal. The begin and the end of
// each epoch count too.
type Kept struct {
	Telegrams, Bytes uint64
	// Oldest is when the oldest was stored; zero without any, or if not asked for.
	Oldest time.Time
}

// Kept tells what a building has in the journal, as of some seconds ago, and with
// oldest also since when. It is false when that cannot be told now.
func (f *Fleet) Kept(ctx context.Context, building string, oldest bool) (Kept, bool) {
	usage, err := f.cfg.Journal.Usage(ctx)
	if err != nil {
		return Kept{}, false
	}
	kept := Kept{Telegrams: usage[building].Records, Bytes: usage[building].Bytes}
	if oldest && kept.Telegrams > 0 {
		if kept.Oldest, err = f.cfg.Journal.Oldest(ctx, building); err != nil {
			return kept, false
		}
	}
	return kept, true
}
