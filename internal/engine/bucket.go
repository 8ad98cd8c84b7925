package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

const (
	registryBucket = "reg"
	fleetBucket    = "fleet"
	tablesBucket   = "ga"

	// probeKey lies in the fleet bucket, apart from its claims (c.) and
	// members (m.).
	probeKey = "probe"

	// MaxRegistryValue is the largest value, in bytes, that the registry's
	// bucket takes.
	MaxRegistryValue = 64 << 10
	maxFleetValue    = 4 << 10
	// MaxTableValue is the largest value, in bytes, that the bucket of group
	// address tables takes. The server has to take messages of that size.
	MaxTableValue = 4 << 20
	// valueOverhead is room for the headers of a conditional write, which the
	// server counts as part of a value.
	valueOverhead = 1 << 10

	// A building is about 1 KiB and has a history of five: 1 GiB is room for
	// some 200,000. What is deleted leaves a marker of some 150 bytes.
	registryMaxBytes = 1 << 30
	// A claim is some 150 bytes and has no history.
	fleetMaxBytes = 64 << 20
	// A table of 200 addresses is some 4 KiB and has no history.
	tablesMaxBytes = 1 << 30
	maxStore       = registryMaxBytes + fleetMaxBytes + tablesMaxBytes + MaxJournalBytes

	// operationTimeout bounds every single operation, whatever the caller's
	// context allows. A write waits for one fsync.
	operationTimeout = 10 * time.Second
)

var (
	// ErrNotFound: the key has no value.
	ErrNotFound = errors.New("not found")
	// ErrExists: the key to be created has a value.
	ErrExists = errors.New("exists already")
	// ErrConflict: the key is not at the expected revision.
	ErrConflict = errors.New("changed meanwhile")
	// ErrUnavailable: the store gave no answer, or refused for a reason of its
	// own, such as a full disk, or is closed. A write that failed in this way
	// may have been stored all the same.
	ErrUnavailable = errors.New("the store is not available")
)

// Bucket is a durable key-value store. A write that returns without error is
// on disk. Every write of a bucket, to whichever key, gets a revision higher
// than all before it, also across restarts. Keys consist of letters, digits,
// '-', '_', '=' and '.', and begin and end with none of '.'. All methods are
// safe for concurrent use and take at most ten seconds; but Watch, which runs
// until it is told to end.
type Bucket struct {
	name  string
	kv    jetstream.KeyValue
	marks *marks
	guard *guard
	// stalled ends when the store has stopped to take writes here because there is no
	// space at all; then comes another one, when it takes them again.
	stalled atomic.Pointer[stall]
	log     zerolog.Logger
	// closed is closed with the connection.
	closed <-chan struct{}
	// resync is resyncInterval; tests shorten it.
	resync time.Duration
}

// stall is a context that ends, with its cause, when a stall begins.
type stall struct {
	context.Context //nolint:containedctx // is one

	begin context.CancelCauseFunc
}

func newStall() *stall {
	ctx, begin := context.WithCancelCause(context.Background())
	return &stall{ctx, begin}
}

// Entry is the value of a key at one revision.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
}

// openBuckets opens the buckets and creates those that known does not name.
func (e *Engine) openBuckets(ctx context.Context, known *manifest) error {
	open := func(cfg jetstream.KeyValueConfig) (*Bucket, error) {
		ctx, cancel := context.WithTimeout(ctx, operationTimeout)
		defer cancel()
		cfg.Storage = jetstream.FileStorage
		cfg.Replicas = 1
		kv, err := e.js.KeyValue(ctx, cfg.Bucket)
		switch {
		case err == nil:
			kv, err = reconfigure(ctx, e.js, kv, cfg)
		case !errors.Is(err, jetstream.ErrBucketNotFound):
		case slices.Contains(known.Buckets, cfg.Bucket) && !e.neverUsed(cfg.Bucket):
			return nil, fmt.Errorf("bucket %s was here and cannot be recovered (see the log): restore the directory from a backup; nothing was changed", cfg.Bucket)
		default:
			if err = e.host.place(streamOf(cfg.Bucket)); err == nil {
				kv, err = e.js.CreateKeyValue(ctx, cfg)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", cfg.Bucket, err)
		}
		b := &Bucket{name: cfg.Bucket, kv: kv, marks: e.marks, guard: e.guard, log: e.log, closed: e.disconnected, resync: resyncInterval}
		b.stalled.Store(newStall())
		return b, nil
	}
	var err error
	e.registry, err = open(jetstream.KeyValueConfig{
		Bucket:       registryBucket,
		Description:  "buildings as desired",
		History:      5,
		MaxValueSize: MaxRegistryValue + valueOverhead,
		MaxBytes:     registryMaxBytes,
	})
	if err != nil {
		return err
	}
	e.fleet, err = open(jetstream.KeyValueConfig{
		Bucket:       fleetBucket,
		Description:  "who holds which building",
		History:      1,
		MaxValueSize: maxFleetValue + valueOverhead,
		MaxBytes:     fleetMaxBytes,
	})
	if err != nil {
		return err
	}
	e.tables, err = open(jetstream.KeyValueConfig{
		Bucket:       tablesBucket,
		Description:  "group address tables",
		History:      1,
		MaxValueSize: MaxTableValue + valueOverhead,
		MaxBytes:     tablesMaxBytes,
	})
	return err
}

// neverUsed reports that a bucket that is gone had nothing in it: earlier versions could
// lose one on a full disk. Only of the tables, which nothing else counts on.
func (e *Engine) neverUsed(bucket string) bool {
	return bucket == tablesBucket && e.marks.unused(bucket) && !exists(filepath.Join(e.dir, streamsDir, streamOf(bucket)))
}

// reconfigure brings an existing bucket to what this version wants of it. One
// that is so already is not touched.
func reconfigure(ctx context.Context, js jetstream.JetStream, kv jetstream.KeyValue, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, err
	}
	have := status.Config()
	if have.Description == cfg.Description && have.History == cfg.History &&
		have.MaxValueSize == cfg.MaxValueSize && have.MaxBytes == cfg.MaxBytes {
		return kv, nil
	}
	return js.UpdateKeyValue(ctx, cfg)
}

// Get returns the value of a key, or ErrNotFound.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	entry, err := b.kv.Get(opCtx, key)
	if err != nil {
		return Entry{}, b.failure(ctx, "read", key, err)
	}
	return Entry{Key: key, Value: entry.Value(), Revision: entry.Revision()}, nil
}

// Create stores the value of a key that has none, or fails with ErrExists.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write(ctx, "create", key, func(ctx context.Context) (uint64, error) {
		return b.kv.Create(ctx, key, value)
	})
}

// Put stores the value of a key, whatever it was.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write(ctx, "write", key, func(ctx context.Context) (uint64, error) {
		return b.kv.Put(ctx, key, value)
	})
}

// Update replaces the value of a key that is at the given revision, or fails
// with ErrConflict.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return b.write(ctx, "update", key, func(ctx context.Context) (uint64, error) {
		return b.kv.Update(ctx, key, value, revision)
	})
}

// Delete removes a key that is at the given revision together with its
// history, or fails with ErrConflict. Revision 0 removes it whatever it is.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := b.write(ctx, "delete", key, func(ctx context.Context) (uint64, error) {
		return 0, b.kv.Purge(ctx, key, jetstream.LastRevision(revision))
	})
	return err
}

func (b *Bucket) write(ctx context.Context, verb, key string, do func(context.Context) (uint64, error)) (uint64, error) {
	opCtx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	stalled := b.stalled.Load()
	defer context.AfterFunc(stalled, cancel)()
	revision, err := do(opCtx)
	if err != nil && ctx.Err() == nil && opCtx.Err() != nil {
		switch full := b.guard.refusal(); {
		case stalled.Err() != nil:
			err = fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(stalled))
		case full != nil:
			err = fmt.Errorf("%w (%v)", unavailable(ctx, err), full) //nolint:errorlint // it may be stored all the same
		}
	}
	if err != nil {
		return 0, b.failure(ctx, verb, key, err)
	}
	b.marks.raise(b.name, revision)
	return revision, nil
}

// stream is the server's name of the bucket.
func (b *Bucket) stream() string { return streamOf(b.name) }

func streamOf(bucket string) string { return "KV_" + bucket }

// failure turns the client library's error into one of ours. ctx is the
// caller's.
func (b *Bucket) failure(ctx context.Context, verb, key string, err error) error {
	wrap := func(cause error) error {
		return fmt.Errorf("%s %s in bucket %s: %w", verb, key, b.name, cause)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return wrap(ErrNotFound)
	// The library has one code for both; only the call tells them apart.
	case errors.Is(err, jetstream.ErrKeyExists) && verb == "create":
		return wrap(ErrExists)
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return wrap(ErrConflict)
	case errors.Is(err, jetstream.ErrInvalidKey):
		return wrap(err)
	}
	return wrap(unavailable(ctx, err))
}
