package tunnel

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// receiver is one reader's view of the exchange. The slices are reused.
type receiver struct {
	x          *Exchange
	routes     []*route
	identities []*identity
}

// receive hands a datagram to the tunnels that it may be for. It is decrypted in place.
// behind says that more have come than the reader keeps up with.
func (r *receiver) receive(datagram []byte, from netip.AddrPort, behind bool) {
	x := r.x
	x.count.rxDatagrams.Add(1)
	x.count.rxBytes.Add(uint64(len(datagram)))
	r.routes = r.routes[:0]
	kind := wireguard.MessageType(datagram)
	if from.Port() == 0 {
		kind = 0 // nobody can be answered there, but a tunnel would follow its router to it
	}
	switch kind {
	case 0:
		x.count.malformed.Add(1)
	case wireguard.Initiation:
		r.initiation(datagram, from)
	default:
		index, _ := wireguard.ReceiverIndex(datagram)
		x.mu.RLock()
		route := x.demux.receiver(index)
		x.mu.RUnlock()
		switch {
		case route == nil:
			x.count.unknownIndex.Add(1)
		case kind != wireguard.Transport && !route.answers.Allow():
			x.count.rateLimited.Add(1)
		default:
			r.routes = append(r.routes, route)
		}
	}
	now := time.Now()
	for _, route := range r.routes {
		t := route.tunnel
		switch {
		case !route.wall.admit(now, len(datagram)):
			route.wall.dropped.Add(1)
			x.count.flooded.Add(1)
		case kind == wireguard.Transport && !behind && t.in.idle() && route.direct.AllowN(now, 1):
			t.receive(now, datagram, from)
		case !x.work.give(t, received{bytes.Clone(datagram), from}):
			route.wall.dropped.Add(1)
			x.count.queueFull.Add(1)
		}
	}
	clear(r.routes) // closed tunnels must not be held by an idle reader
}

// initiation finds the tunnels for a handshake initiation, which carries no
// index. Its first MAC shows which of our keys it calls; where several tunnels
// use that key, its sealed sender shows which tunnel.
func (r *receiver) initiation(datagram []byte, from netip.AddrPort) {
	x, now := r.x, time.Now()
	x.mu.RLock()
	r.identities = x.demux.atHand(r.identities[:0], from)
	x.mu.RUnlock()
	id := called(r.identities, datagram)
	if id == nil {
		id = r.search(now, datagram, from)
	}
	clear(r.identities) // closed tunnels must not be held by an idle reader
	if id == nil {
		return
	}

	x.mu.RLock()
	shared := len(id.routes) > 1
	if !shared {
		r.routes = append(r.routes, id.routes...)
	}
	x.mu.RUnlock()
	if shared {
		r.ofCaller(now, id, datagram, from)
	}

	x.mu.RLock()
	allowed := slices.DeleteFunc(r.routes, func(route *route) bool {
		if route.source == from {
			return !route.initiationsHere.AllowN(now, 1)
		}
		return !route.initiations.AllowN(now, 1)
	})
	x.mu.RUnlock()
	x.count.rateLimited.Add(uint64(len(r.routes) - len(allowed)))
	r.routes = allowed
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
