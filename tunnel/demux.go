package tunnel

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/time/rate"
)

const (
	// claimLifetime is how long a receiver index that one of our devices gave
	// out leads to its tunnel: a session's life and a minute for the answer to
	// come, that starts it.
	claimLifetime = (rejectAfterSeconds + 60) * time.Second
	// maxClaims bounds the indices of one tunnel. An initiation every 5 s for
	// claimLifetime makes 48; only a peer that calls far more often than
	// WireGuard does pushes out indices in use, and only its own.
	maxClaims = 64

	// Initiations handed to one tunnel. A router sends one every 5 s at most.
	initiationsPerSecond = 5
	initiationsBurst     = 10

	// sourceIdentities is how many keys an initiation is compared with, free of
	// charge, because tunnels with those keys were last seen at its source.
	sourceIdentities = 4
)

// route is one tunnel as the demultiplexer sees it.
type route struct {
	identity *identity
	peer     PublicKey
	inbox    *inbox
	// initiations limits what strangers can make the device compute. Only the
	// readers use it; it locks itself.
	initiations *rate.Limiter
	wall        wall

	place   int            // in identity.routes
	source  netip.AddrPort // where the tunnel last sent to; invalid before
	claims  []*claim       // oldest first, at most maxClaims
	removed bool
}

// claim says that a device gave out a receiver index.
type claim struct {
	index  uint32
	route  *route
	learnt time.Time
	next   *claim // another claim of the same index
}

// identity is one private key of ours and the tunnels that use it. Its keys
// never change.
type identity struct {
	private PrivateKey
	public  PublicKey
	mac1    [blake2s.Size]byte
	routes  []*route
	place   int // in demux.identities
}

// demux finds the tunnels that a datagram may be for. It is a plain data
// structure: no clock, no lock, no socket. Indices are 32 random bits for each
// device, so that two of ours may give out the same one; what cannot be told
// apart goes to all, and their authentication decides.
type demux struct {
	index      map[uint32]*claim
	source     map[netip.AddrPort][]*route
	identities []*identity
	byKey      map[PublicKey]*identity
	byPeer     map[pair][]*route // one route each, unless a building was opened twice
	indices    int               // claims held
}

// pair is the two ends of a tunnel.
type pair struct{ ours, theirs PublicKey }

func newDemux() *demux {
	return &demux{
		index:  make(map[uint32]*claim),
		source: make(map[netip.AddrPort][]*route),
		byKey:  make(map[PublicKey]*identity),
		byPeer: make(map[pair][]*route),
	}
}

// newRoute makes a route that add can take.
func newRoute(private PrivateKey, peer PublicKey, in *inbox) *route {
	public := private.Public()
	r := &route{
		identity:    &identity{private: private, public: public, mac1: mac1Key(public)},
		peer:        peer,
		inbox:       in,
		initiations: rate.NewLimiter(initiationsPerSecond, initiationsBurst),
	}
	r.wall.init()
	return r
}

// add enters a route. From then on initiations to its key find it.
func (d *demux) add(r *route) {
	if known := d.byKey[r.identity.public]; known != nil {
		r.identity = known
	} else {
		r.identity.place = len(d.identities)
		d.identities = append(d.identities, r.identity)
		d.byKey[r.identity.public] = r.identity
	}
	r.place = len(r.identity.routes)
	r.identity.routes = append(r.identity.routes, r)
	ends := pair{r.identity.public, r.peer}
	d.byPeer[ends] = append(d.byPeer[ends], r)
}

// remove takes a route out with all that was learnt of it. A removed route
// learns nothing more.
func (d *demux) remove(r *route) {
	if r.removed {
		return
	}
	r.removed = true
	for _, c := range r.claims {
		d.unlink(c)
	}
	r.claims = nil
	d.leaveSource(r)
	id := r.identity
	ends := pair{id.public, r.peer}
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

// learn notes that r's device gave out index. It also forgets r's indices that
// are past their time, so the memory of a route is bounded without a sweep.
func (d *demux) learn(now time.Time, r *route, index uint32) {
	if r.removed {
		return
	}
	for c := d.index[index]; c != nil; c = c.next {
		if c.route == r {
			c.learnt = now
			return
		}
	}
	old := 0
	for old < len(r.claims) && (expired(r.claims[old], now) || len(r.claims)-old >= maxClaims) {
		d.unlink(r.claims[old])
		old++
	}
	c := &claim{index: index, route: r, learnt: now, next: d.index[index]}
	r.claims = append(slices.Delete(r.claims, 0, old), c)
	d.index[index] = c
	d.indices++
}

func expired(c *claim, now time.Time) bool { return now.Sub(c.learnt) > claimLifetime }

func (d *demux) unlink(c *claim) {
	d.indices--
	head := d.index[c.index]
	if head == c {
		if c.next == nil {
			delete(d.index, c.index)
		} else {
			d.index[c.index] = c.next
		}
		return
	}
	for head.next != c {
		head = head.next
	}
	head.next = c.next
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

// receivers appends to dst the routes whose device gave out index. Of several it
// takes those that send to from, if there are any.
func (d *demux) receivers(dst []*route, now time.Time, index uint32, from netip.AddrPort) []*route {
	start, atSource := len(dst), 0
	for c := d.index[index]; c != nil; c = c.next {
		if expired(c, now) {
			continue
		}
		dst = append(dst, c.route)
		if c.route.source == from {
			// Keep those at the source in front.
			front := start + atSource
			dst[front], dst[len(dst)-1] = dst[len(dst)-1], dst[front]
			atSource++
		}
	}
	if atSource > 0 {
		dst = dst[:start+atSource]
	}
	return dst
}

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
		if validMAC1(&id.mac1, initiation) {
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
