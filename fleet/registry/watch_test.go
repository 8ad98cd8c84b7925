package registry

import (
	"context"
	"errors"
	"reflect"
	"testing"
)

// watch hands the changes of a watch to the test, one by one.
func watch(t *testing.T, r *Registry) (next func() Change) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan Change) // unbuffered: the watch waits for the test
	done := make(chan error, 1)
	go func() {
		done <- r.Watch(ctx, func(c Change) error {
			select {
			case changes <- c:
				return nil
			case <-ctx.Done():
				return nil
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a cancelled watch returned %v", err)
		}
	})
	return func() Change { return <-changes }
}

func TestWatch(t *testing.T) {
	ctx := t.Context()
	r, e := open(t, t.TempDir())
	a, z := create(t, r, full("a")), create(t, r, full("z"))
	create(t, r, full("gone"))
	if err := r.Delete(ctx, "gone", 0); err != nil {
		t.Fatal(err)
	}
	next := watch(t, r)
	last := uint64(0)
	expect := func(want Change) {
		t.Helper()
		got := next()
		if got.Type != SnapshotComplete {
			if got.Revision <= last || got.Revision < got.Building.Revision {
				t.Errorf("revision %d after %d, of %+v", got.Revision, last, got)
			}
			last = got.Revision
		}
		want.Revision = got.Revision
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
	expect(Change{Type: Stored, ID: "a", Building: a})
	expect(Change{Type: Stored, ID: "z", Building: z})
	expect(Change{Type: SnapshotComplete})

	b := create(t, r, full("b"))
	a, err := r.Update(ctx, "a", 0, func(b *Building) error { b.Enabled = false; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(ctx, "z", 0); err != nil {
		t.Fatal(err)
	}
	expect(Change{Type: Stored, ID: "b", Building: b})
	expect(Change{Type: Stored, ID: "a", Building: a})
	if r.Written() != last || last != a.Revision {
		t.Errorf("written up to %d, want %d, the revision of the last change", r.Written(), a.Revision)
	}
	expect(Change{Type: Deleted, ID: "z"})

	if _, err := e.Registry().Put(ctx, "b.b", []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	if got := next(); got.Type != Unreadable || got.ID != "b" || !errors.Is(got.Err, ErrUnreadable) {
		t.Errorf("a damaged record: %+v", got)
	}
	if err := r.Delete(ctx, "b", 0); err != nil {
		t.Fatal(err)
	}
	expect(Change{Type: Deleted, ID: "b"})
}
