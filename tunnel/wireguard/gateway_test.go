package wireguard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// These tests hold the End against wireguard-go.

// both runs a test with either end calling, with and without a preshared key.
func both(t *testing.T, test func(t *testing.T, s setup)) {
	t.Helper()
	for name, s := range map[string]setup{
		"gateway calls":           gatewayCalls(Secret{}),
		"gateway calls, with psk": gatewayCalls(psk),
		"router calls":            routerCalls(Secret{}),
		"router calls, with psk":  routerCalls(psk),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, s) })
		})
	}
}

// establish makes a session and exchanges the first packets.
func establish(t *testing.T, s setup) *wire {
	t.Helper()
	w := connect(t, s)
	if s.router.Endpoint.IsValid() && !w.initiate() {
		t.Fatal("the router does not call")
	}
	w.settle() // else a gateway that has a packet might call too
	w.sendFromGateway("first")
	if got := w.atRouter(); !slices.Equal(got, []string{"first"}) {
		t.Fatalf("the router received %q", got)
	}
	w.exchange("second")
	return w
}

func TestPackets(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		for _, size := range []int{0, 1, 11, 12, 13, 28, 100, 1399, 1400} {
			w.exchange(strings.Repeat("x", size))
		}
		w.gw.toPeer <- packet6("2001:db8::201", "2001:db8::3", "six")
		if got := w.atRouter(); !slices.Equal(got, []string{"six"}) {
			t.Errorf("the router received %q over IPv6", got)
		}
		w.ask(func(r *End) {
			b, to, ok := r.Send(time.Now(), nil, packet6("2001:db8::3", "2001:db8::201", "six"))
			if !ok || len(b) != 16+48+16 {
				t.Errorf("43 bytes became a datagram of %d, ok %v", len(b), ok)
			}
			w.toGateway(to, b)
		})
		if got := w.atGateway(); !slices.Equal(got, []string{"six"}) {
			t.Errorf("the gateway received %q over IPv6", got)
		}
		if st := w.stats(); st.Handshakes != 1 || st.Refused != 0 || st.Replayed != 0 || st.Received != 12 || st.Sent != 11 {
			t.Errorf("%+v", st)
		}
	})
}

func TestReceiverIndex(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := connect(t, s)
		seen := map[uint32]bool{}
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if index, ok := ReceiverIndex(b); ok && toRouter {
				seen[index] = true
			}
			return [][]byte{b}
		})
		if s.router.Endpoint.IsValid() {
			w.initiate()
		}
		w.sendFromGateway("x")
		if got := w.atRouter(); len(got) != 1 {
			t.Fatalf("the router received %q", got)
		}
		w.tamper(nil)
		if len(seen) != 1 {
			t.Errorf("one session has indices %v", seen)
		}
		for index := range seen {
			if index&^0xff != 0xabcdef00 {
				t.Errorf("index %x", index)
			}
		}
	})
}

func TestWrongKeys(t *testing.T) {
	change := map[string]func(*setup){
		"preshared key here":     func(s *setup) { s.router.PresharedKey = stranger },
		"preshared key missing":  func(s *setup) { s.router.PresharedKey = Secret{} },
		"preshared key there":    func(s *setup) { s.gateway.PresharedKey = stranger },
		"another gateway":        func(s *setup) { s.gateway.PrivateKey = stranger },
		"another router":         func(s *setup) { s.router.PrivateKey = stranger },
		"gateway's key mistyped": func(s *setup) { s.router.Peer[31] ^= 1 },
		"router's key mistyped":  func(s *setup) { s.gateway.Peer[31] ^= 1 },
		"gateway's key is zero":  func(s *setup) { s.router.Peer = [32]byte{} },
	}
	for name, change := range change {
		for caller, s := range map[string]setup{"gateway": gatewayCalls(psk), "router": routerCalls(psk)} {
			t.Run(name+", called by the "+caller, func(t *testing.T) {
				change(&s)
				synctest.Test(t, func(t *testing.T) {
					w := connect(t, s)
					w.initiate()
					w.sendFromGateway("secret")
					time.Sleep(time.Minute)
					if got := w.atRouter(); got != nil {
						t.Errorf("the router received %q", got)
					}
					if w.sendFromRouter("secret") {
						t.Error("the router believes in a session")
					}
					st := w.stats()
					if st.Handshakes != 0 || st.Received != 0 {
						t.Errorf("%+v", st)
					}
					if caller == "gateway" && w.sent(true, Initiation) < 10 {
						t.Errorf("the gateway called %d times", w.sent(true, Initiation))
					}
					if caller == "router" && s.router.Peer != [32]byte{} && w.sent(false, Initiation) < 10 {
						t.Errorf("the router called %d times", w.sent(false, Initiation))
					}
				})
			})
		}
	}
}

// Traffic each second in both directions over ten minutes: the sessions are
// renewed every two minutes by the end that called, and no packet is lost.
func TestRekey(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		for second := range 590 {
			time.Sleep(time.Second)
			w.exchange(fmt.Sprint(second))
		}
		calls := map[bool]int{true: w.sent(true, Initiation), false: w.sent(false, Initiation)}
		ours := s.router.Endpoint.IsValid()
		if calls[!ours] != 5 || calls[ours] != 0 {
			t.Errorf("%d calls by the gateway and %d by the router", calls[true], calls[false])
		}
		if st := w.stats(); st.Handshakes != 5 || st.Refused != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Only one end sends: the session is renewed all the same, and not more often
// than every two minutes.
func TestOneWayTraffic(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		for _, sender := range []string{"router", "gateway"} {
			w := establish(t, s)
			for second := range 600 {
				time.Sleep(time.Second)
				if sender == "gateway" {
					w.sendFromGateway(fmt.Sprint(second))
				} else if !w.sendFromRouter(fmt.Sprint(second)) {
					t.Fatalf("no session after %d s", second)
				}
			}
			time.Sleep(time.Second)
			got := w.atGateway()
			if sender == "gateway" {
				got = w.atRouter()
			}
			if len(got) != 600 {
				t.Errorf("%s: %d packets arrived", sender, len(got))
			}
			if calls := w.sent(true, Initiation) + w.sent(false, Initiation); calls < 4 || calls > 5 {
				t.Errorf("%s: %d handshakes in ten minutes", sender, calls)
			}
		}
	})
}

// One packet after which nobody has anything to say, as after each telegram: the
// other end's keepalive shows that it is alive, and nobody makes a new session.
func TestSilenceAfterAPacket(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		for _, sender := range []string{"gateway", "router"} {
			w := establish(t, s)
			for range 3 {
				time.Sleep(25 * time.Second)
				if sender == "gateway" {
					w.sendFromGateway("x")
				} else if !w.sendFromRouter("x") {
					t.Fatal("no session")
				}
			}
			time.Sleep(25 * time.Second)
			if calls := w.sent(true, Initiation) + w.sent(false, Initiation); calls != 1 {
				t.Errorf("after packets from the %s: %d handshakes", sender, calls)
			}
		}
	})
}

// Without a configured keepalive an idle tunnel is silent, with one it is not.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := establish(t, gatewayCalls(Secret{}))
		time.Sleep(time.Minute)
		w.settle()
		before := w.sent(false, Transport)
		time.Sleep(time.Hour)
		if after := w.sent(false, Transport); after != before {
			t.Errorf("%d messages from an idle router", after-before)
		}
		w.ask(func(r *End) {
			if at, ok := r.Deadline(); ok {
				t.Errorf("an idle router has a deadline in %v", time.Until(at))
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		s := gatewayCalls(Secret{})
		s.router.Keepalive = 25 * time.Second
		w := establish(t, s)
		time.Sleep(110 * time.Second)
		w.settle()
		if st := w.stats(); st.Keepalives != 4 || st.Handshakes != 1 {
			t.Errorf("in 110 s: %+v", st)
		}
	})
	// A router that calls in keeps the session for ever.
	synctest.Test(t, func(t *testing.T) {
		w := establish(t, routerCalls(Secret{}))
		for range 4 {
			time.Sleep(time.Hour)
			w.exchange("hourly")
		}
		if st := w.stats(); st.Handshakes < 100 || st.Handshakes > 120 {
			t.Errorf("in four hours: %+v", st)
		}
	})
}
