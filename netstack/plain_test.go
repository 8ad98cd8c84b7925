package netstack

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// listening is a stack with sockets of every kind, and what it sent.
type listening struct {
	*Stack

	sockets []*UDPConn
	sent    [][]byte
}

func newListening(t testing.TB) *listening {
	l := &listening{Stack: newStack(t, gatewayAddr+"/24", gatewayV6+"/64", "10.200.0.9/32")}
	for _, local := range []string{"[::]:40000", "0.0.0.0:3671", gatewayAddr + ":1", "[" + gatewayV6 + "]:2"} {
		l.sockets = append(l.sockets, listenUDP(t, l.Stack, local))
	}
	l.Connect(func(p []byte) { l.sent = append(l.sent, bytes.Clone(p)) })
	return l
}

// whole makes the stack's gVisor host.
func (l *listening) whole(t testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.needUDP(); err != nil {
		t.Fatal(err)
	}
}

// took tells what the sockets have received since the last call.
func (l *listening) took(t testing.TB) string {
	var all strings.Builder
	b := make([]byte, 1<<16)
	for _, c := range l.sockets {
		for {
			n, from, err := c.TryRead(b)
			if err != nil {
				t.Fatal(err)
			}
			if !from.IsValid() {
				break
			}
			fmt.Fprintf(&all, "%s: %q from %s\n", c.LocalAddr(), b[:n], from)
		}
	}
	return all.String()
}

// strange are packets that are plain, and those that are nearly so.
func strange() map[string][]byte {
	datagram4 := func(src, dst string, port uint16, payload string) []byte {
		u := header.UDP(udpTo(port, payload))
		a, b := addressOf(netip.MustParseAddr(src)), addressOf(netip.MustParseAddr(dst))
		sum := checksum.Checksum(u.Payload(), header.PseudoHeaderChecksum(header.UDPProtocolNumber, a, b, uint16(len(u))))
		u.SetChecksum(nonZero(^u.CalculateChecksum(sum)))
		if netip.MustParseAddr(src).Is4() {
			return ip4(17, src, dst, u)
		}
		return ip6(17, src, dst, u)
	}
	plain4 := datagram4(deviceAddr, gatewayAddr, 3671, "telegram")
	plain6 := datagram4(deviceV6, gatewayV6, 40000, "telegram")
	change := func(packet []byte, at int, to byte, fix bool) []byte {
		p := slices.Clone(packet)
		p[at] = to
		if fix {
			ip := header.IPv4(p)
			ip.SetChecksum(0)
			ip.SetChecksum(^ip.CalculateChecksum())
		}
		return p
	}
	options := slices.Concat(plain4[:20], []byte{1, 1, 1, 0}, plain4[20:])
	options[0], options[3] = 0x46, byte(len(options))
	return map[string][]byte{
		"plain":                       plain4,
		"plain to the second address": datagram4(deviceAddr, "10.200.0.9", 3671, "telegram"),
		"plain and empty":             datagram4(deviceAddr, gatewayAddr, 40000, ""),
		"plain and odd":               datagram4(deviceAddr, gatewayAddr, 1, "odd"),
		"plain IPv6":                  plain6,
		"from IPv4 in IPv6":           datagram4("::ffff:9.9.9.9", gatewayV6, 40000, "telegram"),
		"to all systems":              datagram4(deviceAddr, "224.0.0.1", 3671, "telegram"),
		"to all nodes":                datagram4(deviceV6, "ff02::1", 40000, "telegram"),
		"to our solicited node":       datagram4(deviceV6, "ff02::1:ff00:2", 40000, "telegram"),
		"IPv6 to a socket of its own": datagram4(deviceV6, gatewayV6, 2, "telegram"),
		"IPv6 to a socket of IPv4":    datagram4(deviceV6, gatewayV6, 3671, "telegram"),
		"without a checksum":          ip4(17, deviceAddr, gatewayAddr, udpTo(3671, "telegram")),
		"IPv6 without a checksum":     ip6(17, deviceV6, gatewayV6, udpTo(40000, "telegram")),
		"to another address's socket": datagram4(deviceAddr, "10.200.0.9", 1, "telegram"),
		"to no socket":                datagram4(deviceAddr, gatewayAddr, 9, "telegram"),
		"to another host":             datagram4(deviceAddr, "10.200.0.3", 3671, "telegram"),
		"to a multicast group":        datagram4(deviceAddr, "224.0.23.12", 3671, "telegram"),
		"to a broadcast address":      datagram4(deviceAddr, "255.255.255.255", 3671, "telegram"),
		"to the subnet's broadcast":   datagram4(deviceAddr, "10.200.0.255", 3671, "telegram"),
		"from our own address":        datagram4("10.200.0.9", gatewayAddr, 3671, "telegram"),
		"from a multicast group":      datagram4("224.0.23.12", gatewayAddr, 3671, "telegram"),
		"from a broadcast address":    datagram4("255.255.255.255", gatewayAddr, 3671, "telegram"),
		"from nowhere":                datagram4("0.0.0.0", gatewayAddr, 3671, "telegram"),
		"from loopback":               datagram4("127.0.0.1", gatewayAddr, 3671, "telegram"),
		"from port 0":                 change(ip4(17, deviceAddr, gatewayAddr, udpTo(3671, "x")), 20, 0, false)[:29],
		"bad UDP checksum":            change(plain4, 27, plain4[27]^1, false),
		"bad IP checksum":             change(plain4, 10, plain4[10]^1, false),
		"bad IPv6 checksum":           change(plain6, 47, plain6[47]^1, false),
		"no time to live":             change(plain4, 8, 0, true),
		"UDP length too small":        change(plain4, 25, 7, false),
		"UDP length too large":        change(plain4, 25, 200, false),
		"UDP shorter than IP":         change(ip4(17, deviceAddr, gatewayAddr, udpTo(3671, "telegram")), 25, 12, false),
		"first fragment":              change(plain4, 6, 0x20, true),
		"later fragment":              change(plain4, 7, 1, true),
		"don't fragment":              change(plain4, 6, 0x40, true),
		"type of service":             change(plain4, 1, 0xb8, true),
		"options":                     options,
		"no UDP header":               ip4(17, deviceAddr, gatewayAddr, []byte{1, 2, 3}),
		"unreachable":                 withICMPChecksum(ip4(1, deviceAddr, gatewayAddr, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, ip4(17, gatewayAddr, deviceAddr, udpTo(3671, "x"))...))),
		"echo request":                withICMPChecksum(ip4(1, deviceAddr, gatewayAddr, append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, "echo"...))),
		"echo to another host":        withICMPChecksum(ip4(1, deviceAddr, "10.200.0.3", append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, "echo"...))),
		"unknown protocol":            ip4(132, deviceAddr, gatewayAddr, make([]byte, 12)),
		"hop-by-hop options":          ip6(0, deviceV6, gatewayV6, slices.Concat([]byte{17, 0, 1, 4, 0, 0, 0, 0}, plain6[40:])),
	}
}

// compareWithWhole delivers a packet to two stacks, of which one has nothing pass gVisor
// by, and insists that they do the same.
func compareWithWhole(t testing.TB, packet []byte) (took string) {
	in, ok := inspect(packet)
	ours, whole := newListening(t), newListening(t)
	ours.Deliver(packet)
	whole.whole(t)
	before := len(whole.sent)
	if ok {
		whole.udp.link.deliver(in.network, in.packet)
	}
	took = ours.took(t)
	if want := whole.took(t); took != want {
		t.Errorf("%x\nreceived %q, want %q", packet, took, want)
	}
	if got, want := len(ours.sent), len(whole.sent)-before; got != want {
		t.Errorf("%x\nanswered with %d packets, want %d", packet, got, want)
	}
	return took
}

// What passes gVisor by is what gVisor would have taken, and nothing else is.
func TestPlainDatagramsAreTakenAsByTheWholeStack(t *testing.T) {
	for name, packet := range strange() {
		t.Run(name, func(t *testing.T) {
			took := compareWithWhole(t, packet)
			if wants := strings.Contains(name, "plain"); wants && took == "" {
				t.Error("not received")
			}
			s := newListening(t)
			s.Deliver(packet)
			if strings.Contains(name, "plain") && s.udp != nil {
				t.Error("it did not pass gVisor by")
			}
		})
	}
}

func FuzzPlain(f *testing.F) {
	for _, packet := range strange() {
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		compareWithWhole(t, packet)
		compareWithWhole(t, withChecksums(packet)) // most changes break them
	})
}

// withChecksums is a packet with the checksums that it should have, where it is UDP.
func withChecksums(packet []byte) []byte {
	packet = slices.Clone(packet)
	var src, dst tcpip.Address
	var datagram header.UDP
	in, ok := inspect(packet)
	switch {
	case !ok:
		return packet
	case in.network == header.IPv4ProtocolNumber:
		ip := header.IPv4(in.packet)
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
		if ip.TransportProtocol() == header.UDPProtocolNumber {
			src, dst, datagram = ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
		}
	case header.IPv6(in.packet).TransportProtocol() == header.UDPProtocolNumber:
		ip := header.IPv6(in.packet)
		src, dst, datagram = ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
	}
	if len(datagram) < header.UDPMinimumSize || datagram.Checksum() == 0 {
		return packet
	}
	datagram.SetChecksum(0)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, datagram.Length())
	datagram.SetChecksum(nonZero(^datagram.CalculateChecksum(checksum.Checksum(datagram.Payload(), sum))))
	return packet
}

// What passes gVisor by on its way out is what gVisor would have sent.
func TestPlainDatagramsLeaveAsFromTheWholeStack(t *testing.T) {
	for _, c := range []struct {
		local, to string
		size      int
		plain     bool
	}{
		{"0.0.0.0:3671", deviceAddr + ":3671", 10, true},
		{"0.0.0.0:3671", deviceAddr + ":3671", 0, true},
		{"0.0.0.0:3671", deviceAddr + ":3671", 11, true},
		{"0.0.0.0:3671", deviceAddr + ":3671", defaultMTU - 28, true},
		{"0.0.0.0:3671", deviceAddr + ":3671", defaultMTU - 27, false},
		{gatewayAddr + ":1", "10.200.0.77:9", 100, true},
		{"[::]:40000", deviceAddr + ":3671", 100, true},
		{"[::]:40000", "[" + deviceV6 + "]:3671", 100, true},
		{"[" + gatewayV6 + "]:5", "[2001:db8::1]:3671", defaultMTU - 48, true},
		{"[" + gatewayV6 + "]:5", "[2001:db8::1]:3671", defaultMTU - 47, false},
		{"0.0.0.0:3671", "224.0.23.12:3671", 100, false},
		{"[::]:40000", "[ff02::1]:3671", 100, false},
	} {
		t.Run(fmt.Sprintf("%s to %s, %d bytes", c.local, c.to, c.size), func(t *testing.T) {
			payload := bytes.Repeat([]byte{0xa5, 0x01, 0xff}, c.size)[:c.size]
			packets := func(whole bool) [][]byte {
				var sent [][]byte
				s := newStack(t, gatewayAddr+"/24", gatewayV6+"/64")
				conn := listenUDP(t, s, c.local)
				if whole {
					s.mu.Lock()
					if err := s.needUDP(); err != nil {
						t.Fatal(err)
					}
					s.only4, s.only6 = netip.Addr{}, netip.Addr{}
					conn.local = netip.AddrPortFrom(netip.Addr{}, conn.local.Port()) // no plain datagram has such a source
					s.mu.Unlock()
				}
				s.Connect(func(p []byte) { sent = append(sent, bytes.Clone(p)) })
				send(t, conn, string(payload), c.to)
				if !whole && (s.udp == nil) != c.plain {
					t.Errorf("passed gVisor by: %v, want %v", s.udp == nil, c.plain)
				}
				return sent
			}
			got, want := packets(false), packets(true)
			if len(got) != len(want) || len(got) == 0 {
				t.Fatalf("%d packets, want %d", len(got), len(want))
			}
			for i := range got {
				if header.IPVersion(got[i]) == 4 {
					got[i], want[i] = anonymous(t, got[i]), anonymous(t, want[i])
				}
				if header.IPVersion(got[i]) == 6 && !c.plain {
					continue // fragments carry identifications inside
				}
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("packet %d:\n%x, want\n%x", i, got[i], want[i])
				}
			}
		})
	}
}

// anonymous is an IPv4 packet without its identification, and so without its checksum,
// which has to hold.
func anonymous(t testing.TB, packet []byte) []byte {
	ip := header.IPv4(slices.Clone(packet))
	if !ip.IsChecksumValid() {
		t.Errorf("checksum of %x", packet)
	}
	ip.SetID(0)
	ip.SetChecksum(0)
	return ip
}

// Two packets of a stack in a row have different identifications, as their fragments
// must not be taken for each other's (RFC 791 §3.2).
func TestPlainDatagramsHaveIdentifications(t *testing.T) {
	l := newListening(t)
	for range 3 {
		send(t, l.sockets[2], "x", deviceAddr+":3671")
	}
	if len(l.sent) != 3 || header.IPv4(l.sent[0]).ID() == header.IPv4(l.sent[1]).ID() || header.IPv4(l.sent[1]).ID() == header.IPv4(l.sent[2]).ID() {
		t.Errorf("%x", l.sent)
	}
}

// A socket is the same one before and after something made the stack's gVisor host, and a
// datagram in fragments reaches it.
func TestSocketsAreInTheWholeStackToo(t *testing.T) {
	gateway, device := newPair(t)
	client := listenUDP(t, gateway, "0.0.0.0:40000")
	server := listenUDP(t, device, deviceAddr+":3671")
	send(t, client, "plain", deviceAddr+":3671")
	expect(t, server, "plain", gatewayAddr+":40000")
	large := strings.Repeat("in fragments ", 300)
	send(t, server, large, gatewayAddr+":40000")
	expect(t, client, large, deviceAddr+":3671")
	later := listenUDP(t, gateway, "0.0.0.0:40001")
	send(t, server, large, gatewayAddr+":40001")
	expect(t, later, large, deviceAddr+":3671")
	send(t, client, "plain again", deviceAddr+":3671")
	expect(t, server, "plain again", gatewayAddr+":40000")
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	again := listenUDP(t, gateway, "0.0.0.0:40000")
	send(t, server, "to the next one there", gatewayAddr+":40000")
	expect(t, again, "to the next one there", deviceAddr+":3671")
}
