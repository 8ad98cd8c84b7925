package netstack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPing(t *testing.T) {
	const delay = 35 * time.Millisecond
	for _, remote := range []string{deviceAddr, deviceV6, "::ffff:" + deviceAddr} {
		t.Run(remote, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gateway := newStack(t, gatewayAddr+"/24", gatewayV6+"/64")
				device := newStack(t, deviceAddr+"/24", deviceV6+"/64")
				carry(t, gateway, device.Deliver)
				carry(t, device, func(packet []byte) { // the way back takes its time
					<-time.After(delay)
					gateway.Deliver(packet)
				})
				rtt, err := gateway.Ping(t.Context(), netip.MustParseAddr(remote))
				if err != nil || rtt != delay {
					t.Errorf("Ping = %v, %v; want %v", rtt, err, delay)
				}
			})
		})
	}
}

// Several pings of one host at once are answered each by its own reply.
func TestPingConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, _ := newPair(t)
		var pings sync.WaitGroup
		for range 50 {
			pings.Go(func() {
				if _, err := gateway.Ping(t.Context(), netip.MustParseAddr(deviceAddr)); err != nil {
					t.Error(err)
				}
			})
		}
		pings.Wait()
		if in := gateway.Stats().In; in != 50 {
			t.Errorf("%d packets came back, want 50", in)
		}
	})
}

func TestPingUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, _ := newPair(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := gateway.Ping(ctx, netip.MustParseAddr("192.168.178.99"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("Ping: %v after %v", err, time.Since(start))
		}
	})
}

// A reply that is not to this request, such as a late one, is not counted.
func TestPingIgnoresOtherReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := newStack(t, gatewayAddr+"/32")
		packets := outlet(gateway)
		go func() {
			reply := echoReply(<-packets)
			wrongPayload := withBytes(reply, 30, 1)
			wrongSequence := withBytes(reply, 26, 1)
			wrongIdentifier := withBytes(reply, 24, 1)
			truncated := withBytes(reply[:40], 40, 0)
			for _, p := range [][]byte{wrongPayload, wrongSequence, wrongIdentifier, truncated} {
				gateway.Deliver(p)
			}
			<-time.After(time.Second)
			gateway.Deliver(reply)
		}()
		rtt, err := gateway.Ping(t.Context(), netip.MustParseAddr(deviceAddr))
		if err != nil || rtt != time.Second {
			t.Errorf("Ping = %v, %v; want 1s", rtt, err)
		}
	})
}

func TestPingErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, gatewayAddr+"/32")
		s.Connect(func([]byte) {})
		if _, err := s.Ping(t.Context(), netip.MustParseAddr("fd00::1")); err == nil {
			t.Error("no error for a family that the tunnel lacks")
		}
		go func() {
			<-time.After(time.Second)
			closeStack(t, s)
		}()
		if _, err := s.Ping(t.Context(), netip.MustParseAddr(deviceAddr)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Ping while the stack closes: %v", err)
		}
		if _, err := s.Ping(t.Context(), netip.MustParseAddr(deviceAddr)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Ping after Close: %v", err)
		}
	})
}
