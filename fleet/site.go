package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/session"
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
	tunnels  Tunnels
	resolver tunnel.Resolver
	rnd      func() float64
	log      zerolog.Logger
	tables   Tables
	publish  func(*Telegram)
	report   func(Status)
	// labels are the building's; they may change while the site runs.
	labels atomic.Pointer[map[string]string]

	// Made by open, before opened is closed.
	stack  *netstack.Stack
	tunnel *tunnel.Tunnel
	bridge *knxbridge.Bridge
	opened chan struct{}

	status Status // as reported last; owned by the site's loop

	// Written by the session's loop, read by others.
	session        atomic.Pointer[knxbridge.State]
	number         atomic.Uint64 // of the last telegram in this epoch
	lastTelegramAt atomic.Int64  // Unix nanoseconds; 0 is never
	handshakes     atomic.Uint64
	handshaken     chan struct{} // WireGuard agreed on keys; capacity 1: one pending signal says it all
	moved          chan struct{} // the session's state moved; capacity 1: one pending signal says it all
}

// lookup is the result of one name resolution.
type lookup struct {
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

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if !tableLoaded {
		wg.Go(func() { s.keepLoadingTable(ctx) })
	}

	failed := make(chan error, 1) // one writer, one value
	wg.Go(func() {
		err := contain(func() error { return s.bridge.Run(ctx) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("the KNX session ended by itself")
		}
		failed <- err
	})
	return s.loop(ctx, failed, &wg)
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
	listen := func() (knxbridge.PacketConn, error) {
		return stack.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), localPort))
	}
	bridge := knxbridge.New(knxbridge.Config{Session: s.sessionConfig(), Random: s.rnd}, listen, s, s.log)
	s.stack, s.tunnel, s.bridge = stack, t, bridge
	close(s.opened)
	return nil
}

func (s *site) sessionConfig() session.Config {
	knx := s.building.KNX
	config := session.Config{Control: knx.Interface, FixedAddress: knx.IndividualAddress, StopTimeout: disconnectPatience}
	if knx.NAT == registry.NATExplicit {
		for _, p := range s.building.Tunnel.Addresses {
			if p.Addr().Is4() {
				config.Local = netip.AddrPortFrom(p.Addr(), localPort)
				break
			}
		}
	}
	return config
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
func (s *site) loop(ctx context.Context, failed <-chan error, wg *sync.WaitGroup) error {
	endpoints := newEndpoints(s.building.Tunnel.Endpoint, s.rnd)
	lookups := make(chan lookup, 1) // one look-up at a time, so it never blocks
	looking := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-s.handshaken:
			s.bridge.Kick()
		case <-s.moved:
		case found := <-lookups:
			looking = false
			s.follow(endpoints, found)
		case <-timer.C:
		}
		now := time.Now()
		answering := s.answering(now)
		s.tell(s.assess(now, endpoints.err, answering))
		if !looking && endpoints.due(now, answering) {
			looking = true
			wg.Go(func() { lookups <- s.lookup(ctx) })
		}
		if s.status.State == StateOnline {
			timer.Stop()
		} else {
			timer.Reset(lookInterval)
		}
	}
}

func (s *site) lookup(ctx context.Context) lookup {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	candidates, err := tunnel.Resolve(ctx, s.resolver, s.building.Tunnel.Endpoint)
	return lookup{candidates: candidates, err: err}
}

// follow calls the router where a look-up found it. That is done also when the
// address is the one called so far: WireGuard gives up after 90 s without an
// answer (REKEY_ATTEMPT_TIME, paper §6.1), and this makes it try again.
func (s *site) follow(endpoints *endpoints, found lookup) {
	to, differs := endpoints.resolved(time.Now(), found.candidates, found.err, s.tunnel.Endpoint())
	if found.err != nil {
		return
	}
	if err := s.tunnel.SetEndpoint(to); err != nil {
		s.log.Warn().Err(err).Stringer("endpoint", to).Msg("endpoint not taken over")
		return
	}
	if differs {
		s.log.Info().Stringer("endpoint", to).Msg("calling the router")
		s.bridge.Kick()
	}
}

// Telegram implements [knxbridge.Handler]: it numbers the telegram, fills in what
// the building's table knows of it, and hands it to the fan-out. It is called by
// the session's loop and does not wait.
func (s *site) Telegram(t knxbridge.Telegram) {
	if !t.Own {
		s.lastTelegramAt.Store(t.At.UnixNano())
	}
	s.publish(newTelegram(s.building.ID, s.epoch, s.number.Add(1), *s.labels.Load(), s.tables.Current(s.building.ID), t))
}

// State implements [knxbridge.Handler].
func (s *site) State(state knxbridge.State) {
	s.session.Store(&state)
	signal(s.moved)
}

// signal leaves one pending signal, however often it is called.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
