package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestBuildingSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	r, e := open(t, dir)
	hq := create(t, r, full("hq"))
	if hq.Generation != 1 || hq.Revision == 0 || hq.CreatedAt.IsZero() || hq.CreatedAt != hq.UpdatedAt {
		t.Errorf("created: %+v", hq)
	}
	plain := full("plain")
	plain.Labels, plain.Tunnel.MTU = map[string]string{}, 0
	plain.Tunnel.PresharedKey, plain.Tunnel.Endpoint.Host, plain.Tunnel.Endpoint.Port, plain.Tunnel.Keepalive = [32]byte{}, "", 0, 0
	plain.KNX = KNX{Interface: netip.AddrPortFrom(plain.KNX.Interface.Addr(), 0)}
	plain = create(t, r, plain)
	if plain.KNX.Interface.Port() != 3671 || plain.Tunnel.MTU != 1420 {
		t.Errorf("defaults: %v, MTU %d", plain.KNX.Interface, plain.Tunnel.MTU)
	}
	gone := create(t, r, full("gone"))
	if err := r.Delete(t.Context(), gone.ID, gone.Revision); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	r, _ = open(t, dir)
	list, err := r.List(t.Context(), nil)
	if err != nil || !reflect.DeepEqual(list, []Building{hq, plain}) {
		t.Fatalf("list: %+v, %v\nwant %+v", list, err, []Building{hq, plain})
	}
	if got, err := r.Get(t.Context(), "hq"); err != nil || !reflect.DeepEqual(got, hq) {
		t.Errorf("get: %+v, %v", got, err)
	}
	list, err = r.List(t.Context(), func(b Building) bool { return b.Labels["city"] == "" })
	if err != nil || len(list) != 1 || list[0].ID != "plain" {
		t.Errorf("filtered list: %+v, %v", list, err)
	}
}

// A copy of the directory of a running engine is what a crash leaves.
func TestAcknowledgedChangesSurviveACrash(t *testing.T) {
	dir, crashed := t.TempDir(), t.TempDir()
	r, _ := open(t, dir)
	var want []Building
	for i := range 10 {
		want = append(want, create(t, r, full(fmt.Sprintf("b%d", i))))
	}
	updated, err := r.Update(t.Context(), "b3", 0, func(b *Building) error { b.DisplayName = "new"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	want[3] = updated
	if err := r.Delete(t.Context(), "b9", 0); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r, _ = open(t, crashed)
	if list, err := r.List(t.Context(), nil); err != nil || !reflect.DeepEqual(list, want[:9]) {
		t.Errorf("after the crash: %+v, %v", list, err)
	}
}

func TestCreateTwiceIsRefused(t *testing.T) {
	r, _ := open(t, t.TempDir())
	first := create(t, r, full("hq"))
	_, err := r.Create(t.Context(), full("hq"))
	var which *BuildingError
	if !errors.Is(err, ErrExists) || !errors.As(err, &which) || which.ID != "hq" {
		t.Fatalf("second create: %v", err)
	}
	if got, err := r.Get(t.Context(), "hq"); err != nil || !reflect.DeepEqual(got, first) {
		t.Errorf("the first one after it: %+v, %v", got, err)
	}
}

func TestAbsentBuilding(t *testing.T) {
	ctx := t.Context()
	r, _ := open(t, t.TempDir())
	gone := create(t, r, full("gone"))
	if err := r.Delete(ctx, "gone", 0); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"never", "gone"} {
		_, getErr := r.Get(ctx, id)
		_, updateErr := r.Update(ctx, id, 0, func(*Building) error { t.Error("called"); return nil })
		for _, err := range []error{getErr, updateErr, r.Delete(ctx, id, 0)} {
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `building "`+id+`" does not exist`) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	again := create(t, r, full("gone"))
	if again.Revision <= gone.Revision || again.Generation != 1 {
		t.Errorf("made anew: revision %d after %d, generation %d", again.Revision, gone.Revision, again.Generation)
	}
	for _, id := range []string{"", "*", "a.b", "A", "b.>"} {
		var wrong *FieldError
		if _, err := r.Get(ctx, id); !errors.As(err, &wrong) || wrong.Field != "id" {
			t.Errorf("get of %q: %v", id, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	ctx := t.Context()
	r, _ := open(t, t.TempDir())
	b1 := create(t, r, full("hq"))
	key := b1.Tunnel.PrivateKey

	b2, err := r.Update(ctx, "hq", b1.Revision, func(b *Building) error {
		b.DisplayName, b.Labels["city"] = "Neu", "Basel"
		b.Generation, b.Revision = 77, 77 // not the caller's to set
		return nil
	})
	if err != nil || b2.Generation != 2 || b2.Revision <= b1.Revision || b2.Tunnel.PrivateKey != key || b2.CreatedAt != b1.CreatedAt {
		t.Fatalf("updated: %+v, %v", b2, err)
	}
	if got, err := r.Get(ctx, "hq"); err != nil || !reflect.DeepEqual(got, b2) || got.Labels["city"] != "Basel" {
		t.Errorf("stored: %+v, %v", got, err)
	}
	if same, err := r.Update(ctx, "hq", 0, func(*Building) error { return nil }); err != nil || !reflect.DeepEqual(same, b2) {
		t.Errorf("a change of nothing: %+v, %v", same, err)
	}

	// What fails changes nothing.
	enough := errors.New("enough")
	for name, c := range map[string]struct {
		revision uint64
		change   func(*Building) error
		want     error
		field    string
	}{
		"old revision":   {b1.Revision, func(b *Building) error { b.DisplayName = "lost"; return nil }, ErrConflict, ""},
		"its own error":  {0, func(*Building) error { return enough }, enough, ""},
		"another id":     {0, func(b *Building) error { b.ID = "lab"; return nil }, nil, "id"},
		"invalid result": {0, func(b *Building) error { b.Tunnel.AllowedIPs = nil; return nil }, nil, "tunnel.allowed_ips"},
	} {
		_, err := r.Update(ctx, "hq", c.revision, c.change)
		var wrong *FieldError
		if c.field != "" && (!errors.As(err, &wrong) || wrong.Field != c.field) || !errors.Is(err, c.want) && c.want != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Delete(ctx, "hq", b1.Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of an old revision: %v", err)
	}
	if got, err := r.Get(ctx, "hq"); err != nil || !reflect.DeepEqual(got, b2) {
		t.Errorf("after all that: %+v, %v", got, err)
	}
}

func TestConcurrentUpdatesAreAllThere(t *testing.T) {
	r, _ := open(t, t.TempDir())
	create(t, r, full("hq"))
	const writers = 4 // fewer than maxAttempts, so that none gives up
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			_, err := r.Update(t.Context(), "hq", 0, func(b *Building) error {
				b.Labels[fmt.Sprintf("writer-%d", i)] = "was-here"
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := r.Get(t.Context(), "hq")
	if err != nil || got.Generation != writers+1 || len(got.Labels) != 2+writers {
		t.Errorf("generation %d, labels %v, %v", got.Generation, got.Labels, err)
	}
}

func TestCancelledAndClosed(t *testing.T) {
	r, e := open(t, t.TempDir())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Create(cancelled, full("hq")); !errors.Is(err, context.Canceled) {
		t.Errorf("create with a cancelled context: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, createErr := r.Create(t.Context(), full("lab"))
	_, getErr := r.Get(t.Context(), "hq")
	_, listErr := r.List(t.Context(), nil)
	watchErr := r.Watch(t.Context(), func(Change) error { return nil })
	for i, err := range []error{createErr, getErr, listErr, watchErr} {
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("operation %d after close: %v", i, err)
		}
	}
}

func TestUnreadableRecordStandsAloneAndCanBeDeleted(t *testing.T) {
	ctx := t.Context()
	r, e := open(t, t.TempDir())
	hq := create(t, r, full("hq"))
	moved, err := e.Registry().Get(ctx, "b.hq")
	if err != nil {
		t.Fatal(err)
	}
	for id, value := range map[string]string{
		"broken": "{",
		"newer":  `{"v":2,"id":"newer"}`,
		"moved":  string(moved.Value),
		"thief":  strings.Replace(string(moved.Value), `"id":"hq"`, `"id":"thief"`, 1),
	} {
		if _, err := e.Registry().Put(ctx, "b."+id, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Get(ctx, id); !errors.Is(err, ErrUnreadable) {
			t.Errorf("get of %s: %v", id, err)
		}
		if _, err := r.Create(ctx, full(id)); !errors.Is(err, ErrExists) {
			t.Errorf("create of %s: %v", id, err)
		}
	}
	if list, err := r.List(ctx, nil); err != nil || !reflect.DeepEqual(list, []Building{hq}) {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := r.Delete(ctx, "broken", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(ctx, "broken"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its deletion: %v", err)
	}
}

func TestEtag(t *testing.T) {
	r, _ := open(t, t.TempDir())
	b := create(t, r, full("hq"))
	if revision, err := ParseEtag(b.Etag()); err != nil || revision != b.Revision {
		t.Errorf("%q: %d, %v; want %d", b.Etag(), revision, err, b.Revision)
	}
	if revision, err := ParseEtag(""); err != nil || revision != 0 {
		t.Errorf("no etag: %d, %v", revision, err)
	}
	for _, text := range []string{"0", "x", "-1", "1.5", "99999999999999999999"} {
		if _, err := ParseEtag(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
