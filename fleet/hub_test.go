package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func telegram(building string, number uint64) *Telegram {
	return &Telegram{Building: building, Epoch: 7, Number: number, Destination: 0x0A03, Labels: map[string]string{"region": "south"}}
}

func subscribe(t *testing.T, h *Hub, f Filter, limit int) *Subscription {
	t.Helper()
	s, err := h.Subscribe(f, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func next(t *testing.T, s *Subscription) Batch {
	t.Helper()
	b, err := s.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func numbers(b Batch) string {
	var text string
	for _, tg := range b.Telegrams {
		text += fmt.Sprintf("%s:%d ", tg.Building, tg.Number)
	}
	return text
}

func TestHubDeliversInOrderToWhomItConcerns(t *testing.T) {
	h := NewHub()
	all := subscribe(t, h, Filter{}, 0)
	b := subscribe(t, h, Filter{Buildings: map[string]bool{"b": true}}, 0)
	for i := uint64(1); i <= 3; i++ {
		h.Publish(telegram("a", i))
		h.Publish(telegram("b", i))
	}
	if got := numbers(next(t, all)); got != "a:1 b:1 a:2 b:2 a:3 b:3 " {
		t.Errorf("all: %s", got)
	}
	if got := numbers(next(t, b)); got != "b:1 b:2 b:3 " {
		t.Errorf("b: %s", got)
	}
}

func TestFilter(t *testing.T) {
	pattern := func(text string) AddressPattern {
		p, err := ParseAddressPattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	selector := func(text string) labels.Selector {
		s, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, c := range map[string]struct {
		filter Filter
		want   bool
	}{
		"all":                 {Filter{}, true},
		"building":            {Filter{Buildings: map[string]bool{"a": true}}, true},
		"other building":      {Filter{Buildings: map[string]bool{"b": true}}, false},
		"label":               {Filter{Labels: selector("region=south")}, true},
		"other label":         {Filter{Labels: selector("region!=south")}, false},
		"one of the patterns": {Filter{Addresses: []AddressPattern{pattern("2/*"), pattern("1/2/*")}}, true},
		"no pattern":          {Filter{Addresses: []AddressPattern{pattern("2/*")}}, false},
		"label but no pattern": {
			Filter{Labels: selector("region=south"), Addresses: []AddressPattern{pattern("1/2/4")}}, false,
		},
	} {
		if got := c.filter.Match(telegram("a", 1)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A subscriber that does not read is told exactly what it missed, after what was
// queued and before what comes next; the others miss nothing.
func TestSlowSubscriberGetsItsGap(t *testing.T) {
	h := NewHub()
	slow, good := subscribe(t, h, Filter{}, 4), subscribe(t, h, Filter{}, 100)
	for i := uint64(1); i <= 6; i++ {
		h.Publish(telegram("a", i))
		h.Publish(telegram("b", i))
	}
	batch := next(t, slow)
	if got := numbers(batch); got != "a:1 b:1 a:2 b:2 " {
		t.Errorf("queued: %s", got)
	}
	want := []Gap{{"a", 7, 3, 6, 4}, {"b", 7, 3, 6, 4}}
	if !slices.Equal(batch.Gaps, want) {
		t.Errorf("gaps %v, want %v", batch.Gaps, want)
	}
	h.Publish(telegram("a", 7))
	if batch = next(t, slow); numbers(batch) != "a:7 " || len(batch.Gaps) != 0 {
		t.Errorf("after the gap: %s %v", numbers(batch), batch.Gaps)
	}
	if slow.Dropped() != 8 || good.Dropped() != 0 {
		t.Errorf("dropped %d and %d, want 8 and 0", slow.Dropped(), good.Dropped())
	}
	if got := len(next(t, good).Telegrams); got != 13 {
		t.Errorf("the good subscriber got %d of 13", got)
	}
}

func TestSubscriptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub()
		s := subscribe(t, h, Filter{}, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := s.Next(ctx)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want canceled", err)
		}
		h.Publish(telegram("a", 1))
		go func() {
			next(t, s) // what was queued comes before the end
			_, err := s.Next(t.Context())
			ended <- err
		}()
		synctest.Wait()
		h.Close()
		h.Close()
		if err := <-ended; !errors.Is(err, ErrStopping) {
			t.Errorf("%v, want %v", err, ErrStopping)
		}
		if _, err := h.Subscribe(Filter{}, 0); !errors.Is(err, ErrStopping) {
			t.Errorf("subscribe after close: %v", err)
		}
		if n := h.Stats().Subscribers; n != 0 {
			t.Errorf("%d subscribers left", n)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			h := NewHub()
			every, err := ParseAddressPattern("*")
			if err != nil {
				b.Fatal(err)
			}
			for range n {
				s, err := h.Subscribe(Filter{Addresses: []AddressPattern{every}}, 1)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
			}
			tg := telegram("a", 1)
			tg.Destination = frame.GroupAddress(1)
			b.ReportAllocs()
			for b.Loop() {
				h.Publish(tg)
			}
		})
	}
}
