package tunnel

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
)

const (
	keySize       = 32 // bytes of a Curve25519 key or preshared key
	keyBase64Size = 44 // characters of such a key in base64
)

// hidden is what every printed form of a secret key reads.
const hidden = "(hidden)"

// PrivateKey is our own WireGuard key of one tunnel, a Curve25519 scalar. It
// never prints itself: every fmt verb and every encoder gives "(hidden)". The
// zero value is no key.
type PrivateKey [keySize]byte

// PresharedKey is the symmetric key that both ends of a tunnel may mix into
// their handshake (WireGuard paper §5.2). It never prints itself. The zero value
// means that there is none.
type PresharedKey [keySize]byte

// PublicKey is a WireGuard public key, a Curve25519 point. It prints as base64.
// The zero value is no key.
type PublicKey [keySize]byte

// GeneratePrivateKey returns a new random private key, clamped as Curve25519
// wants it (RFC 7748 §5).
func GeneratePrivateKey() PrivateKey {
	var k PrivateKey
	_, _ = rand.Read(k[:]) // never fails: crypto/rand ends the program instead
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// GeneratePresharedKey returns a new random preshared key.
func GeneratePresharedKey() PresharedKey {
	var k PresharedKey
	_, _ = rand.Read(k[:]) // as above
	return k
}

// ParsePrivateKey reads a private key from base64, as wg genkey prints it. The
// error is a *ConfigError for the field PrivateKey and does not repeat the text.
func ParsePrivateKey(s string) (PrivateKey, error) {
	k, err := parseKey("PrivateKey", s)
	return PrivateKey(k), err
}

// ParsePresharedKey reads a preshared key from base64, as wg genpsk prints it.
// The error is a *ConfigError for the field PresharedKey and does not repeat the
// text.
func ParsePresharedKey(s string) (PresharedKey, error) {
	k, err := parseKey("PresharedKey", s)
	return PresharedKey(k), err
}

// ParsePublicKey reads a public key from base64, as wg pubkey prints it. The
// error is a *ConfigError for the field PublicKey; it does not repeat the text
// either, because people mix up their keys.
func ParsePublicKey(s string) (PublicKey, error) {
	k, err := parseKey("PublicKey", s)
	return PublicKey(k), err
}

func parseKey(field, s string) ([keySize]byte, error) {
	want := "44 characters of base64 (32 bytes), as wg genkey, genpsk and pubkey print them"
	fail := func(problem string) ([keySize]byte, error) {
		return [keySize]byte{}, &ConfigError{Field: field, Problem: problem, Want: want}
	}
	if s == "" {
		return fail("is empty")
	}
	if len(s) != keyBase64Size {
		return fail(fmt.Sprintf("has %d characters", len(s)))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		// The decoder's error says no more than a position, and ours must not
		// say anything about the text.
		return fail("is not valid base64")
	}
	if len(raw) != keySize {
		return fail(fmt.Sprintf("has %d bytes", len(raw)))
	}
	k := [keySize]byte(raw)
	if k == ([keySize]byte{}) {
		want = "a real key, or no PresharedKey at all"
		if field != "PresharedKey" {
			want = "a real key"
		}
		return fail("is all zeros")
	}
	return k, nil
}

// IsZero reports whether there is no key.
func (k PrivateKey) IsZero() bool { return k == PrivateKey{} }

// Base64 returns the key in clear. It is for sealing and for the one file a
// router needs, never for logs or errors.
func (k PrivateKey) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// String returns "(hidden)".
func (k PrivateKey) String() string { return hidden }

// GoString returns "(hidden)".
func (k PrivateKey) GoString() string { return hidden }

// Format writes "(hidden)" for every verb.
func (k PrivateKey) Format(s fmt.State, _ rune) { hide(s) }

// MarshalText returns "(hidden)"; encoding/json uses it as well.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// IsZero reports whether there is no preshared key.
func (k PresharedKey) IsZero() bool { return k == PresharedKey{} }

// Base64 returns the key in clear. It is for sealing and for the one file a
// router needs, never for logs or errors.
func (k PresharedKey) Base64() string { return base64.StdEncoding.EncodeToString(k[:]) }

// String returns "(hidden)".
func (k PresharedKey) String() string { return hidden }

// GoString returns "(hidden)".
func (k PresharedKey) GoString() string { return hidden }

// Format writes "(hidden)" for every verb.
func (k PresharedKey) Format(s fmt.State, _ rune) { hide(s) }

// MarshalText returns "(hidden)"; encoding/json uses it as well.
func (k PresharedKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// IsZero reports whether there is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText returns the key in base64.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func hide(s fmt.State) {
	_, _ = io.WriteString(s, hidden) // a formatter has nobody to tell
}
