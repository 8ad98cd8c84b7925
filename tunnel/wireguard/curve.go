package wireguard

import (
	"bytes"
	"crypto/ecdh"
	"fmt"
	"io"

	"github.com/flynn/noise"
)

const keySize = 32 // bytes of a Curve25519 key and of a preshared key

// Secret is a private or a preshared key. It never prints itself: every fmt verb
// and every encoder gives "(hidden)".
type Secret [keySize]byte

const hidden = "(hidden)"

// Format hides the key from every verb.
func (Secret) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, hidden) // fmt has no place for an error
}

// MarshalText hides the key from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// curve is Curve25519 for one handshake. flynn/noise passes private keys as
// bytes, and to read one costs as much as to use it; so the two of this
// handshake are kept as read. That halves the cost of a handshake.
type curve struct {
	end       *End
	ephemeral *ecdh.PrivateKey
}

// GenerateKeypair makes the ephemeral key. It reads the bytes itself because
// crypto/ecdh ignores the caller's source, and simulations must be repeatable.
func (c *curve) GenerateKeypair(random io.Reader) (noise.DHKey, error) {
	var private [keySize]byte
	if _, err := io.ReadFull(random, private[:]); err != nil {
		return noise.DHKey{}, err
	}
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return noise.DHKey{}, err
	}
	c.ephemeral = key
	return keypairOf(key), nil
}

// DH is of no use with points of low order. What the two static keys agree on is computed once.
func (c *curve) DH(private, public []byte) ([]byte, error) {
	ours := c.end.private
	if c.ephemeral != nil && bytes.Equal(private, c.ephemeral.Bytes()) {
		ours = c.ephemeral
	}
	ofStatics := ours == c.end.private && bytes.Equal(public, c.end.cfg.Peer[:])
	if ofStatics && c.end.shared != nil {
		return c.end.shared, nil
	}
	theirs, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	secret, err := ours.ECDH(theirs)
	if err != nil {
		return c.nothing() // a point of low order
	}
	if ofStatics {
		c.end.shared = secret
	}
	return secret, nil
}

// nothing is what both ends certainly do not agree on, so that a message with a bad point is
// refused like a forged one: flynn/noise then goes back to where it was, and takes the true
// message after it. It does not when DH itself fails.
func (c *curve) nothing() ([]byte, error) {
	secret := make([]byte, keySize)
	_, err := io.ReadFull(c.end.random, secret)
	return secret, err
}

func (c *curve) DHLen() int     { return keySize }
func (c *curve) DHName() string { return noise.DH25519.DHName() }

func keypairOf(key *ecdh.PrivateKey) noise.DHKey {
	return noise.DHKey{Private: key.Bytes(), Public: key.PublicKey().Bytes()}
}
