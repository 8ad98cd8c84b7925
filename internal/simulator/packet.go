package simulator

import (
	"encoding/binary"
	"net/netip"
)

// The few parts of IPv4 (RFC 791), UDP (RFC 768), ICMP (RFC 792) and TCP (RFC 9293)
// that a LAN with a KNX interface needs. Fragments, options and IPv6 are not among
// them; connections are those of a stack, see tcpHost.
const (
	ipv4Header   = 20
	udpHeader    = 8
	icmpHeader   = 8
	tcpHeader    = 20
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17

	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10

	icmpEchoReply   = 0
	icmpEchoRequest = 8

	dontFragment = 0x4000
	moreOrOffset = 0x3FFF
	timeToLive   = 64
)

// packet is an IPv4 packet, taken apart.
type packet struct {
	source, destination netip.Addr
	protocol            uint8
	payload             []byte
}

// parsePacket takes an IPv4 packet apart. The payload aliases b.
func parsePacket(b []byte) (packet, bool) {
	if len(b) < ipv4Header || b[0]>>4 != 4 {
		return packet{}, false
	}
	header, total := int(b[0]&0x0F)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Header || total < header || total > len(b) || binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0 {
		return packet{}, false
	}
	return packet{
		source:      netip.AddrFrom4([4]byte(b[12:16])),
		destination: netip.AddrFrom4([4]byte(b[16:20])),
		protocol:    b[9],
		payload:     b[header:total],
	}, true
}

// buildPacket makes an IPv4 packet with room for a payload of n bytes, which the
// caller fills in.
func buildPacket(protocol uint8, source, destination netip.Addr, n int) (b, payload []byte) {
	b = make([]byte, ipv4Header+n)
	b[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], dontFragment)
	b[8], b[9] = timeToLive, protocol
	from, to := source.As4(), destination.As4()
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipv4Header]))
	return b, b[ipv4Header:]
}

// parseUDP gives the ends and the data of a UDP packet.
func parseUDP(p packet) (from, to netip.AddrPort, data []byte, ok bool) {
	b := p.payload
	if p.protocol != protocolUDP || len(b) < udpHeader {
		return from, to, nil, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpHeader || length > len(b) {
		return from, to, nil, false
	}
	from = netip.AddrPortFrom(p.source, binary.BigEndian.Uint16(b))
	to = netip.AddrPortFrom(p.destination, binary.BigEndian.Uint16(b[2:]))
	return from, to, b[udpHeader:length], true
}

// buildUDP makes a UDP packet.
func buildUDP(from, to netip.AddrPort, data []byte) []byte {
	b, u := buildPacket(protocolUDP, from.Addr(), to.Addr(), udpHeader+len(data))
	binary.BigEndian.PutUint16(u, from.Port())
	binary.BigEndian.PutUint16(u[2:], to.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[udpHeader:], data)
	checksum := transportSum(b, u)
	if checksum == 0 {
		checksum = 0xFFFF // 0 means that there is none
	}
	binary.BigEndian.PutUint16(u[6:], checksum)
	return b
}

// parseSYN reports if a packet asks for a TCP connection, and to which port.
func parseSYN(p packet) (port uint16, ok bool) {
	if p.protocol != protocolTCP || len(p.payload) < tcpHeader || p.payload[13]&(tcpSYN|tcpACK|tcpRST) != tcpSYN {
		return 0, false
	}
	return binary.BigEndian.Uint16(p.payload[2:]), true
}

// buildReset refuses the TCP connection that a packet asks for.
func buildReset(p packet) []byte {
	b, t := buildPacket(protocolTCP, p.destination, p.source, tcpHeader)
	copy(t, p.payload[2:4])
	copy(t[2:], p.payload[:2])
	binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(p.payload[4:])+1)
	t[12], t[13] = tcpHeader/4<<4, tcpRST|tcpACK
	binary.BigEndian.PutUint16(t[16:], transportSum(b, t))
	return b
}

// buildEchoReply answers an ICMP echo request; nil if p is none.
func buildEchoReply(p packet) []byte {
	if p.protocol != protocolICMP || len(p.payload) < icmpHeader || p.payload[0] != icmpEchoRequest {
		return nil
	}
	b, reply := buildPacket(protocolICMP, p.destination, p.source, len(p.payload))
	copy(reply, p.payload)
	reply[0] = icmpEchoReply
	reply[2], reply[3] = 0, 0
	binary.BigEndian.PutUint16(reply[2:], ^sum(0, reply))
	return b
}

// transportSum is the checksum of a packet's payload with the pseudo header: both
// addresses, the protocol and the length.
func transportSum(packet, payload []byte) uint16 {
	return ^sum(sum(uint16(packet[9])+uint16(len(payload)), packet[12:20]), payload)
}

// sum is the Internet checksum (RFC 1071), not yet complemented.
func sum(start uint16, b []byte) uint16 {
	s := uint32(start)
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xFFFF {
		s = s>>16 + s&0xFFFF
	}
	return uint16(s)
}
