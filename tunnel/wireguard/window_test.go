package wireguard

import (
	"testing"

	"pgregory.net/rapid"
)

// The window takes what a plain list of all counters seen would take, but for
// those that are too old.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		newest, some := uint64(0), false
		near := func(c uint64) *rapid.Generator[uint64] {
			const reach = 3 * windowSize
			return rapid.Uint64Range(c-min(c, reach), c+min(^uint64(0)-c, reach))
		}
		start := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64(), near(rejectAfterMessages)).Draw(t, "start")
		for range rapid.IntRange(1, 300).Draw(t, "messages") {
			from := newest
			if !some {
				from = start
			}
			counter := rapid.OneOf(near(from), near(from), rapid.Just(from+1), rapid.Uint64()).Draw(t, "counter")
			want := !seen[counter] && counter < rejectAfterMessages &&
				(!some || counter > newest || newest-counter < windowSize)
			if got := w.take(counter); got != want {
				t.Fatalf("counter %d with newest %d: taken %v, want %v", counter, newest, got, want)
			}
			if want {
				seen[counter] = true
				newest, some = max(newest, counter), true
			}
		}
	})
}

// Every order within the window, densely, and across the turns of the ring.
func TestWindowDense(t *testing.T) {
	var w window
	for counter := range uint64(5 * windowSize) {
		if counter%7 == 3 {
			continue // comes late
		}
		if !w.take(counter) || w.take(counter) {
			t.Fatalf("counter %d", counter)
		}
		if late := counter - windowSize/2; late < counter && late%7 == 3 && (!w.take(late) || w.take(late)) {
			t.Fatalf("late counter %d", late)
		}
	}
}
