package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxFilters is how many buildings the store looks up by itself. Of more than
	// these, all records are read and most of them passed over, which is faster.
	maxFilters = 32
	// firstWindow is how far back Newest looks first. The next look goes
	// windowGrowth times further.
	firstWindow  = 5 * time.Second
	windowGrowth = 8
	// longestWindow ends the looks when the clock was set far back.
	longestWindow = 1000 * 24 * time.Hour
)

// Query says which records to read.
type Query struct {
	// Buildings are whose records to read; nil for all.
	Buildings []string
	// Since and Until bound the time at which a record was stored: from Since up
	// to, but without, Until. Zero is open. A record is stored a little after its
	// telegram was received.
	Since, Until time.Time
	// Newest keeps of each building's records that match only the last so many;
	// 0 keeps all. With more than 32 buildings, or all, everything since Since is
	// read to find them.
	Newest int
}

// Record is what was appended to the journal.
type Record struct {
	Building string
	Time     time.Time // when it was stored
	Data     []byte    // may be kept
}

// Read calls fn with the records that match, oldest first, and returns when those
// that were there at the call have been told, or with fn's error. Records that the
// limits or a Purge drop meanwhile are left out. fn runs in the calling goroutine;
// while it is busy a few hundred records wait for it.
func (j *Journal) Read(ctx context.Context, q Query, fn func(Record) error) error {
	if j == nil {
		return ErrNoJournal
	}
	if len(q.Buildings) == 0 && q.Buildings != nil {
		return nil
	}
	for _, building := range q.Buildings {
		if !validToken(building) {
			return fmt.Errorf("read the journal: %q is no building", building)
		}
	}
	r := reader{engine: j.engine, query: q, fn: fn}
	r.scan = scan{stream: journalStream, since: q.Since}
	if q.Buildings != nil && len(q.Buildings) <= maxFilters {
		for _, building := range q.Buildings {
			r.scan.subjects = append(r.scan.subjects, journalPrefix+building)
		}
		// The store refuses a subject that stands there twice.
		slices.Sort(r.scan.subjects)
		r.scan.subjects = slices.Compact(r.scan.subjects)
	} else if q.Buildings != nil {
		r.wanted = make(map[string]bool, len(q.Buildings))
		for _, building := range q.Buildings {
			r.wanted[journalPrefix+building] = true
		}
	}
	if q.Newest > 0 {
		if err := r.findNewest(ctx); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
	}
	err := r.scan.run(ctx, j.engine, r.take)
	if err != nil && !r.failed {
		return fmt.Errorf("read the journal: %w", err)
	}
	return err
}

// reader is one Read.
type reader struct {
	engine *Engine
	query  Query
	fn     func(Record) error
	failed bool // fn did
	scan   scan
	wanted map[string]bool // subjects; nil: all that the scan finds
	// starts say from where on each subject's records count; nil: from the start.
	starts map[string]*start
}

// start is where the last n records of a subject begin.
type start struct {
	since time.Time // earlier ones do not count
	skip  uint64    // of those since then, so many do not count either
}

func (r *reader) take(m scanned) error {
	if !r.query.Until.IsZero() && !m.time.Before(r.query.Until) {
		return errEndOfScan
	}
	if r.wanted != nil && !r.wanted[m.subject] {
		return nil
	}
	if s := r.starts[m.subject]; s != nil {
		if m.time.Before(s.since) {
			return nil
		}
		if s.skip > 0 {
			s.skip--
			return nil
		}
	}
	err := r.fn(Record{Building: strings.TrimPrefix(m.subject, journalPrefix), Time: m.time, Data: m.data})
	r.failed = err != nil && !errors.Is(err, errEndOfScan)
	return err
}

// findNewest finds where the last records of each building begin.
func (r *reader) findNewest(ctx context.Context) error {
	r.starts = make(map[string]*start)
	if len(r.scan.subjects) == 0 {
		return r.countAll(ctx)
	}
	var earliest time.Time
	for i, subject := range r.scan.subjects {
		s, err := r.lookBack(ctx, subject)
		if err != nil {
			return err
		}
		r.starts[subject] = s
		if i == 0 || s.since.Before(earliest) {
			earliest = s.since
		}
	}
	r.scan.since = earliest
	return nil
}

// lookBack looks further and further back until there are records enough.
func (r *reader) lookBack(ctx context.Context, subject string) (*start, error) {
	n := uint64(r.query.Newest)
	until := r.query.Until
	var after uint64 // records from Until on
	if until.IsZero() {
		until = time.Now()
	} else {
		var err error
		if after, err = r.count(ctx, subject, until); err != nil {
			return nil, err
		}
	}
	state, err := r.engine.streamState(ctx, journalStream)
	if err != nil {
		return nil, err
	}
	if state.Messages == 0 {
		return &start{}, nil
	}
	first := state.First
	if r.query.Since.After(first) {
		first = r.query.Since
	}
	for window := firstWindow; ; window *= windowGrowth {
		s := &start{since: until.Add(-window)}
		if window > longestWindow || !s.since.After(first) {
			s.since = first
		}
		found, err := r.count(ctx, subject, s.since)
		if err != nil {
			return nil, err
		}
		found -= min(after, found)
		if found >= n {
			s.skip = found - n
			return s, nil
		}
		if !s.since.After(first) {
			return s, nil
		}
	}
}

func (r *reader) count(ctx context.Context, subject string, since time.Time) (uint64, error) {
	return scan{stream: journalStream, subjects: []string{subject}, since: since}.count(ctx, r.engine)
}

// countAll counts the records of all buildings by reading everything once.
func (r *reader) countAll(ctx context.Context) error {
	counting := *r
	counting.scan.metaOnly = true
	counts := make(map[string]uint64)
	counting.fn = func(m Record) error {
		counts[journalPrefix+m.Building]++
		return nil
	}
	if err := counting.scan.run(ctx, r.engine, counting.take); err != nil {
		return err
	}
	for subject, count := range counts {
		if n := uint64(r.query.Newest); count > n {
			r.starts[subject] = &start{skip: count - n}
		}
	}
	return nil
}
