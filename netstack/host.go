package netstack

import (
	"math/rand"
	randv2 "math/rand/v2"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// nic is the number of a host's only network interface.
const nic tcpip.NICID = 1

// host is one gVisor stack with the building's addresses, joined to the device
// by its link. A building may have one for UDP and ICMP, and one for TCP.
type host struct {
	stack *stack.Stack
	link  *link
}

// newHost makes a host that speaks the given transports. On an error nothing
// is left behind.
func newHost(s *Stack, transports ...stack.TransportProtocolFactory) (*host, error) {
	quieten()
	var networks []stack.NetworkProtocolFactory
	if s.has4 {
		networks = append(networks, ipv4.NewProtocol)
	}
	if s.has6 {
		networks = append(networks, ipv6.NewProtocol)
	}
	h := &host{
		link: &link{mtu: uint32(s.mtu), stack: s},
		stack: stack.New(stack.Options{
			NetworkProtocols:   networks,
			TransportProtocols: transports,
			// What is sent to one's own address stays in the stack, and a
			// packet from the tunnel that claims to come from it is dropped.
			HandleLocal: true,
			IPTables:    acceptAll(),
			RandSource:  randomSource{},
		}),
	}
	if err := h.join(s); err != nil {
		h.destroy()
		return nil, asError(err)
	}
	return h, nil
}

// join attaches the link, assigns the addresses and sets the default routes.
func (h *host) join(s *Stack) tcpip.Error {
	if err := h.stack.CreateNIC(nic, h.link); err != nil {
		return err
	}
	for _, addr := range s.addresses {
		local := tcpip.ProtocolAddress{
			Protocol:          networkOf(addr),
			AddressWithPrefix: addressOf(addr).WithPrefix(), // a single host: /32 or /128
		}
		if err := h.stack.AddProtocolAddress(nic, local, stack.AddressProperties{}); err != nil {
			return err
		}
	}
	if s.has4 {
		h.stack.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, NIC: nic})
	}
	if s.has6 {
		h.stack.AddRoute(tcpip.Route{Destination: header.IPv6EmptySubnet, NIC: nic})
	}
	return nil
}

// destroy ends every endpoint, timer and goroutine of the host and waits for
// them. No endpoint may be opened meanwhile.
func (h *host) destroy() {
	// First the way in, and while no lock of gVisor is held: a packet under
	// way may need those locks to get out.
	h.link.detach()
	h.stack.Destroy()
}

// quieten keeps gVisor's own log, which goes to standard error and knows no
// building, to warnings about itself: below that it reports what peers send.
var quieten = sync.OnceFunc(func() { log.SetLevel(log.Warning) })

// acceptAll is the empty packet filter that all hosts share: it is 7 KiB, and
// nothing here ever changes a filter, so gVisor only looks whether it was changed.
var acceptAll = sync.OnceValue(func() *stack.IPTables {
	return stack.DefaultTables(tcpip.NewStdClock(), rand.New(randomSource{}))
})

// randomSource is the runtime's own generator, which is safe for concurrent
// use and has no state to pay for in every host (math/rand's is 5 KiB). gVisor
// takes it for timer jitter and hash seeds; what must be secret, such as ports
// and TCP sequence numbers, comes from its SecureRNG, which is left as it is.
type randomSource struct{}

func (randomSource) Int63() int64 { return randv2.Int64() }
func (randomSource) Seed(int64)   {}

func networkOf(addr netip.Addr) tcpip.NetworkProtocolNumber {
	if addr.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func addressOf(addr netip.Addr) tcpip.Address {
	if addr.Is4() {
		return tcpip.AddrFrom4(addr.As4())
	}
	return tcpip.AddrFrom16(addr.As16())
}

// fullAddress is the form that endpoints take; an invalid or unspecified
// address becomes gVisor's "any".
func fullAddress(ap netip.AddrPort) tcpip.FullAddress {
	full := tcpip.FullAddress{Port: ap.Port()}
	if addr := ap.Addr(); addr.IsValid() && !addr.IsUnspecified() {
		full.Addr = addressOf(addr)
	}
	return full
}
