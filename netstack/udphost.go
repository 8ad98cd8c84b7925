package netstack

import (
	"fmt"
	"net"

	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// needUDP makes the host that speaks UDP and ICMP, unless it is there: for fragments, for
// what is asked of us, such as an echo, and for what we ask, other than plain datagrams. The
// sockets that are open are open in it, too. It stays until Close. net.ErrClosed: there is
// none any more. It is called with mu held.
func (s *Stack) needUDP() error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	if s.udp != nil {
		return nil
	}
	h, err := newHost(s, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6)
	if err != nil {
		return fmt.Errorf("make the UDP half: %w", err)
	}
	for _, c := range *s.sockets.Load() {
		if err := c.open(h); err != nil {
			for _, opened := range *s.sockets.Load() {
				opened.leave()
			}
			h.destroy()
			return fmt.Errorf("make the UDP half: %w", err)
		}
	}
	s.udp = h
	s.udpLink.Store(h.link)
	return nil
}

// open gives a socket its endpoint in a host. It is called with the stack's mu held.
func (c *UDPConn) open(h *host) error {
	endpoint, terr := h.stack.NewEndpoint(udp.ProtocolNumber, c.network, &c.events)
	if terr != nil {
		return asError(terr)
	}
	c.arrivals.from(endpoint)
	c.entry.Init(&c.arrivals, waiter.ReadableEvents)
	c.events.EventRegister(&c.entry)
	c.endpoint = endpoint
	if terr := endpoint.Bind(fullAddress(c.local)); terr != nil {
		c.leave()
		return asError(terr)
	}
	return nil
}

// leave closes a socket's endpoint, if it has one. It is called with the stack's mu held.
func (c *UDPConn) leave() {
	if c.endpoint == nil {
		return
	}
	c.events.EventUnregister(&c.entry)
	c.endpoint.Close()
	c.endpoint = nil
}
