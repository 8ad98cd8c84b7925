package fleet

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
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
