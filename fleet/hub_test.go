package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func telegram(building string, number uint64) *Telegram {
	return &Telegram{Building: building, Epoch: 7, Number: number, Stamp: int64(number) * 10, Destination: 0x0A03, Labels: map[string]string{"region": "south"}}
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

// batch is what a subscriber gets at once.
type batch struct {
	telegrams []*Telegram
	missed    []journal.Missed
}

func next(t *testing.T, s *Subscription) batch {
	t.Helper()
	telegrams, missed, err := s.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return batch{slices.Clone(telegrams), missed}
}

func numbers(b batch) string {
	var text string
	for _, tg := range b.telegrams {
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
	slow, good := subscribe(t, h, Filter{}, 4*telegramOverhead), subscribe(t, h, Filter{}, 0)
	for i := uint64(1); i <= 6; i++ {
		h.Publish(telegram("a", i))
		h.Publish(telegram("b", i))
	}
	batch := next(t, slow)
	if got := numbers(batch); got != "a:1 b:1 a:2 b:2 " {
		t.Errorf("queued: %s", got)
	}
	want := []journal.Missed{
		{Building: "a", Epoch: 7, From: 3, To: 6, First: 30, Last: 60}, {Building: "b", Epoch: 7, From: 3, To: 6, First: 30, Last: 60},
	}
	if !slices.Equal(batch.missed, want) {
		t.Errorf("missed %v, want %v", batch.missed, want)
	}
	h.Publish(telegram("a", 7))
	if batch = next(t, slow); numbers(batch) != "a:7 " || len(batch.missed) != 0 {
		t.Errorf("after the gap: %s %v", numbers(batch), batch.missed)
	}
	if slow.Dropped() != 8 || good.Dropped() != 0 {
		t.Errorf("dropped %d and %d, want 8 and 0", slow.Dropped(), good.Dropped())
	}
	if got := len(next(t, good).telegrams); got != 13 {
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
			_, _, err := s.Next(ctx)
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
			_, _, err := s.Next(t.Context())
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

// At rest a telegram comes at once and alone. When they come fast they are gathered,
// so that a response for each does not eat the machine.
func TestSubscriptionGathersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub()
		s := subscribe(t, h, Filter{}, 0)
		const count = 2000
		go func() {
			for i := range uint64(count) {
				h.Publish(telegram("a", i+1))
				time.Sleep(time.Millisecond / 10)
			}
		}()
		began, calls := time.Now(), 0
		for got := 0; got < count; calls++ {
			b := next(t, s)
			if calls == 0 && (len(b.telegrams) != 1 || time.Since(began) > 0) {
				t.Errorf("the first came with %d, after %v; want alone and at once", len(b.telegrams), time.Since(began))
			}
			got += len(b.telegrams)
		}
		if calls > count/3 {
			t.Errorf("%d telegrams, a tenth of a millisecond apart, came in %d parts", count, calls)
		}
		time.Sleep(time.Second)
		before := time.Now()
		h.Publish(telegram("a", count+1))
		if b := next(t, s); len(b.telegrams) != 1 || time.Since(before) > 0 {
			t.Errorf("after a rest: %d, after %v; want one, at once", len(b.telegrams), time.Since(before))
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
