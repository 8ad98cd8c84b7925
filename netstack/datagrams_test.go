package netstack

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// The queue gives back what it took, in order, and never holds more than its limit.
func TestDatagrams(t *testing.T) {
	type datagram struct {
		payload []byte
		from    netip.AddrPort
	}
	senders := []netip.AddrPort{
		netip.MustParseAddrPort("192.168.178.3:3671"),
		netip.MustParseAddrPort("[fd00::3]:65535"),
		netip.MustParseAddrPort("0.0.0.0:0"),
	}
	rapid.Check(t, func(t *rapid.T) {
		var q datagrams
		var waiting []datagram
		held := 0
		t.Repeat(map[string]func(*rapid.T){
			"receive": func(t *rapid.T) {
				size := rapid.SampledFrom([]int{0, 1, 60, 1400, 30000, 65507}).Draw(t, "size")
				d := datagram{bytes.Repeat([]byte{byte(len(waiting))}, size), rapid.SampledFrom(senders).Draw(t, "from")}
				q.begin()
				half := size / 2
				for _, part := range [][]byte{d.payload[:half], d.payload[half:]} {
					if n, err := q.Write(part); n != len(part) || err != nil {
						t.Fatalf("Write = %d, %v", n, err)
					}
				}
				fits := held+datagramHeader+size <= datagramsLimit
				if q.commit(d.from) != fits {
					t.Fatalf("%d bytes into a queue of %d: taken %v", size, held, !fits)
				}
				if fits {
					waiting = append(waiting, d)
					held += datagramHeader + size
				}
			},
			"abandon": func(t *rapid.T) {
				q.begin()
				_, _ = q.Write(make([]byte, rapid.IntRange(0, 2000).Draw(t, "size")))
				q.abandon()
			},
			"pop": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				d := waiting[0]
				waiting = waiting[1:]
				held -= datagramHeader + len(d.payload)
				b := make([]byte, rapid.SampledFrom([]int{0, 10, 65535}).Draw(t, "buffer"))
				n, from := q.pop(b)
				if want := d.payload[:min(len(b), len(d.payload))]; !bytes.Equal(b[:n], want) || from != d.from {
					t.Fatalf("popped %d bytes from %v, want %d from %v", n, from, len(want), d.from)
				}
			},
			"": func(t *rapid.T) {
				if q.empty() != (len(waiting) == 0) {
					t.Fatalf("empty is %v with %d waiting", q.empty(), len(waiting))
				}
				if q.empty() && cap(q.block) > datagramsKept {
					t.Fatalf("an empty queue keeps %d bytes", cap(q.block))
				}
				if cap(q.block) > 2*datagramsLimit+datagramsKept {
					t.Fatalf("%d bytes for %d", cap(q.block), held)
				}
			},
		})
	})
}
