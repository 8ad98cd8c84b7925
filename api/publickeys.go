package api

import (
	"sync"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

// publicKeysKept bounds the buildings whose public key is remembered; beyond it all are
// forgotten and computed again.
const publicKeysKept = 1 << 16

// publicKeys remembers the public keys of buildings. Each is a curve operation of some
// 50 µs, which was most of what a page of 1,000 buildings cost. Nil remembers nothing.
type publicKeys struct {
	mu sync.RWMutex
	of map[string]keyPair // by building
}

type keyPair struct {
	private tunnel.PrivateKey
	public  tunnel.PublicKey
}

func newPublicKeys() *publicKeys { return &publicKeys{of: make(map[string]keyPair)} }

// get returns the public key of b's tunnel.
func (k *publicKeys) get(b registry.Building) tunnel.PublicKey {
	private := b.Tunnel.PrivateKey
	if k == nil {
		return private.Public()
	}
	k.mu.RLock()
	pair, known := k.of[b.ID]
	k.mu.RUnlock()
	if known && pair.private == private {
		return pair.public
	}
	pair = keyPair{private, private.Public()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.of) >= publicKeysKept {
		clear(k.of)
	}
	k.of[b.ID] = pair
	return pair.public
}

// forget drops a building that was deleted.
func (k *publicKeys) forget(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.of, id)
}
