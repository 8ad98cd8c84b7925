package journal

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

var errStore = errors.New("the store fails")

// memoryStore is a Store that does what it is told, and nothing by itself. It keeps
// what it took in order, answers in any order, and forgets in a crash what was not
// flushed.
type memoryStore struct {
	mu       sync.Mutex
	now      func() time.Time
	records  []engine.Record
	flushed  int
	arrived  []arrival
	answers  []answer
	refusing bool
	failing  bool // reads
	auto     bool // store and acknowledge at once
	sink     bool // acknowledge at once and keep nothing
	dropped  int  // records that expired
	// meanwhile is called when others may do something while a reader is at work.
	meanwhile func()
}

type arrival struct {
	building string
	data     []byte
	done     func(error)
}

type answer struct {
	done func(error)
	err  error
}

func (s *memoryStore) Append(building, _ string, record []byte, done func(error)) error {
	if s.sink {
		done(nil)
		return nil
	}
	s.mu.Lock()
	if s.refusing {
		s.mu.Unlock()
		return errStore
	}
	s.arrived = append(s.arrived, arrival{building, record, done})
	auto := s.auto
	s.mu.Unlock()
	if auto {
		s.take(true, true)
		s.answer(0)
	}
	return nil
}

// take works on the oldest arrival: it is stored or not, and will be acknowledged
// or not.
func (s *memoryStore) take(stored, acknowledged bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.arrived) == 0 {
		return false
	}
	a := s.arrived[0]
	s.arrived = s.arrived[1:]
	if stored {
		s.records = append(s.records, engine.Record{Building: a.building, Time: s.now(), Data: a.data})
	}
	var err error
	if !acknowledged {
		err = errStore
	}
	s.answers = append(s.answers, answer{a.done, err})
	return true
}

// answer gives one of the answers.
func (s *memoryStore) answer(i int) bool {
	s.mu.Lock()
	if i >= len(s.answers) {
		s.mu.Unlock()
		return false
	}
	a := s.answers[i]
	s.answers = slices.Delete(s.answers, i, i+1)
	s.mu.Unlock()
	a.done(a.err)
	return true
}

// crash gives the store as a new process finds it.
func (s *memoryStore) crash(kept int) *memoryStore {
	return &memoryStore{now: s.now, records: slices.Clone(s.records[:kept]), flushed: kept, meanwhile: s.meanwhile}
}

func (s *memoryStore) expire(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, s.flushed)
	s.records = slices.Delete(s.records, 0, n)
	s.flushed -= n
	s.dropped += n
}

func (s *memoryStore) others() {
	if s.meanwhile != nil {
		s.meanwhile()
	}
}

func (s *memoryStore) Read(ctx context.Context, q engine.Query, fn func(engine.Record) error) error {
	s.others()
	s.mu.Lock()
	if s.failing {
		s.mu.Unlock()
		return errStore
	}
	records, dropped := slices.Clone(s.records), s.dropped
	s.mu.Unlock()
	// As by start time: from the first that is not older, whatever follows.
	from := slices.IndexFunc(records, func(r engine.Record) bool { return !r.Time.Before(q.Since) })
	if from < 0 {
		return nil
	}
	match := func(r engine.Record) bool {
		return (q.Buildings == nil || slices.Contains(q.Buildings, r.Building)) && (q.Until.IsZero() || r.Time.Before(q.Until))
	}
	left := make(map[string]int)
	for _, r := range records[from:] {
		if match(r) {
			left[r.Building]++
		}
	}
	for i, r := range records {
		if i < from || !match(r) {
			continue
		}
		if left[r.Building]--; q.Newest > 0 && left[r.Building] >= q.Newest {
			continue
		}
		s.others()
		s.mu.Lock()
		gone := i < s.dropped-dropped // while we were reading
		s.mu.Unlock()
		if gone {
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (s *memoryStore) Purge(_ context.Context, building string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(r engine.Record) bool { return r.Building == building })
	s.flushed = min(s.flushed, len(s.records))
	return nil
}
