package fleet

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

// twins finds buildings with one private key and one router. The router takes them for one
// peer, so that one of them can run: the eldest that is enabled. It is owned by the loop.
type twins struct {
	desired map[string]registry.Building
	byPeer  map[tunnel.PublicKey][]string // ids, by the router's key: mostly one each
}

// changed notes that a building was another one before; the zero Building is none.
func (t *twins) changed(id string, before, after registry.Building) {
	if before.Tunnel.Peer == after.Tunnel.Peer {
		return
	}
	if rest := slices.DeleteFunc(t.byPeer[before.Tunnel.Peer], func(other string) bool { return other == id }); len(rest) > 0 {
		t.byPeer[before.Tunnel.Peer] = rest
	} else {
		delete(t.byPeer, before.Tunnel.Peer)
	}
	if after.ID != "" {
		t.byPeer[after.Tunnel.Peer] = append(t.byPeer[after.Tunnel.Peer], id)
	}
}

// of returns a building's twins.
func (t *twins) of(b registry.Building) (ids []string) {
	if b.Tunnel.Peer == (tunnel.PublicKey{}) {
		return nil // it is not there
	}
	for _, id := range t.byPeer[b.Tunnel.Peer] {
		if id != b.ID && registry.SameKeys(t.desired[id], b) {
			ids = append(ids, id)
		}
	}
	return ids
}

// elder returns the twin in whose favour a building does not run; empty if there is none.
func (t *twins) elder(b registry.Building) string {
	for _, id := range t.of(b) {
		other := t.desired[id]
		if other.Enabled && cmp.Or(other.CreatedAt.Compare(b.CreatedAt), cmp.Compare(other.ID, b.ID)) < 0 {
			return id
		}
	}
	return ""
}

// keysInUse is the status of a building that does not run in favour of another.
func keysInUse(b registry.Building, elder string) Status {
	status := waiting(ReasonKeysInUse)
	status.ObservedGeneration = b.Generation
	status.Message = fmt.Sprintf("building %s, which is older, has the same private key and the same router: "+
		"give this one a key and a peer on the router of its own, or disable that one", elder)
	return status
}
