package netstack

import (
	"slices"
	"testing"
)

func TestInspectFindsTCP(t *testing.T) {
	const a, b = "10.1.1.1", "10.2.2.2"
	const a6, b6 = "fd00::1", "fd00::2"
	const tcpNumber, udpNumber, icmp4, icmp6 = 6, 17, 1, 58
	segment := make([]byte, 20)
	fragmented := func(packet []byte, high, low byte) []byte {
		packet = slices.Clone(packet)
		packet[6], packet[7] = high, low
		return packet
	}
	icmpError := func(kind byte, quoted []byte) []byte { return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, quoted...) }
	extension := func(next byte, length int, payload []byte) []byte {
		h := make([]byte, length)
		h[0], h[1] = next, byte(length/8-1)
		return append(h, payload...)
	}
	fragment6 := func(next, high, low byte, payload []byte) []byte {
		return append([]byte{next, 0, high, low, 0, 0, 0, 1}, payload...)
	}
	quoted4 := ip4(tcpNumber, b, a, segment[:8])
	for _, test := range []struct {
		name   string
		packet []byte
		tcp    bool
	}{
		{"TCP", ip4(tcpNumber, a, b, segment), true},
		{"later fragment of TCP", fragmented(ip4(tcpNumber, a, b, segment), 0, 9), true},
		{"UDP", ip4(udpNumber, a, b, segment), false},
		{"echo reply", ip4(icmp4, a, b, icmpError(0, quoted4)), false},
		{"unreachable about TCP", ip4(icmp4, a, b, icmpError(3, quoted4)), true},
		{"time exceeded about TCP", ip4(icmp4, a, b, icmpError(11, quoted4)), true},
		{"unreachable about UDP", ip4(icmp4, a, b, icmpError(3, ip4(udpNumber, b, a, segment))), false},
		{"first fragment of unreachable", fragmented(ip4(icmp4, a, b, icmpError(3, quoted4)), 0x20, 0), false},
		{"later fragment of unreachable", fragmented(ip4(icmp4, a, b, icmpError(3, quoted4)), 0, 9), false},
		{"unreachable cut short", ip4(icmp4, a, b, icmpError(3, quoted4[:19])), false},
		{"empty ICMP", ip4(icmp4, a, b, nil), false},

		{"TCP6", ip6(tcpNumber, a6, b6, segment), true},
		{"UDP6", ip6(udpNumber, a6, b6, segment), false},
		{"no payload", ip6(tcpNumber, a6, b6, nil), true},
		{"TCP6 behind options", ip6(0, a6, b6, extension(60, 8, extension(43, 16, extension(tcpNumber, 24, segment)))), true},
		{"UDP6 behind options", ip6(0, a6, b6, extension(udpNumber, 8, segment)), false},
		{"options longer than the packet", ip6(0, a6, b6, []byte{6, 200, 0, 0, 0, 0, 0, 0}), false},
		{"first fragment of TCP6", ip6(44, a6, b6, fragment6(tcpNumber, 0, 1, segment)), true},
		{"later fragment of TCP6", ip6(44, a6, b6, fragment6(tcpNumber, 1, 0, segment)), true},
		{"fragment of UDP6", ip6(44, a6, b6, fragment6(udpNumber, 0, 1, segment)), false},
		{"atomic fragment of TCP6", ip6(44, a6, b6, fragment6(60, 0, 0, extension(tcpNumber, 8, segment))), true},
		{"too big about TCP6", ip6(icmp6, a6, b6, icmpError(2, ip6(tcpNumber, b6, a6, segment))), true},
		{"too big about fragment of TCP6", ip6(icmp6, a6, b6, icmpError(2, ip6(44, b6, a6, fragment6(tcpNumber, 0, 1, segment)))), true},
		{"unreachable about UDP6", ip6(icmp6, a6, b6, icmpError(1, ip6(udpNumber, b6, a6, segment))), false},
		{"echo request 6", ip6(icmp6, a6, b6, icmpError(128, ip6(tcpNumber, b6, a6, segment))), false},
		{"fragment of too big", ip6(44, a6, b6, fragment6(icmp6, 0, 1, icmpError(2, ip6(tcpNumber, b6, a6, segment)))), false},
		{"too big cut short", ip6(icmp6, a6, b6, icmpError(2, make([]byte, 39))), false},
	} {
		in, ok := inspect(test.packet)
		if !ok || in.tcp != test.tcp {
			t.Errorf("%s: valid %v, TCP %v; want TCP %v", test.name, ok, in.tcp, test.tcp)
		}
		if len(in.packet) != len(test.packet) {
			t.Errorf("%s: %d of %d bytes", test.name, len(in.packet), len(test.packet))
		}
	}
}

func TestInspectLength(t *testing.T) {
	for _, packet := range [][]byte{
		ip4(17, "10.1.1.1", "10.2.2.2", make([]byte, 20)),
		ip6(17, "fd00::1", "fd00::2", make([]byte, 20)),
	} {
		for n := range packet {
			if _, ok := inspect(packet[:n]); ok {
				t.Errorf("%d of %d bytes taken for a packet", n, len(packet))
			}
		}
		if in, ok := inspect(append(slices.Clone(packet), 0, 0, 0)); !ok || len(in.packet) != len(packet) {
			t.Errorf("padded packet: %v, %d bytes of %d", ok, len(in.packet), len(packet))
		}
	}
	for _, first := range []byte{0x00, 0x35, 0x44, 0x55, 0x75, 0xff} { // versions, and an IPv4 header below 20 bytes
		packet := ip4(17, "10.1.1.1", "10.2.2.2", make([]byte, 20))
		packet[0] = first
		if _, ok := inspect(packet); ok {
			t.Errorf("first byte %#x taken for a packet", first)
		}
	}
}

// Whatever arrives, the stack takes the next packet, and so does the socket.
func FuzzDeliver(f *testing.F) {
	segment := append([]byte{0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02}, make([]byte, 6)...)
	quoted := ip4(6, gatewayAddr, deviceAddr, segment)
	for _, packet := range [][]byte{
		nil,
		ip4(17, deviceAddr, gatewayAddr, udpTo(1, "telegram")),
		ip4(6, deviceAddr, gatewayAddr, segment),
		withICMPChecksum(ip4(1, deviceAddr, gatewayAddr, append([]byte{3, 4, 0, 0, 0, 0, 2, 88}, quoted...))),
		withICMPChecksum(ip4(1, deviceAddr, gatewayAddr, append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, "echo"...))),
		ip6(17, deviceV6, gatewayV6, udpTo(1, "telegram")),
		ip6(0, deviceV6, gatewayV6, append([]byte{44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 1}, udpTo(1, "x")...)),
		ip6(58, deviceV6, gatewayV6, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16)...)),
	} {
		f.Add(packet, false)
		f.Add(packet, true)
	}
	probe := ip4(17, deviceAddr, gatewayAddr, udpTo(40000, "probe"))
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		s := newStack(t, gatewayAddr+"/32", gatewayV6+"/128")
		listenUDP(t, s, "[::]:1")
		c := listenUDP(t, s, "[::]:40000")
		if tcp {
			listenTCP(t, s, "[::]:80")
		}
		s.Connect(func([]byte) {})
		for _, p := range [][]byte{packet, packet, probe} {
			s.Deliver(p)
		}
		if got := s.Stats(); got.In+got.Malformed != 3 {
			t.Errorf("3 packets were counted as %+v", got)
		}
		for {
			if payload, _ := receive(t, c); payload == "probe" {
				return
			}
		}
	})
}
