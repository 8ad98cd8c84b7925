package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// tcpBuffer and tcpBufferLimit bound what one connection may hold in each
	// direction, in bytes, at the start and when gVisor has measured that the
	// path wants more.
	tcpBuffer      = 256 << 10
	tcpBufferLimit = 1 << 20
	// tcpBacklog bounds the connections that wait for Accept.
	tcpBacklog = 128
)

// DialTCP connects to remote in the building and gives up when ctx ends. The
// first use of TCP makes the stack's TCP half, which costs some KiB and
// GOMAXPROCS goroutines until Close. The connection's CloseWrite can be had by
// a type assertion. Errors: what ctx says, net.ErrClosed,
// syscall.ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT.
func (s *Stack) DialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	conn, err := s.dialTCP(ctx, remote)
	if err != nil {
		return nil, fmt.Errorf("connect to TCP %s: %w", remote, err)
	}
	return conn, nil
}

func (s *Stack) dialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	addr, err := s.reach(remote.Addr())
	if err != nil {
		return nil, err
	}
	if remote.Port() == 0 {
		return nil, errors.New("no port to connect to")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}

	events := new(waiter.Queue)
	settled, settledCh := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	events.EventRegister(&settled)
	defer events.EventUnregister(&settled)

	_, endpoint, err := s.openTCP(networkOf(addr), events, func(endpoint tcpip.Endpoint) tcpip.Error {
		terr := endpoint.Connect(fullAddress(netip.AddrPortFrom(addr, remote.Port())))
		if _, started := terr.(*tcpip.ErrConnectStarted); started {
			return nil
		}
		return terr
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		endpoint.Close()
		return nil, context.Cause(ctx)
	case <-settledCh:
	}
	if terr := endpoint.LastError(); terr != nil {
		endpoint.Close()
		if s.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, asError(terr)
	}
	return gonet.NewTCPConn(events, endpoint), nil
}

// ListenTCP accepts connections on local, which is read as by ListenUDP but
// must name a port. Up to 128 connections wait for Accept; further ones are
// left unanswered.
func (s *Stack) ListenTCP(local netip.AddrPort) (net.Listener, error) {
	listener, err := s.listenTCP(netip.AddrPortFrom(local.Addr().Unmap(), local.Port()))
	if err != nil {
		return nil, fmt.Errorf("listen on TCP %s: %w", local, err)
	}
	return listener, nil
}

func (s *Stack) listenTCP(local netip.AddrPort) (net.Listener, error) {
	network, err := s.listenNetwork(local.Addr())
	if err != nil {
		return nil, err
	}
	if local.Port() == 0 {
		return nil, errors.New("no port to listen on")
	}
	events := new(waiter.Queue)
	h, endpoint, err := s.openTCP(network, events, func(endpoint tcpip.Endpoint) tcpip.Error {
		if terr := endpoint.Bind(fullAddress(local)); terr != nil {
			return terr
		}
		return endpoint.Listen(tcpBacklog)
	})
	if err != nil {
		return nil, err
	}
	return &listener{TCPListener: gonet.NewTCPListener(h.stack, events, endpoint), stack: s}, nil
}

// listener gives the error that servers look for when they are closed.
type listener struct {
	*gonet.TCPListener
	stack  *Stack
	closed atomic.Bool
}

// Accept implements net.Listener. It returns net.ErrClosed once the listener or
// the stack is closed.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err != nil && (l.closed.Load() || l.stack.closed.Load()) {
		return nil, net.ErrClosed
	}
	return conn, err
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.TCPListener.Close()
}

// openTCP makes a TCP endpoint and starts it, in the TCP host, which is made if
// there is none. Because mu is held throughout, Close either comes first or
// knows the endpoint.
func (s *Stack) openTCP(network tcpip.NetworkProtocolNumber, events *waiter.Queue, start func(tcpip.Endpoint) tcpip.Error) (*host, tcpip.Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, nil, net.ErrClosed
	}
	if s.tcp == nil {
		h, err := newTCPHost(s)
		if err != nil {
			return nil, nil, fmt.Errorf("make the TCP half: %w", err)
		}
		s.tcp = h
		s.tcpLink.Store(h.link)
	}
	endpoint, terr := s.tcp.stack.NewEndpoint(tcp.ProtocolNumber, network, events)
	if terr != nil {
		return nil, nil, asError(terr)
	}
	if terr := start(endpoint); terr != nil {
		endpoint.Close()
		return nil, nil, asError(terr)
	}
	return s.tcp, endpoint, nil
}

// newTCPHost makes the stack's TCP half. To give it back, take tcpLink and tcp
// away under mu and destroy the host: it is idle when it has no endpoints.
func newTCPHost(s *Stack) (*host, error) {
	h, err := newHost(s, tcp.NewProtocol)
	if err != nil {
		return nil, err
	}
	sack := tcpip.TCPSACKEnabled(true) // gVisor's default is off
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack,
		&moderate,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBuffer, Max: tcpBufferLimit},
		&tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBuffer, Max: tcpBufferLimit},
	} {
		if terr := h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); terr != nil {
			h.destroy()
			return nil, asError(terr)
		}
	}
	return h, nil
}
