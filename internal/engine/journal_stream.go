package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	journalStream = "TG"
	journalPrefix = "tg."

	// MaxJournalBytes is the largest limit that the journal can have.
	MaxJournalBytes = 16 << 40
	// minJournalBytes is a few blocks, so that dropping the oldest works.
	minJournalBytes = 16 << 20

	duplicateWindow = 30 * time.Second
)

// Limits bound the journal; whichever is reached first drops the oldest records.
type Limits struct {
	// MaxAge is how long a record is kept, by the time at which it was stored.
	// Default: 24 hours.
	MaxAge time.Duration
	// MaxBytes bounds what the journal takes on disk in all: some 150 bytes for a
	// telegram. Default: 10 GiB.
	MaxBytes int64
	// MaxRecordsPerBuilding bounds the records of each building. Default: one
	// million.
	MaxRecordsPerBuilding int64
}

var defaultLimits = Limits{MaxAge: 24 * time.Hour, MaxBytes: 10 << 30, MaxRecordsPerBuilding: 1_000_000}

// or takes what is zero from other.
func (l Limits) or(other Limits) Limits {
	if l.MaxAge == 0 {
		l.MaxAge = other.MaxAge
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = other.MaxBytes
	}
	if l.MaxRecordsPerBuilding == 0 {
		l.MaxRecordsPerBuilding = other.MaxRecordsPerBuilding
	}
	return l
}

// Validate tells which limit is out of range. Zero stands for unchanged.
func (l Limits) Validate() error {
	switch {
	case l.MaxAge != 0 && l.MaxAge < time.Minute:
		return fmt.Errorf("the journal's age %v: want at least a minute", l.MaxAge)
	case l.MaxBytes != 0 && (l.MaxBytes < minJournalBytes || l.MaxBytes > MaxJournalBytes):
		return fmt.Errorf("the journal's size of %d bytes: want %d to %d", l.MaxBytes, int64(minJournalBytes), int64(MaxJournalBytes))
	case l.MaxRecordsPerBuilding < 0:
		return fmt.Errorf("%d records of a building: want at least 1", l.MaxRecordsPerBuilding)
	}
	return nil
}

func (l Limits) stream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              journalStream,
		Description:       "telegrams",
		Subjects:          []string{journalPrefix + "*"},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxAge:            l.MaxAge,
		MaxBytes:          l.MaxBytes,
		MaxMsgsPerSubject: l.MaxRecordsPerBuilding,
		MaxMsgSize:        MaxRecord + valueOverhead,
		Duplicates:        duplicateWindow,
		AllowDirect:       true,
		Storage:           jetstream.FileStorage,
		Replicas:          1,
		// The log is not worth a wait for the disk at each telegram.
		PersistMode: jetstream.AsyncPersistMode,
	}
}

// openStream opens the stream with its limits, or makes it, and tells what is known
// to be missing from it. One whose files cannot be recovered is set aside: without
// its past the journal goes on.
func (e *Engine) openStream(ctx context.Context, limits Limits) (loss string, err error) {
	if err := limits.Validate(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	mark := e.marks.get(journalStream)
	stream, err := e.js.Stream(ctx, journalStream)
	if err == nil {
		state, err := e.streamState(ctx, journalStream)
		if err != nil {
			return "", err
		}
		switch {
		case state.Lost != nil:
			loss = fmt.Sprintf("%d bytes could not be read", state.Lost.Bytes)
		case state.LastSeq < mark:
			loss = fmt.Sprintf("the last %d records are gone", mark-state.LastSeq)
		case exists(filepath.Join(e.dir, appendingFile)):
			loss = "the process before was killed, so its last moments may not have been stored"
		}
		e.marks.reset(journalStream, state.LastSeq)
		return loss, e.limitStream(ctx, stream, limits)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", err
	}
	aside, err := e.setAside()
	if err != nil {
		return "", err
	}
	if aside || mark > 0 {
		loss = "it could not be recovered and begins anew"
	}
	if err := e.host.place(journalStream); err != nil {
		return "", err
	}
	if _, err := e.js.CreateStream(ctx, limits.or(defaultLimits).stream()); err != nil {
		return "", err
	}
	e.marks.reset(journalStream, 0)
	return loss, nil
}

// restarted takes note of where the journal goes on after the server could not
// write the last that it had acknowledged, and that nothing will answer for what was
// sent before.
func (j *Journal) restarted(ctx context.Context, stopped time.Time) error {
	state, err := j.engine.streamState(ctx, journalStream)
	if err != nil {
		return err
	}
	j.stored.Store(state.LastSeq)
	j.engine.marks.reset(journalStream, state.LastSeq)
	select {
	case j.lost <- stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// setAside moves the files of a stream that the server did not recover out of its
// way, and reports whether there were any.
func (e *Engine) setAside() (found bool, err error) {
	paths, err := filepath.Glob(filepath.Join(e.dir, streamsPattern))
	if err != nil {
		return false, err
	}
	for _, path := range paths {
		if filepath.Base(path) != journalStream {
			continue
		}
		aside := filepath.Join(e.dir, "journal.damaged")
		if err := errors.Join(os.RemoveAll(aside), os.Rename(path, aside)); err != nil {
			return false, err
		}
		e.log.Error().Str("files", aside).Msg("the files of the journal were set aside")
		found = true
	}
	return found, nil
}

// limitStream brings the stream to what this version and these limits want. One
// that is so already is not touched.
func (e *Engine) limitStream(ctx context.Context, stream jetstream.Stream, limits Limits) error {
	have := stream.CachedInfo().Config
	kept := Limits{have.MaxAge, have.MaxBytes, have.MaxMsgsPerSubject}
	want := limits.or(kept).stream()
	if limits.or(kept) == kept && have.Description == want.Description && have.MaxMsgSize == want.MaxMsgSize && have.Duplicates == want.Duplicates {
		return nil
	}
	_, err := e.js.UpdateStream(ctx, want)
	return err
}

// SetLimits changes the limits that are not zero, at once. Smaller ones drop the
// oldest records.
func (j *Journal) SetLimits(ctx context.Context, limits Limits) error {
	if j == nil {
		return ErrNoJournal
	}
	if err := limits.Validate(); err != nil {
		return err
	}
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	stream, err := j.engine.js.Stream(opCtx, journalStream)
	if err == nil {
		err = j.engine.limitStream(opCtx, stream, limits)
	}
	return unavailable(ctx, err)
}

// Purge removes all records of a building.
func (j *Journal) Purge(ctx context.Context, building string) error {
	if j == nil {
		return ErrNoJournal
	}
	if !validToken(building) {
		return fmt.Errorf("purge the journal: %q is no building", building)
	}
	opCtx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	stream, err := j.engine.js.Stream(opCtx, journalStream)
	if err == nil {
		err = stream.Purge(opCtx, jetstream.WithPurgeSubject(journalPrefix+building))
	}
	return unavailable(ctx, err)
}

// purgeTimeout bounds a purge, which reads all the blocks that hold records of
// the building.
const purgeTimeout = time.Minute

// Usage is what a building has in the journal.
type Usage struct {
	Records uint64
	// Bytes on disk, estimated from the mean size of all records: the store does
	// not count by building.
	Bytes uint64
}

// Stats are what the journal holds in all.
type Stats struct {
	Records uint64
	Bytes   uint64    // on disk
	Oldest  time.Time // when the oldest record was stored; zero without records
	Limits  Limits
}

// Usage tells what each building has in the journal; those without records are
// left out.
func (j *Journal) Usage(ctx context.Context) (map[string]Usage, error) {
	if j == nil {
		return nil, ErrNoJournal
	}
	info, err := j.info(ctx, jetstream.WithSubjectFilter(journalPrefix+"*"))
	if err != nil {
		return nil, err
	}
	usage := make(map[string]Usage, len(info.State.Subjects))
	for subject, records := range info.State.Subjects {
		bytes := float64(info.State.Bytes) / float64(max(info.State.Msgs, 1)) * float64(records)
		usage[subject[len(journalPrefix):]] = Usage{Records: records, Bytes: uint64(bytes)}
	}
	return usage, nil
}

// Stats tells what the journal holds in all, and its limits.
func (j *Journal) Stats(ctx context.Context) (Stats, error) {
	if j == nil {
		return Stats{}, ErrNoJournal
	}
	info, err := j.info(ctx)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{
		Records: info.State.Msgs, Bytes: info.State.Bytes,
		Limits: Limits{info.Config.MaxAge, info.Config.MaxBytes, info.Config.MaxMsgsPerSubject},
	}
	if s.Records > 0 {
		s.Oldest = info.State.FirstTime
	}
	return s, nil
}

func (j *Journal) info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	stream, err := j.engine.js.Stream(opCtx, journalStream)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	info, err := stream.Info(opCtx, opts...)
	return info, unavailable(ctx, err)
}
