package netstack

import (
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// plain is a UDP datagram in one packet that has nothing unusual about it: no fragment,
// no option, no extension header, from one host to another. All that a KNX session says is so,
// and it passes gVisor by. What is not plain is gVisor's in both directions, and looks the
// same.
type plain struct {
	from, to netip.AddrPort
	payload  []byte
}

// plainIn reads a packet from the building. It says no when in doubt.
func plainIn(in inbound) (plain, bool) {
	if in.network == header.IPv6ProtocolNumber {
		ip := header.IPv6(in.packet)
		if ip.TransportProtocol() != header.UDPProtocolNumber || ip.HopLimit() == 0 {
			return plain{}, false
		}
		return plainOf(ip.SourceAddress(), ip.DestinationAddress(), ip.Payload())
	}
	ip := header.IPv4(in.packet)
	if ip.HeaderLength() != header.IPv4MinimumSize || ip.More() || ip.FragmentOffset() != 0 || ip.TTL() == 0 ||
		ip.TransportProtocol() != header.UDPProtocolNumber || !ip.IsChecksumValid() {
		return plain{}, false
	}
	return plainOf(ip.SourceAddress(), ip.DestinationAddress(), ip.Payload())
}

func plainOf(src, dst tcpip.Address, datagram header.UDP) (plain, bool) {
	if len(datagram) < header.UDPMinimumSize || int(datagram.Length()) != len(datagram) || datagram.SourcePort() == 0 {
		return plain{}, false
	}
	payload := datagram.Payload()
	switch {
	case datagram.Checksum() == 0 && src.Len() == header.IPv4AddressSize: // it has none: for IPv4 alone (RFC 768, RFC 8200 §8.1)
	case datagram.Checksum() == 0, !datagram.IsChecksumValid(src, dst, checksum.Checksum(payload, 0)):
		return plain{}, false
	}
	from := netip.AddrPortFrom(ipOf(src), datagram.SourcePort())
	if !single(from.Addr()) {
		return plain{}, false
	}
	return plain{from: from, to: netip.AddrPortFrom(ipOf(dst), datagram.DestinationPort()), payload: payload}, true
}

func ipOf(addr tcpip.Address) netip.Addr {
	ip, _ := netip.AddrFromSlice(addr.AsSlice()) // 4 or 16 bytes
	return ip
}

// single reports whether an address can be that of one host elsewhere.
func single(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != broadcast
}

// source is the address that a socket sends from; invalid where it is for gVisor to choose.
func (c *UDPConn) source(to netip.Addr) netip.Addr {
	local := c.local.Addr()
	switch {
	case local.IsValid() && !local.IsUnspecified():
		return local
	case to.Is4():
		return c.stack.only4
	default:
		return c.stack.only6
	}
}

// sendPlain sends a datagram, if it is a plain one.
func (c *UDPConn) sendPlain(payload []byte, to netip.AddrPort) bool {
	s := c.stack
	from := c.source(to.Addr())
	if !from.IsValid() || from.Is4() != to.Addr().Is4() || !single(to.Addr()) || slices.Contains(s.addresses, to.Addr()) {
		return false
	}
	headers := header.IPv6MinimumSize + header.UDPMinimumSize
	if from.Is4() {
		headers = header.IPv4MinimumSize + header.UDPMinimumSize
	}
	size := headers + len(payload)
	if size > s.mtu {
		return false
	}
	buffer, ok := buffers.Get().(*[]byte)
	if !ok {
		return false // the pool holds nothing else
	}
	defer buffers.Put(buffer)
	packet := slices.Grow((*buffer)[:0], size)[:size]
	src, dst := addressOf(from), addressOf(to.Addr())
	if from.Is4() {
		ip := header.IPv4(packet)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(size), ID: uint16(s.ident.Add(1)), TTL: defaultTTL,
			Protocol: uint8(header.UDPProtocolNumber), SrcAddr: src, DstAddr: dst,
		})
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		header.IPv6(packet).Encode(&header.IPv6Fields{
			PayloadLength: uint16(size - header.IPv6MinimumSize), HopLimit: defaultTTL,
			TransportProtocol: header.UDPProtocolNumber, SrcAddr: src, DstAddr: dst,
		})
	}
	datagram := header.UDP(packet[headers-header.UDPMinimumSize:])
	copy(datagram.Payload(), payload)
	length := uint16(len(datagram))
	datagram.Encode(&header.UDPFields{SrcPort: c.local.Port(), DstPort: to.Port(), Length: length})
	sum := checksum.Checksum(payload, header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, length))
	datagram.SetChecksum(nonZero(^datagram.CalculateChecksum(sum)))
	s.emit(packet)
	return true
}

// defaultTTL is gVisor's, and that of most systems.
const defaultTTL = 64

// nonZero is how a checksum of zero is written, since zero means none (RFC 768).
func nonZero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}

// ours reports whether a packet may be for the stack: for one of its addresses, or for
// all hosts or some on its link.
func (s *Stack) ours(in inbound) bool {
	to := ipOf(header.IPv4(in.packet).DestinationAddress())
	if in.network == header.IPv6ProtocolNumber {
		to = ipOf(header.IPv6(in.packet).DestinationAddress())
	}
	return to == broadcast || to.IsLinkLocalMulticast() || to.IsInterfaceLocalMulticast() || slices.Contains(s.addresses, to)
}

// isError reports whether a packet is an ICMP error (RFC 792, RFC 4443 §2.1).
func (in inbound) isError() bool {
	if in.network == header.IPv6ProtocolNumber {
		protocol, rest, _ := transport6(header.IPv6(in.packet))
		return protocol == header.ICMPv6ProtocolNumber && len(rest) > 0 && rest[0] < 128
	}
	ip := header.IPv4(in.packet)
	if ip.TransportProtocol() != header.ICMPv4ProtocolNumber || ip.FragmentOffset() != 0 || len(ip.Payload()) == 0 {
		return false // or a part of one, which does not tell
	}
	return isError4(header.ICMPv4(ip.Payload()).Type())
}
