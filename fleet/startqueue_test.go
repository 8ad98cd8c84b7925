package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

func TestStartsThatAreWaitedForComeFirst(t *testing.T) {
	q := newStartQueue()
	hub := NewHub()
	of := map[string]map[string]string{"a": nil, "b": {"city": "Basel"}, "c": nil, "d": {"city": "Basel"}, "e": nil}
	waited := func(id string) bool { return hub.WaitedFor(id, of[id]) }
	look := func() { q.sort(hub.subscribers.Load(), waited) }
	for id := range strings.SplitSeq("a b c d e a b", " ") { // twice is once
		look()
		q.add(id, waited(id))
	}
	take := func(n int) (ids []string) {
		for range n {
			look()
			id, ok := q.first()
			if !ok {
				break
			}
			q.drop()
			ids = append(ids, id)
		}
		return ids
	}
	see := func(n int, want string) {
		t.Helper()
		if got := strings.Join(take(n), " "); got != want {
			t.Errorf("started %q, want %q", got, want)
		}
	}
	subscribe := func(f Filter) *Subscription {
		s, err := hub.Subscribe(f, 0)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	see(1, "a")
	byID := subscribe(Filter{Buildings: map[string]bool{"e": true}})
	see(1, "e")
	byID.Close()
	byLabel := subscribe(Filter{Labels: labels.SelectorFromSet(labels.Set{"city": "Basel"})})
	q.add("e", waited("e")) // again: its site failed meanwhile
	see(1, "b")
	byLabel.Close()
	see(1, "d") // it keeps the place that it had got
	all := subscribe(Filter{})
	see(5, "c e")
	all.Close()
	if _, ok := q.first(); ok || len(q.queued) != 0 {
		t.Error("something is left")
	}
	q.drop()
	if got := slices.Concat(q.waitedFor, q.rest); len(got) != 0 {
		t.Error(got)
	}
}

// Buildings that come faster than they may start do so in groups, at the pace that is
// allowed.
func TestStartsComeInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buildings = 1000
		source := &desiredBuildings{wake: make(chan struct{}, 1)}
		f := New(Config{Desired: source, Ownership: &epochs{}, Hub: NewHub(), Log: zerolog.Nop()})
		var mu sync.Mutex
		var started []time.Time
		f.run = func(ctx context.Context, _ *site) error {
			mu.Lock()
			started = append(started, time.Now())
			mu.Unlock()
			<-ctx.Done()
			return nil
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for n := range buildings {
			source.put(registry.Building{ID: fmt.Sprint("b", n), Enabled: true})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		stop()
		running.Wait()
		if len(started) != buildings {
			t.Fatalf("%d of %d started", len(started), buildings)
		}
		groups := len(slices.Compact(slices.Clone(started)))
		if want := 2 * startBurst; groups > want {
			t.Errorf("started at %d moments, want at most %d: the burst one by one, and then groups", groups, want)
		}
		for n, at := range started {
			in := 1
			for _, later := range started[n+1:] {
				if later.Sub(at) < time.Second {
					in++
				}
			}
			if in > DefaultStartsPerSecond+startBurst {
				t.Fatalf("%d started within a second", in)
			}
		}
		if took := started[buildings-1].Sub(started[0]); took > buildings*time.Second/DefaultStartsPerSecond {
			t.Errorf("took %v", took)
		}
	})
}
