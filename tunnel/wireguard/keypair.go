package wireguard

import (
	"crypto/cipher"
	"encoding/binary"
	"time"

	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

// keypair is one session: what a handshake agreed (§5.4.5).
type keypair struct {
	send, receive cipher.AEAD
	counter       uint64 // of the next message sent
	seen          window
	created       time.Time
	local, remote uint32 // indices of the two ends
	initiator     bool   // whether we called, and so renew it

	nonce [chacha20poly1305.NonceSize]byte // a place on the heap, to make none for each message
}

func newKeypair(now time.Time, send, receive *noise.CipherState) *keypair {
	return &keypair{send: aead(send), receive: aead(receive), created: now}
}

// aead takes the key out of a CipherState, which only knows counters in order.
func aead(c *noise.CipherState) cipher.AEAD {
	key := c.UnsafeKey()
	a, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // only a key of another size is refused
	}
	return a
}

// live reports whether the session may still be used.
func (k *keypair) live(now time.Time) bool {
	return k != nil && now.Sub(k.created) < rejectAfter && k.counter < rejectAfterMessages
}

// seal appends to dst a transport message of an inner packet, or a keepalive of none. It
// is padded, but not beyond the MTU, unless that is 0.
func (k *keypair) seal(dst, packet []byte, mtu int) []byte {
	padded := (len(packet) + padding - 1) / padding * padding
	if mtu > 0 {
		padded = max(len(packet), min(padded, mtu))
	}
	start, size := len(dst), sizeHeader+padded
	if cap(dst)-start < size+sizeTag {
		dst = append(make([]byte, 0, start+size+sizeTag), dst...)
	}
	dst = dst[:start+size]
	message := dst[start:]
	clear(message[sizeHeader+len(packet):]) // the memory may have held something
	binary.LittleEndian.PutUint32(message, Transport)
	binary.LittleEndian.PutUint32(message[atReceiver:], k.remote)
	binary.LittleEndian.PutUint64(message[atCounter:], k.counter)
	copy(message[sizeHeader:], packet)
	binary.LittleEndian.PutUint64(k.nonce[4:], k.counter)
	k.counter++
	return k.send.Seal(dst[:start+sizeHeader], k.nonce[:], message[sizeHeader:], nil)
}

// open decrypts a transport message in place.
func (k *keypair) open(message []byte) (content []byte, counter uint64, ok bool) {
	counter = binary.LittleEndian.Uint64(message[atCounter:])
	binary.LittleEndian.PutUint64(k.nonce[4:], counter)
	content, err := k.receive.Open(message[sizeHeader:sizeHeader], k.nonce[:], message[sizeHeader:], nil)
	return content, counter, err == nil
}

// trim cuts the padding off an inner IP packet (§5.4.6). It returns nil for what
// is no IP packet or is shorter than it claims.
func trim(content []byte) []byte {
	const header4, header6 = 20, 40
	var length int
	switch {
	case len(content) >= header4 && content[0]>>4 == 4:
		length = int(binary.BigEndian.Uint16(content[2:]))
		if length < header4 {
			return nil
		}
	case len(content) >= header6 && content[0]>>4 == 6:
		length = header6 + int(binary.BigEndian.Uint16(content[4:]))
	default:
		return nil
	}
	if length > len(content) {
		return nil
	}
	return content[:length:length]
}
