package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// watch runs Watch and hands its events to the returned function, one by one.
func watch(t *testing.T, b *Bucket, prefix string) (next func() string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan string) // unbuffered: the watch waits for the test
	done := make(chan error, 1)
	go func() {
		done <- b.Watch(ctx, prefix, func(event Event) error {
			names := map[EventType]string{Stored: "stored", Deleted: "deleted", SnapshotComplete: "complete"}
			select {
			case events <- fmt.Sprintf("%s %s %s", names[event.Type], event.Entry.Key, event.Entry.Value):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	stop = func() error {
		cancel()
		err := <-done
		done <- err // for the next call
		return err
	}
	t.Cleanup(func() {
		// What it returned is for the tests that ask.
		_ = stop()
	})
	next = func() string {
		select {
		case event := <-events:
			return event
		case err := <-done:
			done <- err
			return fmt.Sprintf("ended: %v", err)
		}
	}
	return next, stop
}

func put(t *testing.T, b *Bucket, key, value string) {
	t.Helper()
	if _, err := b.Put(t.Context(), key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, next func() string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(); got != w {
			t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func TestWatchTellsSnapshotThenChanges(t *testing.T) {
	b := open(t, t.TempDir()).Registry()
	put(t, b, "k.check", "not under the prefix")
	put(t, b, "b.a", "1")
	put(t, b, "b.a", "2")
	put(t, b, "b.gone", "1")
	put(t, b, "b.z", "1")
	if err := b.Delete(t.Context(), "b.gone", 0); err != nil {
		t.Fatal(err)
	}
	next, stop := watch(t, b, "b.")
	expect(t, next, "stored b.a 2", "stored b.z 1", "complete  ")
	put(t, b, "k.check", "still not")
	put(t, b, "b.a", "3")
	put(t, b, "b.new", "1")
	if err := b.Delete(t.Context(), "b.z", 0); err != nil {
		t.Fatal(err)
	}
	put(t, b, "b.z", "2")
	expect(t, next, "stored b.a 3", "stored b.new 1", "deleted b.z ", "stored b.z 2")
	if err := stop(); err != nil {
		t.Errorf("a cancelled watch returned %v", err)
	}
}

func TestWatchOfNothingCompletes(t *testing.T) {
	b := open(t, t.TempDir()).Registry()
	next, _ := watch(t, b, "b.")
	expect(t, next, "complete  ")
	put(t, b, "b.a", "1")
	expect(t, next, "stored b.a 1")
}

func TestWatchEndsWithTheErrorOfItsCallback(t *testing.T) {
	b := open(t, t.TempDir()).Registry()
	enough := errors.New("enough")
	if err := b.Watch(t.Context(), "b.", func(Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestWatchEndsWithTheEngine(t *testing.T) {
	e := open(t, t.TempDir())
	next, stop := watch(t, e.Registry(), "b.")
	expect(t, next, "complete  ")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := next(); got == "" {
		t.Error("the watch told of nothing")
	}
	if err := stop(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the watch returned %v", err)
	}
}

// More entries than the library buffers, with nobody reading, must neither
// block the end of a watch nor be lost to a slow reader.
func TestWatchWithASlowReader(t *testing.T) {
	b := open(t, t.TempDir()).Registry()
	const keys = 600
	for i := range keys {
		put(t, b, fmt.Sprintf("b.%03d", i), "x")
	}
	_, stop := watch(t, b, "b.")
	if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	next, _ := watch(t, b, "b.")
	for i := range keys {
		expect(t, next, fmt.Sprintf("stored b.%03d x", i))
	}
	expect(t, next, "complete  ")

	entries, err := b.List(t.Context(), "b.")
	if err != nil || len(entries) != keys {
		t.Fatalf("list: %d entries, %v", len(entries), err)
	}
	sorted := slices.IsSortedFunc(entries, func(x, y Entry) int { return int(x.Revision) - int(y.Revision) })
	if !sorted {
		t.Error("revisions are out of order")
	}
}

// A watch that is rebuilt all the time tells the same as one that never is.
func TestWatchResyncsWithoutLossOrRepetition(t *testing.T) {
	b := open(t, t.TempDir()).Registry()
	b.resync = 20 * time.Millisecond
	put(t, b, "b.0", "before")
	next, _ := watch(t, b, "b.")
	expect(t, next, "stored b.0 before", "complete  ")
	for i := range 100 {
		key, value := fmt.Sprintf("b.%d", i), fmt.Sprint(i)
		put(t, b, key, value)
		expect(t, next, "stored "+key+" "+value)
		if i%3 == 0 {
			if err := b.Delete(t.Context(), key, 0); err != nil {
				t.Fatal(err)
			}
			expect(t, next, "deleted "+key+" ")
		}
	}
}
