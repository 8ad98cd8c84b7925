package netstack

import (
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ip4 makes an IPv4 packet without options.
func ip4(protocol uint8, src, dst string, payload []byte) []byte {
	p := make([]byte, header.IPv4MinimumSize+len(payload))
	ip := header.IPv4(p)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(p)),
		TTL:         64,
		Protocol:    protocol,
		SrcAddr:     addressOf(netip.MustParseAddr(src)),
		DstAddr:     addressOf(netip.MustParseAddr(dst)),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	copy(p[header.IPv4MinimumSize:], payload)
	return p
}

// ip6 makes an IPv6 packet; next is the type of payload's first header.
func ip6(next uint8, src, dst string, payload []byte) []byte {
	p := make([]byte, header.IPv6MinimumSize+len(payload))
	header.IPv6(p).Encode(&header.IPv6Fields{
		PayloadLength:     uint16(len(payload)),
		TransportProtocol: 0,
		HopLimit:          64,
		SrcAddr:           addressOf(netip.MustParseAddr(src)),
		DstAddr:           addressOf(netip.MustParseAddr(dst)),
	})
	p[6] = next
	copy(p[header.IPv6MinimumSize:], payload)
	return p
}

// udpTo makes a UDP datagram without a checksum, as IPv4 allows.
func udpTo(port uint16, payload string) []byte {
	u := make([]byte, header.UDPMinimumSize+len(payload))
	header.UDP(u).Encode(&header.UDPFields{SrcPort: 3671, DstPort: port, Length: uint16(len(u))})
	copy(u[header.UDPMinimumSize:], payload)
	return u
}

// echoReply answers an IPv4 echo request.
func echoReply(request []byte) []byte {
	src := netip.AddrFrom4([4]byte(request[12:16])).String()
	dst := netip.AddrFrom4([4]byte(request[16:20])).String()
	icmp := slices.Clone(request[20:])
	icmp[0] = byte(header.ICMPv4EchoReply)
	return withICMPChecksum(ip4(1, dst, src, icmp))
}

func withICMPChecksum(packet []byte) []byte {
	icmp := header.ICMPv4(packet[20:])
	icmp.SetChecksum(0)
	icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	return packet
}

// withBytes returns an ICMP packet in IPv4 of the length given, with its
// headers right, and the byte at one place changed by delta.
func withBytes(packet []byte, at int, delta byte) []byte {
	p := slices.Clone(packet)
	if at < len(p) {
		p[at] += delta
	}
	ip := header.IPv4(p)
	ip.SetTotalLength(uint16(len(p)))
	ip.SetChecksum(0)
	ip.SetChecksum(^ip.CalculateChecksum())
	return withICMPChecksum(p)
}
