package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// eventually waits until check succeeds.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

func TestReserve(t *testing.T) {
	for _, c := range []struct{ total, want uint64 }{{100 << 20, 5 << 20}, {1 << 40, 256 << 20}, {0, 0}} {
		if got := (Space{Total: c.total}).reserve(); got != c.want {
			t.Errorf("of %d: %d, want %d", c.total, got, c.want)
		}
	}
	if space, err := freeSpace(t.TempDir()); err != nil || space.Free == 0 || space.Free > space.Total {
		t.Errorf("free space: %+v, %v", space, err)
	}
	if _, err := freeSpace("/nowhere"); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("free space of nothing: %v", err)
	}
}

// On a disk that is nearly full the journal takes nothing and everything else
// goes on; when there is space again, so does the journal.
func TestJournalLeavesSpaceToTheRegistry(t *testing.T) {
	const total = 1000 << 20
	var free atomic.Uint64
	free.Store(total / 2)
	e := openWith(t, Config{Dir: t.TempDir(), space: func(string) (Space, error) {
		if free.Load() == 0 {
			return Space{}, errors.New("no answer")
		}
		return Space{Free: free.Load(), Total: total}, nil
	}})
	j := e.Journal()
	appendAll(t, j, "hq", "1")
	refused := func() error {
		err := j.Append("hq", "x", nil, func(error) { t.Error("answered") })
		if errors.Is(err, ErrNoSpace) && strings.Contains(err.Error(), "49 MiB of 1000 MiB") {
			return nil
		}
		return errors.Join(errors.New("not refused"), err)
	}
	free.Store(49 << 20)
	e.guard.look()
	noError(t, refused())
	if err := e.Probe(t.Context()); !errors.Is(err, ErrNoSpace) {
		t.Errorf("probe: %v", err)
	}
	if _, err := e.Registry().Put(t.Context(), "b.hq", nil); err != nil {
		t.Errorf("registry: %v", err)
	}
	same(t, "read", read(t, j, Query{}), of("hq", "1"))
	for _, still := range []uint64{51 << 20, 62 << 20, 0} {
		free.Store(still)
		e.guard.look()
		noError(t, refused())
	}
	free.Store(63 << 20)
	eventually(t, "the journal goes on by itself", e.guard.refusal)
	appendAll(t, j, "hq", "2")
	noError(t, e.Probe(t.Context()))
	same(t, "afterwards", read(t, j, Query{}), of("hq", "1", "2"))
}

// A server that no longer runs is started again, and everything that was open
// goes on: buckets, watches, journal.
func TestStoreIsStartedAgain(t *testing.T) {
	e := openWith(t, Config{Dir: t.TempDir(), Keys: newKeys(t)})
	ctx, b, j := t.Context(), e.Registry(), e.Journal()
	b.resync = 50 * time.Millisecond
	put(t, b, "b.a", "1")
	appendAll(t, j, "hq", "1")
	next, _ := watch(t, b, "b.")
	expect(t, next, "stored b.a 1", "complete  ")

	e.host.stop()
	// Taken or not, it is not stored, and its answer says so.
	answer := make(chan error, 1)
	if err := j.Append("hq", "x", nil, func(err error) { answer <- err }); err != nil {
		answer <- err
	}
	if err := <-answer; !errors.Is(err, ErrUnavailable) {
		t.Errorf("append without a server: %v", err)
	}
	eventually(t, "the store is started again", func() error { return e.Probe(ctx) })
	put(t, b, "b.b", "2")
	expect(t, next, "stored b.b 2")
	appendAll(t, j, "hq", "2")
	same(t, "journal", read(t, j, Query{}), of("hq", "1", "2"))
	if _, err := e.host.broken(); err != nil {
		t.Errorf("broken: %v", err)
	}
}
