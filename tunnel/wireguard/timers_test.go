package wireguard

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// drive lets all that is due until end happen, with nobody there, and counts calls.
func drive(e *End, now, end time.Time) (calls int) {
	for at, ok := e.Deadline(); ok && !at.After(end); at, ok = e.Deadline() {
		if at.After(now) {
			now = at
		}
		if d, _, ok := e.Expire(now); ok && MessageType(d) == Initiation {
			calls++
		}
	}
	return calls
}

// However short its keepalives are, an end that has them goes on calling.
func TestKeepalivesNeverGiveUp(t *testing.T) {
	for _, seconds := range []int{1, 3, 5, 6, 25} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			s := gatewayCalls(psk)
			s.gateway.Keepalive = time.Duration(seconds) * time.Second
			gateway := New(s.gateway, repeatable())
			gateway.Call(start)
			drive(gateway, start, start.Add(2*time.Minute))
			if n := drive(gateway, start.Add(2*time.Minute), start.Add(time.Hour)); n < 400 || n > 720 {
				t.Errorf("%d calls in an hour", n)
			}
		})
	}
}

// A packet that comes when calls were nearly given up begins the attempts anew.
func TestSomethingToSendKeepsCalling(t *testing.T) {
	s := gatewayCalls(psk)
	s.gateway.Queue = 8
	gateway := New(s.gateway, repeatable())
	gateway.Call(start)
	late := start.Add(rekeyAttempts - time.Second)
	drive(gateway, start, late)
	gateway.Send(late, nil, packet(tunnelIP, lanIP, "x"))
	if n := drive(gateway, late, late.Add(rekeyAttempts-time.Second)); n < 16 || gateway.waiting.empty() {
		t.Errorf("%d calls for it; dropped: %v", n, gateway.waiting.empty())
	}
	if drive(gateway, late, late.Add(time.Hour)); !gateway.waiting.empty() {
		t.Error("nobody answers for an hour, and it still waits")
	}
}

// Erasing old keys spares a session that was answered meanwhile, and does not forget one
// that nobody confirms.
func TestErasingSparesNewKeys(t *testing.T) {
	router, gateway := pairOf(psk)
	shake(t, start, router, gateway)
	now := start.Add(eraseAfter - 20*time.Millisecond)
	call, _, ok := gateway.Initiate(now)
	if !ok {
		t.Fatal("no call")
	}
	response := router.Receive(now, gatewayAddr, call).Reply
	now = start.Add(eraseAfter + time.Millisecond)
	drive(router, now, now)
	confirmation := gateway.Receive(now, routerAddr, response).Reply
	if router.Receive(now, gatewayAddr, confirmation); router.Stats().Handshakes != 2 {
		t.Error("the session answered 20 ms ago was erased with the old one")
	}

	router, gateway = pairOf(psk)
	call, _, _ = gateway.Initiate(start)
	router.Receive(start, gatewayAddr, call)
	drive(router, start, start.Add(eraseAfter))
	if router.next != nil {
		t.Error("keys of a session that nobody confirmed are kept")
	}
}

// Who has seen our call can forge a response to it, also one with a point of low order.
// The true response is taken all the same.
func TestForgedResponse(t *testing.T) {
	for name, point := range map[string]byte{"of low order": 0, "good": 9} {
		t.Run("a point "+name, func(t *testing.T) {
			router, gateway := pairOf(psk)
			call, _, _ := gateway.Initiate(start)
			forged := make([]byte, sizeResponse)
			binary.LittleEndian.PutUint32(forged, Response)
			copy(forged[atAnswered:], call[atSender:][:sizeIndex])
			forged[atResponse] = point
			key := MAC1Key(gateway.PublicKey())
			sum := mac(key[:], forged[:sizeResponse-sizeMACs])
			copy(forged[sizeResponse-sizeMACs:], sum[:])
			if gateway.Receive(start, routerAddr, forged).Reply != nil {
				t.Fatal("a forged response was taken")
			}
			response := router.Receive(start, gatewayAddr, call).Reply
			if gateway.Receive(start, routerAddr, response).Reply == nil {
				t.Error("after a forged response the true one is refused")
			}
		})
	}
}

// A packet as large as the MTU is not padded beyond it.
func TestPaddingKeepsToTheMTU(t *testing.T) {
	s := gatewayCalls(psk)
	s.gateway.MTU = 1420
	router, gateway := New(s.router, repeatable()), New(s.gateway, repeatable())
	shake(t, start, router, gateway)
	for size, want := range map[int]int{1420: 1420, 1419: 1420, 1409: 1420, 1405: 1408, 20: 32} {
		p := packet(tunnelIP, lanIP, string(make([]byte, size-20)))
		d, _, _ := gateway.Send(start, nil, p)
		if got := len(d) - sizeHeader - sizeTag; got != want {
			t.Errorf("a packet of %d bytes was padded to %d, want %d", size, got, want)
		}
		if got := router.Receive(start, gatewayAddr, d).Packet; len(got) != size {
			t.Errorf("a packet of %d bytes arrived with %d", size, len(got))
		}
	}
}
