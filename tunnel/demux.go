package tunnel

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"golang.org/x/time/rate"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

const (
	// indexBits are the lower bits of a receiver index, which are the tunnel's own.
	indexBits = 8

	// Initiations handed to one tunnel, and answers to its own. A router sends one every
	// 5 s at most.
	initiationsPerSecond = 5
	initiationsBurst     = 10

	// sourceIdentities is how many keys an initiation is compared with, free of
	// charge, because tunnels with those keys were last seen at its source.
	sourceIdentities = 4
)

// route is one tunnel as the demultiplexer sees it.
type route struct {
	tunnel   *Tunnel
	identity *identity
	peer     PublicKey
	// index is the upper 24 bits of all receiver indices that the tunnel gives out, and no
	// other tunnel does. The lower bits are zero.
	index uint32
	// What strangers can make the tunnel compute with messages that they have seen.
	// Initiations from where the tunnel sends to have a limit of their own, so that
	// copies sent from elsewhere do not keep the router out.
	initiations, initiationsHere, answers *rate.Limiter
	wall                                  wall
	direct                                *rate.Limiter // of packets that the reader decrypts by itself

	place   int            // in identity.routes
	source  netip.AddrPort // where the tunnel sends to; invalid before
	removed bool
}

func (r *route) ends() pair { return pair{r.identity.public, r.peer} }

// identity is one private key of ours and the tunnels that use it. Its keys
// never change.
type identity struct {
	private PrivateKey
	public  PublicKey
	mac1    [32]byte
	routes  []*route
	place   int // in demux.identities
}

// demux finds the tunnels that a datagram may be for. It is a plain data
// structure: no clock, no lock, no socket.
type demux struct {
	index      map[uint32]*route // by the upper 24 bits
	source     map[netip.AddrPort][]*route
	identities []*identity
	byKey      map[PublicKey]*identity
	byPeer     map[pair][]*route // one route each, unless a building was opened twice
}

// pair is the two ends of a tunnel.
type pair struct{ ours, theirs PublicKey }

func newDemux() *demux {
	return &demux{
		index:  make(map[uint32]*route),
		source: make(map[netip.AddrPort][]*route),
		byKey:  make(map[PublicKey]*identity),
		byPeer: make(map[pair][]*route),
	}
}

// newRoute makes a route that add can take.
func newRoute(t *Tunnel, private PrivateKey, public, peer PublicKey) *route {
	r := &route{
		tunnel:          t,
		identity:        &identity{private: private, public: public, mac1: wireguard.MAC1Key(public)},
		peer:            peer,
		initiations:     rate.NewLimiter(initiationsPerSecond, initiationsBurst),
		initiationsHere: rate.NewLimiter(initiationsPerSecond, initiationsBurst),
		answers:         rate.NewLimiter(initiationsPerSecond, initiationsBurst),
		direct:          rate.NewLimiter(directPerSecond, directPerSecond),
	}
	r.wall.init()
	return r
}

// add enters a route and gives it its index. From then on initiations to its key find
// it. Indices are random, so that strangers cannot guess them, and never shared: there are
// 16 million, a thousand times more than tunnels.
func (d *demux) add(r *route) {
	for taken := true; taken; _, taken = d.index[r.index] {
		r.index = rand.Uint32() << indexBits
	}
	d.index[r.index] = r
	if known := d.byKey[r.identity.public]; known != nil {
		r.identity = known
	} else {
		r.identity.place = len(d.identities)
		d.identities = append(d.identities, r.identity)
		d.byKey[r.identity.public] = r.identity
	}
	r.place = len(r.identity.routes)
	r.identity.routes = append(r.identity.routes, r)
	d.byPeer[r.ends()] = append(d.byPeer[r.ends()], r)
}

// remove takes a route out with all that was learnt of it.
func (d *demux) remove(r *route) {
	if r.removed {
		return
	}
	r.removed = true
	delete(d.index, r.index)
	d.leaveSource(r)
	id, ends := r.identity, r.ends()
	if rest := without(d.byPeer[ends], r); len(rest) > 0 {
		d.byPeer[ends] = rest
	} else {
		delete(d.byPeer, ends)
	}
	last := len(id.routes) - 1
	id.routes[r.place] = id.routes[last]
	id.routes[r.place].place = r.place
	id.routes[last] = nil
	id.routes = id.routes[:last]
	if last > 0 {
		return
	}
	delete(d.byKey, id.public)
	last = len(d.identities) - 1
	d.identities[id.place] = d.identities[last]
	d.identities[id.place].place = id.place
	d.identities[last] = nil
	d.identities = d.identities[:last]
}

// moved notes where r sends to now.
func (d *demux) moved(r *route, to netip.AddrPort) {
	if r.removed || r.source == to {
		return
	}
	d.leaveSource(r)
	r.source = to
	d.source[to] = append(d.source[to], r)
}

func (d *demux) leaveSource(r *route) {
	if !r.source.IsValid() {
		return
	}
	if rest := without(d.source[r.source], r); len(rest) > 0 {
		d.source[r.source] = rest
	} else {
		delete(d.source, r.source)
	}
	r.source = netip.AddrPort{}
}

// without returns routes less r, in any order.
func without(routes []*route, r *route) []*route {
	if i := slices.Index(routes, r); i >= 0 {
		last := len(routes) - 1
		routes[i] = routes[last]
		routes[last] = nil
		routes = routes[:last]
	}
	return routes
}

// receiver returns the route that gave out a receiver index, nil for none.
func (d *demux) receiver(index uint32) *route { return d.index[index>>indexBits<<indexBits] }

// atHand appends to dst the identities of tunnels that send to from, at most
// sourceIdentities.
func (d *demux) atHand(dst []*identity, from netip.AddrPort) []*identity {
	for _, r := range d.source[from] {
		if len(dst) == sourceIdentities {
			break
		}
		if !slices.Contains(dst, r.identity) {
			dst = append(dst, r.identity)
		}
	}
	return dst
}

// some appends to dst at most n identities from start on, wrapping around. It
// returns where to go on.
func (d *demux) some(dst []*identity, start, n int) (ids []*identity, next int) {
	if start >= len(d.identities) {
		start = 0 // some were removed
	}
	n = max(0, min(n, len(d.identities)))
	first := d.identities[start:min(start+n, len(d.identities))]
	dst = append(dst, first...)
	if rest := n - len(first); rest > 0 {
		return append(dst, d.identities[:rest]...), rest
	}
	return dst, start + n
}

// called returns the one of ids that an initiation is meant for, nil for none.
// It costs a hash for each and needs no lock, as their keys never change.
func called(ids []*identity, initiation []byte) *identity {
	for _, id := range ids {
		if wireguard.ValidMAC1(id.mac1, initiation) {
			return id
		}
	}
	return nil
}

// callers appends to dst the routes between id and peer.
func (d *demux) callers(dst []*route, id *identity, peer PublicKey) []*route {
	return append(dst, d.byPeer[pair{id.public, peer}]...)
}

// atSource appends to dst the routes of id that send to from.
func (d *demux) atSource(dst []*route, id *identity, from netip.AddrPort) []*route {
	for _, r := range d.source[from] {
		if r.identity == id {
			dst = append(dst, r)
		}
	}
	return dst
}
