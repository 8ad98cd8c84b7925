package wireguard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What happens to a session of an End and wireguard-go when the network or
// one of the ends misbehaves.

func TestRoaming(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		w.moveGateway(movedAddr)
		w.sendFromRouter("lost") // to where it was
		w.exchange("moved")      // the gateway speaks first, and is answered there
		w.moveGateway(gatewayAddr)
		w.exchange("back")
	})
}

// The network is cut for ten minutes. A router that calls notices when it has
// sent something, and tries until it gets through.
func TestNetworkCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routerCalls(psk)
		w := establish(t, s)
		w.tamper(func(bool, []byte) [][]byte { return nil })
		w.sendFromRouter("lost")
		time.Sleep(14 * time.Second)
		if n := w.sent(false, Initiation); n != 1 {
			t.Errorf("%d calls before 15 s of silence", n)
		}
		time.Sleep(10 * time.Minute)
		if w.sendFromRouter("lost") {
			t.Error("a dead session is used")
		}
		if n := w.sent(false, Initiation); n < 80 || n > 121 {
			t.Errorf("%d calls in ten minutes", n)
		}
		w.tamper(nil)
		time.Sleep(s.router.Keepalive + time.Second) // it may have given up until the next
		w.exchange("back")
	})
}

func TestReplay(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := connect(t, s)
		var recorded [][]byte
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if toRouter {
				recorded = append(recorded, slices.Clone(b))
			}
			return [][]byte{b}
		})
		w.initiate()
		w.sendFromGateway("first")
		w.atRouter()
		for i := range 50 {
			w.exchange(fmt.Sprint(i))
		}
		time.Sleep(3 * time.Minute) // and through a renewal
		w.initiate()
		w.sendFromGateway("renewed")
		w.atRouter()
		w.exchange("last")
		w.tamper(nil)

		before, replies := w.stats(), w.sent(false, Response)
		for _, b := range recorded {
			w.inject(movedAddr, b)
		}
		if got := w.atRouter(); got != nil {
			t.Errorf("taken twice: %q", got)
		}
		after := w.stats()
		if n := after.Replayed + after.Refused - before.Replayed - before.Refused; n != uint64(len(recorded)) {
			t.Errorf("%d of %d replayed datagrams had no effect", n, len(recorded))
		}
		if after.Replayed == before.Replayed {
			t.Error("none was found to be a replay")
		}
		if n := w.sent(false, Response); n != replies {
			t.Errorf("%d replies to replays", n-replies)
		}
		w.exchange("after") // answered at the true address
	})
}

func TestReordering(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		var held [][]byte
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if !toRouter {
				return [][]byte{b}
			}
			held = append(held, slices.Clone(b))
			return nil
		})
		const n = windowSize
		var sent []string
		for i := range n {
			sent = append(sent, fmt.Sprintf("%04d", i))
			w.sendFromGateway(sent[i])
		}
		w.settle()
		w.tamper(nil)
		rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { held[i], held[j] = held[j], held[i] })
		for _, b := range held {
			w.inject(gatewayAddr, b)
			w.inject(gatewayAddr, b)
		}
		got := w.atRouter()
		slices.Sort(got)
		if !slices.Equal(got, sent) {
			t.Errorf("%d of %d shuffled and doubled packets arrived", len(got), n)
		}

		// One that is overtaken by more than the window is lost.
		held = nil
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if toRouter && held == nil {
				held = [][]byte{slices.Clone(b)}
				return nil
			}
			return [][]byte{b}
		})
		for range n + 1 {
			w.sendFromGateway("x")
		}
		w.atRouter()
		w.inject(gatewayAddr, held[0])
		if got := w.atRouter(); got != nil {
			t.Errorf("a packet from below the window arrived: %q", got)
		}
	})
}

// A power cut on the router's side.
func TestRestart(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		time.Sleep(time.Second)
		w.ask(func(r *End) { r.Restart() })
		if w.sendFromRouter("lost") {
			t.Fatal("a session outlived the power cut")
		}
		w.sendFromGateway("lost")
		if s.router.Endpoint.IsValid() {
			time.Sleep(time.Second)
		} else {
			time.Sleep(16 * time.Second) // until the gateway finds that nothing comes back
		}
		if got := w.atRouter(); got != nil {
			t.Errorf("the router received %q", got)
		}
		w.exchange("back")
		if st := w.stats(); st.Handshakes != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// The gateway's process is replaced. A router that calls has the session back
// 15 s after it sent something; one that waits is called.
func TestGatewayRestarts(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		time.Sleep(time.Second)
		w.gw.device.Close()
		w.startGateway(s.gateway)
		if !w.sendFromRouter("lost") {
			t.Fatal("no session")
		}
		if s.router.Endpoint.IsValid() {
			time.Sleep(16 * time.Second)
		} else {
			w.sendFromGateway("first")
		}
		w.atRouter()
		w.exchange("back")
		if got := w.stats().Handshakes; got != 2 {
			t.Errorf("%d handshakes", got)
		}
	})
}

// Each message of the handshake is lost once, or comes twice.
func TestHandshakeLossAndDuplication(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		for _, lost := range []uint32{Initiation, Response, Transport} {
			for _, copies := range []int{0, 2} {
				w := connect(t, s)
				done := false
				w.tamper(func(_ bool, b []byte) [][]byte {
					if MessageType(b) != lost || done {
						return [][]byte{b}
					}
					done = true
					return slices.Repeat([][]byte{b}, copies)
				})
				w.initiate()
				w.sendFromGateway("x")
				time.Sleep(40 * time.Second)
				w.atRouter()
				w.atGateway()
				w.exchange(fmt.Sprintf("type %d, %d copies", lost, copies))
			}
		}
	})
}

// Both ends call at the same moment, again and again.
func TestCrossingCalls(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		s.gateway.Endpoint = routerAddr
		s.router.Endpoint = gatewayAddr
		w := connect(t, s)
		for i := range 20 {
			w.initiate()
			w.sendFromGateway("x")
			time.Sleep(6 * time.Second)
			w.atRouter()
			w.exchange(fmt.Sprintf("call %d", i))
		}
	})
}

// Handshakes no longer get through: the last session is used until
// REJECT_AFTER_TIME by both ends, and then by neither.
func TestSessionExpires(t *testing.T) {
	both(t, func(t *testing.T, s setup) {
		w := establish(t, s)
		began := time.Now()
		var last []byte
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if MessageType(b) != Transport {
				return nil
			}
			if toRouter {
				last = slices.Clone(b)
			}
			return [][]byte{b}
		})
		for time.Since(began) < rejectAfter-time.Second {
			w.exchange("alive")
			time.Sleep(time.Second)
		}
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if toRouter && MessageType(b) == Transport {
				last = slices.Clone(b)
			}
			return nil
		})
		w.sendFromGateway("too late")
		w.settle()
		time.Sleep(time.Second)
		w.inject(gatewayAddr, last)
		if got := w.atRouter(); got != nil {
			t.Errorf("a dead session gave %q", got)
		}
		if w.sendFromRouter("too late") {
			t.Error("a dead session was used")
		}
		w.tamper(nil)
		time.Sleep(6 * time.Second)
		w.sendFromGateway("x")
		time.Sleep(6 * time.Second)
		w.atRouter()
		w.exchange("renewed")
	})
}

// A call that nobody answers is repeated for 90 s, 5 s apart and a little more.
func TestUnansweredCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := routerCalls(psk)
		s.router.Keepalive = 0
		w := connect(t, s)
		w.tamper(func(bool, []byte) [][]byte { return nil })
		var at []time.Duration
		began := time.Now()
		if !w.initiate() {
			t.Fatal("the router does not call")
		}
		for time.Since(began) < 10*time.Minute {
			time.Sleep(100 * time.Millisecond)
			if n := w.sent(false, Initiation); n > len(at)+1 {
				at = append(at, time.Since(began))
			}
		}
		if len(at) < 15 || len(at) > 18 || at[len(at)-1] > rekeyAttempts {
			t.Errorf("called again after %v", at)
		}
		if w.sent(true, Initiation) != 0 {
			t.Error("the gateway called although it does not know where")
		}
		// Something to send begins it anew.
		w.tamper(nil)
		if w.sendFromRouter("x") {
			t.Fatal("a session from nowhere")
		}
		time.Sleep(time.Second)
		w.exchange("there")
	})
}

// Initiate tells that a call would be in vain or too early.
func TestInitiateRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := connect(t, gatewayCalls(Secret{}))
		if w.initiate() {
			t.Error("a router that knows no gateway calls")
		}
		w.sendFromGateway("x")
		w.atRouter()
		if w.initiate() {
			t.Error("a call at once after an answer")
		}
		time.Sleep(rekeyTimeout + time.Second)
		w.exchange("the call was made in time")
		if st := w.stats(); st.Handshakes != 2 || st.Calls != 1 {
			t.Errorf("after the call: %+v", st)
		}
		time.Sleep(rekeyTimeout)
		if !w.initiate() {
			t.Error("a router that was called cannot call")
		}
		if w.initiate() {
			t.Error("a second call at once")
		}
		w.exchange("renewed by the router")
		if st := w.stats(); st.Handshakes != 3 || st.Calls != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// A forged datagram does not move the peer.
func TestForgedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := establish(t, gatewayCalls(psk))
		var copied []byte
		w.tamper(func(toRouter bool, b []byte) [][]byte {
			if toRouter {
				copied = slices.Clone(b)
			}
			return [][]byte{b}
		})
		w.exchange("x")
		copied[len(copied)-1] ^= 1
		w.inject(movedAddr, copied)
		w.settle()
		w.ask(func(r *End) {
			if _, to, ok := r.Send(time.Now(), nil, packet(lanIP, tunnelIP, "x")); !ok || to != gatewayAddr {
				t.Errorf("sent to %v", to)
			}
		})
	})
}
