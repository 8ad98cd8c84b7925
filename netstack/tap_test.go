package netstack

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway, device := newPair(t)
		client := listenUDP(t, gateway, "0.0.0.0:40000")
		server := listenUDP(t, device, deviceAddr+":3671")
		<-time.After(time.Hour)

		var mu sync.Mutex
		var seen, seenByOther []Packet
		remove := gateway.Tap(func(p Packet) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, p)
		})
		removeOther := gateway.Tap(func(p Packet) {
			mu.Lock()
			defer mu.Unlock()
			seenByOther = append(seenByOther, p)
		})
		send(t, client, "request", deviceAddr+":3671")
		expect(t, server, "request", gatewayAddr+":40000")
		send(t, server, "response", gatewayAddr+":40000")
		expect(t, client, "response", deviceAddr+":3671")
		removeOther()
		removeOther()
		send(t, client, "second", deviceAddr+":3671")
		synctest.Wait()
		remove()
		send(t, client, "unseen", deviceAddr+":3671")
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		want := []struct {
			direction Direction
			payload   string
		}{{ToBuilding, "request"}, {FromBuilding, "response"}, {ToBuilding, "second"}}
		if len(seen) != len(want) || len(seenByOther) != 2 {
			t.Fatalf("taps saw %d and %d packets, want %d and 2", len(seen), len(seenByOther), len(want))
		}
		for i, w := range want {
			p := seen[i]
			if p.Direction != w.direction || !p.Time.Equal(time.Now()) ||
				len(p.Data) != 28+len(w.payload) || !bytes.HasSuffix(p.Data, []byte(w.payload)) {
				t.Errorf("packet %d: %v at %v, %q; want %v, %q", i, p.Direction, p.Time, p.Data, w.direction, w.payload)
			}
		}
	})
}

// A tap sees the packet without WireGuard's padding, and keeps its own copy.
func TestTapCopies(t *testing.T) {
	s := newStack(t, gatewayAddr+"/32")
	var seen []byte
	defer s.Tap(func(p Packet) { seen = p.Data })()
	packet := ip4(17, deviceAddr, gatewayAddr, udpTo(1, "telegram"))
	buf := append(bytes.Clone(packet), make([]byte, 12)...)
	s.Deliver(buf)
	clear(buf)
	if !bytes.Equal(seen, packet) {
		t.Errorf("tap saw %x, want %x", seen, packet)
	}
}

func TestTapCostsNothingUnlessUsed(t *testing.T) {
	var taps taps
	packet := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() { taps.show(ToBuilding, packet) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	taps.add(func(Packet) {})()
	if n := testing.AllocsPerRun(100, func() { taps.show(ToBuilding, packet) }); n != 0 {
		t.Errorf("%v allocations a packet after the last tap was removed", n)
	}
}
