package netstack

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is never used up
// unless a test fails.
const patience = time.Minute

const (
	gatewayAddr = "10.200.0.2"
	deviceAddr  = "192.168.178.3"
	gatewayV6   = "fd00:7::2"
	deviceV6    = "fd00:7::3"
)

func newStack(t testing.TB, addresses ...string) *Stack {
	t.Helper()
	var cfg Config
	for _, a := range addresses {
		cfg.Addresses = append(cfg.Addresses, netip.MustParsePrefix(a))
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStack(t, s) })
	return s
}

func closeStack(t testing.TB, s *Stack) {
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// newPair makes a gateway and a device of the building, wired back to back.
func newPair(t testing.TB) (gateway, device *Stack) {
	t.Helper()
	gateway = newStack(t, gatewayAddr+"/24", gatewayV6+"/64")
	device = newStack(t, deviceAddr+"/24", deviceV6+"/64")
	wire(t, gateway, device)
	return gateway, device
}

// wire carries packets both ways until the test's end, as WireGuard would.
func wire(t testing.TB, a, b *Stack) {
	carry(t, a, b.Deliver)
	carry(t, b, a.Deliver)
}

// carry takes a stack's packets somewhere until the test's end.
func carry(t testing.TB, from *Stack, to func(packet []byte)) {
	packets := outlet(from)
	var carrying sync.WaitGroup
	done := make(chan struct{})
	carrying.Go(func() {
		for {
			select {
			case p := <-packets:
				to(p)
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() {
		closeStack(t, from)
		close(done)
		carrying.Wait()
	})
}

// outlet holds what leaves a stack; when it is full, packets are lost, as on a network.
func outlet(s *Stack) <-chan []byte {
	packets := make(chan []byte, 1024)
	s.Connect(func(packet []byte) {
		select {
		case packets <- bytes.Clone(packet):
		default:
		}
	})
	return packets
}

func listenUDP(t testing.TB, s *Stack, local string) *UDPConn {
	t.Helper()
	c, err := s.ListenUDP(netip.MustParseAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %v: %v", c.LocalAddr(), err)
		}
	})
	return c
}

func send(t testing.TB, c *UDPConn, payload, to string) {
	t.Helper()
	if err := c.WriteTo([]byte(payload), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
}

// receive waits for one datagram.
func receive(t testing.TB, c *UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 65535)
	timeout := time.After(patience)
	for {
		n, from, err := c.TryRead(b)
		if err != nil {
			t.Fatal(err)
		}
		if from.IsValid() {
			return string(b[:n]), from
		}
		select {
		case <-c.Readable():
		case <-timeout:
			t.Fatal("no datagram arrived")
		}
	}
}

func expect(t testing.TB, c *UDPConn, payload, from string) {
	t.Helper()
	gotPayload, gotFrom := receive(t, c)
	if gotPayload != payload || gotFrom != netip.MustParseAddrPort(from) {
		t.Fatalf("received %q from %v, want %q from %s", gotPayload, gotFrom, payload, from)
	}
}

func expectNothing(t testing.TB, c *UDPConn) {
	t.Helper()
	b := make([]byte, 64)
	if n, from, err := c.TryRead(b); err != nil || from.IsValid() {
		t.Fatalf("TryRead = %q from %v, %v; want nothing", b[:n], from, err)
	}
}
