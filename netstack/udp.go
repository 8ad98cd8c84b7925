package netstack

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// UDPConn is an unconnected UDP socket in the building: it sends to and
// receives from any address. It runs no goroutine; its owner waits on Readable.
//
// A datagram that a host refuses (ICMP port unreachable) is reported by no
// method, as with any unconnected socket, and changes nothing: the next
// datagram is sent as the first. Only a missing answer tells; a Tap shows the
// ICMP message. All methods may be called concurrently.
type UDPConn struct {
	stack    *Stack
	endpoint tcpip.Endpoint
	local    netip.AddrPort
	events   waiter.Queue
	arrivals receiver
}

// ListenUDP opens a socket on local. An invalid address, or ::, stands for all
// of the stack's addresses, 0.0.0.0 for all of IPv4; port 0 takes a free one.
// Errors: net.ErrClosed, syscall.EADDRINUSE for a taken port,
// syscall.EADDRNOTAVAIL for an address that is not the stack's.
func (s *Stack) ListenUDP(local netip.AddrPort) (*UDPConn, error) {
	c, err := s.listenUDP(netip.AddrPortFrom(local.Addr().Unmap(), local.Port()))
	if err != nil {
		return nil, fmt.Errorf("listen on UDP %s: %w", local, err)
	}
	return c, nil
}

func (s *Stack) listenUDP(local netip.AddrPort) (*UDPConn, error) {
	network, err := s.listenNetwork(local.Addr())
	if err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	c := &UDPConn{stack: s}
	// Room for one: a token says that datagrams wait, however many.
	c.arrivals = receiver{counters: &s.counters, readable: make(chan struct{}, 1)}
	endpoint, terr := s.udp.stack.NewEndpoint(udp.ProtocolNumber, network, &c.events)
	if terr != nil {
		return nil, asError(terr)
	}
	c.endpoint, c.arrivals.endpoint = endpoint, endpoint
	var entry waiter.Entry
	entry.Init(&c.arrivals, waiter.ReadableEvents|waiter.EventHUp)
	c.events.EventRegister(&entry)
	if terr := endpoint.Bind(fullAddress(local)); terr != nil {
		endpoint.Close()
		return nil, asError(terr)
	}
	bound, terr := endpoint.GetLocalAddress()
	if terr != nil {
		endpoint.Close()
		return nil, asError(terr)
	}
	c.local = netip.AddrPortFrom(local.Addr(), bound.Port)
	return c, nil
}

// listenNetwork tells the family of a socket on addr. gVisor's IPv6 sockets
// serve IPv4 as well.
func (s *Stack) listenNetwork(addr netip.Addr) (tcpip.NetworkProtocolNumber, error) {
	switch {
	case addr.Is4() && !s.has4:
		return 0, errors.New("the tunnel has no IPv4 address of its own")
	case addr.Is4():
		return ipv4.ProtocolNumber, nil
	case addr.Is6() && !addr.IsUnspecified() && !s.has6:
		return 0, errors.New("the tunnel has no IPv6 address of its own")
	case s.has6:
		return ipv6.ProtocolNumber, nil
	}
	return ipv4.ProtocolNumber, nil
}

// LocalAddr returns what the socket is bound to: the address as given to
// ListenUDP, and the port.
func (c *UDPConn) LocalAddr() netip.AddrPort { return c.local }

// Readable returns a channel that receives a token when datagrams wait or the
// socket was closed. As long as datagrams are left after a TryRead there is a
// token again. A token may turn out to be stale.
func (c *UDPConn) Readable() <-chan struct{} { return c.arrivals.readable }

// TryRead copies the oldest datagram to b and returns its length and sender;
// what is longer than b is lost. When nothing waits, it returns an invalid
// sender at once. Received datagrams wait in up to 64 KiB, 20 bytes more than
// the payload for each; further ones are dropped and counted in
// Stats.Overflowed. The only error is net.ErrClosed.
func (c *UDPConn) TryRead(b []byte) (n int, from netip.AddrPort, err error) {
	return c.arrivals.take(b)
}

// WriteTo sends b as one datagram. Datagrams larger than the MTU are
// fragmented; more than 65507 bytes is syscall.EMSGSIZE. It does not block and
// does not know whether anything arrives: when the device's queue is full, the
// datagram is dropped without an error, and counted in Stats.Dropped.
func (c *UDPConn) WriteTo(b []byte, to netip.AddrPort) error {
	if err := c.send(b, to); err != nil {
		return fmt.Errorf("send UDP to %s: %w", to, err)
	}
	return nil
}

func (c *UDPConn) send(b []byte, to netip.AddrPort) error {
	addr, err := c.stack.reach(to.Addr())
	if err != nil {
		return err
	}
	if to.Port() == 0 {
		return errors.New("no port to send to")
	}
	if c.arrivals.isClosed() {
		return net.ErrClosed
	}
	out, ok := outgoing.Get().(*datagramOut)
	if !ok {
		out = new(datagramOut)
	}
	out.to = fullAddress(netip.AddrPortFrom(addr, to.Port()))
	out.payload.Reset(b)
	_, terr := c.endpoint.Write(&out.payload, tcpip.WriteOptions{To: &out.to})
	out.payload.Reset(nil) // b is the caller's
	outgoing.Put(out)
	return asError(terr)
}

// datagramOut is what gVisor takes a datagram as. It does not keep it.
type datagramOut struct {
	payload bytes.Reader
	to      tcpip.FullAddress
}

// outgoing saves an allocation or two for each datagram.
var outgoing sync.Pool

// Close closes the socket and drops what waits in it. It may be called more
// than once. The error is always nil.
func (c *UDPConn) Close() error {
	c.endpoint.Close() // tells c.arrivals
	return nil
}

// receiver takes arrived datagrams out of gVisor's endpoint as soon as they are
// announced, and holds them for TryRead.
type receiver struct {
	endpoint tcpip.Endpoint
	counters *counters
	readable chan struct{}

	mu     sync.Mutex
	queue  datagrams
	closed bool
}

// NotifyEvent implements waiter.EventListener. gVisor calls it in the goroutine
// that writes to the device, or in the one that closes the endpoint, and holds
// no lock that Read needs.
func (r *receiver) NotifyEvent(waiter.EventMask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for more := !r.closed; more; {
		more = r.receive()
	}
	if r.closed || !r.queue.empty() {
		r.announce()
	}
}

// receive moves one datagram from the endpoint to the queue and reports whether
// there was one.
func (r *receiver) receive() bool {
	r.queue.begin()
	result, err := r.endpoint.Read(&r.queue, tcpip.ReadOptions{NeedRemoteAddr: true})
	switch err.(type) {
	case nil:
		if !r.queue.commit(addrPortOf(result.RemoteAddr)) {
			r.counters.overflowed.Add(1)
		}
		return true
	case *tcpip.ErrClosedForReceive:
		r.closed = true
		r.queue = datagrams{}
		return false
	}
	r.queue.abandon()
	return false
}

func (r *receiver) take(b []byte) (int, netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	if r.queue.empty() {
		return 0, netip.AddrPort{}, nil
	}
	n, from := r.queue.pop(b)
	if !r.queue.empty() {
		r.announce()
	}
	return n, from, nil
}

func (r *receiver) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// announce leaves a token, unless there is one.
func (r *receiver) announce() {
	select {
	case r.readable <- struct{}{}:
	default:
	}
}

func addrPortOf(full tcpip.FullAddress) netip.AddrPort {
	// Addresses in received packets are 4 or 16 bytes long.
	addr, _ := netip.AddrFromSlice(full.Addr.AsSlice())
	return netip.AddrPortFrom(addr.Unmap(), full.Port)
}
