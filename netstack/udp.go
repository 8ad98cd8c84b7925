package netstack

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
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
	local    netip.AddrPort
	network  tcpip.NetworkProtocolNumber
	arrivals receiver

	// What it is in the stack's UDP host; guarded by the stack's mu.
	endpoint tcpip.Endpoint // nil while there is none
	events   waiter.Queue
	entry    waiter.Entry
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
	if addr := local.Addr(); addr.IsValid() && !addr.IsUnspecified() && !slices.Contains(s.addresses, addr) {
		return nil, syscall.EADDRNOTAVAIL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), s.freePort(local.Addr()))
	}
	if local.Port() == 0 || s.taken(local) {
		return nil, syscall.EADDRINUSE
	}
	c := &UDPConn{stack: s, local: local, network: network}
	// Room for one: a token says that datagrams wait, however many.
	c.arrivals = receiver{counters: &s.counters, readable: make(chan struct{}, 1)}
	if s.udp != nil {
		if err := c.open(s.udp); err != nil {
			return nil, err
		}
	}
	sockets := append(slices.Clone(*s.sockets.Load()), c)
	s.sockets.Store(&sockets)
	return c, nil
}

// The ports that a socket gets which asks for none (RFC 6335 §6).
const (
	firstFreePort = 49152
	freePorts     = 1<<16 - firstFreePort
)

// freePort returns a port that nobody has; 0 when all are taken. It is called with mu
// held.
func (s *Stack) freePort(addr netip.Addr) uint16 {
	begin := rand.IntN(freePorts)
	for n := range freePorts {
		port := uint16(firstFreePort + (begin+n)%freePorts)
		if !s.taken(netip.AddrPortFrom(addr, port)) {
			return port
		}
	}
	return 0
}

// taken reports whether a socket would get datagrams that another one gets.
func (s *Stack) taken(local netip.AddrPort) bool {
	return slices.ContainsFunc(*s.sockets.Load(), func(c *UDPConn) bool {
		return c.local.Port() == local.Port() && (covers(c.local.Addr(), local.Addr()) || covers(local.Addr(), c.local.Addr()))
	})
}

// covers reports whether a socket on the local address a gets what is sent to b; b may be
// one that stands for several.
func covers(a, b netip.Addr) bool {
	switch {
	case !a.IsValid() || a == netip.IPv6Unspecified():
		return true
	case a == netip.IPv4Unspecified():
		return b.Is4()
	default:
		return a == b
	}
}

// socketAt finds the socket that gets what is sent to an address of the stack; nil for none.
func (s *Stack) socketAt(to netip.AddrPort) *UDPConn {
	if !slices.Contains(s.addresses, to.Addr()) {
		return nil
	}
	for _, c := range *s.sockets.Load() {
		if c.local.Port() == to.Port() && covers(c.local.Addr(), to.Addr()) {
			return c
		}
	}
	return nil
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
// does not know whether anything arrives.
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
	if addr.Is6() && c.network == ipv4.ProtocolNumber {
		return errors.New("an IPv6 address, from a socket of IPv4")
	}
	if c.arrivals.isClosed() {
		return net.ErrClosed
	}
	to = netip.AddrPortFrom(addr, to.Port())
	if c.sendPlain(b, to) {
		return nil
	}
	endpoint, err := c.wholeEndpoint()
	if err != nil {
		return err
	}
	out, ok := outgoing.Get().(*datagramOut)
	if !ok {
		out = new(datagramOut)
	}
	out.to = fullAddress(to)
	out.payload.Reset(b)
	_, terr := endpoint.Write(&out.payload, tcpip.WriteOptions{To: &out.to})
	out.payload.Reset(nil) // b is the caller's
	outgoing.Put(out)
	return asError(terr)
}

// wholeEndpoint is the socket in the stack's UDP host, which is made if there is none.
func (c *UDPConn) wholeEndpoint() (tcpip.Endpoint, error) {
	c.stack.mu.Lock()
	defer c.stack.mu.Unlock()
	if err := c.stack.needUDP(); err != nil {
		return nil, err
	}
	if c.endpoint == nil {
		return nil, net.ErrClosed
	}
	return c.endpoint, nil
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
	s := c.stack
	s.mu.Lock()
	sockets := slices.DeleteFunc(slices.Clone(*s.sockets.Load()), func(other *UDPConn) bool { return other == c })
	s.sockets.Store(&sockets)
	c.leave()
	s.mu.Unlock()
	c.arrivals.close() // last: whoever is woken may have the port
	return nil
}

// receiver holds arrived datagrams for TryRead. Out of gVisor's endpoint it takes them as
// soon as they are announced.
type receiver struct {
	counters *counters
	readable chan struct{}

	mu       sync.Mutex
	endpoint tcpip.Endpoint // nil while there is none
	queue    datagrams
	closed   bool
}

// put takes a datagram that passed gVisor by.
func (r *receiver) put(p plain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.queue.begin()
	_, _ = r.queue.Write(p.payload) // never fails
	if !r.queue.commit(p.from) {
		r.counters.overflowed.Add(1)
	}
	r.announce()
}

// from makes it take what the endpoint announces.
func (r *receiver) from(endpoint tcpip.Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoint = endpoint
}

// NotifyEvent implements waiter.EventListener. gVisor calls it in the goroutine
// that delivers, and holds no lock that Read needs.
func (r *receiver) NotifyEvent(waiter.EventMask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for more := !r.closed; more; {
		more = r.receive()
	}
	if !r.queue.empty() {
		r.announce()
	}
}

// receive moves one datagram from the endpoint to the queue and reports whether
// there was one.
func (r *receiver) receive() bool {
	r.queue.begin()
	result, err := r.endpoint.Read(&r.queue, tcpip.ReadOptions{NeedRemoteAddr: true})
	if err != nil {
		r.queue.abandon()
		return false
	}
	if !r.queue.commit(addrPortOf(result.RemoteAddr)) {
		r.counters.overflowed.Add(1)
	}
	return true
}

// close drops what waits, and wakes the owner.
func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.queue = true, datagrams{}
	r.announce()
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
