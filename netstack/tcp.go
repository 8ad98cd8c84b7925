package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
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
// GOMAXPROCS goroutines until two minutes after the last connection was closed. The connection's CloseWrite can be had by
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
		s.releaseTCP()
		return nil, context.Cause(ctx)
	case <-settledCh:
	}
	if terr := endpoint.LastError(); terr != nil {
		endpoint.Close()
		s.releaseTCP()
		if s.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, asError(terr)
	}
	return s.newTCPConn(gonet.NewTCPConn(events, endpoint)), nil
}

// tcpConn keeps the stack's TCP half until it is closed.
type tcpConn struct {
	*gonet.TCPConn

	release func()
}

func (s *Stack) newTCPConn(c *gonet.TCPConn) *tcpConn {
	return &tcpConn{TCPConn: c, release: sync.OnceFunc(s.releaseTCP)}
}

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
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
	return &listener{
		TCPListener: gonet.NewTCPListener(h.stack, events, endpoint),
		stack:       s,
		release:     sync.OnceFunc(s.releaseTCP),
	}, nil
}

// listener gives the error that servers look for when they are closed.
type listener struct {
	*gonet.TCPListener

	stack   *Stack
	closed  atomic.Bool
	release func()
}

// Accept implements net.Listener. It returns net.ErrClosed once the listener or
// the stack is closed.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err != nil && (l.closed.Load() || l.stack.closed.Load()) {
		return nil, net.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*gonet.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("accepted a %T", conn), conn.Close())
	}
	l.stack.holdTCP()
	return l.stack.newTCPConn(c), nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.closed.Store(true)
	defer l.release()
	return l.TCPListener.Close()
}
