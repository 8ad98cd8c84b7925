package netstack

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		addresses []string
		mtu       int
		wantMTU   int
		wantErr   string
	}{
		{[]string{"192.168.178.201/24"}, 0, 1420, ""},
		{[]string{"10.200.0.2/32", "fd00::2/64", "10.200.0.2/24"}, 1280, 1280, ""},
		{[]string{"::ffff:10.200.0.2/128"}, 576, 576, ""},
		{nil, 0, 0, "at least one"},
		{[]string{"0.0.0.0/0"}, 0, 0, "0.0.0.0/0"},
		{[]string{"10.0.0.1/8", "224.0.23.12/32"}, 0, 0, "224.0.23.12/32"},
		{[]string{"127.0.0.1/8"}, 0, 0, "127.0.0.1/8"},
		{[]string{"255.255.255.255/32"}, 0, 0, "255.255.255.255/32"},
		{[]string{"10.0.0.1/32"}, 575, 0, "576 to 65475"},
		{[]string{"10.0.0.1/32"}, 65476, 0, "576 to 65475"},
		{[]string{"10.0.0.1/32"}, -1, 0, "576 to 65475"},
		{[]string{"fd00::2/64"}, 1279, 0, "1280 to 65475"},
	} {
		var cfg Config
		for _, a := range test.addresses {
			cfg.Addresses = append(cfg.Addresses, netip.MustParsePrefix(a))
		}
		cfg.MTU = test.mtu
		s, err := New(cfg)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("New(%v, MTU %d): %v, want %q", test.addresses, test.mtu, err, test.wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("New(%v, MTU %d): %v", test.addresses, test.mtu, err)
			continue
		}
		if s.mtu != test.wantMTU {
			t.Errorf("MTU = %d; want %d", s.mtu, test.wantMTU)
		}
		closeStack(t, s)
	}
	if _, err := New(Config{Addresses: make([]netip.Prefix, 1)}); err == nil {
		t.Error("an invalid address was taken")
	}
}

// Only the address of a prefix counts: its neighbours are behind the tunnel.
func TestOwnSubnetIsReachedThroughTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := newStack(t, "192.168.178.201/24")
		device := newStack(t, "192.168.178.3/24")
		wire(t, gateway, device)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		for _, neighbour := range []string{"192.168.178.3:3671", "192.168.178.0:3671", "192.168.178.255:3671"} {
			send(t, client, "x", neighbour)
		}
		synctest.Wait()
		if out := gateway.Stats().Out; out != 3 {
			t.Errorf("%d of 3 packets to the own subnet entered the tunnel", out)
		}
	})
}

// A packet from the tunnel that claims to come from the gateway itself is dropped.
func TestForgedOwnSourceIsDropped(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	c := listenUDP(t, s, gatewayAddr+":1")
	for src, arrives := range map[string]bool{gatewayAddr: false, "127.0.0.1": false, deviceAddr: true} {
		s.Deliver(ip4(17, src, gatewayAddr, udpTo(1, "x")))
		_, from, err := c.TryRead(make([]byte, 8))
		if err != nil || from.IsValid() != arrives {
			t.Errorf("from %s: arrived %v, %v; want %v", src, from.IsValid(), err, arrives)
		}
	}
}

func TestIdenticalBuildingsDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buildings = 50
		clients, servers := make([]*UDPConn, buildings), make([]*UDPConn, buildings)
		for i := range buildings {
			gateway, device := newPair(t)
			clients[i] = listenUDP(t, gateway, "0.0.0.0:40000")
			servers[i] = listenUDP(t, device, deviceAddr+":3671")
		}
		for i, c := range clients {
			send(t, c, fmt.Sprint("to building ", i), deviceAddr+":3671")
		}
		for i, s := range servers {
			expect(t, s, fmt.Sprint("to building ", i), gatewayAddr+":40000")
			expectNothing(t, s)
			send(t, s, fmt.Sprint("from building ", i), gatewayAddr+":40000")
		}
		for i, c := range clients {
			expect(t, c, fmt.Sprint("from building ", i), deviceAddr+":3671")
			expectNothing(t, c)
		}
	})
}

func TestPacketsAreCounted(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	packets := outlet(s)
	c := listenUDP(t, s, gatewayAddr+":1")
	good := ip4(17, deviceAddr, gatewayAddr, udpTo(1, "good"))
	for _, p := range [][]byte{nil, {0x45}, good[:len(good)-1], good, {1, 2}} {
		s.Deliver(p)
	}
	expect(t, c, "good", deviceAddr+":3671")
	send(t, c, "out", deviceAddr+":3671")
	if want, got := (Stats{In: 1, Out: 1, Malformed: 4}), s.Stats(); got != want || len(packets) != 1 {
		t.Errorf("Stats = %+v, want %+v; %d packets left", got, want, len(packets))
	}
	closeStack(t, s)
	closeStack(t, s)
	s.Deliver(good)
	if got := s.Stats().In; got != 1 {
		t.Errorf("%d packets were taken, one of them after Close", got)
	}
}

// Everything at once on stacks that are closed in the middle of it, at once or
// after some operations.
func TestCloseUnderTraffic(t *testing.T) {
	for round := range 100 {
		closeUnderTraffic(t, int64(2*round))
	}
}

// closeUnderTraffic closes a pair of stacks once its users have done so many
// operations.
func closeUnderTraffic(t *testing.T, operations int64) {
	gateway := newStack(t, gatewayAddr+"/24", gatewayV6+"/64")
	device := newStack(t, deviceAddr+"/24", deviceV6+"/64")
	listener := listenTCP(t, device, deviceAddr+":80")
	server := listenUDP(t, device, deviceAddr+":3671")

	var users sync.WaitGroup
	var left atomic.Int64
	left.Store(operations + 1)
	reached := make(chan struct{})
	user := func(do func() error) {
		users.Go(func() {
			for {
				if left.Add(-1) == 0 {
					close(reached)
				}
				if do() != nil {
					return
				}
				<-time.After(100 * time.Microsecond) // leaves the processors to all
			}
		})
	}
	wire(t, gateway, device)
	users.Go(func() { serve(listener) })
	for _, s := range []*Stack{gateway, device} {
		garbage := make([]byte, 64)
		user(func() error {
			s.Deliver(garbage)
			s.Deliver(ip4(17, "10.1.1.1", deviceAddr, udpTo(3671, "x")))
			return closedError(s)
		})
		user(func() error {
			remove := s.Tap(func(Packet) {})
			remove()
			s.Stats()
			return closedError(s)
		})
		user(func() error {
			c, err := s.ListenUDP(netip.AddrPort{})
			if err != nil {
				return err
			}
			defer c.Close()
			for range 20 {
				if err := c.WriteTo([]byte("telegram"), netip.MustParseAddrPort(deviceAddr+":3671")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	user(func() error {
		_, _, err := server.TryRead(make([]byte, 100))
		return err
	})
	// In this crowd packets are lost, so what waits for an answer gives up soon.
	soon := func(do func(context.Context) error) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := do(ctx); err != nil {
				return closedError(gateway)
			}
			return nil
		}
	}
	user(soon(func(ctx context.Context) error {
		conn, err := gateway.DialTCP(ctx, netip.MustParseAddrPort(deviceAddr+":80"))
		if err != nil {
			return err
		}
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
		if _, err := conn.Write(make([]byte, 5000)); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, 5000))
		return err
	}))
	user(soon(func(ctx context.Context) error {
		_, err := gateway.Ping(ctx, netip.MustParseAddr(deviceV6))
		return err
	}))

	<-reached
	start := time.Now()
	var closers sync.WaitGroup
	for _, s := range []*Stack{gateway, device, gateway} {
		closers.Go(func() { closeStack(t, s) })
	}
	closers.Wait()
	if took := time.Since(start); took > patience/2 { // milliseconds as a rule
		t.Errorf("Close took %v", took)
	}
	users.Wait()
}

func closedError(s *Stack) error {
	if s.closed.Load() {
		return os.ErrClosed
	}
	return nil
}

// After Close nothing of a stack is left: no timer and no global table keeps it.
func TestClosedStackIsFreed(t *testing.T) {
	freed := make(chan struct{}, 1)
	func() {
		s, err := New(Config{Addresses: []netip.Prefix{
			netip.MustParsePrefix(gatewayAddr + "/32"), netip.MustParsePrefix(gatewayV6 + "/128"),
		}})
		if err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(s, func(int) { freed <- struct{}{} }, 0)
		go serve(listenTCP(t, s, gatewayAddr+":80"))
		conn := dialTCP(t, s, gatewayAddr+":80")
		defer conn.Close()
		// The first fragment of a packet starts the reassembly timer.
		fragment := ip4(17, deviceAddr, gatewayAddr, udpTo(1, "12345678"))
		fragment[6], fragment[10], fragment[11] = 0x20, 0, 0
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(fragment[i])<<8 | uint32(fragment[i+1])
		}
		sum = sum>>16 + sum&0xffff
		fragment[10], fragment[11] = byte(^sum>>8), byte(^sum)
		s.Deliver(fragment)
		closeStack(t, s)
	}()
	timeout := time.After(patience)
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-timeout:
			t.Fatal("a closed stack is still referenced")
		case <-time.After(time.Millisecond):
		}
	}
}
