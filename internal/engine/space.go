package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// ErrNoSpace: so little space is left on the disk that the journal takes nothing,
// to leave what there is to the registry; or that a start fails.
var ErrNoSpace = errors.New("the disk is nearly full")

const (
	// The journal takes nothing while less than this share of the disk, or this
	// much, is free, whichever is smaller.
	reserveShare = 20 // 5 %
	reserveBytes = 256 << 20
	// lookInterval is how often the keeper looks at the space and the store: a
	// fast disk fills by some 100 MB within it.
	lookInterval = time.Second
	// After a restart of the store did not help, the next is tried after this
	// pause, and then twice that, up to the longest.
	firstRestartPause   = 5 * time.Second
	longestRestartPause = time.Minute
	restartTimeout      = time.Minute
)

// Space is the space of the disk that a data directory is on, in bytes.
type Space struct {
	Free  uint64 // for this user
	Total uint64
}

// reserve is what the journal leaves free.
func (s Space) reserve() uint64 { return min(s.Total/reserveShare, reserveBytes) }

// guard knows whether there is space enough for the journal.
type guard struct {
	dir   string
	space func(dir string) (Space, error)
	log   zerolog.Logger
	// full is why nothing is taken; nil while there is space.
	full atomic.Pointer[error]
}

// look measures the space. What is full stays so until there is a quarter more
// than the reserve, so that it does not change with every file.
func (g *guard) look() {
	space, err := g.space(g.dir)
	if err != nil {
		g.log.Warn().Err(err).Msg("free space unknown")
		return
	}
	reserve := space.reserve()
	was := g.full.Load() != nil
	switch {
	case !was && space.Free < reserve:
		err := fmt.Errorf("%w: %d MiB of %d MiB are free on the disk of %s, and %d MiB are kept for the registry: make room, or lower the journal's limits",
			ErrNoSpace, space.Free>>20, space.Total>>20, g.dir, reserve>>20)
		g.full.Store(&err)
		g.log.Error().Err(err).Msg("the journal takes nothing until there is space; telegrams go on live, and are missing from the history")
	case was && space.Free >= reserve+reserve/4:
		g.full.Store(nil)
		g.log.Info().Uint64("freeMiB", space.Free>>20).Msg("there is space again: the journal goes on")
	}
}

// refusal is why the journal takes nothing, or nil.
func (g *guard) refusal() error {
	if err := g.full.Load(); err != nil {
		return *err
	}
	return nil
}

// keeper looks after an open store: it measures the space, and starts the store
// again after a write error, which the server never forgets by itself.
type keeper struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func startKeeper(e *Engine) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		e.keep(ctx)
	}()
	return k
}

// close may be called on nil.
func (k *keeper) close() {
	if k != nil {
		k.cancel()
		<-k.done
	}
}

func (e *Engine) keep(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var (
		told  bool
		pause = firstRestartPause
		next  time.Time // when the next restart may be tried
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.guard.look()
		broken, cause := e.host.broken()
		if cause == nil {
			told = false
			e.takeWrites()
			continue
		}
		full := writeProbe(e.dir)
		if noSpace(full) {
			e.holdWrites(broken, fmt.Errorf("the disk of %s is full: make room", e.dir))
		}
		if !told {
			told = true
			e.log.Error().Err(cause).Msg("the store cannot write; it is started again when the disk can be written")
		}
		if time.Now().Before(next) || full != nil {
			continue
		}
		if err := e.restart(ctx); err != nil {
			e.log.Error().Err(err).Dur("again", pause).Msg("the store does not start")
		} else {
			e.takeWrites()
			e.log.Info().Msg("the store was started again")
		}
		// A store that breaks again at once must not be started all the time.
		if time.Since(next) > longestRestartPause {
			pause = firstRestartPause
		}
		next = time.Now().Add(pause)
		pause = min(2*pause, longestRestartPause)
	}
}

// holdWrites fails all writes to broken streams until takeWrites, at once: they get no
// answer. Without names all streams are broken.
func (e *Engine) holdWrites(broken []string, cause error) {
	for _, b := range e.buckets() {
		if len(broken) == 0 || slices.Contains(broken, b.stream()) {
			b.stalled.Load().begin(cause)
		}
	}
}

func (e *Engine) takeWrites() {
	for _, b := range e.buckets() {
		if b.stalled.Load().Err() != nil {
			b.stalled.Store(newStall())
		}
	}
}

// restart puts a new server in the place of one that can no longer write. The
// connection follows by itself.
func (e *Engine) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	e.host.stop()
	stopped := time.Now()
	if err := e.host.start(ctx); err != nil {
		return err
	}
	for !e.conn.IsConnected() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectPause):
		}
	}
	err := e.verify(ctx, false)
	if err == nil && e.journal != nil {
		err = e.journal.restarted(ctx, stopped)
	}
	if err != nil {
		e.host.stop()
	}
	return err
}

// noSpace reports whether an error says that the disk, or this user's share of it, is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// probeSize is what writeProbe writes: more than the server keeps for itself on
// a full disk.
const probeSize = 64 << 10

// writeProbe tells whether the directory takes files, by writing one.
func writeProbe(dir string) error {
	f, err := os.CreateTemp(dir, "probe.*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	if err != nil {
		return fmt.Errorf("write to %s: %w", filepath.Dir(f.Name()), err)
	}
	return nil
}
