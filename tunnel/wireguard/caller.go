package wireguard

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Constants and layout of the handshake, WireGuard paper §5.4.
const (
	noiseConstruction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"

	// Fields of an initiation, §5.4.2.
	initiationEphemeral = 8
	initiationStatic    = 40
	initiationTimestamp = 88
)

// Caller opens the part of an initiation that says who sent it (§5.4.2): the
// static public key, sealed to our private key. It costs one curve operation.
// The answer tells tunnels apart that share a private key; it proves nothing,
// and an End checks everything itself.
func Caller(private Secret, public [keySize]byte, initiation []byte) (caller [keySize]byte, ok bool) {
	ephemeral := initiation[initiationEphemeral:initiationStatic]
	ours, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return [keySize]byte{}, false
	}
	theirs, err := ecdh.X25519().NewPublicKey(ephemeral)
	if err != nil {
		return [keySize]byte{}, false
	}
	shared, err := ours.ECDH(theirs)
	if err != nil {
		return [keySize]byte{}, false // a point of low order
	}

	chain := blake2s.Sum256([]byte(noiseConstruction))
	transcript := mixHash(chain, []byte(identifier))
	transcript = mixHash(transcript, public[:])
	transcript = mixHash(transcript, ephemeral)
	first, err := hkdf.Key(newHash, ephemeral, chain[:], "", blake2s.Size)
	if err != nil {
		return [keySize]byte{}, false
	}
	second, err := hkdf.Key(newHash, shared, first, "", 2*blake2s.Size)
	if err != nil {
		return [keySize]byte{}, false
	}
	aead, err := chacha20poly1305.New(second[blake2s.Size:])
	if err != nil {
		return [keySize]byte{}, false
	}
	var (
		nonce  [chacha20poly1305.NonceSize]byte
		static [keySize]byte
	)
	opened, err := aead.Open(static[:0], nonce[:], initiation[initiationStatic:initiationTimestamp], transcript[:])
	if err != nil || len(opened) != keySize {
		return [keySize]byte{}, false
	}
	return static, true
}

func mixHash(h [blake2s.Size]byte, data []byte) [blake2s.Size]byte {
	return blake2s.Sum256(append(h[:], data...))
}

func newHash() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err) // without a key there is nothing to refuse
	}
	return h
}
