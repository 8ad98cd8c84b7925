package journal

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// batchSub gives the same telegrams again and again, newly numbered, as a queue does
// that uses its memory again.
type batchSub struct {
	j       *Journal
	writers []*Writer
	batch   []*liveTelegram
	number  uint64
}

func newBatchSub(j *Journal, buildings, size int) *batchSub {
	s := &batchSub{j: j}
	for i := range buildings {
		s.writers = append(s.writers, j.Open(fmt.Sprint("b", i), uint64(i+1), 0, false))
	}
	for i := range size {
		t := &liveTelegram{}
		t.Building, t.Epoch = fmt.Sprint("b", i%buildings), uint64(i%buildings+1)
		s.batch = append(s.batch, t)
	}
	return s
}

func (s *batchSub) Next(context.Context) ([]*liveTelegram, []Missed, error) {
	for i, t := range s.batch {
		if i%len(s.writers) == 0 {
			s.number++
		}
		w := s.writers[i%len(s.writers)]
		t.Number = s.number
		t.Stamp = w.Write(Telegram{Position: Position{Number: t.Number}})
		w.Published()
	}
	return s.batch, nil, nil
}

func liveStream(tb testing.TB, buildings, size int, send func(Response[*liveTelegram]) error) *Stream[*liveTelegram] {
	tb.Helper()
	j := New(tb.Context(), Config{})
	s, err := Follow(j, everything(), Start{}, newBatchSub(j, buildings, size))
	if err != nil {
		tb.Fatal(err)
	}
	s.silence, s.send, s.quiet = time.Hour, send, time.Now()
	if err := s.begin(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.endPatience)
	return s
}

// The mark of a live stream follows what was sent closely: a token names hardly any
// building, however many there are.
func TestLiveTokensAreShort(t *testing.T) {
	longest := 0
	s := liveStream(t, 500, 1000, func(r Response[*liveTelegram]) error {
		longest = max(longest, len(r.Token))
		return nil
	})
	for range 10 {
		if err := s.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if longest == 0 || longest > 48 {
		t.Errorf("a token of %d bytes, want at most 48", longest)
	}
}

// What a response costs does not depend on how many telegrams it holds.
func TestLiveAllocations(t *testing.T) {
	s := liveStream(t, 100, 1000, func(Response[*liveTelegram]) error { return nil })
	if got := testing.AllocsPerRun(100, func() {
		if err := s.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}); got > 1 {
		t.Errorf("%v allocations for a response of 1000 telegrams, want at most 1", got)
	}
}

// BenchmarkLive is what one stream does for one telegram, without writing it.
func BenchmarkLive(b *testing.B) {
	for _, size := range []int{1, 20, 500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := liveStream(b, 100, size, func(Response[*liveTelegram]) error { return nil })
			sub := &stillSub{s.sub.(*batchSub), nil}
			s.sub = sub
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%500 == 0 {
					b.StopTimer()
					sub.fill(500 / size)
					b.StartTimer()
				}
				if n += size; s.step(b.Context()) != nil {
					b.Fatal("the stream ended")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/telegram")
		})
	}
}

// stillSub has written its batches before they are asked for.
type stillSub struct {
	from  *batchSub
	ready [][]*liveTelegram
}

func (s *stillSub) fill(batches int) {
	for range batches {
		all, _, _ := s.from.Next(context.Background())
		batch := make([]*liveTelegram, len(all))
		for i, t := range all {
			batch[i] = new(*t)
		}
		s.ready = append(s.ready, batch)
	}
}

func (s *stillSub) Next(context.Context) ([]*liveTelegram, []Missed, error) {
	next := s.ready[0]
	s.ready = s.ready[1:]
	return next, nil, nil
}
