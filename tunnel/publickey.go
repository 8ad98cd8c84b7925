package tunnel

import (
	"crypto/ecdh"
	"fmt"
	"sync"
)

// recentKeys bounds how many private keys are kept as read. Many starts can be under way.
const recentKeys = 4096

// recent keeps the private keys seen last as crypto/ecdh has read them. Between a building's
// file and its tunnel its key is looked at half a dozen times, and to read it is a curve
// operation of some 50 µs. When it is full, any one makes room.
var recent struct {
	mu sync.Mutex
	of map[PrivateKey]*ecdh.PrivateKey
}

// read returns the key for computations.
func (k PrivateKey) read() *ecdh.PrivateKey {
	recent.mu.Lock()
	key, known := recent.of[k]
	recent.mu.Unlock()
	if known {
		return key
	}
	key, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(fmt.Sprintf("tunnel: X25519 refused a key of %d bytes", len(k))) // it checks nothing but the length
	}
	recent.mu.Lock()
	defer recent.mu.Unlock()
	if recent.of == nil {
		recent.of = make(map[PrivateKey]*ecdh.PrivateKey)
	}
	if len(recent.of) == recentKeys {
		for other := range recent.of {
			delete(recent.of, other)
			break
		}
	}
	recent.of[k] = key
	return key
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() PublicKey { return PublicKey(k.read().PublicKey().Bytes()) }
