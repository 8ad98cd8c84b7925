package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/netstack"
	"github.com/knxfleet/knxfleet/tunnel"
)

// Our own tuning of a site's life.
const (
	// disconnectPatience bounds the wait for the interface's answer to our
	// DISCONNECT, so that a stop ends within the 10 s that the process has in all.
	disconnectPatience = 5 * time.Second
	// lookInterval is how often a building that is not ONLINE is looked at; what
	// happens in between arrives as a signal.
	lookInterval = 2 * time.Second
	// heartbeatsTogether gathers the heartbeats of all buildings: waking the process is
	// most of what one costs. 10,000 buildings have 125 of them at once.
	heartbeatsTogether = 250 * time.Millisecond
	// localPort is the UDP port of our end of the KNX session. The stack is this
	// building's alone, so the port is always free, and keeping it lets an
	// interface recognise a client that comes back.
	localPort = registry.DefaultPort
)

// site is a building's running parts: the WireGuard tunnel, its TCP/IP stack
// and the KNX session inside. It alone puts the three together, and it is the
// one writer of the building's state while it runs.
type site struct {
	building registry.Building
	epoch    uint64
	writer   *journal.Writer
	tunnels  Tunnels
	resolver tunnel.Resolver
	rnd      func() float64
	log      zerolog.Logger
	tables   Tables
	publish  func(*Telegram)
	// waitedFor reports whether a subscriber's filter selects a building.
	waitedFor func(id string, labels map[string]string) bool
	values    *journal.LastValues
	report    func(Status)
	found     func(ctx context.Context, building string, router netip.AddrPort) error
	lookups   chan struct{} // a place in it for each look-up under way in the fleet
	// ourKey is the public key of our side: a curve operation, for messages that most
	// buildings never have.
	ourKey func() tunnel.PublicKey
	// desired is the building as it is desired now. What differs from building needs
	// no new site (see needsRestart).
	desired atomic.Pointer[registry.Building]

	// Made by open, before opened is closed.
	stack  *netstack.Stack
	tunnel *tunnel.Tunnel
	opened chan struct{}
	// reachable is closed by the loop once it is known where the router is.
	reachable chan struct{}

	sessions sessions
	reads    reads
	monitor  monitor
	starts   startReads

	// Owned by the site's loop.
	applied *registry.Building              // what of desired is in effect
	status  Status                          // as reported last
	foundAt netip.AddrPort                  // where the router was found, as noted; invalid: it is not
	noted   time.Time                       // when that was noted
	session atomic.Pointer[knxbridge.State] // the move of the session that was told last; read by others

	// Written by the session's loop, read by others.
	number         uint64       // of the last telegram in this epoch; the session's loop alone
	encoder        encoder      // of the session's loop too
	lastTelegramAt atomic.Int64 // Unix nanoseconds; 0 is never
	handshakes     atomic.Uint64
	handshaken     chan struct{} // WireGuard agreed on keys; capacity 1: one pending signal says it all
	changed        chan struct{} // desired is another one; capacity 1: one pending signal says it all
	// moves are the session's states that were not told yet: a session that ends and is
	// there again a moment later is told twice. Full: the oldest is left out.
	moves chan *knxbridge.State
}

// lookup is the result of one name resolution.
type lookup struct {
	endpoint   tunnel.Endpoint
	candidates []netip.AddrPort
	err        error
}

// Run opens the tunnel, the stack and the session and keeps them until ctx
// ends; then it disconnects the session, takes the tunnel down and returns nil.
// An error means that the site could not be put together, or that a part of it
// failed; the fleet then builds it anew.
func (s *site) Run(ctx context.Context) error {
	tableLoaded := s.loadTable(ctx)
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	defer s.reads.close()

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	s.monitor.open(ctx)
	defer s.monitor.close()

	ended := make(chan error, 1)  // the session's end: one writer, one value
	broken := make(chan error, 1) // the first panic beside it; more say nothing new
	beside := func(f func()) {
		wg.Go(func() {
			err := contain(func() error { f(); return nil })
			if err == nil {
				return
			}
			select {
			case broken <- err:
			default:
			}
		})
	}
	if !tableLoaded {
		beside(func() { s.keepLoadingTable(ctx) })
	}
	connect := func() { s.connect(ctx, &wg, ended) }
	connect()
	return s.loop(ctx, connect, ended, broken, beside)
}

func (s *site) open() error {
	config := s.building.Tunnel
	stack, err := netstack.New(netstack.Config{Addresses: config.Addresses, MTU: config.MTU})
	if err != nil {
		return fmt.Errorf("network stack: %w", err)
	}
	t, err := s.tunnels.Open(config, stack, s.log, func() {
		s.handshakes.Add(1)
		signal(s.handshaken)
	})
	if err != nil {
		return fmt.Errorf("tunnel: %w", errors.Join(err, stack.Close()))
	}
	t.SetLimits(tunnelLimits(s.building.Limits))
	t.Prefer(s.waitedFor(s.building.ID, s.building.Labels))
	s.stack, s.tunnel, s.applied = stack, t, &s.building
	return nil
}

func (s *site) close() {
	if err := s.tunnel.Close(); err != nil {
		s.log.Warn().Err(err).Msg("closing the tunnel")
	}
	if err := s.stack.Close(); err != nil {
		s.log.Warn().Err(err).Msg("closing the network stack")
	}
}

// loop follows handshakes, the session and the router's name, and reports the
// building's state.
func (s *site) loop(ctx context.Context, connect func(), ended, broken <-chan error, beside func(func())) error {
	endpoints := newEndpoints(s.applied.Tunnel.Endpoint, s.rnd)
	ladder := newLadder(time.Now(), s.rnd)
	if s.foundAt.IsValid() {
		endpoints.handshaken(s.foundAt)
		s.callAgain()
	}
	found := make(chan lookup, 1) // one look-up at a time, so it never blocks
	looking, reachable := false, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil || !s.sessions.renewing {
				return sessionEnd(ctx, err)
			}
			connect()
		case err := <-broken:
			return err
		case <-ctx.Done():
			// What is assessed from here on would only tell how we leave.
			s.tell(Status{State: StateWaiting, Reason: ReasonStopping, Epoch: s.epoch, ObservedGeneration: s.status.ObservedGeneration})
			return <-ended
		case <-s.handshaken:
			endpoints.handshaken(s.tunnel.Endpoint())
			ladder.handshaken(time.Now())
			s.sessions.bridge().Kick()
			if router, ok := s.moveNoted(time.Now()); ok {
				beside(func() { s.note(ctx, router) })
			}
		case <-s.sessions.renew:
			s.renewSession()
		case <-s.changed:
		case move := <-s.moves:
			s.session.Store(move)
		case l := <-found:
			looking = false
			s.follow(endpoints, l)
		case <-timer.C:
		}
		if err := s.reconfigure(endpoints); err != nil {
			return err
		}
		if !reachable && s.tunnel.Endpoint().IsValid() {
			reachable = true
			close(s.reachable)
		}
		now := time.Now()
		s.tell(s.assess(now, endpoints.err, s.answering(now)))
		s.followStart(ctx, beside)
		if err := s.climb(ladder, now); err != nil {
			return err
		}
		if !looking && endpoints.due(now, !s.stale(now)) {
			looking = true
			endpoint := endpoints.endpoint
			beside(func() { found <- s.lookup(ctx, endpoint) })
		}
		if s.status.State == StateOnline && !endpoints.fresh {
			timer.Stop()
		} else {
			s.tunnel.Prefer(s.waitedFor(s.building.ID, s.desired.Load().Labels))
			timer.Reset(lookInterval)
		}
	}
}

// lookup resolves the router's name, when one of the fleet's places is free.
func (s *site) lookup(ctx context.Context, endpoint tunnel.Endpoint) lookup {
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	case <-ctx.Done():
		return lookup{endpoint: endpoint, err: ctx.Err()}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	candidates, err := tunnel.Resolve(ctx, s.resolver, endpoint)
	return lookup{endpoint: endpoint, candidates: candidates, err: err}
}

// follow calls the router where a look-up found it, unless it has answered
// meanwhile. That is done also when the address is the one called so far:
// WireGuard gives up after 90 s without an answer (REKEY_ATTEMPT_TIME, paper
// §6.1), and this makes it try again.
func (s *site) follow(endpoints *endpoints, found lookup) {
	if found.endpoint != endpoints.endpoint {
		return // of a name that counts no more
	}
	now := time.Now()
	inUse, fresh := s.tunnel.Endpoint(), endpoints.fresh
	call := endpoints.resolved(now, found.candidates, found.err)
	if len(call) == 0 || !s.stale(now) && (!fresh || found.err != nil) {
		return
	}
	switch err := s.tunnel.Race(call); {
	case errors.Is(err, tunnel.ErrNoSocket):
		endpoints.err = err
		return
	case err != nil:
		s.log.Warn().Err(err).Stringer("endpoint", call[0]).Msg("endpoint not taken over")
		return
	}
	if !slices.Contains(call, inUse) {
		s.log.Info().Stringer("endpoint", s.tunnel.Endpoint()).Msg("calling the router")
		s.sessions.bridge().Kick()
	}
}

// callAgain calls a router that calls us where it was found last: it does not know
// that we started anew, and its keys last for two minutes. One with an endpoint is
// called there, and where it was found, when its endpoint was looked up.
func (s *site) callAgain() {
	if !s.applied.Tunnel.Endpoint.IsZero() {
		return
	}
	if err := s.tunnel.SetEndpoint(s.foundAt); err != nil {
		s.log.Debug().Err(err).Msg("calling the router where it was found last") // it calls us
	}
}

// noteEvery bounds how often it is noted where a router is, for one behind a NAT
// that gives it another port all the time.
const noteEvery = time.Minute

// moveNoted reports whether the router has answered from where it was not noted to
// be. It is where the configuration says: nothing has to be noted.
func (s *site) moveNoted(now time.Time) (router netip.AddrPort, ok bool) {
	router = s.tunnel.Endpoint()
	fixed, _ := s.applied.Tunnel.Endpoint.AddrPort()
	if router == s.foundAt || router == fixed || now.Sub(s.noted) < noteEvery {
		return router, false
	}
	s.foundAt, s.noted = router, now
	return router, true
}

// noteTimeout bounds noting where a router is.
const noteTimeout = 5 * time.Second

func (s *site) note(ctx context.Context, router netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	if err := s.found(ctx, s.building.ID, router); err != nil && ctx.Err() == nil {
		s.log.Warn().Err(err).Msg("after a restart the router has to call, or to be looked up")
	}
}

// climb takes the steps of the recovery ladder that are due.
func (s *site) climb(ladder *ladder, now time.Time) error {
	if ladder.renew(now, s.session.Load()) {
		if err := s.tunnel.Renew(); err != nil {
			s.log.Debug().Err(err).Msg("asking the router for new keys") // WireGuard asks again
		}
	}
	if s.answering(now) || !ladder.rebuild(now) {
		return nil
	}
	s.log.Info().Msg("no handshake for long; the tunnel begins anew")
	if err := s.tunnel.Restart(); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	return nil
}

// Telegram implements [knxbridge.Handler]: it numbers the telegram and hands it to
// the journal, and, with what the building's table knows of it, to the fan-out. It
// is called by the session's loop and does not wait.
func (s *site) Telegram(t knxbridge.Telegram) {
	if !t.Own {
		s.lastTelegramAt.Store(t.At.UnixNano())
	}
	s.number++
	kept := received(journal.Position{Epoch: s.epoch, Number: s.number}, &t)
	kept.Initial = s.starts.answered(&t)
	// What takes long comes before Write: the tokens of all streams name every building
	// that had telegrams between one's Write and its Published.
	published := s.encoder.telegram(s.building.ID, s.desired.Load().Labels, s.tables.Current(s.building.ID), &kept)
	kept.Stamp = s.writer.Write(kept)
	published.Stamp = kept.Stamp
	s.publish(published)
	s.writer.Published()
	s.values.Observe(s.building.ID, kept)
	if own, ok := t.Tag.(*ownTelegram); ok {
		own.telegram = published
	}
	s.reads.observe(published)
}

// maxMoves is how many states of the session wait to be told: more than it has between
// two looks of a site's loop that does not wait for anything.
const maxMoves = 4

// State implements [knxbridge.Handler]. The session's loop alone calls it, so there is
// room after one was taken out.
func (s *site) State(state knxbridge.State) {
	select {
	case s.moves <- &state:
		return
	default:
	}
	select {
	case <-s.moves:
	default:
	}
	s.moves <- &state
}

// signal leaves one pending signal, however often it is called.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
