package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/crypto/blake2s"
	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

func source(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 51820)
}

func newTestRoute(d *demux) *route {
	private := GeneratePrivateKey()
	r := newRoute(nil, private, private.Public(), GeneratePrivateKey().Public())
	d.add(r)
	return r
}

// Each route has indices of its own, all 256 of them lead to it, and nothing is left of
// one that was removed.
func TestDemuxModel(t *testing.T) {
	routes := make([]*route, 6)
	keys := []PrivateKey{GeneratePrivateKey(), GeneratePrivateKey(), GeneratePrivateKey()}
	peer := GeneratePrivateKey().Public()
	rapid.Check(t, func(t *rapid.T) {
		d := newDemux()
		at := map[*route]netip.AddrPort{}
		alive := map[*route]bool{}
		for i := range routes {
			key := keys[i%len(keys)]
			routes[i] = newRoute(nil, key, key.Public(), peer)
			d.add(routes[i])
			alive[routes[i]] = true
		}
		aRoute := rapid.SampledFrom(routes)
		aSource := rapid.Custom(func(t *rapid.T) netip.AddrPort { return source(rapid.IntRange(1, 3).Draw(t, "source")) })
		t.Repeat(map[string]func(*rapid.T){
			"move": func(t *rapid.T) {
				r, s := aRoute.Draw(t, "route"), aSource.Draw(t, "to")
				d.moved(r, s)
				if alive[r] {
					at[r] = s
				}
			},
			"remove": func(t *rapid.T) {
				r := aRoute.Draw(t, "route")
				d.remove(r)
				delete(alive, r)
				delete(at, r)
			},
			"": func(t *rapid.T) {
				low := rapid.Uint32Range(0, 255).Draw(t, "low bits")
				for _, r := range routes {
					if got := d.receiver(r.index | low); alive[r] && got != r || !alive[r] && got == r {
						t.Fatalf("index %x leads to %p, want %p, open: %v", r.index|low, got, r, alive[r])
					}
				}
				from, here := aSource.Draw(t, "from"), map[*identity]bool{}
				for r, s := range at {
					if s == from {
						here[r.identity] = true
					}
				}
				got := d.atHand(nil, from)
				if len(got) != len(here) || slices.ContainsFunc(got, func(id *identity) bool { return !here[id] }) {
					t.Fatalf("%d keys at a source, want %d", len(got), len(here))
				}
				for n, id := range d.identities {
					if id.place != n || d.byKey[id.public] != id || len(id.routes) == 0 {
						t.Fatalf("identity %d is misplaced", n)
					}
				}
				if len(d.index) != len(alive) || len(alive) == 0 && len(d.source)+len(d.identities)+len(d.byKey)+len(d.byPeer) != 0 {
					t.Fatalf("something is left: %+v", d)
				}
			},
		})
	})
}

// initiationTo makes an initiation with a valid first MAC and nothing else.
func initiationTo(public PublicKey) []byte {
	const size, atMAC1 = 148, 116
	b := make([]byte, size)
	b[0] = wireguard.Initiation
	for i := 8; i < atMAC1; i++ {
		b[i] = byte(i)
	}
	key := wireguard.MAC1Key(public)
	mac, err := blake2s.New128(key[:])
	if err != nil {
		panic(err)
	}
	mac.Write(b[:atMAC1])
	copy(b[atMAC1:], mac.Sum(nil))
	return b
}

func TestInitiationsFindTheirTunnel(t *testing.T) {
	d := newDemux()
	var routes []*route
	for range 10 {
		routes = append(routes, newTestRoute(d))
	}
	last := routes[9].identity
	call := initiationTo(last.public)
	if got := d.atHand(nil, source(1)); len(got) != 0 {
		t.Error("keys at a source where nobody is")
	}
	for _, r := range routes {
		d.moved(r, source(1))
	}
	if got := d.atHand(nil, source(1)); len(got) != sourceIdentities {
		t.Errorf("%d keys at a shared source, want %d", len(got), sourceIdentities)
	}
	ids, next := d.some(nil, 8, 1)
	if called(ids, call) != nil || next != 9 {
		t.Errorf("one step of %d goes on at %d", len(ids), next)
	}
	if ids, next = d.some(nil, 8, 4); called(ids, call) != last || len(ids) != 4 || next != 2 {
		t.Errorf("a step of %d goes on at %d", len(ids), next)
	}
	if ids, _ = d.some(nil, 1000, 100); called(ids, call) != last || len(ids) != 10 {
		t.Errorf("a start beyond the end took %d keys", len(ids))
	}
	if ids, _ = d.some(nil, 3, -1); len(ids) != 0 {
		t.Errorf("%d keys when none were asked for", len(ids))
	}
	call[116]++
	if called(d.identities, call) != nil {
		t.Error("a wrong MAC was found")
	}
	if ids, next := newDemux().some(nil, 5, 10); len(ids) != 0 || next != 0 {
		t.Errorf("%d keys among nothing, on at %d", len(ids), next)
	}
}

func TestMessageType(t *testing.T) {
	for _, test := range []struct {
		kind byte
		size int
		want uint32
	}{
		{1, 148, 1}, {1, 147, 0}, {1, 149, 0}, {2, 92, 2}, {2, 93, 0}, {3, 64, 3}, {3, 65, 0},
		{4, 32, 4}, {4, 31, 0}, {4, 1500, 4}, {0, 64, 0}, {5, 64, 0}, {4, 0, 0},
	} {
		b := make([]byte, test.size)
		if test.size > 0 {
			b[0] = test.kind
		}
		if got := wireguard.MessageType(b); got != test.want {
			t.Errorf("type %d with %d bytes: got %d, want %d", test.kind, test.size, got, test.want)
		}
	}
	b := make([]byte, 148)
	binary.BigEndian.PutUint32(b, 0x01000001)
	if got := wireguard.MessageType(b); got != 0 {
		t.Errorf("reserved bytes set: got %d, want 0", got)
	}
}

// Whatever arrives: no panic, and each datagram either taken or counted once.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{4, 0, 0, 0, 7, 0, 0, 0}, false)
	f.Add(initiationTo(exampleKey.Public()), false)
	f.Add(make([]byte, 92), true)
	f.Add(append([]byte{4}, make([]byte, 63)...), true)
	x := NewExchange(zerolog.Nop())
	var tunnels []*Tunnel
	for _, peer := range []PublicKey{examplePeer, GeneratePrivateKey().Public()} {
		t, err := x.Open(configFor(exampleKey, peer, ""), newStack(), zerolog.Nop(), nil)
		if err != nil {
			f.Fatal(err)
		}
		tunnels = append(tunnels, t)
	}
	f.Fuzz(func(t *testing.T, datagram []byte, ours bool) {
		if ours && len(datagram) >= 12 { // an index that leads to a tunnel
			binary.LittleEndian.PutUint32(datagram[4:], tunnels[0].route.index)
			binary.LittleEndian.PutUint32(datagram[8:], tunnels[0].route.index)
		}
		seen := func() (n uint64) {
			s := x.Stats()
			for _, b := range tunnels {
				n += b.Counters().RxDatagrams + uint64(b.in.n)
			}
			return n + s.Malformed + s.UnknownIndex + s.UnknownInitiator + s.RateLimited + s.QueueFull + s.Flooded
		}
		before := seen()
		r := &receiver{x: x}
		r.receive(datagram, source(1), false)
		for len(x.unknown) > 0 {
			r.unknown(time.Now(), <-x.unknown)
		}
		if n := seen() - before; n != 1 {
			t.Fatalf("one datagram was counted %d times", n)
		}
		for len(x.work.ready) > 0 { // as a worker would
			b := x.work.next()
			for d, ok := b.in.pop(); ok; d, ok = b.in.pop() {
				b.receive(time.Now(), d.data, d.from)
			}
		}
	})
}

func BenchmarkReceiver(b *testing.B) {
	d := newDemux()
	var indices []uint32
	for i := range 10_000 {
		r := newRoute(nil, exampleKey, examplePeer, PublicKey{byte(i), byte(i >> 8)})
		d.add(r)
		indices = append(indices, r.index)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		d.receiver(indices[i])
		i = (i + 7) % len(indices)
	}
}

func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDemux()
			for range n {
				newTestRoute(d)
			}
			call := initiationTo(exampleKey.Public())
			b.ReportAllocs()
			for b.Loop() {
				called(d.identities, call)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/key")
		})
	}
}

func BenchmarkCaller(b *testing.B) {
	call := initiationTo(exampleKey.Public())
	for b.Loop() {
		wireguard.Caller(wireguard.Secret(exampleKey), exampleKey.Public(), call)
	}
}
