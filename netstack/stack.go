package netstack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// defaultMTU is what wg-quick and WireGuard's implementations take: 1500
	// less the outer IPv6, UDP and WireGuard headers (40 + 8 + 32), 1420.
	defaultMTU = 1420
	// minMTU is what every IPv4 host must accept (RFC 791 §3.1).
	minMTU = 576
	// minMTUv6 is the least that IPv6 runs on (RFC 8200 §5).
	minMTUv6 = 1280
	// maxMTU is 65535 less the outer IPv4, UDP and WireGuard headers (20 + 8 + 32).
	maxMTU = 65475
)

// Config describes the gateway's end of a building's tunnel.
type Config struct {
	// Addresses are the gateway's addresses in the tunnel, as wg-quick writes
	// them: 10.200.0.2/32, 192.168.178.201/24, fd00::2/64. Only the address
	// counts: it is assigned as a single host, because everything else is
	// reached through the tunnel, also the rest of its own subnet. At least one.
	Addresses []netip.Prefix
	// MTU is the largest IP packet in bytes that the tunnel carries: 576 to
	// 65475, and at least 1280 when there is an IPv6 address. 0 means 1420.
	MTU int
}

// Stack is a building's TCP/IP stack. Its outer side, where WireGuard is, are
// [Stack.Connect] and [Stack.Deliver]. All methods may be called concurrently and at any time, also
// during and after Close.
type Stack struct {
	addresses []netip.Addr
	has4      bool
	has6      bool
	mtu       int

	only4, only6 netip.Addr // the stack's address in a family that has one alone

	send     atomic.Pointer[func(packet []byte)] // see Connect
	sockets  atomic.Pointer[[]*UDPConn]          // those that are open; replaced under mu
	ident    atomic.Uint32                       // identification of the last IPv4 packet that went past gVisor
	udpLink  atomic.Pointer[link]                // where Deliver finds the UDP host, nil while there is none
	tcpLink  atomic.Pointer[link]                // the same for TCP
	taps     taps
	counters counters

	closing sync.Once
	closed  atomic.Bool // set under mu

	// mu makes opening something and closing the stack exclude each other, so
	// that Close knows all that it has to end.
	mu  sync.Mutex
	udp *host // see needUDP; nil while there is none
	tcp tcpHalf
}

// New makes a stack. It starts no goroutine. The error says which address or
// value is wrong.
func New(cfg Config) (*Stack, error) {
	s := &Stack{mtu: cfg.MTU}
	s.tcp.idle = tcpIdle
	for _, prefix := range cfg.Addresses {
		addr := prefix.Addr().Unmap()
		if err := checkLocal(addr); err != nil {
			return nil, fmt.Errorf("tunnel address %s: %w", prefix, err)
		}
		if slices.Contains(s.addresses, addr) {
			continue
		}
		s.addresses = append(s.addresses, addr)
		s.has4 = s.has4 || addr.Is4()
		s.has6 = s.has6 || addr.Is6()
	}
	if len(s.addresses) == 0 {
		return nil, errors.New("tunnel addresses: none given, at least one is needed, such as 10.200.0.2/32")
	}
	if s.mtu == 0 {
		s.mtu = defaultMTU
	}
	least := minMTU
	if s.has6 {
		least = minMTUv6
	}
	if s.mtu < least || s.mtu > maxMTU {
		return nil, fmt.Errorf("tunnel MTU %d: must be %d to %d", s.mtu, least, maxMTU)
	}

	s.only4, s.only6 = s.only(netip.Addr.Is4), s.only(netip.Addr.Is6)
	s.ident.Store(rand.Uint32())
	s.sockets.Store(new([]*UDPConn))
	return s, nil
}

// only is the one address of a family; invalid when there are none or several.
func (s *Stack) only(family func(netip.Addr) bool) (only netip.Addr) {
	for _, a := range s.addresses {
		switch {
		case !family(a):
		case only.IsValid():
			return netip.Addr{}
		default:
			only = a
		}
	}
	return only
}

// Addresses returns the stack's own addresses.
func (s *Stack) Addresses() []netip.Addr { return slices.Clone(s.addresses) }

// Close ends the stack: sockets and listeners return net.ErrClosed, connections report that
// they were aborted, and nothing of the stack runs any more when it returns. Peers are not told. It may be called more than once; each call waits
// for the end. The error is always nil.
func (s *Stack) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed.Store(true)
		udp, tcp, sockets := s.udp, s.tcp.host, *s.sockets.Load()
		if s.tcp.timer != nil {
			s.tcp.timer.Stop()
		}
		s.mu.Unlock()

		for _, c := range sockets {
			_ = c.Close() // always nil
		}
		if udp != nil {
			udp.destroy()
		}
		if tcp != nil {
			tcp.destroy()
		}
		s.tcp.ended.Wait()
	})
	return nil
}

// checkLocal reports why addr cannot be a host's own address.
func checkLocal(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return errors.New("not an address")
	case addr.Zone() != "":
		return errors.New("an address with a zone has no meaning in a tunnel")
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLoopback(), addr == broadcast:
		return errors.New("not the address of a single host in a network")
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// reach reports why nothing can be sent to addr, and returns it as IPv4 when it
// is an IPv4 address in IPv6 form.
func (s *Stack) reach(addr netip.Addr) (netip.Addr, error) {
	if s.closed.Load() {
		return addr, net.ErrClosed
	}
	addr = addr.Unmap()
	switch {
	case !addr.IsValid() || addr.IsUnspecified():
		return addr, errors.New("no address to send to")
	case addr.Zone() != "":
		return addr, errors.New("an address with a zone has no meaning in a tunnel")
	case addr.Is4() && !s.has4:
		return addr, errors.New("no route: the tunnel has no IPv4 address of its own")
	case addr.Is6() && !s.has6:
		return addr, errors.New("no route: the tunnel has no IPv6 address of its own")
	}
	return addr, nil
}
