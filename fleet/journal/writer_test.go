package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stored gives what a store has of a building, as text.
func stored(t *testing.T, s *memoryStore, building string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, e := range s.records {
		r, err := decodeRecord(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Building != building {
			continue
		}
		switch r.kind {
		case kindBegin:
			all = append(all, fmt.Sprintf("begin %d after %d", r.Epoch, r.previous))
		case kindTelegram:
			all = append(all, fmt.Sprint(r.Number))
		case kindGap:
			all = append(all, fmt.Sprintf("gap %d-%d", r.from, r.Number))
		case kindEnd:
			all = append(all, fmt.Sprintf("end %d", r.Number))
		}
	}
	return strings.Join(all, ", ")
}

// running starts a journal that ends, all written, when stop is called.
func running(t *testing.T, cfg Config) (j *Journal, stop func()) {
	t.Helper()
	j = New(t.Context(), cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	return j, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func write(w *Writer, from, to uint64) {
	for n := from; n <= to; n++ {
		w.Write(Telegram{Position: Position{Number: n}, ReceivedAt: time.Now(), Raw: []byte{byte(n)}})
		w.Published()
	}
}

func TestWriterStoresEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store})
		w := j.Open("hq", 7, 5, false)
		write(w, 1, 3)
		if err := w.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Write(Telegram{Position: Position{Number: 4}}) // too late
		write(j.Open("hq", 9, 7, false), 1, 1)
		stop()
		if got, want := stored(t, store, "hq"), "begin 7 after 5, 1, 2, 3, end 3, begin 9 after 7, 1"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s := j.Stats(); s.Written != 4 || s.Lost != 0 || s.Queued != 0 || s.QueuedBytes != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// While the store refuses everything, the queue fills, and what does not fit is
// marked exactly, in its place.
func TestWriterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: store, MaxRecords: 8, MaxBuildingRecords: 5})
		a, b := j.Open("a", 1, 0, false), j.Open("b", 2, 0, false)
		time.Sleep(time.Second)
		store.mu.Lock()
		store.refusing = true
		store.mu.Unlock()
		write(a, 1, 7) // 5 fit a building
		write(b, 1, 9) // 2 more fit in all, as the gap counts too
		time.Sleep(10 * time.Second)
		if s := j.Stats(); s.Lost != 9 || s.Queued != 9 || s.FailingSince.IsZero() || !errors.Is(s.Failure, errStore) {
			t.Errorf("while it fails: %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.End(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("end: %v", err)
		}
		store.mu.Lock()
		store.refusing = false
		store.mu.Unlock()
		time.Sleep(5 * time.Second)
		write(a, 8, 8)
		stop()
		if got, want := stored(t, store, "a"), "begin 1 after 0, 1, 2, 3, 4, 5, gap 6-7, 8"; got != want {
			t.Errorf("a: %s, want %s", got, want)
		}
		if got, want := stored(t, store, "b"), "begin 2 after 0, 1, 2, gap 3-9, end 9"; got != want {
			t.Errorf("b: %s, want %s", got, want)
		}
		if s := j.Stats(); s.Lost != 9 || s.Written != 8 || s.Queued != 0 || !s.FailingSince.IsZero() {
			t.Errorf("after it: %+v", s)
		}
	})
}

// What the store refuses at the end of what it took is tried again, in order; what
// it refuses in the middle is lost, which the numbers tell.
func TestWriterRetriesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now}
		j, stop := running(t, Config{Store: store})
		w := j.Open("hq", 1, 0, false)
		time.Sleep(2 * gatherTime)
		synctest.Wait()
		store.take(true, true)
		store.answer(0)
		write(w, 1, 4)
		time.Sleep(2 * gatherTime)
		synctest.Wait()
		for _, ok := range []bool{true, false, true, false} {
			store.take(ok, ok)
		}
		for _, i := range []int{3, 1, 0, 0} { // in another order
			store.answer(i)
		}
		store.mu.Lock()
		store.auto = true
		store.mu.Unlock()
		stop()
		if got, want := stored(t, store, "hq"), "begin 1 after 0, 1, 3, 4"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s := j.Stats(); s.Lost != 1 || s.Written != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// poisonedStore never takes what is of one building but its begin.
type poisonedStore struct {
	*memoryStore
	poison string
}

func (s poisonedStore) Append(building, id string, record []byte, done func(error)) error {
	if building == s.poison && !strings.HasSuffix(id, "begin") {
		return errStore
	}
	return s.memoryStore.Append(building, id, record, done)
}

// A building that the store does not take anything of does not stop the others.
func TestWriterGivesUpOnOneBuilding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{now: time.Now, auto: true}
		j, stop := running(t, Config{Store: poisonedStore{store, "bad"}})
		bad, good := j.Open("bad", 1, 0, false), j.Open("good", 2, 0, false)
		for n := range uint64(100) {
			write(bad, n+1, n+1)
			write(good, n+1, n+1)
			time.Sleep(time.Second)
		}
		stop()
		if got := strings.Count(stored(t, store, "good"), ","); got != 100 {
			t.Errorf("%d telegrams of the good building, want 100", got)
		}
		if s := j.Stats(); s.Lost == 0 || s.Written != 100 {
			t.Errorf("%+v", s)
		}
	})
}

// Nothing of an epoch is stored before its begin.
func TestWriterBeginsFirst(t *testing.T) {
	store := &memoryStore{now: time.Now}
	j := New(t.Context(), Config{Store: store})
	w := j.Open("hq", 1, 0, false)
	write(w, 1, 2)
	j.pump()
	store.take(false, false)
	store.answer(0)
	if n := len(store.arrived); n != 0 {
		t.Fatalf("%d records were sent after a begin that failed", n)
	}
	for _, b := range j.writers {
		b.pending.heldUntil = time.Time{}
	}
	j.queue.pauseUntil = time.Time{}
	store.auto = true
	j.pump()
	if got, want := stored(t, store, "hq"), "begin 1 after 0, 1, 2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A site that failed and is built anew leaves its writer behind.
func TestWriterIsReplaced(t *testing.T) {
	j := New(t.Context(), Config{Store: &memoryStore{now: time.Now}})
	old := j.Open("hq", 1, 0, false)
	stamp := old.Write(Telegram{Position: Position{Number: 1}})
	if m := j.Mark(); m.Stamp != stamp {
		t.Errorf("mark %d, want that of the telegram that is not published, %d", m.Stamp, stamp)
	}
	young := j.Open("hq", 2, 1, true)
	old.Published()
	later := old.Write(Telegram{Position: Position{Number: 2}})
	if m := j.Mark(); m.Stamp <= later || m.Epoch != 2 {
		t.Errorf("%+v is held back by a writer that was replaced", m)
	}
	young.Write(Telegram{Position: Position{Number: 1}})
	var waiting []Position
	for _, r := range j.snapshot(Mark{}, nil, func(string) bool { return true }).buildings["hq"].waiting {
		waiting = append(waiting, r.Position)
	}
	if want := []Position{{1, 0}, {1, 1}, {2, 0}, {2, 1}}; !slices.Equal(waiting, want) {
		t.Errorf("%v, want %v", waiting, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := old.End(ctx); err == nil {
		t.Error("a writer that was replaced ended in order")
	}
}

func TestWriteAllocations(t *testing.T) {
	j := New(t.Context(), Config{Store: &memoryStore{now: time.Now}, MaxBuildingRecords: 1 << 20})
	w := j.Open("hq", 1, 0, false)
	n := uint64(0)
	raw := []byte{0x0C, 0x33}
	if got := testing.AllocsPerRun(1000, func() {
		n++
		w.Write(Telegram{Position: Position{Number: n}, Raw: raw})
		w.Published()
	}); got > 2 {
		t.Errorf("%v allocations for a telegram, want at most 2", got)
	}
}

// From the site to the store's answer: the record, its id and its bytes, and what
// takes the answer.
func TestStoreAllocations(t *testing.T) {
	j := New(t.Context(), Config{Store: &memoryStore{now: time.Now, sink: true}})
	w := j.Open("hq", 1, 0, false)
	n := uint64(0)
	raw := []byte{0x0C, 0x33}
	if got := testing.AllocsPerRun(1000, func() {
		n++
		w.Write(Telegram{Position: Position{Number: n}, Raw: raw})
		w.Published()
		j.pump()
	}); got > 4 {
		t.Errorf("%v allocations for a telegram, want at most 4", got)
	}
	if s := j.Stats(); s.Written != n || s.Queued != 0 {
		t.Errorf("%+v after %d telegrams", s, n)
	}
}

// BenchmarkWrite is what a telegram costs on its way to the store, without the store.
func BenchmarkWrite(b *testing.B) {
	j := New(b.Context(), Config{Store: &memoryStore{now: time.Now, sink: true}})
	w := j.Open("hq", 1, 0, false)
	raw := []byte{0x0C, 0x33}
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		w.Write(Telegram{Position: Position{Number: n}, Raw: raw})
		w.Published()
		j.pump()
	}
	if s := j.Stats(); s.Written != n {
		b.Fatalf("%+v after %d telegrams", s, n)
	}
}
