package netstack

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestUDPEcho(t *testing.T) {
	for _, family := range []struct{ name, gateway, device string }{
		{"IPv4", gatewayAddr + ":40000", deviceAddr + ":3671"},
		{"IPv6", "[" + gatewayV6 + "]:40000", "[" + deviceV6 + "]:3671"},
	} {
		for _, local := range []string{"bound", "wildcard"} {
			t.Run(family.name+" "+local, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					gateway, device := newPair(t)
					listen := family.gateway
					if local == "wildcard" {
						listen = "[::]:40000"
					}
					client := listenUDP(t, gateway, listen)
					server := listenUDP(t, device, family.device)
					for range 3 {
						send(t, client, "request", family.device)
						expect(t, server, "request", family.gateway)
						send(t, server, "response", family.gateway)
						expect(t, client, "response", family.device)
					}
				})
			})
		}
	}
}

func TestUDPLargeDatagramIsFragmented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, device := newPair(t)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		server := listenUDP(t, device, deviceAddr+":3671")
		large := strings.Repeat("0123456789", 6500)
		send(t, client, large, deviceAddr+":3671")
		expect(t, server, large, gatewayAddr+":40000")
		if out := gateway.Stats().Out; out < 40 {
			t.Errorf("a datagram of %d bytes left in %d packets", len(large), out)
		}
		err := client.WriteTo(make([]byte, 65508), netip.MustParseAddrPort(deviceAddr+":3671"))
		if !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("a datagram beyond 65507 bytes: %v", err)
		}
	})
}

func TestUDPEmptyAndTruncatedDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, device := newPair(t)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		server := listenUDP(t, device, deviceAddr+":3671")
		send(t, client, "", deviceAddr+":3671")
		expect(t, server, "", gatewayAddr+":40000")

		send(t, client, "longer than the buffer", deviceAddr+":3671")
		send(t, client, "next", deviceAddr+":3671")
		synctest.Wait()
		b := make([]byte, 6)
		n, from, err := server.TryRead(b)
		if err != nil || !from.IsValid() || string(b[:n]) != "longer" {
			t.Fatalf("TryRead = %q, %v, %v", b[:n], from, err)
		}
		expect(t, server, "next", gatewayAddr+":40000")
	})
}

// A token must be there as long as datagrams wait, however the reader takes them.
func TestUDPReadableUntilDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, device := newPair(t)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		server := listenUDP(t, device, deviceAddr+":3671")
		for range 5 {
			send(t, client, "telegram", deviceAddr+":3671")
		}
		synctest.Wait()
		b := make([]byte, 64)
		for i := range 5 {
			select {
			case <-server.Readable():
			default:
				t.Fatalf("no token though %d datagrams wait", 5-i)
			}
			if _, from, err := server.TryRead(b); err != nil || !from.IsValid() {
				t.Fatalf("TryRead: %v, %v", from, err)
			}
		}
		expectNothing(t, server)
	})
}

func TestUDPPortUnreachableChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, device := newPair(t)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		var refused int
		remove := gateway.Tap(func(p Packet) {
			if p.Direction == FromBuilding && p.Data[9] == 1 {
				refused++
			}
		})
		defer remove()
		send(t, client, "is anybody there?", deviceAddr+":3671")
		synctest.Wait()
		if refused != 1 {
			t.Fatalf("%d ICMP messages came back, want 1", refused)
		}
		expectNothing(t, client)

		server := listenUDP(t, device, deviceAddr+":3671")
		send(t, client, "and now?", deviceAddr+":3671")
		expect(t, server, "and now?", gatewayAddr+":40000")
		send(t, server, "yes", gatewayAddr+":40000")
		expect(t, client, "yes", deviceAddr+":3671")
	})
}

func TestUDPReceiveQueueIsBounded(t *testing.T) {
	for name, payload := range map[string]string{"empty": "", "small": "x", "large": strings.Repeat("x", 1300)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const sent = 3400
				gateway, device := newPair(t)
				client := listenUDP(t, gateway, "0.0.0.0:40000")
				server := listenUDP(t, device, deviceAddr+":3671")
				for i := range sent {
					send(t, client, payload, deviceAddr+":3671")
					if i%100 == 99 { // before the device's own queue is full
						synctest.Wait()
					}
				}
				fits := uint64(datagramsLimit / (datagramHeader + len(payload)))
				if got := device.Stats().Overflowed; got != sent-fits {
					t.Errorf("Overflowed = %d, want %d", got, sent-fits)
				}
				for range fits {
					expect(t, server, payload, gatewayAddr+":40000")
				}
				expectNothing(t, server)
				send(t, client, "again", deviceAddr+":3671")
				expect(t, server, "again", gatewayAddr+":40000")
			})
		})
	}
}

func TestUDPToOneself(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	a := listenUDP(t, s, gatewayAddr+":1")
	b := listenUDP(t, s, gatewayAddr+":2")
	send(t, a, "hello", gatewayAddr+":2")
	expect(t, b, "hello", gatewayAddr+":1")
	if out := s.Stats().Out; out != 0 {
		t.Errorf("%d packets left the stack", out)
	}
}

func TestUDPErrors(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	c := listenUDP(t, s, "0.0.0.0:40000")
	if _, err := s.ListenUDP(netip.MustParseAddrPort("0.0.0.0:40000")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := s.ListenUDP(netip.MustParseAddrPort("10.9.9.9:1")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a foreign address: %v", err)
	}
	if _, err := s.ListenUDP(netip.MustParseAddrPort("[fd00::1]:1")); err == nil || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("a family that the tunnel lacks: %v", err)
	}
	for to, want := range map[string]string{
		"[fd00::1]:3671":   "no route: the tunnel has no IPv6 address",
		"0.0.0.0:3671":     "no address",
		"192.168.1.3:0":    "no port",
		"[fe80::1%lan]:80": "zone",
	} {
		err := c.WriteTo([]byte("x"), netip.MustParseAddrPort(to))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), to) {
			t.Errorf("WriteTo(%s): %v, want %q", to, err, want)
		}
	}
	if err := c.WriteTo([]byte("x"), netip.MustParseAddrPort("[::ffff:192.168.1.3]:3671")); err != nil {
		t.Errorf("an IPv4 address in IPv6 form: %v", err)
	}
	dual := listenUDP(t, newStack(t, gatewayAddr+"/32", gatewayV6+"/128"), "0.0.0.0:40000")
	if err := dual.WriteTo([]byte("x"), netip.MustParseAddrPort("["+deviceV6+"]:3671")); err == nil || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("IPv6 from a socket of IPv4: %v", err)
	}
	free := listenUDP(t, s, "0.0.0.0:0")
	if free.LocalAddr().Port() == 0 {
		t.Error("port 0 was not replaced by a free port")
	}
}

func TestUDPAfterClose(t *testing.T) {
	for name, closing := range map[string]func(*Stack, *UDPConn) error{
		"socket": func(_ *Stack, c *UDPConn) error { return c.Close() },
		"stack":  func(s *Stack, _ *UDPConn) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t, gatewayAddr+"/32")
				c := listenUDP(t, s, gatewayAddr+":1")
				send(t, c, "waits in the socket", gatewayAddr+":1")
				<-c.Readable()
				go func() {
					<-time.After(time.Second) // of the bubble: the test waits by then
					if err := closing(s, c); err != nil {
						t.Error(err)
					}
				}()
				<-c.Readable() // a waiting owner is woken
				if _, _, err := c.TryRead(nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("TryRead: %v", err)
				}
				if err := c.WriteTo(nil, netip.MustParseAddrPort("10.1.1.1:1")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("WriteTo: %v", err)
				}
			})
		})
	}
}
