package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Config says where the engine keeps its data.
type Config struct {
	// Dir is the data directory. It is made, with mode 0700, when it does not
	// exist; its parents too.
	Dir string
	// Keys seals the key that the store is encrypted with. Nil leaves a new store
	// in clear; an encrypted one does not open without.
	Keys Keys
	// NoJournal keeps no journal: Engine.Journal returns nil. One that exists is
	// left to age.
	NoJournal bool
	// Journal bounds the journal. What is zero stays as it is, or gets its default
	// when the journal is made.
	Journal Limits
	// AcceptLoss opens a store from which something is missing and goes on with
	// what could be read. Without it such a store is refused until it was opened
	// with it once.
	AcceptLoss bool
	// Log receives what the engine has to say. The zero value is silent.
	Log zerolog.Logger

	// space tells the free space; tests replace it.
	space func(dir string) (Space, error)
	// symlink makes a link; tests replace it.
	symlink func(to, link string) error
}

// Engine is an open data directory. Its methods are safe for concurrent use.
type Engine struct {
	dir  string
	log  zerolog.Logger
	lock *flock.Flock
	host *host
	conn *nats.Conn
	js   jetstream.JetStream
	// disconnected is closed when the connection has been closed for good.
	disconnected chan struct{}
	marks        *marks
	guard        *guard
	keeper       *keeper

	identity string
	// epoch is the last revision of the fleet bucket when it was opened.
	epoch uint64

	registry *Bucket
	fleet    *Bucket
	tables   *Bucket
	journal  *Journal // nil without one

	closing  sync.Once
	closeErr error
}

// Open locks the data directory, starts the store over it, and creates the
// buckets and the journal that do not exist yet. It refuses a directory that
// another process holds, that it cannot write, whose store its keys do not open,
// or from which something is missing; a refusal changes nothing that was stored.
// Cancelling ctx gives up; ctx has no meaning once Open has returned.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	dir, err := prepareDirectory(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	return openLocked(ctx, cfg, dir, lock)
}

// openLocked is Open from the lock on. It gives the lock back when it fails.
func openLocked(ctx context.Context, cfg Config, dir string, lock *flock.Flock) (*Engine, error) {
	if cfg.space == nil {
		cfg.space = freeSpace
	}
	if cfg.symlink == nil {
		cfg.symlink = os.Symlink
	}
	e := &Engine{dir: dir, log: cfg.Log, lock: lock}
	if err := e.start(ctx, cfg); err != nil {
		if e.host != nil && !errors.Is(err, ErrNoSpace) && ctx.Err() == nil {
			if full := e.host.noRoom(); full != nil {
				err = fmt.Errorf("%w; %w", err, full)
			}
		}
		// Close can only repeat that the start failed.
		_ = e.Close()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context, cfg Config) error {
	known, err := readManifest(e.dir)
	if err != nil {
		return err
	}
	if err := checkDamage(e.dir, cfg.AcceptLoss); err != nil {
		return err
	}
	key, err := openStoreKey(e.dir, known, cfg.Keys)
	if err != nil {
		return err
	}
	if key != "" {
		if err := encryptStore(ctx, e.dir, key, cfg.symlink, e.log); err != nil {
			return err
		}
	}
	if e.marks, err = openMarks(e.dir); err != nil {
		return err
	}
	e.guard = &guard{dir: e.dir, space: cfg.space, log: e.log}
	e.guard.look()
	e.host = &host{dir: e.dir, key: key, symlink: cfg.symlink, log: e.log}
	if err := e.host.start(ctx); err != nil {
		return err
	}
	if e.conn, e.disconnected, err = connect(e.host, e.log); err != nil {
		return err
	}
	if e.js, err = jetstream.New(e.conn); err != nil {
		return err
	}
	if err := e.openBuckets(ctx, known); err != nil {
		return err
	}
	if err := e.verify(ctx, cfg.AcceptLoss); err != nil {
		return err
	}
	claims, err := e.streamState(ctx, e.fleet.stream())
	if err != nil {
		return err
	}
	e.epoch = claims.LastSeq
	if !cfg.NoJournal {
		if e.journal, err = e.openJournal(ctx, cfg.Journal); err != nil {
			return err
		}
	}
	if err := e.finishRestore(ctx); err != nil {
		return err
	}
	e.keeper = startKeeper(e)
	if err := writeManifest(e.dir, known, key != ""); err != nil {
		return err
	}
	e.identity = known.Identity
	return forgetDamage(e.dir)
}

// Registry returns the bucket of the buildings as desired.
func (e *Engine) Registry() *Bucket { return e.registry }

// Fleet returns the bucket of who holds which building. Its revisions serve
// as epochs: the bucket must never be removed and made anew.
func (e *Engine) Fleet() *Bucket { return e.fleet }

// Tables returns the bucket of the buildings' group address tables, whose values
// have up to MaxTableValue bytes.
func (e *Engine) Tables() *Bucket { return e.tables }

// Journal returns the log of records by building, or nil with Config.NoJournal.
// A nil journal takes nothing and has nothing.
func (e *Engine) Journal() *Journal { return e.journal }

// Identity tells this store from every other one. It stays as long as the store.
func (e *Engine) Identity() string { return e.identity }

// LastEpoch is a revision of the Fleet bucket that no process before has exceeded;
// 0 for a new store.
func (e *Engine) LastEpoch() uint64 { return e.epoch }

// buckets are all of them.
func (e *Engine) buckets() []*Bucket { return []*Bucket{e.registry, e.fleet, e.tables} }

// Probe tells whether the store takes writes, by writing. Nothing else
// tells: a store whose disk is full still calls itself ready. It fails with
// ErrNoSpace while so little space is left that the journal takes nothing,
// although the rest may still be written.
func (e *Engine) Probe(ctx context.Context) error {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	if _, err := e.fleet.Put(ctx, probeKey, []byte(now)); err != nil {
		return err
	}
	return e.guard.refusal()
}

// Close ends the connection, stops the store, waits for both, and releases
// the data directory. Records that were appended are stored first, within
// bounds. It may be called more than once and from several goroutines; each
// call returns when all is done.
func (e *Engine) Close() error {
	e.closing.Do(func() { e.closeErr = e.close() })
	return e.closeErr
}

func (e *Engine) close() error {
	e.keeper.close()
	e.journal.close()
	if e.conn != nil {
		// Drain lets callbacks finish and then closes, after drainTimeout at
		// the latest. It fails only on a connection that is closed already.
		if err := e.conn.Drain(); err != nil {
			e.conn.Close()
		}
		<-e.disconnected
	}
	var journalErr error
	if e.host != nil {
		e.host.stop()
		journalErr = e.journal.ended()
	}
	if e.marks != nil {
		e.marks.close()
	}
	if err := errors.Join(journalErr, e.lock.Unlock()); err != nil {
		return fmt.Errorf("data directory %s: close: %w", e.dir, err)
	}
	return nil
}
