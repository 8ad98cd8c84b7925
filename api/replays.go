package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// Bounds of what is kept for idempotency keys.
const (
	// replayFor is how long an answer is kept.
	replayFor = 10 * time.Minute
	// maxReplayBytes is what all answers kept may take; a call with another key is
	// refused then, as its repetition would not be safe.
	maxReplayBytes = 64 << 20
	// replayOverhead is what an answer takes beside its own size.
	replayOverhead = 512
	maxKey         = 64 // characters
)

var (
	// errKeyReused: another request had the same idempotency key.
	errKeyReused = errors.New("the idempotency key was used with another request in the last 10 minutes; use a new key for each request, and the same only to repeat it")
	// errKeysFull: too many answers are kept.
	errKeysFull = errors.New("too many idempotency keys were used in the last 10 minutes; nothing was sent: try again later, or without a key")
)

// keyed is a request that may have an idempotency key.
type keyed interface {
	proto.Message
	GetIdempotencyKey() string
}

// replays keeps the answers to calls with idempotency keys, in memory. Safe for
// concurrent use.
type replays struct {
	mu    sync.Mutex
	of    map[string]*replay
	order []*replay // those that have ended, the oldest first
	bytes int
	limit int
}

// replay is one call with a key.
type replay struct {
	key     string
	request [sha256.Size]byte
	done    chan struct{} // closed when it has ended

	// Set before done is closed.
	answer []byte
	err    error
	until  time.Time
}

func newReplays() *replays {
	return &replays{of: make(map[string]*replay), limit: maxReplayBytes}
}

// once makes a call, which fills in answer, unless one with the same key has been
// made, or is under way: then answer becomes that of the first. A call that fails,
// so that nothing was sent, leaves its key free. One with a key goes on when the
// client is gone, up to patience, for the client may come back to ask what became
// of it.
func (r *replays) once(ctx context.Context, request keyed, patience time.Duration, answer proto.Message, call func(context.Context) error) (replayed bool, err error) {
	key := request.GetIdempotencyKey()
	if key == "" {
		return false, call(ctx)
	}
	if n := utf8.RuneCountInString(key); n > maxKey {
		return false, invalid("idempotency_key", "has %d characters; want at most %d", n, maxKey)
	}
	hash, err := hashOf(request)
	if err != nil {
		return false, err
	}
	for {
		one, first, err := r.begin(key, hash)
		if err != nil {
			return false, err
		}
		if first {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			return false, r.make(ctx, one, answer, call)
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if one.err == nil {
			return true, proto.Unmarshal(one.answer, answer)
		}
		// The first sent nothing: this one is the first now.
	}
}

// hashOf tells requests apart. Their keys are equal.
func hashOf(request proto.Message) ([sha256.Size]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	name := request.ProtoReflect().Descriptor().FullName()
	return sha256.Sum256(append([]byte(name+"\x00"), b...)), err
}

// begin finds the call with the key, or begins it.
func (r *replays) begin(key string, hash [sha256.Size]byte) (one *replay, first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(time.Now())
	if one = r.of[key]; one != nil {
		if one.request != hash {
			return nil, false, errKeyReused
		}
		return one, false, nil
	}
	if r.bytes+replayOverhead > r.limit {
		return nil, false, errKeysFull
	}
	one = &replay{key: key, request: hash, done: make(chan struct{})}
	r.of[key] = one
	r.bytes += replayOverhead
	return one, true, nil
}

// make makes a call that has begun, and ends it also if it panics.
func (r *replays) make(ctx context.Context, one *replay, answer proto.Message, call func(context.Context) error) error {
	err := errInternal
	defer func() { r.finish(one, answer, err) }()
	err = call(ctx)
	return err
}

func (r *replays) finish(one *replay, answer proto.Message, err error) {
	if err == nil {
		one.answer, err = proto.Marshal(answer)
	}
	one.err, one.until = err, time.Now().Add(replayFor)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(one.done)
	if err != nil {
		delete(r.of, one.key)
		r.bytes -= replayOverhead
		return
	}
	r.bytes += len(one.answer)
	r.order = append(r.order, one)
}

// expire forgets what is too old. The lock is held.
func (r *replays) expire(now time.Time) {
	for len(r.order) > 0 && now.After(r.order[0].until) {
		delete(r.of, r.order[0].key)
		r.bytes -= replayOverhead + len(r.order[0].answer)
		r.order[0] = nil
		r.order = r.order[1:]
	}
}
