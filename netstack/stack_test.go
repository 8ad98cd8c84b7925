package netstack

import (
	"context"
	"errors"
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

	"golang.zx2c4.com/wireguard/tun"
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
		if mtu, err := s.MTU(); mtu != test.wantMTU || err != nil {
			t.Errorf("MTU = %d, %v; want %d", mtu, err, test.wantMTU)
		}
		if name, err := s.Name(); name == "" || err != nil {
			t.Errorf("Name = %q, %v", name, err)
		}
		if s.BatchSize() != 1 || s.File() != nil {
			t.Errorf("BatchSize %d, File %v", s.BatchSize(), s.File())
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
		if _, err := s.Write([][]byte{ip4(17, src, gatewayAddr, udpTo(1, "x"))}, 0); err != nil {
			t.Fatal(err)
		}
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

func TestDeviceEvents(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	if event, ok := <-s.Events(); event != tun.EventUp || !ok {
		t.Errorf("first event: %v, %v", event, ok)
	}
	select {
	case event, ok := <-s.Events():
		t.Errorf("second event: %v, %v", event, ok)
	default:
	}
	closeStack(t, s)
	closeStack(t, s)
	if event, ok := <-s.Events(); ok {
		t.Errorf("event after Close: %v", event)
	}
	if _, err := s.Read([][]byte{make([]byte, 2000)}, []int{0}, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if _, err := s.Write([][]byte{{0x45}}, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
}

func TestDeviceDropsAndCounts(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	c := listenUDP(t, s, gatewayAddr+":1")
	good := ip4(17, deviceAddr, gatewayAddr, udpTo(1, "good"))
	short := append([]byte(nil), good[:len(good)-1]...)
	bufs := [][]byte{{}, {0, 0, 0, 0, 0x45}, append(make([]byte, 4), short...), append(make([]byte, 4), good...), {1, 2}}
	if n, err := s.Write(bufs, 4); n != len(bufs) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	expect(t, c, "good", deviceAddr+":3671")
	for range queueLimit + 10 {
		send(t, c, "nobody reads", deviceAddr+":3671")
	}
	want := Stats{In: 1, Malformed: 4, Dropped: 10}
	if got := s.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	// A buffer that is too small costs the packet, not the device.
	if n, err := s.Read([][]byte{make([]byte, 2000)}, []int{0}, 0); n != 1 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	want.Out = 1
	if got := s.Stats(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
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
	users.Go(func() { pump(gateway, device) })
	users.Go(func() { pump(gateway, device) })
	users.Go(func() { pump(device, gateway) })
	users.Go(func() { serve(listener) })
	for _, s := range []*Stack{gateway, device} {
		users.Go(func() {
			for range s.Events() {
			}
		})
		garbage := make([]byte, 64)
		user(func() error {
			_, err := s.Write([][]byte{garbage, ip4(17, "10.1.1.1", deviceAddr, udpTo(3671, "x"))}, 0)
			return err
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
	if took := time.Since(start); took > 5*time.Second { // milliseconds as a rule
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
		if _, err := s.Write([][]byte{fragment}, 0); err != nil {
			t.Fatal(err)
		}
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
