package tunnel

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/subtle"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Constants and layout of the handshake, WireGuard paper §5.4.
const (
	noiseConstruction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
	noiseIdentifier   = "WireGuard v1 zx2c4 Jason@zx2c4.com"
	labelMAC1         = "mac1----"

	// Fields of an initiation, §5.4.2.
	initiationEphemeral = 8
	initiationStatic    = 40
	initiationTimestamp = 88
	initiationMAC1      = 116
	initiationMAC2      = 132
)

// mac1Key returns the key with which initiations to the owner of public carry
// their first MAC (§5.4.4). It depends on the public key alone: a valid MAC
// shows that a sender knows whom it calls, not who it is.
func mac1Key(public PublicKey) [blake2s.Size]byte {
	var label [len(labelMAC1) + keySize]byte
	copy(label[:], labelMAC1)
	copy(label[len(labelMAC1):], public[:])
	return blake2s.Sum256(label[:])
}

// validMAC1 reports whether an initiation's first MAC fits key.
func validMAC1(key *[blake2s.Size]byte, initiation []byte) bool {
	mac, err := blake2s.New128(key[:])
	if err != nil {
		return false // no key of 32 bytes gives an error
	}
	mac.Write(initiation[:initiationMAC1])
	var sum [blake2s.Size128]byte
	return subtle.ConstantTimeCompare(mac.Sum(sum[:0]), initiation[initiationMAC1:initiationMAC2]) == 1
}

// initiator opens the part of an initiation that says who sent it (§5.4.2): the
// static public key, sealed to our private key. It costs one curve operation.
// The answer tells tunnels apart that share a private key; it proves nothing,
// and the device checks everything itself.
func initiator(private PrivateKey, public PublicKey, initiation []byte) (PublicKey, bool) {
	ephemeral := initiation[initiationEphemeral:initiationStatic]
	ours, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return PublicKey{}, false
	}
	theirs, err := ecdh.X25519().NewPublicKey(ephemeral)
	if err != nil {
		return PublicKey{}, false
	}
	shared, err := ours.ECDH(theirs)
	if err != nil {
		return PublicKey{}, false // a point of low order
	}

	chain := blake2s.Sum256([]byte(noiseConstruction))
	transcript := mixHash(chain, []byte(noiseIdentifier))
	transcript = mixHash(transcript, public[:])
	transcript = mixHash(transcript, ephemeral)
	first, err := hkdf.Key(newHash, ephemeral, chain[:], "", blake2s.Size)
	if err != nil {
		return PublicKey{}, false
	}
	second, err := hkdf.Key(newHash, shared, first, "", 2*blake2s.Size)
	if err != nil {
		return PublicKey{}, false
	}
	aead, err := chacha20poly1305.New(second[blake2s.Size:])
	if err != nil {
		return PublicKey{}, false
	}
	var (
		nonce  [chacha20poly1305.NonceSize]byte
		static PublicKey
	)
	opened, err := aead.Open(static[:0], nonce[:], initiation[initiationStatic:initiationTimestamp], transcript[:])
	if err != nil || len(opened) != keySize {
		return PublicKey{}, false
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
