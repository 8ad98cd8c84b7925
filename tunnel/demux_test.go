package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"
)

func source(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 51820)
}

func newTestRoute(d *demux) *route {
	r := newRoute(GeneratePrivateKey(), GeneratePrivateKey().Public(), newInbox())
	d.add(r)
	return r
}

func wantRoutes(t *testing.T, what string, got []*route, want ...*route) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d routes, want %d", what, len(got), len(want))
		return
	}
	for _, r := range want {
		if !slices.Contains(got, r) {
			t.Errorf("%s: a route is missing", what)
		}
	}
}

func TestCollidingIndices(t *testing.T) {
	d, now := newDemux(), time.Unix(1_000_000, 0)
	a, b, c := newTestRoute(d), newTestRoute(d), newTestRoute(d)
	d.moved(a, source(1))
	d.moved(b, source(2))
	d.moved(c, source(2)) // two routers behind one address
	for _, r := range []*route{a, b, c} {
		d.learn(now, r, 7)
	}
	at := func(from int) []*route { return d.receivers(nil, now, 7, source(from)) }
	wantRoutes(t, "from the first", at(1), a)
	wantRoutes(t, "from the shared source", at(2), b, c)
	wantRoutes(t, "from elsewhere", at(3), a, b, c)
	wantRoutes(t, "another index", d.receivers(nil, now, 8, source(1)))

	d.remove(b)
	wantRoutes(t, "middle removed, shared source", at(2), c)
	d.remove(b) // again
	d.learn(now, b, 7)
	d.moved(b, source(1))
	wantRoutes(t, "a removed route learns nothing", at(3), a, c)
	d.moved(c, source(1))
	wantRoutes(t, "moved", at(1), a, c)
	d.remove(c)
	d.remove(a)
	wantRoutes(t, "all removed", at(1))
	if len(d.index)+len(d.source)+len(d.identities)+len(d.byKey)+len(d.byPeer)+d.indices != 0 {
		t.Errorf("something is left: %+v", d)
	}
}

func TestIndicesExpire(t *testing.T) {
	d, now := newDemux(), time.Unix(1_000_000, 0)
	r := newTestRoute(d)
	d.learn(now, r, 1)
	wantRoutes(t, "at 180 s", d.receivers(nil, now.Add(rejectAfterSeconds*time.Second), 1, source(1)), r)
	late := now.Add(claimLifetime + 1)
	wantRoutes(t, "after its life", d.receivers(nil, late, 1, source(1)))
	d.learn(late, r, 2)
	if d.indices != 1 || len(d.index) != 1 {
		t.Errorf("%d indices held, want the new one only", d.indices)
	}
	for i := range uint32(10 * maxClaims) {
		d.learn(late, r, 1000+i)
	}
	if d.indices != maxClaims || len(d.index) != maxClaims {
		t.Errorf("%d indices held of one route, want at most %d", d.indices, maxClaims)
	}
	wantRoutes(t, "newest", d.receivers(nil, late, 1000+10*maxClaims-1, source(1)), r)
}

// The tables against the obvious implementation.
func TestDemuxModel(t *testing.T) {
	routes := make([]*route, 6)
	keys := []PrivateKey{GeneratePrivateKey(), GeneratePrivateKey(), GeneratePrivateKey()}
	peer := GeneratePrivateKey().Public()
	rapid.Check(t, func(t *rapid.T) {
		d := newDemux()
		now := time.Unix(1_000_000, 0)
		type fact struct {
			route *route
			index uint32
		}
		learnt := map[fact]time.Time{}
		at := map[*route]netip.AddrPort{}
		alive := map[*route]bool{}
		for i := range routes {
			routes[i] = newRoute(keys[i%len(keys)], peer, nil)
			d.add(routes[i])
			alive[routes[i]] = true
		}
		aRoute := rapid.SampledFrom(routes)
		anIndex := rapid.Uint32Range(0, 4)
		aSource := rapid.Custom(func(t *rapid.T) netip.AddrPort { return source(rapid.IntRange(1, 3).Draw(t, "source")) })
		t.Repeat(map[string]func(*rapid.T){
			"learn": func(t *rapid.T) {
				r, i := aRoute.Draw(t, "route"), anIndex.Draw(t, "index")
				d.learn(now, r, i)
				if alive[r] {
					learnt[fact{r, i}] = now
				}
			},
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
				for f := range learnt {
					if f.route == r {
						delete(learnt, f)
					}
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "s")) * time.Second) },
			"": func(t *rapid.T) {
				i, from := anIndex.Draw(t, "index"), aSource.Draw(t, "from")
				var all, near []*route
				for f, when := range learnt {
					if f.index == i && now.Sub(when) <= claimLifetime {
						all = append(all, f.route)
						if at[f.route] == from {
							near = append(near, f.route)
						}
					}
				}
				if len(near) > 0 {
					all = near
				}
				got := d.receivers(nil, now, i, from)
				if len(got) != len(all) {
					t.Fatalf("%d receivers, want %d", len(got), len(all))
				}
				for _, r := range all {
					if !slices.Contains(got, r) {
						t.Fatal("a receiver is missing")
					}
				}
				for n, id := range d.identities {
					if id.place != n || d.byKey[id.public] != id || len(id.routes) == 0 {
						t.Fatalf("identity %d is misplaced", n)
					}
				}
			},
		})
	})
}

// initiationTo makes an initiation with a valid first MAC and nothing else.
func initiationTo(public PublicKey) []byte {
	b := make([]byte, sizeInitiation)
	b[0] = typeInitiation
	for i := initiationEphemeral; i < initiationMAC1; i++ {
		b[i] = byte(i)
	}
	sign(public, b)
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
	call[initiationMAC1]++
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
		if got := messageType(b); got != test.want {
			t.Errorf("type %d with %d bytes: got %d, want %d", test.kind, test.size, got, test.want)
		}
	}
	b := make([]byte, 148)
	binary.BigEndian.PutUint32(b, 0x01000001)
	if got := messageType(b); got != 0 {
		t.Errorf("reserved bytes set: got %d, want 0", got)
	}
}

// Whatever arrives: no panic, and each datagram either delivered or counted once.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{4, 0, 0, 0, 7, 0, 0, 0})
	f.Add(initiationTo(exampleKey.Public()))
	f.Add(make([]byte, 92))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		x := NewExchange(zerolog.Nop())
		in := newInbox()
		if _, err := in.start(); err != nil {
			t.Fatal(err)
		}
		for _, peer := range []PublicKey{examplePeer, GeneratePrivateKey().Public()} {
			x.demux.add(newRoute(exampleKey, peer, in))
		}
		x.learn(time.Now(), x.demux.identities[0].routes[0], 7)
		r := receiver{x: x}
		r.receive(datagram, source(1))
		s := x.Stats()
		dropped := s.Malformed + s.UnknownIndex + s.UnknownInitiator + s.RateLimited + s.QueueFull
		if uint64(in.n)+dropped != 1 {
			t.Fatalf("%d queued and %d dropped of one datagram", in.n, dropped)
		}
	})
}

func BenchmarkReceivers(b *testing.B) {
	d, now := newDemux(), time.Now()
	for i := range uint32(10_000) {
		r := newRoute(exampleKey, PublicKey{byte(i), byte(i >> 8)}, nil)
		d.add(r)
		d.moved(r, source(int(i)))
		for j := range uint32(3) {
			d.learn(now, r, i*3+j)
		}
	}
	var routes []*route
	var i uint32
	b.ReportAllocs()
	for b.Loop() {
		routes = d.receivers(routes[:0], now, i%30_000, source(1))
		i += 7
	}
}

func BenchmarkLearn(b *testing.B) {
	d, now := newDemux(), time.Now()
	r := newRoute(exampleKey, examplePeer, nil)
	d.add(r)
	var i uint32
	b.ReportAllocs()
	for b.Loop() {
		d.learn(now, r, i)
		i++
		now = now.Add(10 * time.Second)
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

func BenchmarkInitiator(b *testing.B) {
	call := initiationTo(exampleKey.Public())
	for b.Loop() {
		initiator(exampleKey, exampleKey.Public(), call)
	}
}
