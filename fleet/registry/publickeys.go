package registry

import (
	"sync"

	"github.com/knxfleet/knxfleet/tunnel"
)

// publicKeysKept bounds the buildings whose public key is remembered; beyond it all are
// forgotten and computed again.
const publicKeysKept = 1 << 16

// PublicKeys remembers the public keys of our side of buildings' tunnels. Each is a
// curve operation of some 50 µs, which is most of what a list of a thousand buildings
// would cost. The zero value is ready; safe for concurrent use.
type PublicKeys struct {
	mu sync.RWMutex
	of map[string]keyPair // by building
}

type keyPair struct {
	private tunnel.PrivateKey
	public  tunnel.PublicKey
}

// Of returns the public key of b's tunnel.
func (k *PublicKeys) Of(b Building) tunnel.PublicKey {
	private := b.Tunnel.PrivateKey
	k.mu.RLock()
	pair, known := k.of[b.ID]
	k.mu.RUnlock()
	if known && pair.private == private {
		return pair.public
	}
	pair = keyPair{private, private.Public()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil || len(k.of) >= publicKeysKept {
		k.of = make(map[string]keyPair)
	}
	k.of[b.ID] = pair
	return pair.public
}

// Forget drops a building that was deleted.
func (k *PublicKeys) Forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.of, id)
}
