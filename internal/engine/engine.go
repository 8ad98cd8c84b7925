package engine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// Config says where the engine keeps its data.
type Config struct {
	// Dir is the data directory. It is made, with mode 0700, when it does not
	// exist; its parents too.
	Dir string
	// Log receives what the engine has to say. The zero value is silent.
	Log zerolog.Logger
}

// Engine is an open data directory. Its methods are safe for concurrent use.
type Engine struct {
	dir    string
	log    zerolog.Logger
	lock   *flock.Flock
	server *server.Server
	conn   *nats.Conn
	// disconnected is closed when the connection has been closed for good.
	disconnected chan struct{}

	registry *Bucket
	fleet    *Bucket
	tables   *Bucket

	closing  sync.Once
	closeErr error
}

// Open locks the data directory, starts the store over it, and creates the
// buckets that do not exist yet. It refuses a directory that another process
// holds, that it cannot write, or from which a bucket has vanished; a refusal
// changes nothing that was stored. Cancelling ctx gives up; ctx has no
// meaning once Open has returned.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	dir, err := prepareDirectory(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	e := &Engine{dir: dir, log: cfg.Log, lock: lock}
	if err := e.start(ctx); err != nil {
		// Close can only repeat that the start failed.
		_ = e.Close()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context) error {
	known, err := readManifest(e.dir)
	if err != nil {
		return err
	}
	if e.server, err = startServer(ctx, e.dir, e.log); err != nil {
		return err
	}
	if e.conn, e.disconnected, err = connect(e.server, e.log); err != nil {
		return err
	}
	if err := e.openBuckets(ctx, known); err != nil {
		return err
	}
	return writeManifest(e.dir, known)
}

// Registry returns the bucket of the buildings as desired.
func (e *Engine) Registry() *Bucket { return e.registry }

// Fleet returns the bucket of who holds which building. Its revisions serve
// as epochs: the bucket must never be removed and made anew.
func (e *Engine) Fleet() *Bucket { return e.fleet }

// Tables returns the bucket of the buildings' group address tables, whose values
// have up to MaxTableValue bytes.
func (e *Engine) Tables() *Bucket { return e.tables }

// Probe tells whether the store takes writes, by writing. Nothing else
// tells: a store whose disk is full still calls itself ready.
func (e *Engine) Probe(ctx context.Context) error {
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	_, err := e.fleet.Put(ctx, probeKey, []byte(now))
	return err
}

// Close ends the connection, stops the store, waits for both, and releases
// the data directory. It may be called more than once and from several
// goroutines; each call returns when all is done.
func (e *Engine) Close() error {
	e.closing.Do(func() { e.closeErr = e.close() })
	return e.closeErr
}

func (e *Engine) close() error {
	if e.conn != nil {
		// Drain lets callbacks finish and then closes, after drainTimeout at
		// the latest. It fails only on a connection that is closed already.
		if err := e.conn.Drain(); err != nil {
			e.conn.Close()
		}
		<-e.disconnected
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	if err := e.lock.Unlock(); err != nil {
		return fmt.Errorf("data directory %s: release the lock: %w", e.dir, err)
	}
	return nil
}
