package wireguard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// A router under load answers with a cookie: wireguard-go's own, which proves to it that
// our next call comes from where it says.
func TestCookieOfABusyPeer(t *testing.T) {
	source := []byte("198.51.100.1:7000")
	router, gateway := pairOf(psk)
	var busy device.CookieChecker
	busy.Init(device.NoisePublicKey(router.PublicKey()))
	reply := func(call []byte) []byte {
		r, err := busy.CreateReply(call, binary.LittleEndian.Uint32(call[atSender:]), source)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, sizeCookie)
		binary.LittleEndian.PutUint32(b, r.Type)
		binary.LittleEndian.PutUint32(b[4:], r.Receiver)
		copy(b[8:], r.Nonce[:])
		copy(b[32:], r.Cookie[:])
		return b
	}
	now := time.Now() // wireguard-go's cookies follow the clock
	call := func() []byte {
		t.Helper()
		call, _, ok := gateway.Initiate(now)
		if !ok {
			t.Fatal("no call")
		}
		return call
	}
	first := call()
	if !busy.CheckMAC1(first) || busy.CheckMAC2(first, source) {
		t.Error("the first call: want a valid MAC1, and no MAC2")
	}
	good := reply(first)
	forged := append([]byte(nil), good...)
	forged[40] ^= 1
	for name, b := range map[string][]byte{"forged": forged, "for another call": append(append(append([]byte(nil), good[:4]...), 1, 2, 3, 4), good[8:]...)} {
		if gateway.Receive(now, routerAddr, b); gateway.Stats().Cookies != 0 {
			t.Errorf("%s cookie was taken", name)
		}
	}
	if r := gateway.Receive(now, routerAddr, good); r.Reply != nil || gateway.Stats().Cookies != 1 {
		t.Errorf("the cookie was not taken, or answered: %+v", gateway.Stats())
	}
	if gateway.Receive(now, routerAddr, reply(first)); gateway.Stats().Cookies != 1 {
		t.Error("a second reply to one call was taken")
	}
	if at, ok := gateway.Deadline(); !ok || at.Before(now.Add(rekeyTimeout)) {
		t.Errorf("a busy router is called again at %v", at)
	}
	now = now.Add(rekeyTimeout + time.Second)
	second := call()
	if !busy.CheckMAC1(second) || !busy.CheckMAC2(second, source) {
		t.Error("the next call does not prove its source")
	}
	if r := router.Receive(now, gatewayAddr, second); r.Reply == nil {
		t.Error("the call with a cookie is no call")
	}
	now = now.Add(cookieLifetime)
	if third := call(); busy.CheckMAC2(third, source) {
		t.Error("a cookie is used beyond its time")
	}
}

// What is sent before there is a session waits for it, in order, the newest Config.Queue
// packets and 64 KiB at most; and is dropped when nobody answers or nobody wants it any more.
func TestPacketsWaitForTheSession(t *testing.T) {
	s := gatewayCalls(psk)
	s.gateway.Queue = 4
	for name, c := range map[string]struct {
		send func(gateway *End)
		want string
	}{
		"in order":             {func(g *End) { sendAll(g, "a", "b", "c") }, "a b c"},
		"more than four":       {func(g *End) { sendAll(g, "a", "b", "c", "d", "e", "f") }, "c d e f"},
		"not wanted any more":  {func(g *End) { sendAll(g, "a"); g.DropWaiting(); sendAll(g, "b") }, "b"},
		"more than 64 KiB":     {func(g *End) { sendAll(g, strings.Repeat("x", 40_000), strings.Repeat("y", 40_000)) }, strings.Repeat("y", 40_000)},
		"larger than a packet": {func(g *End) { sendAll(g, "a", strings.Repeat("x", queueBytes)) }, "a"},
		"given up":             {func(g *End) { sendAll(g, "a"); g.Reset(); sendAll(g, "b") }, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			router, gateway := New(s.router, repeatable()), New(s.gateway, repeatable())
			c.send(gateway)
			if at, ok := gateway.Deadline(); !ok || at.After(start) {
				t.Fatal("something to send makes no call due")
			}
			call, to, ok := gateway.Expire(start)
			if !ok || to != routerAddr {
				t.Fatalf("no call, or to %v", to)
			}
			var got []string
			confirmation := gateway.Receive(start, routerAddr, router.Receive(start, gatewayAddr, call).Reply).Reply
			router.Receive(start, gatewayAddr, confirmation)
			for b, _, ok := gateway.Waiting(start); ok; b, _, ok = gateway.Waiting(start) {
				got = append(got, string(router.Receive(start, gatewayAddr, b).Packet[20:]))
			}
			if fmt.Sprint(got) != "["+c.want+"]" {
				t.Errorf("%d packets came, %.20q", len(got), got)
			}
			if _, _, ok := gateway.Waiting(start); ok {
				t.Error("sent twice")
			}
		})
	}
}

func sendAll(g *End, payloads ...string) {
	for _, p := range payloads {
		g.Send(start, nil, packet(tunnelIP, lanIP, p))
	}
}

// Unanswered for 90 s, what waits is dropped; and an end with keepalives calls again.
func TestGivingUpDropsWhatWaits(t *testing.T) {
	s := gatewayCalls(psk)
	s.gateway.Queue, s.gateway.Keepalive = 4, 25*time.Second
	gateway := New(s.gateway, repeatable())
	sendAll(gateway, "a")
	calls, gaveUp := 0, false
	for now := start; now.Before(start.Add(10 * time.Minute)); now = now.Add(time.Second) {
		for at, ok := gateway.Deadline(); ok && !now.Before(at); at, ok = gateway.Deadline() {
			if _, _, ok := gateway.Expire(now); ok {
				calls++
			}
		}
		gaveUp = gaveUp || gateway.waiting.empty()
	}
	if !gaveUp || calls < 80 || calls > 121 {
		t.Errorf("gave up: %v; %d calls in ten minutes", gaveUp, calls)
	}
}

// A call that is held goes out when it is released, once, and not when a session has come
// meanwhile; being held does not use up the time after which a call is given up.
func TestHeldCalls(t *testing.T) {
	router, gateway := pairOf(psk)
	now := start
	gateway.Call(now)
	if !gateway.CallDue(now) {
		t.Fatal("no call due")
	}
	gateway.HoldCall()
	gateway.Call(now)
	sendAll(gateway, "x")
	if at, ok := gateway.Deadline(); ok {
		t.Errorf("a held call is due at %v", at)
	}
	now = now.Add(rekeyAttempts + time.Minute)
	if !gateway.ReleaseCall(now) || gateway.ReleaseCall(now) || !gateway.CallDue(now) {
		t.Error("the call is not due once after its release")
	}
	call, _, ok := gateway.Expire(now)
	if !ok {
		t.Fatal("no call")
	}
	router.Receive(now, gatewayAddr, call)
	if at, ok := gateway.Deadline(); !ok || at.Before(now.Add(rekeyTimeout)) || at.After(now.Add(rekeyTimeout+time.Second)) {
		t.Errorf("it is repeated at %v", at)
	}

	router, gateway = pairOf(psk)
	gateway.Call(start)
	gateway.HoldCall()
	router.SetEndpoint(gatewayAddr)
	call, _, _ = router.Initiate(start)
	confirmation := router.Receive(start, gatewayAddr, gateway.Receive(start, routerAddr, call).Reply).Reply
	gateway.Receive(start, routerAddr, confirmation)
	if gateway.Handshakes() != 1 || gateway.ReleaseCall(start) {
		t.Errorf("%d handshakes; a call is made although the router's made a session", gateway.Handshakes())
	}
}

// Nine minutes after the last handshake no key is left in memory.
func TestKeysAreErased(t *testing.T) {
	s := gatewayCalls(psk)
	router, gateway := New(s.router, repeatable()), New(s.gateway, repeatable())
	shake(t, start, router, gateway)
	later := start.Add(2 * time.Minute)
	shake(t, later, router, gateway)
	run := func(until time.Duration) {
		for now := later; now.Before(later.Add(until)); now = now.Add(time.Second) {
			for _, e := range []*End{router, gateway} {
				for at, ok := e.Deadline(); ok && !now.Before(at); at, ok = e.Deadline() {
					e.Expire(now) // and nothing arrives
				}
			}
		}
	}
	run(eraseAfter - time.Second)
	if gateway.current == nil || router.current == nil {
		t.Error("erased too early")
	}
	run(eraseAfter + 2*time.Second)
	for _, e := range []*End{router, gateway} {
		if e.current != nil || e.previous != nil || e.next != nil {
			t.Errorf("keys are left: %v", e)
		}
	}
}

// What is changed on the way: the session stays, and the next one follows.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := establish(t, routerCalls(psk))
		w.ask(func(r *End) {
			r.SetKeepalive(time.Now(), 3*time.Second)
			if r.SetEndpoint(movedAddr); r.Endpoint() != movedAddr {
				t.Errorf("at %v", r.Endpoint())
			}
		})
		before := w.stats().Keepalives
		time.Sleep(10 * time.Second)
		if got := w.stats().Keepalives - before; got < 3 || got > 4 {
			t.Errorf("%d keepalives in 10 s, one each 3 s wanted", got)
		}
		w.ask(func(r *End) { r.SetKeepalive(time.Now(), 0) })
		before = w.stats().Keepalives
		time.Sleep(30 * time.Second)
		if got := w.stats().Keepalives - before; got != 0 {
			t.Errorf("%d keepalives although none are wanted", got)
		}
		w.exchange("the gateway speaks, and is answered where it is")
		w.ask(func(r *End) {
			if r.Endpoint() == movedAddr {
				t.Errorf("still at %v", r.Endpoint())
			}
		})
	})
}

// Prod speaks in a session, and calls without one; an end that knows nobody does neither.
func TestProd(t *testing.T) {
	router, gateway := pairOf(psk)
	if _, _, ok := router.Prod(start); ok || router.CallDue(start) {
		t.Error("a router that knows no gateway says something")
	}
	if _, _, ok := gateway.Prod(start); ok || !gateway.CallDue(start) {
		t.Error("without a session: want a call due")
	}
	shake(t, start, router, gateway)
	b, to, ok := gateway.Prod(start)
	if !ok || to != routerAddr || len(b) != sizeKeepalive {
		t.Errorf("%d bytes to %v, want a keepalive", len(b), to)
	}
	if gateway.Renew(start); gateway.CallDue(start) {
		t.Error("renewed at once after a call")
	}
	if gateway.Renew(start.Add(rekeyTimeout)); !gateway.CallDue(start.Add(rekeyTimeout)) {
		t.Error("not renewed after 5 s")
	}
	if gateway.SetEndpoint(netip.AddrPort{}); gateway.Endpoint().IsValid() {
		t.Error("an endpoint is left")
	}
}
