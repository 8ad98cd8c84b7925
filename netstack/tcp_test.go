package netstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TCP runs in real time: its goroutines do not block durably in a bubble.

func listenTCP(t testing.TB, s *Stack, local string) net.Listener {
	t.Helper()
	l, err := s.ListenTCP(netip.MustParseAddrPort(local))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dialTCP(t testing.TB, s *Stack, remote string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := s.DialTCP(ctx, netip.MustParseAddrPort(remote))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve echoes what each connection sends, until its end.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // the client notices an error
		}()
	}
}

func TestTCPTransfer(t *testing.T) {
	for _, remote := range []string{deviceAddr + ":80", "[" + deviceV6 + "]:80"} {
		t.Run(remote, func(t *testing.T) {
			gateway, device := newPair(t)
			go serve(listenTCP(t, device, remote))
			conn := dialTCP(t, gateway, remote)
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}

			const size = 4 << 20
			sent, received := sha256.New(), sha256.New()
			random := rand.NewChaCha8([32]byte{1})
			writing := make(chan error, 1)
			go func() {
				_, err := io.CopyN(io.MultiWriter(conn, sent), random, size)
				writing <- errors.Join(err, conn.(interface{ CloseWrite() error }).CloseWrite())
			}()
			n, err := io.Copy(received, conn)
			if err := errors.Join(err, <-writing); err != nil {
				t.Fatal(err)
			}
			if n != size || string(sent.Sum(nil)) != string(received.Sum(nil)) {
				t.Errorf("%d of %d bytes came back, or others", n, size)
			}
		})
	}
}

func TestTCPRefused(t *testing.T) {
	gateway, device := newPair(t)
	listenTCP(t, device, deviceAddr+":80") // makes the device speak TCP
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := gateway.DialTCP(ctx, netip.MustParseAddrPort(deviceAddr+":81"))
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), deviceAddr+":81") {
		t.Errorf("DialTCP to a closed port: %v", err)
	}
}

func TestTCPDialErrors(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	for remote, want := range map[string]string{
		"[fd00::1]:80":      "no route: the tunnel has no IPv6 address",
		"192.168.1.3:0":     "no port",
		"0.0.0.0:80":        "no address",
		gatewayAddr + ":80": "refused", // by ourselves
	} {
		_, err := s.DialTCP(t.Context(), netip.MustParseAddrPort(remote))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DialTCP(%s): %v, want %q", remote, err, want)
		}
	}
	cause := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, err := s.DialTCP(ctx, netip.MustParseAddrPort("192.168.1.3:80")); !errors.Is(err, cause) {
		t.Errorf("a cancelled dial: %v", err)
	}
}

// A dial that nobody answers must not hold Close up, nor be held by it.
func TestTCPDialEndsWithStack(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	packets := outlet(s)
	dialled := make(chan error, 1)
	go func() {
		_, err := s.DialTCP(context.Background(), netip.MustParseAddrPort("192.168.1.3:80"))
		dialled <- err
	}()
	<-packets // the SYN is out
	start := time.Now()
	closeStack(t, s)
	if took := time.Since(start); took > patience/2 {
		t.Errorf("Close took %v", took)
	}
	select {
	case err := <-dialled:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("DialTCP: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("DialTCP is still waiting")
	}
}

func TestTCPEndsWithStack(t *testing.T) {
	gateway, device := newPair(t)
	l := listenTCP(t, device, deviceAddr+":80")
	accepted := make(chan net.Conn, 1)
	accepting := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			accepting <- err
			return
		}
		accepted <- conn
		_, err = l.Accept()
		accepting <- err
	}()
	ours := dialTCP(t, gateway, deviceAddr+":80")
	theirs := <-accepted
	reading := make(chan error, 2)
	for _, conn := range []net.Conn{ours, theirs} {
		go func() {
			_, err := conn.Read(make([]byte, 1))
			reading <- err
		}()
	}
	closeStack(t, device)
	closeStack(t, gateway)
	for range 2 {
		if err := <-reading; err == nil {
			t.Error("Read succeeded on a connection of a closed stack")
		}
	}
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := gateway.DialTCP(t.Context(), netip.MustParseAddrPort(deviceAddr+":80")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("DialTCP after Close: %v", err)
	}
	if _, err := gateway.ListenTCP(netip.MustParseAddrPort("0.0.0.0:80")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ListenTCP after Close: %v", err)
	}
}

// TCP is paid for by those who use it, and given back with the stack.
func TestTCPOnDemand(t *testing.T) {
	goleak.VerifyNone(t) // of tests before: those that end meanwhile would be missed below
	before := runtime.NumGoroutine()
	s := newStack(t, gatewayAddr+"/32")
	listenUDP(t, s, "0.0.0.0:1")
	if n := runtime.NumGoroutine(); n != before {
		t.Fatalf("a UDP-only stack runs %d goroutines", n-before)
	}
	l := listenTCP(t, s, "0.0.0.0:80")
	go serve(l)
	conn := dialTCP(t, s, gatewayAddr+":80")
	defer conn.Close()
	if n := runtime.NumGoroutine(); n == before {
		t.Error("TCP runs no goroutine: this test sees nothing")
	}
	closeStack(t, s)
	deadline := time.After(patience)
	for runtime.NumGoroutine() > before {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		default:
			runtime.Gosched() // our own goroutines of this test end on their own
		}
	}
}

// TCP is given back when it is not used any more, and made again for the next use.
func TestTCPIsGivenBackWhenIdle(t *testing.T) {
	goleak.VerifyNone(t) // as above
	before := runtime.NumGoroutine()
	s := newStack(t, gatewayAddr+"/32")
	udp := listenUDP(t, s, "0.0.0.0:1")
	s.tcp.idle = 0
	inUse := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tcp.host != nil
	}
	eventually := func(what string, done func() bool) {
		t.Helper()
		deadline := time.After(patience)
		for !done() {
			select {
			case <-deadline:
				t.Fatal(what)
			default:
				runtime.Gosched()
			}
		}
	}
	for range 3 {
		l := listenTCP(t, s, "0.0.0.0:80")
		served := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
			}
			served <- c
		}()
		ours := dialTCP(t, s, gatewayAddr+":80")
		theirs := <-served
		for _, c := range []io.Closer{l, ours} {
			for range 2 { // the second counts for nothing
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s.giveBackTCP()
			if !inUse() {
				t.Fatal("TCP was taken from a connection that is open")
			}
		}
		if err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
		eventually("TCP was not given back", func() bool { return !inUse() })
	}
	// A call that fails leaves nothing behind, either.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.DialTCP(ctx, netip.MustParseAddrPort(gatewayAddr+":81")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	eventually("TCP was not given back after a refused call", func() bool { return !inUse() })
	eventually("goroutines are left", func() bool { return runtime.NumGoroutine() <= before })

	send(t, udp, "still here", gatewayAddr+":1")
	expect(t, udp, "still here", gatewayAddr+":1")
}

// UDP, TCP and ICMP share addresses and the device, and find the right half.
func TestTCPBesideUDP(t *testing.T) {
	gateway, device := newPair(t)
	server := listenUDP(t, device, deviceAddr+":3671")
	client := listenUDP(t, gateway, "0.0.0.0:40000")
	go serve(listenTCP(t, device, deviceAddr+":3671"))
	conn := dialTCP(t, gateway, deviceAddr+":3671")
	defer conn.Close()
	b := make([]byte, 6)
	for range 20 {
		send(t, client, "by UDP", deviceAddr+":3671")
		if _, err := conn.Write([]byte("by TCP")); err != nil {
			t.Fatal(err)
		}
		expect(t, server, "by UDP", gatewayAddr+":40000")
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "by TCP" {
			t.Fatalf("read %q, %v", b, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := gateway.Ping(ctx, netip.MustParseAddr(deviceAddr)); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

func BenchmarkTCPBulk(b *testing.B) {
	gateway, device := newPair(b)
	l := listenTCP(b, device, deviceAddr+":80")
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(io.Discard, conn)
	}()
	conn := dialTCP(b, gateway, deviceAddr+":80")
	defer conn.Close()
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if _, err := conn.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}
