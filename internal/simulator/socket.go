package simulator

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
)

// socketBuffer is asked of the kernel, which may give less.
const socketBuffer = 8 << 20

// socket is one UDP socket that is at all loopback addresses at once: the kernel
// tells to which of them a datagram came (IP_PKTINFO), and takes which of them to
// send from.
type socket struct {
	conn *net.UDPConn
	raw  *ipv4.PacketConn
}

// Listen opens a socket for a Simulator at a UDP port, 0 for any, and returns
// the port. Linux only: elsewhere not all of 127.0.0.0/8 is loopback.
//
// The socket has to listen on all addresses; datagrams that did not come from
// and to a loopback address are ignored.
func Listen(port uint16) (Conn, uint16, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return nil, 0, fmt.Errorf("simulator: %w", err)
	}
	raw := ipv4.NewPacketConn(conn)
	if err := raw.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return nil, 0, fmt.Errorf("simulator: IP_PKTINFO: %w", errors.Join(err, conn.Close()))
	}
	// What the kernel does not give, it does not give.
	_ = conn.SetReadBuffer(socketBuffer)
	_ = conn.SetWriteBuffer(socketBuffer)
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, 0, fmt.Errorf("simulator: %T is no UDP address", conn.LocalAddr())
	}
	return &socket{conn, raw}, uint16(local.Port), nil
}

// ReadFrom implements Conn.
func (s *socket) ReadFrom(b []byte) (n int, from, to netip.AddrPort, err error) {
	for {
		n, control, source, err := s.raw.ReadFrom(b)
		if err != nil {
			return 0, from, to, err
		}
		udp, ok := source.(*net.UDPAddr)
		if !ok || control == nil || !udp.IP.IsLoopback() || !control.Dst.IsLoopback() {
			continue
		}
		addr, ok := netip.AddrFromSlice(control.Dst.To4())
		if !ok {
			continue
		}
		source4 := udp.AddrPort()
		return n, netip.AddrPortFrom(source4.Addr().Unmap(), source4.Port()), netip.AddrPortFrom(addr, 0), nil
	}
}

// WriteTo implements Conn.
func (s *socket) WriteTo(b []byte, from, to netip.AddrPort) error {
	source := from.Addr().As4()
	_, err := s.raw.WriteTo(b, &ipv4.ControlMessage{Src: source[:]}, net.UDPAddrFromAddrPort(to))
	return err
}

// Close implements Conn.
func (s *socket) Close() error { return s.conn.Close() }
