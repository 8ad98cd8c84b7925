package journal

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// firstWindow is how far back a list of the newest looks first; each further look
// goes windowGrowth times as far.
const (
	firstWindow  = time.Minute
	windowGrowth = 8
)

// Range says which telegrams to list.
type Range struct {
	// Since and Until bound the receipt: from Since up to, but without, Until. Zero
	// is open.
	Since, Until time.Time
	// Newest lists the newest first. Default: the oldest.
	Newest bool
	// Limit is how many telegrams to give, at least 1 and at most MaxBatch.
	Limit int
	// Page is Next of the page before, with the same Range and View.
	Page string
}

// Page is a part of a list.
type Page[T any] struct {
	Telegrams []T
	// Gaps are what is missing among them, in no particular order; see Gap for one
	// without a building.
	Gaps []Gap
	// Next is for the page after this one. Empty: this was the last.
	Next string
}

// ErrOff is the error of a list when no journal is kept.
var ErrOff = errors.New("no journal is kept")

// List gives telegrams that the journal has. An error wraps ErrOff, ErrNoHistory or
// ErrBadToken, or is ctx's.
func List[T any](ctx context.Context, j *Journal, view View[T], r Range) (Page[T], error) {
	if j.Off() {
		return Page[T]{}, ErrOff
	}
	r.Limit = min(max(r.Limit, 1), MaxBatch)
	if r.Newest {
		return newestFirst(ctx, j, view, r)
	}
	return oldestFirst(ctx, j, view, r)
}

// stampOf gives a bound as a stamp; a telegram's is a little after its receipt.
func stampOf(t time.Time, open int64) int64 {
	if t.IsZero() {
		return open
	}
	return max(t.UnixNano(), 0)
}

// received leaves out what the bounds of stamps let through.
func received[T any](view View[T], r Range) View[T] {
	restore := view.Restore
	view.Restore = func(building string, t *Telegram) (T, bool) {
		if t.ReceivedAt.Before(r.Since) || !r.Until.IsZero() && !t.ReceivedAt.Before(r.Until) {
			var none T
			return none, false
		}
		return restore(building, t)
	}
	return view
}

// lister collects what a core gives of records up to a stamp.
type lister[T any] struct {
	*core[T]
	until int64
	// enough is after how many items it is time to stop; newest how many of the last
	// ones to keep. 0: all.
	enough, newest int
}

// record implements replayed.
func (l *lister[T]) record(building string, r *record) {
	if r.stamp < l.until {
		l.core.record(building, r)
		l.trim(MaxBatch)
	} else {
		l.pass(r)
	}
}

// trim drops the oldest items, once there are so many more than are to be kept, and
// brings the rest into the order of their stamps.
func (l *lister[T]) trim(more int) {
	if l.newest == 0 || len(l.out) <= l.newest+more {
		return
	}
	l.sort()
	l.out = slices.Delete(l.out, 0, max(len(l.out)-l.newest, 0))
}

// sort brings the items into the order of their stamps, which within a building they
// are in already. A gap of all buildings stays where it is, before all else.
func (l *lister[T]) sort() {
	slices.SortStableFunc(l.out, func(a, b item[T]) int {
		if a.building == "" || b.building == "" {
			return cmp.Compare(min(len(a.building), 1), min(len(b.building), 1))
		}
		return cmp.Compare(a.stamp, b.stamp)
	})
}

// read brings what the store and the queue have to the core, until there is enough.
// It reports whether it stopped because of that.
func (l *lister[T]) read(ctx context.Context, j *Journal, view View[T]) (stopped bool, err error) {
	from := l.told.mark
	snap := j.snapshot(from, l.told.at, (&Stream[T]{view: view}).includes)
	for id, k := range snap.buildings {
		k.waiting = slices.DeleteFunc(k.waiting, func(r record) bool { return r.stamp >= l.until })
		snap.buildings[id] = k
	}
	l.begin(snap)
	query := engine.Query{Buildings: view.Buildings, Since: time.Unix(0, max(from.Stamp, 1)).Add(-j.slack - snap.ahead)}
	err = j.read(ctx, query, &view, l, func() error {
		if l.enough > 0 && len(l.out) >= l.enough || l.limit.Stamp >= l.until {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough) && l.limit.Stamp < l.until:
		return true, nil
	case err != nil && !errors.Is(err, errEnough):
		return false, err
	case l.until > snap.last:
		l.finish(snap)
	default:
		for id, p := range l.places {
			for i := range p.waiting {
				l.apply(id, p, &p.waiting[i])
			}
		}
	}
	return false, nil
}

func oldestFirst[T any](ctx context.Context, j *Journal, view View[T], r Range) (page Page[T], err error) {
	from := cursor{mark: Mark{Stamp: stampOf(r.Since, 0)}}
	if r.Page != "" {
		if from, err = decodeCursor(j.identity, r.Page); err != nil {
			return page, err
		}
	}
	view = received(view, r)
	l := lister[T]{core: newCore(from, view.Identify, view.Restore), until: untilOf(r), enough: r.Limit}
	more, err := l.read(ctx, j, view)
	if err != nil {
		return page, err
	}
	l.sort()
	if r.Page != "" || !r.Since.IsZero() {
		cut, err := j.cut(ctx, from.mark)
		if err != nil {
			return page, err
		}
		if cut {
			l.cut(CauseExpired)
		}
	}
	for l.waiting() > 0 && len(page.Telegrams) < r.Limit && len(page.Gaps) < MaxBatch {
		telegrams, gap := l.take(r.Limit - len(page.Telegrams))
		page.Telegrams = append(page.Telegrams, telegrams...)
		if gap != nil {
			page.Gaps = append(page.Gaps, *gap)
		}
	}
	if more || l.waiting() > 0 {
		page.Next, _ = l.told.encode(j.identity, j.maxToken)
	}
	return page, nil
}

// untilOf is above the stamp of all that was received before Until, unless the
// process stood still for long.
func untilOf(r Range) int64 {
	if r.Until.IsZero() {
		return math.MaxInt64
	}
	return max(r.Until.Add(readSlack).UnixNano(), 0)
}

// newestFirst looks back in windows that grow, and keeps of each the newest. A page
// goes on below the stamp of the last item before: no two telegrams have the same.
func newestFirst[T any](ctx context.Context, j *Journal, view View[T], r Range) (page Page[T], err error) {
	to := min(untilOf(r), j.Mark().Stamp)
	if r.Page != "" {
		if to, err = decodeStamp(r.Page); err != nil {
			return page, err
		}
	}
	least, err := j.least(ctx)
	if err != nil {
		return page, err
	}
	least = max(least, stampOf(r.Since, 0))
	view = received(view, r)
	found := 0
	for window := firstWindow; to > least && found < r.Limit; window *= windowGrowth {
		from := max(to-int64(window), least)
		l := lister[T]{core: newCore(cursor{mark: Mark{Stamp: from}}, view.Identify, view.Restore), until: to, newest: r.Limit - found}
		if _, err := l.read(ctx, j, view); err != nil {
			return page, err
		}
		l.trim(-l.newest)
		for _, it := range slices.Backward(l.out) {
			if it.gap != nil {
				page.Gaps = append(page.Gaps, *it.gap)
			} else {
				page.Telegrams = append(page.Telegrams, it.telegram)
			}
			if found++; found == r.Limit && it.stamp > least {
				page.Next = encodeStamp(it.stamp)
			}
		}
		to = from
	}
	return page, nil
}

// least gives a bound below which nothing is stored.
func (j *Journal) least(ctx context.Context) (int64, error) {
	oldest, some, err := j.oldest(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("%w: %w", ErrNoHistory, err)
	}
	if r, err := decodeRecord(oldest.Data); some && err == nil {
		return min(r.low, r.before), nil
	}
	return 0, nil
}

const stampPage = 2 // version of a page token of the newest first

func encodeStamp(stamp int64) string {
	b := binary.BigEndian.AppendUint64([]byte{stampPage}, uint64(stamp))
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeStamp(page string) (int64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(page)
	// The decoder passes over line breaks.
	if err != nil || len(b) != 9 || len(page) != base64.RawURLEncoding.EncodedLen(len(b)) || b[0] != stampPage || b[1]&0x80 != 0 {
		return 0, badToken("it is no page token of this list")
	}
	return int64(binary.BigEndian.Uint64(b[1:])), nil
}
