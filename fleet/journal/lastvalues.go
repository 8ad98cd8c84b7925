package journal

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Bounds of last values.
const (
	// MaxValues is how many group addresses of a building have a last value in
	// memory; beyond, the one that was heard longest ago goes.
	MaxValues = 500
	// maxHeldValues is how many last values there are in all. Beyond, the building
	// that was asked for longest ago goes; asked for again, it is restored.
	maxHeldValues = 1_000_000
	// restoreRecords is how many of a building's records are read to restore its
	// values.
	restoreRecords = 50_000
	// maxRestoring is how many buildings are restored at once.
	maxRestoring = 2
)

// LastValues are the last values of group addresses: of each address the telegram
// that said it, response or write. A building's are restored from the journal when
// they are asked for first, and follow what is observed from then on. Safe for
// concurrent use.
type LastValues struct {
	j     *Journal
	turns chan struct{} // one for each that may restore; the others wait

	// Tests shorten them.
	perBuilding, inAll int

	mu        sync.Mutex
	buildings map[string]*values
	held      int
	asked     uint64 // counts Get
	wg        sync.WaitGroup
	ctx       context.Context //nolint:containedctx // ends what Get started in the background; Close cancels it
	cancel    context.CancelFunc
}

// values are those of one building.
type values struct {
	of        map[frame.GroupAddress]Telegram
	restoring bool
	failed    error
	asked     uint64
}

// NewLastValues makes last values over a journal. Close it when done.
func NewLastValues(j *Journal) *LastValues {
	v := &LastValues{
		j: j, turns: make(chan struct{}, maxRestoring),
		perBuilding: MaxValues, inAll: maxHeldValues, buildings: make(map[string]*values),
	}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// Close ends restoring and waits for it.
func (v *LastValues) Close() {
	v.mu.Lock()
	v.cancel()
	v.mu.Unlock()
	v.wg.Wait()
}

// Observe takes a telegram that was just written. It costs nothing for buildings
// that nobody asked for.
func (v *LastValues) Observe(building string, t Telegram) {
	if t.Command == frame.GroupValueRead {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if b := v.buildings[building]; b != nil {
		v.observe(b, t)
	}
}

func (v *LastValues) observe(b *values, t Telegram) {
	last, known := b.of[t.Destination]
	if known && last.Compare(t.Position) >= 0 {
		return
	}
	b.of[t.Destination] = t
	if known {
		return
	}
	v.held++
	if len(b.of) <= v.perBuilding {
		return
	}
	oldest := t
	for _, o := range b.of {
		if o.Compare(oldest.Position) < 0 {
			oldest = o
		}
	}
	delete(b.of, oldest.Destination)
	v.held--
}

// Get gives a building's last values by group address. While restoring they are not
// complete; ask again. An error says that they could not be restored, and stay
// incomplete until somebody asks again.
func (v *LastValues) Get(building string) (last []Telegram, restoring bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.buildings[building]
	if b == nil {
		b = &values{of: make(map[frame.GroupAddress]Telegram)}
		v.buildings[building] = b
		v.restore(building, b)
	}
	v.asked++
	b.asked = v.asked
	last = make([]Telegram, 0, len(b.of))
	for _, t := range b.of {
		last = append(last, t)
	}
	slices.SortFunc(last, func(a, b Telegram) int { return cmp.Compare(a.Destination, b.Destination) })
	if err = b.failed; err != nil && !b.restoring {
		v.restore(building, b)
	}
	v.makeRoom(building)
	return last, b.restoring, err
}

// Forget drops what is held of a building.
func (v *LastValues) Forget(building string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop(building)
}

func (v *LastValues) drop(building string) {
	if b := v.buildings[building]; b != nil {
		v.held -= len(b.of)
		delete(v.buildings, building)
	}
}

// makeRoom drops buildings, but not the one that was just asked for.
func (v *LastValues) makeRoom(but string) {
	for v.held > v.inAll {
		oldest := ""
		for id, b := range v.buildings {
			if id != but && (oldest == "" || b.asked < v.buildings[oldest].asked) {
				oldest = id
			}
		}
		if oldest == "" {
			return
		}
		v.drop(oldest)
	}
}

// restore begins to read a building's past. The lock is held.
func (v *LastValues) restore(building string, b *values) {
	if v.j.Off() || v.ctx.Err() != nil {
		return
	}
	b.restoring, b.failed = true, nil
	v.wg.Go(func() {
		select {
		case v.turns <- struct{}{}:
			defer func() { <-v.turns }()
		case <-v.ctx.Done():
			return
		}
		err := v.read(building, b)
		v.mu.Lock()
		defer v.mu.Unlock()
		b.restoring, b.failed = false, err
	})
}

// read takes a building's past: what the queue has, and then what the store has. What
// is written meanwhile is observed.
func (v *LastValues) read(building string, b *values) error {
	take := func(t Telegram) error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.buildings[building] != b {
			return errEnough // dropped meanwhile
		}
		if t.Command != frame.GroupValueRead {
			v.observe(b, t)
		}
		return nil
	}
	snap := v.j.snapshot(Mark{}, nil, func(id string) bool { return id == building })
	for _, r := range snap.buildings[building].waiting {
		if r.kind == kindTelegram {
			if err := take(r.telegram); err != nil {
				return nil //nolint:nilerr // dropped, which is no failure
			}
		}
	}
	query := engine.Query{Buildings: []string{building}, Newest: restoreRecords}
	err := v.j.store.Read(v.ctx, query, func(e engine.Record) error {
		r, err := decodeRecord(e.Data)
		if err != nil || r.kind != kindTelegram {
			return nil //nolint:nilerr // what is not understood has no value
		}
		return take(r.telegram)
	})
	if errors.Is(err, errEnough) || v.ctx.Err() != nil {
		return nil //nolint:nilerr // nobody waits for the values any more
	}
	return err
}
