package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/tunnel"
)

// Desired says which buildings there should be. *registry.Registry is one.
type Desired interface {
	// Watch calls fn for every building, then for every change, until ctx ends
	// or fn fails.
	Watch(ctx context.Context, fn func(registry.Change) error) error
}

// Ownership says which buildings this replica runs.
type Ownership interface {
	// Claim takes a building and returns the epoch of the site that may start
	// now, higher than every epoch of that building before.
	Claim(ctx context.Context, building string) (ownership.Claimed, error)
	// Release gives a building back after its site has ended in order, with all that
	// it saw in the journal.
	Release(ctx context.Context, building string) error
	// Found notes where a building's router is, for the next claim.
	Found(ctx context.Context, building string, router netip.AddrPort) error
}

// Tunnels opens tunnels. *tunnel.Exchange is what does so in earnest.
type Tunnels interface {
	Open(cfg tunnel.Config, dev tunnel.Device, log zerolog.Logger, onHandshake func()) (*tunnel.Tunnel, error)
}

// Config is what a Fleet is made of. Desired, Ownership, Tunnels and Hub are
// required.
type Config struct {
	Desired   Desired
	Ownership Ownership
	Tunnels   Tunnels
	Hub       *Hub
	// Journal keeps the telegrams. Run runs it. Nil keeps none.
	Journal *journal.Journal
	// Tables gives the buildings' group address tables. Nil means that no building
	// has one.
	Tables Tables
	// Resolver looks up the routers' names. Nil means net.DefaultResolver.
	Resolver tunnel.Resolver
	Log      zerolog.Logger
	// StartsPerSecond paces the start of sites. 0 means DefaultStartsPerSecond.
	StartsPerSecond float64
	// Random gives numbers in [0, 1) for jitter, to many goroutines at once. Nil
	// means the runtime's source.
	Random func() float64
}

// DefaultStartsPerSecond is how many sites start in a second at most: a router
// under load answers 20 handshakes a second and address (WireGuard paper §5.3),
// and many buildings may sit behind one.
const DefaultStartsPerSecond = 200

// lookupsAtOnce bounds the look-ups of routers' names: when an uplink fails, all
// buildings look up at once, and each look-up takes a socket.
const lookupsAtOnce = 64

const (
	// startBurst is how many sites may start at once.
	startBurst = 50
	// startsTogether is the least time from one group of starts to the next, when more
	// wait than may start. A building that comes up alone wakes the process for each of its
	// dozen steps; those of a group share that. At 200 a second a group has 50.
	startsTogether = 250 * time.Millisecond
)

// Fleet turns the buildings that are desired into running sites, and tells how
// each of them is.
type Fleet struct {
	cfg     Config
	board   *board
	limiter *rate.Limiter
	values  *journal.LastValues
	sent    sentCounts

	// Owned by Run's loop.
	desired    map[string]registry.Building
	twins      twins
	sites      map[string]*running
	starts     *startQueue
	nextStarts time.Time     // before it none of those that wait may start
	ended      chan *running // unbuffered: a site that ended waits until the loop has taken note
	wishes     chan wish     // unbuffered: whoever wishes waits for the loop
	over       chan struct{} // closed when Run returns
	wg         sync.WaitGroup

	lookups chan struct{}                      // a place for each look-up under way
	looking chan struct{}                      // a place for each diagnosis, ping and search under way
	run     func(context.Context, *site) error // claimAndRun; tests replace it

	mu     sync.RWMutex // guards what follows
	live   map[string]*site
	panics map[string]uint64 // contained, by building
}

// running is a site and what the loop knows of it.
type running struct {
	site     *site
	stop     context.CancelFunc
	stopping bool
	gone     chan struct{} // closed when the site has ended
}

// New makes a fleet. It does nothing until Run.
func New(cfg Config) *Fleet {
	if cfg.StartsPerSecond <= 0 {
		cfg.StartsPerSecond = DefaultStartsPerSecond
	}
	if cfg.Tables == nil {
		cfg.Tables = noTables{}
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Journal == nil {
		cfg.Journal = journal.New(context.Background(), journal.Config{Log: cfg.Log})
	}
	desired := make(map[string]registry.Building)
	f := &Fleet{
		cfg:     cfg,
		values:  journal.NewLastValues(cfg.Journal),
		board:   newBoard(),
		limiter: rate.NewLimiter(rate.Limit(cfg.StartsPerSecond), max(startBurst, int(cfg.StartsPerSecond*startsTogether.Seconds()))),
		desired: desired,
		twins:   twins{desired: desired, byPeer: make(map[tunnel.PublicKey][]string)},
		sites:   make(map[string]*running),
		starts:  newStartQueue(),
		ended:   make(chan *running),
		wishes:  make(chan wish),
		over:    make(chan struct{}),
		live:    make(map[string]*site),
		panics:  make(map[string]uint64),
		lookups: make(chan struct{}, lookupsAtOnce),   // full: further look-ups wait for a place
		looking: make(chan struct{}, diagnosesAtOnce), // full: further ones are refused
	}
	f.run = f.claimAndRun
	return f
}

// View returns a building's configuration and status; false if there is no such
// building. A building that was created a moment ago may not be there yet.
func (f *Fleet) View(id string) (View, bool) {
	v, ok := f.board.get(id)
	if !ok {
		return View{}, false
	}
	if s := f.site(id); s != nil {
		s.live(&v.Status)
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	v.Status.Counters.Panics = f.panics[id]
	return v, true
}

// Watch returns a snapshot of all buildings, and then every change. After a moment of
// an earlier watch it goes on from there, without the snapshot, unless that was in
// another process or buildings were deleted since that are forgotten. Counters and last
// times are as of the change. Close it when done.
func (f *Fleet) Watch(after Moment) *Watcher { return f.board.watch(after) }

// hearWithin is how long a change of the registry may take to reach the fleet; mostly
// it takes a millisecond.
const hearWithin = 5 * time.Second

// Hear waits until the fleet has taken note of all that the registry stored up to a
// revision, so that a watch or a view has it. It gives up after five seconds: the
// registry's watch can stall for longer, and leaves out what was deleted at once, for
// which nobody is to wait again.
func (f *Fleet) Hear(ctx context.Context, revision uint64) {
	within, cancel := context.WithTimeout(ctx, hearWithin)
	defer cancel()
	if f.board.awaitHeard(within, revision) != nil && ctx.Err() == nil {
		f.board.hear(revision)
	}
}

// States counts the buildings in each state; those without buildings are left out.
func (f *Fleet) States() map[State]int { return f.board.states() }

func (f *Fleet) site(id string) *site {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.live[id]
}

// Run keeps the sites in step with what is desired until ctx ends; then it stops
// all sites, waits for them, and returns nil. It fails only if what is desired
// cannot be known.
func (f *Fleet) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(f.over)
	changes := make(chan registry.Change) // unbuffered: the registry's watch buffers
	var watchErr error
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(changes)
		watchErr = f.cfg.Desired.Watch(ctx, func(c registry.Change) error {
			select {
			case changes <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	// The journal outlives the sites, which end their epochs in it.
	journalCtx, endJournal := context.WithCancel(context.WithoutCancel(ctx))
	defer endJournal()
	var journalErr error
	var writing sync.WaitGroup
	writing.Go(func() { journalErr = f.cfg.Journal.Run(journalCtx) })

	f.loop(ctx, changes)
	stopped := ctx.Err() != nil
	cancel()
	f.stopAll()
	f.values.Close()
	endJournal()
	writing.Wait()
	watching.Wait()
	f.board.close()
	if journalErr != nil {
		return fmt.Errorf("journal: %w", journalErr)
	}
	if stopped {
		return nil
	}
	if watchErr == nil {
		watchErr = errors.New("the watch ended by itself")
	}
	return fmt.Errorf("registry of buildings: %w", watchErr)
}

// loop returns when ctx ends or changes is closed.
func (f *Fleet) loop(ctx context.Context, changes <-chan registry.Change) {
	turn := time.NewTimer(0)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c, ok := <-changes:
			if !ok {
				return
			}
			f.desire(c)
			f.board.hear(c.Revision)
		case r := <-f.ended:
			f.cleanUp(r)
		case w := <-f.wishes:
			w.done <- f.reconnect(w)
		case <-turn.C:
		}
		if wait := f.startNext(ctx); wait > 0 {
			turn.Reset(wait)
		}
	}
}

// desire takes a change of what is desired.
func (f *Fleet) desire(c registry.Change) {
	before := f.desired[c.ID]
	switch c.Type {
	case registry.Stored:
		f.twins.changed(c.ID, before, c.Building)
		f.desired[c.ID] = c.Building
		f.board.desire(c.Building)
	case registry.Deleted:
		f.twins.changed(c.ID, before, registry.Building{})
		delete(f.desired, c.ID)
		f.values.Forget(c.ID)
		f.mu.Lock()
		delete(f.panics, c.ID)
		f.mu.Unlock()
		if f.sites[c.ID] == nil {
			f.board.remove(c.ID)
		}
	case registry.Unreadable:
		// What is known of it goes on; there is nothing else to follow.
		f.cfg.Log.Error().Err(c.Err).Str("building", c.ID).Msg("building not read; its last known configuration goes on")
		return
	case registry.SnapshotComplete:
		f.board.fill()
		return
	}
	f.converge(c.ID)
	f.convergeTwins(before)
	f.convergeTwins(f.desired[c.ID])
}

// convergeTwins is called after a change of b's: another may run now, or not any more.
func (f *Fleet) convergeTwins(b registry.Building) {
	for _, id := range f.twins.of(b) {
		f.converge(id)
	}
}

// converge compares one building as desired with its site, and does the next
// thing that brings them together. It is called after every change of either.
func (f *Fleet) converge(id string) {
	want, wanted := f.desired[id]
	have := f.sites[id]
	elder := ""
	if wanted && want.Enabled {
		elder = f.twins.elder(want)
	}
	run := wanted && want.Enabled && elder == ""
	switch {
	case have == nil && elder != "":
		f.board.report(id, keysInUse(want, elder))
	case have == nil && run && f.twinRuns(want):
		f.board.report(id, waiting(ReasonStopping)) // and is called again when that has ended
	case have == nil && run:
		f.board.report(id, waiting(ReasonStartPaced))
		f.starts.add(id, f.waitedFor(id))
	case have == nil && wanted:
		f.board.report(id, f.disabled(want))
	case have == nil || have.stopping:
		// Nothing runs, or converge is called again when the site has ended.
	case !run || needsRestart(have.site.building, want):
		have.stopping = true
		have.stop()
	default:
		have.site.desired.Store(&want)
		signal(have.site.changed)
	}
}

// twinRuns reports whether another building still uses b's keys.
func (f *Fleet) twinRuns(b registry.Building) bool {
	return slices.ContainsFunc(f.twins.of(b), func(id string) bool { return f.sites[id] != nil })
}

// disabled is the status of a building that does not run, since when it does not.
func (f *Fleet) disabled(b registry.Building) Status {
	since := time.Now()
	if v, ok := f.board.get(b.ID); ok && v.Status.State == StateDisabled {
		since = v.Status.Since
	}
	return Status{State: StateDisabled, Reason: ReasonDisabled, Since: since, ObservedGeneration: b.Generation}
}

func waiting(reason string) Status {
	return Status{State: StateWaiting, Reason: reason, Since: time.Now()}
}

// waitedFor reports whether a subscriber waits for what the building says.
func (f *Fleet) waitedFor(id string) bool { return f.cfg.Hub.WaitedFor(id, f.desired[id].Labels) }

// startNext starts as many waiting sites as pacing allows, those that a subscriber waits
// for first, and returns how long
// to wait for the next; 0 if none waits.
func (f *Fleet) startNext(ctx context.Context) time.Duration {
	f.starts.sort(f.cfg.Hub.subscribers.Load(), f.waitedFor)
	for {
		id, waits := f.starts.first()
		if !waits {
			return 0
		}
		want, wanted := f.desired[id]
		if !wanted || !want.Enabled || f.sites[id] != nil || f.twins.elder(want) != "" || f.twinRuns(want) {
			f.starts.drop()
			continue
		}
		now := time.Now()
		if now.Before(f.nextStarts) {
			return f.nextStarts.Sub(now)
		}
		reservation := f.limiter.ReserveN(now, 1)
		if wait := reservation.DelayFrom(now); wait > 0 {
			reservation.CancelAt(now)
			wait = max(wait, startsTogether)
			f.nextStarts = now.Add(wait)
			return wait
		}
		f.starts.drop()
		f.start(ctx, want)
	}
}

func (f *Fleet) start(ctx context.Context, building registry.Building) {
	siteCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // stopAll ends it, after what it has to say
	s := &site{
		building:   building,
		tunnels:    f.cfg.Tunnels,
		resolver:   f.cfg.Resolver,
		lookups:    f.lookups,
		rnd:        f.cfg.Random,
		tables:     f.cfg.Tables,
		log:        f.cfg.Log.With().Str("building", building.ID).Logger(),
		publish:    f.cfg.Hub.Publish,
		waitedFor:  f.cfg.Hub.WaitedFor,
		ourKey:     sync.OnceValue(building.Tunnel.PrivateKey.Public),
		values:     f.values,
		found:      f.cfg.Ownership.Found,
		report:     func(status Status) { f.board.report(building.ID, status) },
		opened:     make(chan struct{}),
		reachable:  make(chan struct{}),
		handshaken: make(chan struct{}, 1),
		changed:    make(chan struct{}, 1),
		moves:      make(chan *knxbridge.State, maxMoves),
		sessions:   sessions{renew: make(chan struct{}, 1)},
	}
	s.desired.Store(&building)
	r := &running{site: s, stop: stop, gone: make(chan struct{})}
	f.sites[building.ID] = r
	f.wg.Go(func() {
		defer stop()
		f.runSite(siteCtx, s)
		close(r.gone)
		f.ended <- r
	})
}

// runSite claims the building, runs its site and releases it. A site that fails
// tells so and keeps its place until the pause before the next try is over.
func (f *Fleet) runSite(ctx context.Context, s *site) {
	err := contain(func() error { return f.run(ctx, s) })
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	if panicked, ok := errors.AsType[*panicError](err); ok {
		s.log.Error().Str("stack", string(panicked.stack)).Msg("panic in the building's site")
		f.mu.Lock()
		f.panics[s.building.ID]++
		f.mu.Unlock()
	}
	s.log.Error().Err(err).Msg("the building's site failed and is built anew")
	now := time.Now()
	f.board.report(s.building.ID, Status{
		State: StateWaiting, Reason: ReasonSiteFailed, Since: now, RetryAt: now.Add(restartPause), Epoch: s.epoch,
		Message: fmt.Sprintf("the building's site failed (%v); it is built anew", err),
	})
	pause := time.NewTimer(restartPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

func (f *Fleet) claimAndRun(ctx context.Context, s *site) error {
	id := s.building.ID
	claimed, err := f.cfg.Ownership.Claim(ctx, id)
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	s.epoch, s.foundAt = claimed.Epoch, claimed.Router
	s.writer = f.cfg.Journal.Open(id, claimed.Epoch, claimed.Previous, claimed.Unclean)
	f.mu.Lock()
	f.live[id] = s
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.live, id)
		f.mu.Unlock()
		releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := f.release(releaseCtx, s); err != nil {
			s.log.Warn().Err(err).Msg("the building's epoch did not end in order; its next one tells what may be missing")
		}
	}()
	return s.Run(ctx)
}

// release ends the site's epoch in the journal and then gives the building back.
func (f *Fleet) release(ctx context.Context, s *site) error {
	if err := s.writer.End(ctx); err != nil {
		return err
	}
	return f.cfg.Ownership.Release(ctx, s.building.ID)
}

// Our own tuning of failures.
const (
	// releaseTimeout bounds giving a building back.
	releaseTimeout = 2 * time.Second
	// restartPause is how long a site that failed waits before it is built anew.
	restartPause = 5 * time.Second
)

// cleanUp takes note of a site that has ended.
func (f *Fleet) cleanUp(r *running) {
	id := r.site.building.ID
	delete(f.sites, id)
	if _, wanted := f.desired[id]; !wanted {
		f.board.remove(id)
	}
	f.converge(id)
	f.convergeTwins(r.site.building)
}

// stopAll stops every site, takes note of each, and returns when none is left.
func (f *Fleet) stopAll() {
	for _, r := range f.sites {
		r.stop()
	}
	done := make(chan struct{})
	go func() {
		f.wg.Wait()
		close(done)
	}()
	for {
		select {
		case <-f.ended:
		case <-done:
			return
		}
	}
}

// panicError is a panic that was contained.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("internal error: %v", e.value) }

// contain runs f and turns a panic into an error, so that one building's fault
// stays its own.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return f()
}
