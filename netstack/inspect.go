package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// inbound is a packet from the building whose IP header holds.
type inbound struct {
	network tcpip.NetworkProtocolNumber
	packet  []byte // cut to the length in its header: WireGuard pads
	tcp     bool   // it concerns TCP: a segment, or an ICMP error about one
}

// inspect checks version and lengths, and finds out whom the packet concerns.
func inspect(packet []byte) (inbound, bool) {
	switch header.IPVersion(packet) {
	case header.IPv4Version:
		ip := header.IPv4(packet)
		if !ip.IsValid(len(packet)) {
			return inbound{}, false
		}
		ip = ip[:ip.TotalLength()]
		return inbound{network: header.IPv4ProtocolNumber, packet: ip, tcp: concernsTCP4(ip)}, true
	case header.IPv6Version:
		ip := header.IPv6(packet)
		if !ip.IsValid(len(packet)) {
			return inbound{}, false
		}
		ip = ip[:header.IPv6MinimumSize+int(ip.PayloadLength())]
		return inbound{network: header.IPv6ProtocolNumber, packet: ip, tcp: concernsTCP6(ip)}, true
	}
	return inbound{}, false
}

// concernsTCP4 looks at the protocol field, which every fragment carries, and
// in an ICMP error (RFC 792) at that of the packet quoted. A fragmented ICMP
// packet counts as not TCP, so that all of its fragments meet in one host.
func concernsTCP4(ip header.IPv4) bool {
	switch ip.TransportProtocol() {
	case header.TCPProtocolNumber:
		return true
	case header.ICMPv4ProtocolNumber:
	default:
		return false
	}
	if ip.More() || ip.FragmentOffset() != 0 {
		return false
	}
	icmp := header.ICMPv4(ip.Payload())
	if len(icmp) < header.ICMPv4MinimumSize+header.IPv4MinimumSize {
		return false
	}
	return isError4(icmp.Type()) && header.IPv4(icmp.Payload()).TransportProtocol() == header.TCPProtocolNumber
}

// isError4 reports whether a type of ICMP is an error about a packet of ours (RFC 792).
func isError4(kind header.ICMPv4Type) bool {
	switch kind {
	case header.ICMPv4DstUnreachable, header.ICMPv4SrcQuench, header.ICMPv4Redirect,
		header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
		return true
	}
	return false
}

// concernsTCP6 does the same for IPv6, where the protocol stands behind the
// extension headers and ICMPv6 errors are the types below 128 (RFC 4443 §2.1).
func concernsTCP6(ip header.IPv6) bool {
	protocol, rest, fragment := transport6(ip)
	switch protocol {
	case header.TCPProtocolNumber:
		return true
	case header.ICMPv6ProtocolNumber:
	default:
		return false
	}
	if fragment || len(rest) < header.ICMPv6MinimumSize+header.IPv6MinimumSize || rest[0] >= 128 {
		return false
	}
	protocol, _, _ = transport6(header.IPv6(rest[header.ICMPv6MinimumSize:]))
	return protocol == header.TCPProtocolNumber
}

// transport6 follows the chain of extension headers (RFC 8200 §4) of ip, which
// is at least 40 bytes, to the transport protocol and its bytes. It stops at the
// header of a true fragment: later fragments do not carry more of the chain, so
// all fragments of a packet give the same answer. It ends because each step
// takes at least eight bytes.
func transport6(ip header.IPv6) (protocol tcpip.TransportProtocolNumber, rest []byte, fragment bool) {
	next := ip.NextHeader()
	rest = ip[header.IPv6MinimumSize:]
	for len(rest) >= 8 {
		length := 8
		switch header.IPv6ExtensionHeaderIdentifier(next) {
		case header.IPv6HopByHopOptionsExtHdrIdentifier,
			header.IPv6RoutingExtHdrIdentifier,
			header.IPv6DestinationOptionsExtHdrIdentifier:
			length += 8 * int(rest[1])
		case header.IPv6FragmentExtHdrIdentifier:
			// Bytes 2 and 3 are the offset, two reserved bits and the "more" bit.
			if rest[2] != 0 || rest[3]&^0b110 != 0 {
				return tcpip.TransportProtocolNumber(rest[0]), nil, true
			}
		default:
			return tcpip.TransportProtocolNumber(next), rest, false
		}
		if length > len(rest) {
			break
		}
		next, rest = rest[0], rest[length:]
	}
	return tcpip.TransportProtocolNumber(next), rest, false
}
