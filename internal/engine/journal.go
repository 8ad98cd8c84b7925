package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// MaxRecord is the largest record, in bytes, that the journal takes.
	MaxRecord = 64 << 10
	// maxUnacknowledged bounds the records on their way to the store; the server's
	// own queue takes ten times as many.
	maxUnacknowledged = 8192
	// appendTimeout is how long the store may take to acknowledge a record.
	appendTimeout = 10 * time.Second
	// sweepInterval is how often it is looked at what has taken too long.
	sweepInterval = time.Second
	// appendingFile is there while a process appends; after a crash it still is, and
	// after a loss that nobody who appends has been told of.
	appendingFile = "appending"
)

var (
	// ErrJournalFull: too many records wait for the store to acknowledge them.
	// The record was not taken.
	ErrJournalFull = errors.New("the journal is behind: too many records wait for the store")
	// ErrNoJournal: the engine was opened without a journal.
	ErrNoJournal = errors.New("no journal is kept")

	errNoAnswer = fmt.Errorf("%w: it gave no answer to a record", ErrUnavailable)
)

// Journal is a log of records by building, in the order in which they were
// appended. What it acknowledged survives the end of the process in order. A
// crash or a power cut may lose the last second of it, acknowledged or not: what
// reads it has to number its records and to tell what is missing.
//
// Its limits drop the oldest records. It takes nothing while the disk is nearly
// full. All methods are safe for concurrent use; on a nil Journal they fail with
// ErrNoJournal.
type Journal struct {
	engine *Engine
	loss   string
	inbox  string // prefix of the subjects that the store acknowledges on
	acks   chan *nats.Msg
	sub    *nats.Subscription
	// lost takes when a server stopped that will not answer any more; unbuffered,
	// since the keeper may wait.
	lost  chan time.Time
	begun atomic.Bool   // something was appended, so that a crash from now on may lose it
	stop  chan struct{} // closed when nothing is taken any more
	done  chan struct{} // closed when everything has been answered

	mu      sync.Mutex
	closed  bool
	message nats.Msg                          // of Append, used again; its header has one id
	pending [maxUnacknowledged]unacknowledged // ring, by number
	first   uint64                            // number of the oldest that is not acknowledged
	next    uint64                            // number of the next

	stored atomic.Uint64 // the highest sequence acknowledged
}

// unacknowledged is a record on its way to the store.
type unacknowledged struct {
	done func(error) // nil: answered
	sent time.Time
}

// openJournal opens the stream and what takes the store's answers.
func (e *Engine) openJournal(ctx context.Context, limits Limits) (*Journal, error) {
	loss, err := e.openStream(ctx, limits)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	if loss != "" {
		e.log.Warn().Str("loss", loss).Msg("a part of the journal may be missing; those who read it are told")
		// Whoever opens it next has to know too, unless this process appends.
		if err := replaceFile(filepath.Join(e.dir, appendingFile), nil); err != nil {
			return nil, fmt.Errorf("open the journal: %w", err)
		}
	}
	j := &Journal{
		engine:  e,
		loss:    loss,
		inbox:   e.conn.NewInbox() + ".",
		message: nats.Msg{Header: nats.Header{jetstream.MsgIDHeader: {""}}},
		// One place for each that can be on its way. An answer that finds it full
		// comes after its record was given up.
		acks: make(chan *nats.Msg, maxUnacknowledged),
		lost: make(chan time.Time),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	sub, err := e.conn.ChanSubscribe(j.inbox+"*", j.acks)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j.sub = sub
	go j.run()
	return j, nil
}

// Loss says what is or may be missing from the journal, as found when it was
// opened; empty when nothing is. Then the last records of every building may be
// gone, also the end of an epoch whose site had ended in order. It is so after a
// damage, and after a process that appended and was not closed.
func (j *Journal) Loss() string {
	if j == nil {
		return ""
	}
	return j.loss
}

// Append stores a record of a building and returns at once. The id makes it
// unique: of two records with the same id within 30 s the second is dropped, and
// acknowledged all the same.
//
// done is called exactly once, from one goroutine of the engine and in about the
// order of the calls, when the store has acknowledged the record (nil) or refused
// it, or gave no answer in time; what failed may have been stored after all. It
// must not block. An error of Append itself means that nothing was stored and
// that done will not be called: ErrJournalFull when too many records are not
// acknowledged, ErrNoSpace when the disk is nearly full, ErrUnavailable when the
// store does not run.
func (j *Journal) Append(building, id string, record []byte, done func(error)) error {
	switch {
	case j == nil:
		return ErrNoJournal
	case !validToken(building):
		return fmt.Errorf("append to the journal: %q is no building", building)
	case len(record) > MaxRecord:
		return fmt.Errorf("append to the journal: a record of %d bytes; at most %d", len(record), MaxRecord)
	}
	if err := j.engine.guard.refusal(); err != nil {
		return err
	}
	if err := j.begin(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	}
	if j.next-j.first == maxUnacknowledged {
		return ErrJournalFull
	}
	// The connection copies the message before it returns.
	j.message.Subject, j.message.Data = journalPrefix+building, record
	j.message.Reply = j.inbox + strconv.FormatUint(j.next, 10)
	j.message.Header[jetstream.MsgIDHeader][0] = id
	err := j.engine.conn.PublishMsg(&j.message)
	j.message.Data = nil
	if err != nil {
		return unavailable(context.Background(), err)
	}
	j.pending[j.next%maxUnacknowledged] = unacknowledged{done, time.Now()}
	j.next++
	return nil
}

// begin leaves a trace on disk before anything is appended, which only an orderly
// close removes.
func (j *Journal) begin() error {
	if j.begun.Load() {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.begun.Load() {
		return nil
	}
	if err := replaceFile(filepath.Join(j.engine.dir, appendingFile), nil); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.begun.Store(true)
	return nil
}

// ended removes that trace, when all that was appended is in the store's files.
func (j *Journal) ended() error {
	if j == nil || !j.begun.Load() {
		return nil
	}
	return errors.Join(os.Remove(filepath.Join(j.engine.dir, appendingFile)), syncDirectory(j.engine.dir))
}

// run takes the store's answers until the journal is closed and all is answered.
func (j *Journal) run() {
	defer close(j.done)
	defer func() { j.engine.marks.raise(journalStream, j.stored.Load()) }()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	stop := j.stop
	var giveUp <-chan time.Time // nil while the journal is open
	for {
		select {
		case msg := <-j.acks:
			j.acknowledge(msg)
		case now := <-sweep.C:
			j.expire(now.Add(-appendTimeout))
			j.engine.marks.raise(journalStream, j.stored.Load())
		case stopped := <-j.lost:
			j.expire(stopped)
		case <-stop:
			stop = nil
			giveUp = time.After(drainTimeout)
		case <-giveUp:
			j.expire(time.Now())
		}
		if giveUp != nil && j.idle() {
			return
		}
	}
}

func (j *Journal) idle() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first == j.next
}

// acknowledge takes one answer.
func (j *Journal) acknowledge(msg *nats.Msg) {
	number, err := strconv.ParseUint(msg.Subject[len(j.inbox):], 10, 64)
	if err != nil {
		return // not ours
	}
	j.mu.Lock()
	var done func(error)
	if number >= j.first && number < j.next {
		slot := &j.pending[number%maxUnacknowledged]
		done, slot.done = slot.done, nil
		for j.first < j.next && j.pending[j.first%maxUnacknowledged].done == nil {
			j.first++
		}
	}
	j.mu.Unlock()
	seq, err := answer(msg)
	if seq > j.stored.Load() {
		j.stored.Store(seq)
	}
	if done != nil {
		done(err)
	}
}

// answer is what the store says: {"stream":"TG","seq":7} or {"error":{…}}.
func answer(msg *nats.Msg) (seq uint64, err error) {
	if len(msg.Data) == 0 {
		return 0, fmt.Errorf("%w: it does not run (status %s)", ErrUnavailable, msg.Header.Get("Status"))
	}
	if seq, ok := plainAnswer(msg.Data); ok {
		return seq, nil
	}
	var said struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &said); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if said.Error != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, said.Error)
	}
	return said.Sequence, nil
}

// plainAnswer reads what the store nearly always says, {"stream":"TG","seq":7}, and
// nothing else.
func plainAnswer(data []byte) (seq uint64, ok bool) {
	digits, found := bytes.CutPrefix(data, plainAnswerBegin)
	if digits, ok = bytes.CutSuffix(digits, []byte("}")); !found || !ok || len(digits) == 0 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' || seq > math.MaxUint64/10-1 {
			return 0, false
		}
		seq = seq*10 + uint64(d-'0')
	}
	return seq, true
}

var plainAnswerBegin = []byte(`{"stream":"` + journalStream + `","seq":`)

// expire gives up what was sent before a time.
func (j *Journal) expire(before time.Time) {
	for {
		j.mu.Lock()
		var done func(error)
		if j.first < j.next {
			slot := &j.pending[j.first%maxUnacknowledged]
			if !slot.sent.Before(before) {
				j.mu.Unlock()
				return
			}
			done, slot.done = slot.done, nil
			j.first++
		}
		j.mu.Unlock()
		if done == nil && j.idle() {
			return
		}
		if done != nil {
			done(errNoAnswer)
		}
	}
}

// close takes nothing more, waits until the store has answered for what it has,
// and gives up what it does not answer in time. It may be called on nil.
func (j *Journal) close() {
	if j == nil {
		return
	}
	j.mu.Lock()
	first := !j.closed
	j.closed = true
	j.mu.Unlock()
	if first {
		close(j.stop)
	}
	<-j.done
	// It fails only when the connection is closed already.
	_ = j.sub.Unsubscribe()
}
