package wireguard

import (
	"crypto/subtle"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Labels of the MACs and cookies, §5.4.4 and §5.4.7.
const (
	labelMAC1   = "mac1----"
	labelCookie = "cookie--"
)

// cookieLifetime is how long a cookie counts (COOKIE_SECRET_MAX_AGE, §6.1).
const cookieLifetime = 120 * time.Second

// cookie is what a peer under load wants to see before it computes anything.
type cookie struct {
	at    time.Time // zero: there is none
	value [sizeMAC]byte
	// last is MAC1 of our last handshake message and its sender index: a reply is
	// sealed for the one, and carries the other.
	last  [sizeMAC]byte
	index uint32
}

// MAC1Key returns the key with which handshake messages to the owner of public carry
// their first MAC (§5.4.4). It depends on the public key alone: a valid MAC
// shows that a sender knows whom it calls, not who it is.
func MAC1Key(public [32]byte) [32]byte { return labelled(labelMAC1, public) }

// ValidMAC1 reports whether the first MAC of an initiation or a response fits key.
func ValidMAC1(key [32]byte, message []byte) bool {
	body, macs := message[:len(message)-sizeMACs], message[len(message)-sizeMACs:]
	sum := mac(key[:], body)
	return subtle.ConstantTimeCompare(sum[:], macs[:sizeMAC]) == 1
}

// sign appends both MACs to a handshake message. The second is zero unless the peer
// gave us a cookie (§5.4.4).
func (r *End) sign(now time.Time, message []byte) []byte {
	key := MAC1Key(r.cfg.Peer)
	r.cookie.last = mac(key[:], message)
	r.cookie.index = binary.LittleEndian.Uint32(message[atSender:])
	message = append(message, r.cookie.last[:]...)
	var second [sizeMAC]byte
	if !r.cookie.at.IsZero() && now.Sub(r.cookie.at) < cookieLifetime {
		second = mac(r.cookie.value[:], message)
	}
	return append(message, second[:]...)
}

// takeCookie takes the reply of a peer under load to our last handshake message. The
// cookie goes into the next one, which is sent when it is due: a busy peer is not asked
// again at once (§5.4.7).
func (r *End) takeCookie(now time.Time, reply []byte) bool {
	const atNonce, atSealed = 8, 8 + chacha20poly1305.NonceSizeX
	if r.cookie.last == [sizeMAC]byte{} || binary.LittleEndian.Uint32(reply[atReceiver:]) != r.cookie.index {
		return false
	}
	key := labelled(labelCookie, r.cfg.Peer)
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only a key of another size is refused
	}
	var value [sizeMAC]byte
	if _, err := aead.Open(value[:0], reply[atNonce:atSealed], reply[atSealed:], r.cookie.last[:]); err != nil {
		return false
	}
	r.cookie.at, r.cookie.value = now, value
	r.cookie.last = [sizeMAC]byte{} // one reply for each message
	r.stats.Cookies++
	return true
}

func labelled(label string, public [keySize]byte) [blake2s.Size]byte {
	return blake2s.Sum256(append([]byte(label), public[:]...))
}

func mac(key, message []byte) (sum [sizeMAC]byte) {
	h, err := blake2s.New128(key)
	if err != nil {
		panic(err) // only a key longer than 32 bytes is refused
	}
	h.Write(message) // hash.Hash: never an error
	h.Sum(sum[:0])
	return sum
}
