package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// scanBatch is how many messages a scan asks for at once: few enough that
	// they need no more than a megabyte or so, and enough to be fast.
	scanBatch = 500
	// scanAttempts bounds how often a scan begins anew where it was without
	// having got any further.
	scanAttempts = 3
	// scannerLifetime ends the store's part of a scan whose process is gone.
	scannerLifetime = 30 * time.Second
)

// errUnreadable: the store has messages there that it cannot read.
var errUnreadable = errors.New("a part of it cannot be read")

// streamState is what the server tells of a stream.
type streamState struct {
	Messages uint64            `json:"messages"`
	Bytes    uint64            `json:"bytes"`
	First    time.Time         `json:"first_ts"`
	LastSeq  uint64            `json:"last_seq"`
	Subjects map[string]uint64 `json:"subjects"`
	// Lost is what could not be recovered when the store was opened.
	Lost *struct {
		Messages []uint64 `json:"msgs"`
		Bytes    uint64   `json:"bytes"`
	} `json:"lost"`
}

// streamState asks the server itself: the client library leaves out what was lost.
func (e *Engine) streamState(ctx context.Context, stream string) (streamState, error) {
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	msg, err := e.conn.RequestWithContext(opCtx, "$JS.API.STREAM.INFO."+stream, nil)
	if err != nil {
		return streamState{}, unavailable(ctx, err)
	}
	var answer struct {
		State streamState         `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return streamState{}, fmt.Errorf("answer of the store: %w", err)
	}
	if answer.Error != nil {
		return streamState{}, unavailable(ctx, answer.Error)
	}
	return answer.State, nil
}

// scanned is one message of a stream.
type scanned struct {
	subject string
	time    time.Time // when it was stored
	data    []byte
	seq     uint64 // must not leave the engine: numbers come again after a crash
}

// scan says which messages of a stream to read.
type scan struct {
	stream   string
	subjects []string  // nil: all
	since    time.Time // zero: from the first
	metaOnly bool      // without data
}

// errEndOfScan, returned by the function that a scan calls, ends it well.
var errEndOfScan = errors.New("end of scan")

// run calls fn with every message that matches and was stored before the call,
// oldest first. It begins anew where it was when the store stalls or restarts.
func (s scan) run(ctx context.Context, e *Engine, fn func(scanned) error) error {
	state, err := e.streamState(ctx, s.stream)
	if err != nil {
		return err
	}
	var seen uint64 // sequence of the last message
	for attempt := 0; attempt < scanAttempts && state.Messages > 0 && seen < state.LastSeq; {
		before := seen
		done, err := s.attempt(ctx, e, &seen, state.LastSeq, fn)
		switch {
		case errors.Is(err, errEndOfScan):
			return nil
		case done:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		attempt++
		if seen > before {
			attempt = 0
		}
		if attempt == scanAttempts {
			if err == nil {
				err = errUnreadable
			}
			return unavailable(ctx, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectPause):
		}
	}
	return nil
}

// attempt reads on from the message after seen. It reports whether the scan is
// over, because all was told or fn failed.
func (s scan) attempt(ctx context.Context, e *Engine, seen *uint64, last uint64, fn func(scanned) error) (done bool, err error) {
	consumer, err := s.consumer(ctx, e, *seen)
	if err != nil {
		return false, err
	}
	info := consumer.CachedInfo()
	defer func() {
		// The store ends it by itself if this fails.
		delCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = e.js.DeleteConsumer(delCtx, s.stream, info.Name)
	}()
	if info.NumPending == 0 {
		return true, nil
	}
	var delivered uint64
	for {
		before := delivered
		done, err := s.batch(consumer, seen, &delivered, last, fn)
		switch {
		case done || err != nil:
			return done, err
		case ctx.Err() != nil:
			return false, ctx.Err()
		case delivered > before:
			continue
		}
		// The rest was dropped by the limits meanwhile, or cannot be read.
		info, err := consumer.Info(ctx)
		return err == nil && info.NumPending == 0, err
	}
}

// batch reads the next messages of an attempt, of which delivered have been read.
func (s scan) batch(consumer jetstream.Consumer, seen, delivered *uint64, last uint64, fn func(scanned) error) (done bool, err error) {
	batch, err := consumer.FetchNoWait(scanBatch)
	if err != nil {
		return false, err
	}
	// What the client library runs for a batch ends with it, and not with us.
	defer func() {
		for range batch.Messages() {
		}
	}()
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		if *delivered++; meta.Sequence.Consumer != *delivered {
			return false, errors.New("a message was left out")
		}
		if meta.Sequence.Stream > last {
			return true, nil
		}
		if err := fn(scanned{msg.Subject(), meta.Timestamp, msg.Data(), meta.Sequence.Stream}); err != nil {
			return true, err
		}
		*seen = meta.Sequence.Stream
		if meta.NumPending == 0 || *seen == last {
			return true, nil
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return false, err
	}
	return false, nil
}

// consumer makes the server's part of a scan, which goes on after a message or,
// at its begin, since a time.
func (s scan) consumer(ctx context.Context, e *Engine, after uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		FilterSubjects:    s.subjects,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: scannerLifetime,
		HeadersOnly:       s.metaOnly,
	}
	switch {
	case after > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, after+1
	case !s.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	return e.js.CreateConsumer(ctx, s.stream, cfg)
}

// count tells how many messages match.
func (s scan) count(ctx context.Context, e *Engine) (uint64, error) {
	consumer, err := s.consumer(ctx, e, 0)
	if err != nil {
		return 0, unavailable(ctx, err)
	}
	info := consumer.CachedInfo()
	delCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	// The store ends it by itself if this fails.
	_ = e.js.DeleteConsumer(delCtx, s.stream, info.Name)
	return info.NumPending, nil
}

// unavailable turns an error of the client library into one of ours. ctx is the
// caller's.
func unavailable(ctx context.Context, err error) error {
	switch {
	case err == nil || errors.Is(err, ErrUnavailable):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%w: no answer within %v", ErrUnavailable, operationTimeout)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// validToken reports whether s can stand between two dots of a subject.
func validToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, ".*> \t\r\n")
}
