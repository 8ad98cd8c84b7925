package fleet

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	"github.com/knxfleet/knxfleet/netstack"
	"github.com/knxfleet/knxfleet/tunnel"
)

// sessions are a site's KNX sessions, one after the other: another interface, or
// somebody's wish, ends one and begins the next, in the same tunnel and epoch.
type sessions struct {
	renew chan struct{} // asks for a new one; capacity 1: one pending wish says it all

	// Owned by the site's loop.
	stop     context.CancelFunc // ends the current one
	renewing bool               // it was ended, and the next one follows

	mu      sync.Mutex
	current *connection     // nil before the first
	past    knxbridge.Stats // of those before
}

// connection is one KNX session.
type connection struct {
	bridge *knxbridge.Bridge
	ended  chan struct{} // closed when it has disconnected
}

func (s *sessions) connection() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// bridge is the current session's; the site must be open.
func (s *sessions) bridge() *knxbridge.Bridge { return s.connection().bridge }

// stats are those of all sessions together.
func (s *sessions) stats() knxbridge.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.bridge.Stats().Plus(s.past)
}

// waiting is how many writes and reads wait for the bus.
func (s *sessions) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.bridge.Stats().QueueWaiting
}

func (s *sessions) follow(next *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.past = s.current.bridge.Stats().Plus(s.past)
	}
	s.current = next
}

// connect begins a session with the interface as it is configured now, once it is
// known where the router is; the session before must have ended. ended gets its end.
func (s *site) connect(ctx context.Context, wg *sync.WaitGroup, ended chan<- error) {
	ctx, stop := context.WithCancel(ctx)
	next := &connection{
		bridge: knxbridge.New(knxbridge.Config{Session: s.sessionConfig(), WriteRate: float64(s.applied.KNX.WritesPerSecond), QueueLength: s.applied.Limits.WriteQueue, Random: s.rnd, Dial: s.stack.DialTCP}, s.listenAt(localPort), s, s.log),
		ended:  make(chan struct{}),
	}
	s.forgetMoves()
	s.sessions.follow(next)
	s.sessions.stop, s.sessions.renewing = stop, false
	if !s.isOpen() {
		close(s.opened)
	}
	wg.Go(func() {
		defer stop()
		// WireGuard sends an initiation for the first packet, and if it has nowhere to
		// send it to, the next only 5 s later.
		select {
		case <-s.reachable:
		case <-ctx.Done():
		}
		err := contain(func() error { return next.bridge.Run(ctx) })
		close(next.ended)
		ended <- err
	})
}

// forgetMoves leaves nothing of a session that has ended.
func (s *site) forgetMoves() {
	for len(s.moves) > 0 {
		<-s.moves
	}
	s.session.Store(nil)
}

// renewSession ends the session; the loop begins the next one when it has ended.
func (s *site) renewSession() {
	s.sessions.renewing = true
	s.sessions.stop()
}

// sessionEnd is what the end of a session means that nobody wanted to be renewed.
func sessionEnd(ctx context.Context, err error) error {
	if err == nil && ctx.Err() == nil {
		err = errors.New("the KNX session ended by itself")
	}
	return err
}

// freshSocket is the session's socket. While there is no WireGuard session, only
// the last datagrams wait for one: an interface that comes back is not to be
// asked a hundred times what it was asked during the outage.
type freshSocket struct {
	*netstack.UDPConn

	tunnel *tunnel.Tunnel
}

// WriteTo implements [knxbridge.PacketConn].
func (f freshSocket) WriteTo(b []byte, to netip.AddrPort) error {
	if !f.tunnel.Established() {
		f.tunnel.DropWaiting()
	}
	return f.UDPConn.WriteTo(b, to)
}

// transports are the session's, by those of the registry. With auto the interface's
// description tells whether it speaks TCP, and whether it has features, and so says
// when its bus is down.
var transports = [...]session.Transport{
	registry.TransportAuto: session.TransportAuto, registry.TransportUDP: session.TransportUDP, registry.TransportTCP: session.TransportTCP,
}

func (s *site) sessionConfig() session.Config { return s.sessionConfigOf(s.applied) }

func (s *site) sessionConfigOf(b *registry.Building) session.Config {
	knx := b.KNX
	config := session.Config{
		Control: knx.Interface, FixedAddress: knx.IndividualAddress, StopTimeout: disconnectPatience, Together: heartbeatsTogether,
		Transport: transports[knx.Transport], Probe: knx.Probe, ProbeEvery: knx.ProbeInterval,
	}
	if knx.Fallback.IsValid() {
		config.Fallbacks = []netip.AddrPort{knx.Fallback}
	}
	if knx.NAT == registry.NATExplicit {
		for _, p := range b.Tunnel.Addresses {
			if p.Addr().Is4() {
				config.Local = netip.AddrPortFrom(p.Addr(), localPort)
				break
			}
		}
	}
	return config
}
