package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// queueSub is a subscription with a bounded queue, for goroutines.
type queueSub struct {
	mu    sync.Mutex
	limit int
	queue []*liveTelegram
	gaps  []Missed
	wake  chan struct{}
}

func newQueueSub(limit int) *queueSub {
	return &queueSub{limit: limit, wake: make(chan struct{}, 1)}
}

func (s *queueSub) push(t *liveTelegram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.wake)
	if len(s.gaps) == 0 && len(s.queue) < s.limit {
		s.queue = append(s.queue, t)
		return
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.Building == t.Building && g.Epoch == t.Epoch {
			g.To, g.Last = t.Number, t.Stamp
			return
		}
	}
	s.gaps = append(s.gaps, Missed{t.Building, t.Epoch, t.Number, t.Number, t.Stamp, t.Stamp})
}

func (s *queueSub) Next(ctx context.Context) ([]*liveTelegram, []Missed, error) {
	for {
		s.mu.Lock()
		q, g := s.queue, s.gaps
		s.queue, s.gaps = nil, nil
		s.mu.Unlock()
		if len(q) > 0 || len(g) > 0 {
			return q, g, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func everything() View[*liveTelegram] {
	return View[*liveTelegram]{
		Identify: identify,
		Restore: func(b string, t *Telegram) (*liveTelegram, bool) {
			return &liveTelegram{Identity{b, t.Position, t.Stamp}, t.Destination}, true
		},
	}
}

// fanOut publishes to all subscriptions.
type fanOut struct {
	mu   sync.Mutex
	subs []*queueSub
}

func (f *fanOut) subscribe(limit int) *queueSub {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := newQueueSub(limit)
	f.subs = append(f.subs, s)
	return s
}

func (f *fanOut) publish(t *liveTelegram) {
	f.mu.Lock()
	subs := slices.Clone(f.subs)
	f.mu.Unlock()
	for _, s := range subs {
		s.push(t)
	}
}

// site writes and publishes telegrams of one building.
func (f *fanOut) site(w *Writer, building string, epoch, from, to uint64) {
	for n := from; n <= to; n++ {
		t := &liveTelegram{Identity: Identity{Building: building, Position: Position{epoch, n}}}
		t.Stamp = w.Write(Telegram{Position: Position{Number: n}, ReceivedAt: time.Now(), Raw: []byte{1, 2}})
		f.publish(t)
		w.Published()
	}
}

var errHangUp = errors.New("the client hangs up")

// reader follows a stream over many connections and insists on every telegram.
type reader struct {
	t     *testing.T
	token string
	next  map[string]uint64 // number
	got   int
	gaps  []Gap
	long  int // of the longest token
	// follows is told when a stream is there, and not yet read.
	follows func()
}

func (r *reader) read(ctx context.Context, j *Journal, sub *queueSub, start Start, until func() bool, pause func()) {
	r.t.Helper()
	if r.token != "" {
		start = Start{Token: r.token}
	}
	s, err := Follow(j, everything(), start, sub)
	if err != nil {
		r.t.Error(err)
		return
	}
	if r.follows != nil {
		r.follows()
	}
	err = s.Run(ctx, time.Minute, func(response Response[*liveTelegram]) error {
		if response.Gap != nil {
			r.gaps = append(r.gaps, *response.Gap)
			if g := response.Gap; g.To > 0 {
				r.next[g.Building] = g.To + 1
			}
		}
		for _, t := range response.Telegrams {
			if want := r.next[t.Building]; t.Number != want {
				r.t.Errorf("%s:%d came, want %d", t.Building, t.Number, want)
			}
			r.next[t.Building] = t.Number + 1
			r.got++
		}
		if response.Token != "" {
			r.token, r.long = response.Token, max(r.long, len(response.Token))
		}
		if pause != nil {
			pause()
		}
		if until() {
			return errHangUp
		}
		return nil
	})
	if !errors.Is(err, errHangUp) {
		r.t.Error(err)
	}
}

// Many sites at once, a slow reader, and one that hangs up all the time: both get
// everything, once and in order.
func TestStreamUnderLoad(t *testing.T) {
	const sites, each = 50, 200
	store := &memoryStore{now: time.Now, auto: true}
	j, stop := running(t, Config{Store: store, MaxBuildingRecords: each + 2})
	defer stop()
	var fan fanOut
	var work sync.WaitGroup
	first := func() map[string]uint64 {
		m := make(map[string]uint64)
		for i := range sites {
			m[fmt.Sprint("b", i)] = 1
		}
		return m
	}
	// The first telegram comes after the streams: what was before is not theirs.
	ready := make(chan struct{}, 2)
	follows := func() func() { return sync.OnceFunc(func() { ready <- struct{}{} }) }
	slow := &reader{t: t, next: first(), follows: follows()}
	hasty := &reader{t: t, next: first(), follows: follows()}
	slowSub, hastySub := fan.subscribe(64), fan.subscribe(1000)
	published := make(chan struct{})
	work.Go(func() {
		slow.read(t.Context(), j, slowSub, Start{}, func() bool { return slow.got == sites*each }, func() {
			select { // until all is published, it reads now and then only
			case <-published:
			case <-time.After(2 * time.Millisecond):
			}
		})
	})
	work.Go(func() {
		for hasty.got < sites*each {
			before := hasty.got
			hasty.read(t.Context(), j, hastySub, Start{}, func() bool { return hasty.got > before+300 || hasty.got == sites*each }, nil)
			hastySub = fan.subscribe(1000)
		}
	})
	<-ready
	<-ready
	var writers sync.WaitGroup
	begin := make(chan struct{})
	for i := range sites {
		building, epoch := fmt.Sprint("b", i), uint64(i+1)
		w := j.Open(building, epoch, 0, false)
		writers.Go(func() {
			<-begin
			fan.site(w, building, epoch, 1, each)
		})
	}
	close(begin)
	writers.Wait()
	close(published)
	work.Wait()
	if len(slow.gaps) > 0 || len(hasty.gaps) > 0 {
		t.Errorf("gaps: %v and %v", slow.gaps, hasty.gaps)
	}
	t.Logf("longest tokens: %d and %d bytes", slow.long, hasty.long)
}

// A telegram can be stored before its publisher has published it. Who reads it from the
// store, hangs up and comes again gets neither it nor anything else twice.
func TestStoredBeforePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store})
		defer stop()
		began := time.Now()
		time.Sleep(time.Second)
		var fan fanOut
		slow, quick := j.Open("slow", 1, 0, false), j.Open("quick", 2, 0, false)
		late := &liveTelegram{Identity: Identity{Building: "slow", Position: Position{1, 1}}}
		late.Stamp = slow.Write(Telegram{Position: Position{Number: 1}, ReceivedAt: time.Now(), Raw: []byte{1}})
		time.Sleep(time.Second)
		const stored = MaxBatch + 500 // more than one response
		fan.site(quick, "quick", 2, 1, stored)
		time.Sleep(time.Second) // all of it is stored

		r := &reader{t: t, next: map[string]uint64{"slow": 1, "quick": 1}}
		r.read(t.Context(), j, fan.subscribe(100), Start{Since: began}, func() bool { return true }, nil)
		const all = 1 + stored + 1
		publish := sync.OnceFunc(func() {
			fan.publish(late)
			slow.Published()
			fan.site(quick, "quick", 2, stored+1, stored+1)
		})
		r.read(t.Context(), j, fan.subscribe(100), Start{}, func() bool { publish(); return r.got >= all }, nil)
		if r.got != all {
			t.Errorf("%d telegrams came, want %d", r.got, all)
		}
		if len(r.gaps) > 0 {
			t.Errorf("gaps: %v", r.gaps)
		}
	})
}

func TestStreamIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := New(t.Context(), Config{})
		ctx, cancel := context.WithCancel(t.Context())
		s, err := Follow(j, everything(), Start{}, newQueueSub(1))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		n := 0
		err = s.Run(ctx, 15*time.Second, func(r Response[*liveTelegram]) error {
			if n++; r.Telegrams != nil || r.Gap != nil || r.Token != "" {
				t.Errorf("%+v", r)
			}
			if n == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n != 3 || time.Since(begin) != 45*time.Second {
			t.Errorf("%v after %d signs of life and %v", err, n, time.Since(begin))
		}
	})
}

func TestFollowRefuses(t *testing.T) {
	j := New(t.Context(), Config{Identity: "here"})
	j.Open("hq", 5, 0, false)
	later, _ := (&cursor{mark: Mark{9, 1}}).encode("here", MaxToken)
	elsewhere, _ := (&cursor{mark: Mark{3, 1}}).encode("there", MaxToken)
	for _, token := range []string{"nonsense", later, elsewhere} {
		if _, err := Follow(j, everything(), Start{Token: token}, newQueueSub(1)); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// openEngine opens the real store.
func openEngine(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// The same with the real store: a crash in the middle, and a reader that goes on
// after it.
func TestStreamOverEngine(t *testing.T) {
	const sites, each = 10, 300
	dir := t.TempDir()
	e := openEngine(t, dir)
	j, stop := running(t, Config{Store: e.Journal(), Identity: "test"})
	var fan fanOut
	r := &reader{t: t, next: make(map[string]uint64)}
	sub := fan.subscribe(each) // too small: much is read again from the store
	writers := make(map[string]*Writer)
	for i := range uint64(sites) {
		b := fmt.Sprint("b", i)
		r.next[b] = 1
		writers[b] = j.Open(b, i+1, 0, false)
		fan.site(writers[b], b, i+1, 1, each)
	}
	r.read(t.Context(), j, sub, Start{Since: time.Unix(1, 0)}, func() bool { return r.got >= sites*each/2 }, nil)
	if len(r.gaps) > 0 {
		t.Errorf("gaps: %v", r.gaps)
	}
	waitStored(t, j)
	half, token := r.got, r.token

	// A crash: the directory as it is. Half of what was told may be lost.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	stop()

	after := openEngine(t, crashed)
	j, stop = running(t, Config{Store: after.Journal(), Identity: "test", Epoch: sites})
	fan = fanOut{}
	sub = fan.subscribe(1000)
	unclean := make(map[string]bool)
	for i := range uint64(sites) {
		b := fmt.Sprint("b", i)
		w := j.Open(b, sites+i+1, i+1, true)
		fan.site(w, b, sites+i+1, 1, 5)
		if err := w.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	again := &reader{t: t, token: token, next: make(map[string]uint64)}
	ended := 0
	s, err := Follow(j, everything(), Start{Token: token}, sub)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context(), time.Minute, func(response Response[*liveTelegram]) error {
		if g := response.Gap; g != nil && g.Cause == CauseUncleanEnd {
			unclean[g.Building] = true
		} else if g != nil {
			t.Errorf("gap %+v", *g)
		}
		for _, l := range response.Telegrams {
			again.got++
			if l.Epoch > sites {
				if !unclean[l.Building] {
					t.Errorf("%s goes on in epoch %d without a gap", l.Building, l.Epoch)
				}
				if l.Number == 5 {
					ended++
				}
			}
		}
		if ended == sites {
			return errHangUp
		}
		return nil
	})
	if !errors.Is(err, errHangUp) {
		t.Error(err)
	}
	if got := again.got - 5*sites; got > sites*each-half {
		t.Errorf("%d of the first epochs after the crash; at most %d were left", got, sites*each-half)
	}
	page, err := List(t.Context(), j, plain("b3"), Range{Newest: true, Limit: 5})
	if err != nil || len(page.Telegrams) != 5 || page.Telegrams[0] != "b3:5" {
		t.Errorf("%v, %v", page, err)
	}
	if err := j.Purge(t.Context(), "b3"); err != nil {
		t.Fatal(err)
	}
	if page, err = List(t.Context(), j, plain("b3"), Range{Limit: 5}); err != nil || len(page.Telegrams) != 0 {
		t.Errorf("after a purge: %v, %v", page, err)
	}
	stop()
}

// waitStored waits until the store has acknowledged everything.
func waitStored(t *testing.T, j *Journal) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); j.Stats().Queued > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", j.Stats())
		}
	}
}

// What a queue dropped although a replay had told it is no gap when the next replay
// fails: the mark says what was told, as far as it can.
func TestMissedAfterReplay(t *testing.T) {
	v := everything()
	for name, c := range map[string]struct {
		first, last int64
		want        []Gap
	}{
		"all was told":  {90, 99, nil},
		"some was told": {99, 100, []Gap{{"hq", 1, 0, 5, 0, CauseSlow}}},
		"none was told": {100, 101, []Gap{{"hq", 1, 4, 5, 2, CauseSlow}}},
		"who knows":     {0, 0, []Gap{{"hq", 1, 0, 5, 0, CauseSlow}}},
	} {
		core := newCore(cursor{mark: Mark{Epoch: 1, Stamp: 100}}, v.Identify, v.Restore)
		core.begin(&snapshot{mark: Mark{Epoch: 1, Stamp: 200}, last: 199})
		core.abandon(Mark{Epoch: 1, Stamp: 100})
		core.missed([]Missed{{"hq", 1, 4, 5, c.first, c.last}}, Mark{Epoch: 1, Stamp: 200})
		var got []Gap
		for core.waiting() > 0 {
			_, gap := core.take(1)
			got = append(got, *gap)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What was read of a replay that failed is told after a gap: perhaps it is not whole.
func TestAbandonedReplay(t *testing.T) {
	v := everything()
	core := newCore(cursor{mark: Mark{Epoch: 1, Stamp: 100}}, v.Identify, v.Restore)
	core.begin(&snapshot{mark: Mark{Epoch: 1, Stamp: 200}, last: 199})
	core.record("hq", &record{kind: kindTelegram, Position: Position{1, 4}, stamp: 120, before: 90, low: 120, telegram: Telegram{Position: Position{1, 4}}})
	core.abandon(Mark{Epoch: 1, Stamp: 100})
	_, gap := core.take(MaxBatch)
	telegrams, _ := core.take(MaxBatch)
	if gap == nil || *gap != (Gap{Cause: CauseFailed}) || len(telegrams) != 1 || telegrams[0].Number != 4 {
		t.Errorf("gap %v, then %v", gap, telegrams)
	}
}
