package tunnel

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// receiver is one reader's view of the exchange. The slices are reused.
type receiver struct {
	x          *Exchange
	routes     []*route
	identities []*identity
}

// receive hands a datagram to the tunnel that it is for. It is decrypted in place.
// behind says that more have come than the reader keeps up with.
func (r *receiver) receive(datagram []byte, from netip.AddrPort, behind bool) {
	x := r.x
	x.count.rxDatagrams.Add(1)
	x.count.rxBytes.Add(uint64(len(datagram)))
	kind := wireguard.MessageType(datagram)
	if from.Port() == 0 {
		kind = 0 // nobody can be answered there, but a tunnel would follow its router to it
	}
	switch kind {
	case 0:
		x.count.malformed.Add(1)
		return
	case wireguard.Initiation:
		r.initiation(datagram, from)
		return
	}
	index, _ := wireguard.ReceiverIndex(datagram)
	x.mu.RLock()
	route := x.demux.receiver(index)
	x.mu.RUnlock()
	now := time.Now()
	switch {
	case route == nil:
		x.count.unknownIndex.Add(1)
	case !x.admit(now, route, len(datagram)):
	case kind != wireguard.Transport && !route.answers.AllowN(now, 1):
		x.count.rateLimited.Add(1)
	case kind == wireguard.Transport && !behind && route.tunnel.in.idle() && route.direct.AllowN(now, 1):
		route.tunnel.receive(now, datagram, from)
	default:
		x.give(route, received{bytes.Clone(datagram), from})
	}
}

// admit reports whether a tunnel gets one more datagram.
func (x *Exchange) admit(now time.Time, route *route, size int) bool {
	if route.wall.admit(now, size) {
		return true
	}
	route.wall.dropped.Add(1)
	x.count.flooded.Add(1)
	return false
}

// give leaves a datagram to the workers.
func (x *Exchange) give(route *route, d received) {
	if !x.work.give(route.tunnel, d) {
		route.wall.dropped.Add(1)
		x.count.queueFull.Add(1)
	}
}

// initiation finds the tunnels for a handshake initiation, which carries no
// index. Its first MAC shows which of our keys it calls. If that is not one of those last
// seen at its source, somebody else looks at all of them, since packets wait meanwhile.
func (r *receiver) initiation(datagram []byte, from netip.AddrPort) {
	x := r.x
	x.mu.RLock()
	r.identities = x.demux.atHand(r.identities[:0], from)
	x.mu.RUnlock()
	id := called(r.identities, datagram)
	clear(r.identities) // closed tunnels must not be held by an idle reader
	if id != nil {
		r.handOver(time.Now(), id, received{bytes.Clone(datagram), from})
		return
	}
	select {
	case x.unknown <- received{bytes.Clone(datagram), from}:
	default:
		x.count.rateLimited.Add(1)
	}
}

// unknownWaiting is how many initiations from unknown sources wait to be looked at. When
// there are more, the newest is dropped and counted: its sender repeats it after 5 s.
const unknownWaiting = 1024

// lookAtUnknown finds out whom initiations from unknown sources call, until the exchange is
// closed.
func (x *Exchange) lookAtUnknown() error {
	r := receiver{x: x}
	for {
		select {
		case d := <-x.unknown:
			r.unknown(time.Now(), d)
		case <-x.closing:
			return nil
		}
	}
}

func (r *receiver) unknown(now time.Time, d received) {
	id := r.search(now, d.data, d.from)
	clear(r.identities) // closed tunnels must not be held
	if id != nil {
		r.handOver(now, id, d)
	}
}

// handOver gives an initiation to the tunnel that it calls. Where several tunnels use the
// key that it calls, its sealed sender shows which.
func (r *receiver) handOver(now time.Time, id *identity, d received) {
	x := r.x
	r.routes = r.routes[:0]
	x.mu.RLock()
	shared := len(id.routes) > 1
	if !shared {
		r.routes = append(r.routes, id.routes...)
	}
	x.mu.RUnlock()
	if shared {
		r.ofCaller(now, id, d.data, d.from)
	}
	for _, route := range r.routes {
		x.mu.RLock()
		limit := route.initiations
		if route.source == d.from {
			limit = route.initiationsHere
		}
		x.mu.RUnlock()
		switch {
		case !limit.AllowN(now, 1):
			x.count.rateLimited.Add(1)
		case x.admit(now, route, len(d.data)):
			x.give(route, received{bytes.Clone(d.data), d.from})
		}
	}
	clear(r.routes) // closed tunnels must not be held
}

// search compares an initiation with all our keys, in steps, as long as the
// strangers' budget lasts. It begins where the last one ended, so that a flood
// leaves every key its chance.
func (r *receiver) search(now time.Time, datagram []byte, from netip.AddrPort) *identity {
	x := r.x
	for done := 0; ; done += len(r.identities) {
		x.mu.RLock()
		left := len(x.demux.identities) - done
		ids, next := x.demux.some(r.identities[:0], int(x.cursor.Load()), min(left, searchStep))
		x.mu.RUnlock()
		r.identities = ids
		if left <= 0 {
			x.count.unknownInitiator.Add(1)
			x.strange.note(now, from.Addr())
			return nil
		}
		if !x.strangers.AllowN(now, len(ids)) {
			x.count.rateLimited.Add(1)
			return nil
		}
		x.cursor.Store(uint32(next))
		if id := called(ids, datagram); id != nil {
			return id
		}
	}
}

// ofCaller finds the tunnel of an initiation's sender among those that share a
// private key. When the budget is spent, only tunnels already at that source are
// found.
func (r *receiver) ofCaller(now time.Time, id *identity, datagram []byte, from netip.AddrPort) {
	x := r.x
	if !x.strangers.AllowN(now, openingHashes) {
		x.mu.RLock()
		r.routes = x.demux.atSource(r.routes, id, from)
		x.mu.RUnlock()
		if len(r.routes) == 0 {
			x.count.rateLimited.Add(1)
		}
		return
	}
	peer, ok := wireguard.Caller(wireguard.Secret(id.private), id.public, datagram)
	if ok {
		x.mu.RLock()
		r.routes = x.demux.callers(r.routes, id, peer)
		x.mu.RUnlock()
	}
	if len(r.routes) == 0 {
		x.count.unknownInitiator.Add(1)
		x.strange.note(now, from.Addr())
	}
}
