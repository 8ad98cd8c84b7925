package tunnel

import (
	"crypto/ecdh"
	"fmt"
	"sync"
)

// recentKeys bounds how many keys' public halves are remembered.
const recentKeys = 256

// recent remembers the public keys of the private keys seen last. Between a building's
// file and its tunnel its key is looked at half a dozen times, and each time would be a curve
// operation of some 50 µs. When it is full, any one makes room.
var recent struct {
	mu sync.Mutex
	of map[PrivateKey]PublicKey
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() PublicKey {
	recent.mu.Lock()
	public, known := recent.of[k]
	recent.mu.Unlock()
	if known {
		return public
	}
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(fmt.Sprintf("tunnel: X25519 refused a key of %d bytes", len(k))) // it checks nothing but the length
	}
	public = PublicKey(private.PublicKey().Bytes())
	recent.mu.Lock()
	defer recent.mu.Unlock()
	if recent.of == nil {
		recent.of = make(map[PrivateKey]PublicKey, recentKeys)
	}
	if len(recent.of) == recentKeys {
		for other := range recent.of {
			delete(recent.of, other)
			break
		}
	}
	recent.of[k] = public
	return public
}
