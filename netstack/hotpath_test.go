package netstack

import (
	"net/netip"
	"testing"
)

// path is the way of a datagram through a stack, in one goroutine: from WireGuard
// to the session's socket, and from there to WireGuard.
type path struct {
	stack  *Stack
	conn   *UDPConn
	router netip.AddrPort

	inbound []byte
	sent    int // bytes of the packet sent last
	payload []byte
}

func newPath(t testing.TB) *path {
	t.Helper()
	s := newStack(t, gatewayAddr+"/24")
	const telegram = "a TUNNELLING_REQUEST is 21 bytes"
	p := &path{
		stack:   s,
		conn:    listenUDP(t, s, "0.0.0.0:3671"),
		router:  netip.MustParseAddrPort(deviceAddr + ":3671"),
		inbound: ip4(17, deviceAddr, gatewayAddr, udpTo(3671, telegram)),
		payload: make([]byte, 64),
	}
	s.Connect(func(packet []byte) { p.sent = len(packet) })
	return p
}

func (p *path) receive(t testing.TB) {
	p.stack.Deliver(p.inbound)
	n, from, err := p.conn.TryRead(p.payload)
	if n != 32 || from != p.router || err != nil {
		t.Fatalf("%d bytes from %v, %v", n, from, err)
	}
}

func (p *path) send(t testing.TB) {
	if err := p.conn.WriteTo(p.payload[:10], p.router); err != nil {
		t.Fatal(err)
	}
	if p.sent != 38 {
		t.Fatalf("%d bytes", p.sent)
	}
}

// A telegram and its acknowledgement pass gVisor by, and allocate nothing.
func TestHotPathAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := newPath(t)
	for name, run := range map[string]func(testing.TB){"received": p.receive, "sent": p.send} {
		if got := testing.AllocsPerRun(1000, func() { run(t) }); got > 0 {
			t.Errorf("a datagram %s makes %.0f allocations", name, got)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	p := newPath(b)
	b.ReportAllocs()
	for b.Loop() {
		p.receive(b)
	}
}

func BenchmarkSend(b *testing.B) {
	p := newPath(b)
	b.ReportAllocs()
	for b.Loop() {
		p.send(b)
	}
}
