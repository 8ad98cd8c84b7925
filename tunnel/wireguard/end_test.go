package wireguard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests let an End play the gateway as well; that it speaks
// WireGuard is shown elsewhere.

var start = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// repeatable gives the same keys in each run.
func repeatable() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

// pairOf makes both ends without a session.
func pairOf(psk Secret) (router, gateway *End) {
	s := gatewayCalls(psk)
	return New(s.router, repeatable()), New(s.gateway, repeatable())
}

// shake makes a session and confirms it.
func shake(t testing.TB, now time.Time, router, gateway *End) {
	t.Helper()
	call, _, ok := gateway.Initiate(now)
	if !ok {
		t.Fatal("no call")
	}
	response := router.Receive(now, gatewayAddr, call).Reply
	confirmation := gateway.Receive(now, routerAddr, response).Reply
	router.Receive(now, gatewayAddr, confirmation)
	if _, _, ok := router.Send(now, nil, packet(lanIP, tunnelIP, "x")); !ok {
		t.Fatal("no session")
	}
}

func TestSecretsStayHidden(t *testing.T) {
	router, _ := pairOf(psk)
	cfg := router.cfg
	var shown strings.Builder
	for _, v := range []any{cfg, &cfg, cfg.PrivateKey, &cfg.PresharedKey, router, *router} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)
	// routerKey and psk begin like this, in hexadecimal and decimal.
	for _, secret := range []string{"010203", "1 2 3", "0x1, 0x2", "1,2,3", "0a0b0c", "10 11 12", "0xa, 0xb", "10,11,12"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("a printed form holds %q", secret)
		}
	}
}

// A seed repeats a run to the last bit.
func TestRepeatable(t *testing.T) {
	var runs [2]string
	for i := range runs {
		router, gateway := pairOf(psk)
		call, _, _ := gateway.Initiate(start)
		runs[i] = fmt.Sprintf("%x %x", call, router.Receive(start, gatewayAddr, call).Reply)
	}
	if runs[0] != runs[1] {
		t.Error("two runs with one seed differ")
	}
}

// What is empty is counted apart from packets.
func TestEmptyMessagesAreCounted(t *testing.T) {
	router, gateway := pairOf(psk)
	shake(t, start, router, gateway)
	if st := router.Stats(); st.Heard != 1 || st.Received != 0 {
		t.Errorf("after the confirmation of a session: %+v", st)
	}
	datagram, _, _ := gateway.Send(start, nil, packet(tunnelIP, lanIP, "x"))
	router.Receive(start, gatewayAddr, datagram)
	if st := router.Stats(); st.Heard != 1 || st.Received != 1 {
		t.Errorf("after a packet: %+v", st)
	}
}

// A response counts only after the gateway has used the session.
func TestUnconfirmedSession(t *testing.T) {
	router, gateway := pairOf(psk)
	call, _, _ := gateway.Initiate(start)
	router.Receive(start, gatewayAddr, call)
	if _, _, ok := router.Send(start, nil, packet(lanIP, tunnelIP, "x")); ok || router.Stats().Handshakes != 0 {
		t.Error("a session that nobody has confirmed is used")
	}
}

// What an authentic peer sends that is no IP packet does not get through.
func TestInnerPackets(t *testing.T) {
	good := packet(tunnelIP, lanIP, "text")
	short := append([]byte(nil), good...)
	short[3] = 19
	long := append([]byte(nil), good...)
	long[2] = 1
	long6 := packet6("2001:db8::201", "2001:db8::3", "text")
	long6[5] = 9 // the padding makes it 8
	for name, c := range map[string]struct {
		inner []byte
		want  int
	}{
		"IPv4":                          {good, 24},
		"IPv4, total length below 20":   {short, 0},
		"IPv4, total length above all":  {long, 0},
		"IPv4, header cut":              {good[:16], 0},
		"IPv6":                          {packet6("2001:db8::201", "2001:db8::3", "text"), 44},
		"IPv6, payload longer than all": {long6, 0},
		"IPv6, header cut":              {packet6("2001:db8::201", "2001:db8::3", "")[:32], 0},
		"version 5":                     {append([]byte{0x55}, good[1:]...), 0},
		"zeros":                         {make([]byte, 64), 0},
	} {
		t.Run(name, func(t *testing.T) {
			router, gateway := pairOf(Secret{})
			shake(t, start, router, gateway)
			b, _, _ := gateway.Send(start, nil, c.inner)
			result := router.Receive(start, gatewayAddr, b)
			if len(result.Packet) != c.want || (result.Packet == nil) != (c.want == 0) {
				t.Errorf("%d bytes, want %d", len(result.Packet), c.want)
			}
			if cap(result.Packet) != len(result.Packet) {
				t.Error("appending to the packet would write over the datagram")
			}
			if refused := router.Stats().Refused; (refused == 0) != (c.want > 0) {
				t.Errorf("refused: %d", refused)
			}
		})
	}
}

// What a live building costs is what makes 10,000 of them possible: a session in
// use and, after a renewal, the one before.
func TestMemory(t *testing.T) {
	if size := memory(t, 100); size > 2048 {
		t.Errorf("%d bytes a building", size)
	}
}

// memory returns the heap bytes of an End with two sessions.
func memory(t testing.TB, n int) uint64 {
	random := repeatable()
	s := gatewayCalls(psk)
	routers := make([]*End, n)
	before := heap()
	for i := range routers {
		routers[i] = New(s.router, random)
		gateway := New(s.gateway, random)
		shake(t, start, routers[i], gateway)
		shake(t, start.Add(2*time.Minute), routers[i], gateway)
	}
	size := (heap() - before) / uint64(n)
	runtime.KeepAlive(routers)
	return size
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A packet costs the datagram that carries it, and nothing where there is one.
func TestAllocations(t *testing.T) {
	router, gateway := pairOf(Secret{})
	shake(t, start, router, gateway)
	inner := packet(lanIP, tunnelIP, strings.Repeat("x", 60))
	if n := testing.AllocsPerRun(100, func() { router.Send(start, nil, inner) }); n > 1 {
		t.Errorf("Send allocates %v times", n)
	}
	const runs = 100
	datagrams := make([][]byte, runs+1)
	for i := range datagrams {
		datagrams[i], _, _ = gateway.Send(start, nil, packet(tunnelIP, lanIP, "x"))
	}
	i := 0
	if n := testing.AllocsPerRun(runs, func() {
		if router.Receive(start, gatewayAddr, datagrams[i]).Packet == nil {
			t.Fatal("lost")
		}
		i++
	}); n > 0 {
		t.Errorf("Receive allocates %v times", n)
	}
}

// FuzzReceive hands a router with a live session and a call under way whatever
// comes, most of it a true datagram with something changed. Only true ones have
// an effect.
func FuzzReceive(f *testing.F) {
	for kind := range byte(5) {
		f.Add(kind, uint16(0xffff), uint16(0), byte(0), []byte(nil))
		f.Add(kind, uint16(0xffff), uint16(20), byte(1), []byte(nil))
		f.Add(kind, uint16(0xffff), uint16(8), byte(0xff), []byte(nil))
		f.Add(kind, uint16(40), uint16(0), byte(0), []byte{1, 2, 3})
	}
	f.Add(byte(5), uint16(0), uint16(0), byte(0), []byte{4, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind byte, cut, at uint16, flip byte, tail []byte) {
		router, gateway := pairOf(psk)
		shake(t, start, router, gateway)
		now := start.Add(10 * time.Second)
		var b []byte
		var free func(i int) bool // bytes that nobody authenticates
		switch kind {
		case 0: // an initiation
			b, _, _ = gateway.Initiate(now)
			free = func(i int) bool { return i >= sizeInitiation-sizeMAC }
		case 1: // a response
			call, _, _ := router.Initiate(now)
			b = gateway.Receive(now, routerAddr, call).Reply
			free = func(i int) bool { return i >= sizeResponse-sizeMAC }
		case 2: // a packet
			b, _, _ = gateway.Send(now, nil, packet(tunnelIP, lanIP, "text"))
		case 3: // a keepalive, also the confirmation of a new session
			call, _, _ := gateway.Initiate(now)
			b = gateway.Receive(now, routerAddr, router.Receive(now, gatewayAddr, call).Reply).Reply
		case 4: // a cookie: 64 bytes that are ignored
			b = append([]byte{Cookie, 0, 0, 0}, make([]byte, sizeCookie-4)...)
			free = func(int) bool { return true }
		}
		whole := bytes.Clone(b)
		b = slices.Concat(b[:min(int(cut), len(b))], tail)
		if int(at) < len(b) {
			b[at] ^= flip
		}
		changed := len(b) != len(whole)
		for i := 0; i < len(b) && !changed; i++ {
			changed = b[i] != whole[i] && (free == nil || !free(i))
		}
		before, old := router.Stats(), *router
		result := router.Receive(now, movedAddr, b)
		after := router.Stats()

		if changed || kind >= 4 {
			if result.Packet != nil || result.Reply != nil || router.endpoint != old.endpoint || router.timers != old.timers {
				t.Fatalf("a datagram that nobody sent had an effect: %+v", after)
			}
			if before.Refused+1 != after.Refused {
				t.Fatalf("not counted: %+v", after)
			}
		} else if router.endpoint != movedAddr || after.Refused != before.Refused {
			t.Fatalf("a true datagram had no effect: %+v", after)
		}
		// The session goes on.
		if _, _, ok := router.Send(now, nil, packet(lanIP, tunnelIP, "x")); !ok {
			t.Fatal("the session is lost")
		}
		b, _, _ = gateway.Send(now, nil, packet(tunnelIP, lanIP, "text"))
		if got := router.Receive(now, gatewayAddr, b).Packet; got == nil || payload(got) != "text" {
			t.Fatalf("after it the router received %q", got)
		}
	})
}

func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(memory(b, 2000)), "B/building")
	}
}

// BenchmarkHandshake is the router's part of a handshake that the gateway began.
func BenchmarkHandshake(b *testing.B) {
	router, gateway := pairOf(psk)
	b.ReportAllocs()
	b.StopTimer()
	for i := range b.N {
		now := start.Add(time.Duration(i) * time.Minute)
		call, _, _ := gateway.Initiate(now)
		b.StartTimer()
		router.Receive(now, gatewayAddr, call)
		b.StopTimer()
	}
}

func BenchmarkSend(b *testing.B) {
	router, gateway := pairOf(Secret{})
	shake(b, start, router, gateway)
	inner := packet(lanIP, tunnelIP, strings.Repeat("x", 60))
	b.ReportAllocs()
	var to netip.AddrPort
	for b.Loop() {
		_, to, _ = router.Send(start, nil, inner)
	}
	_ = to
}

func BenchmarkReceive(b *testing.B) {
	router, gateway := pairOf(Secret{})
	shake(b, start, router, gateway)
	inner := packet(tunnelIP, lanIP, strings.Repeat("x", 60))
	b.ReportAllocs()
	b.StopTimer()
	for left := b.N; left > 0; {
		batch := make([][]byte, min(left, 1000))
		for i := range batch {
			batch[i], _, _ = gateway.Send(start, nil, inner)
		}
		b.StartTimer()
		for _, d := range batch {
			router.Receive(start, gatewayAddr, d)
		}
		b.StopTimer()
		left -= len(batch)
	}
}
