package dpt

import (
	"fmt"
	"strings"
)

// Value is a decoded value. It is small, immutable and comparable; its text and
// JSON form are made when asked for. Values come from Type.Decode.
type Value struct {
	e     *entry
	p     payload
	valid bool
}

// Type returns the type that the value was decoded by.
func (v Value) Type() Type { return Type{v.e} }

// Valid tells whether the octets mean something in their type. False is what a
// sensor sends for "no value" (9.001 7fff), or a reserved or impossible pattern. A
// value of several parts may lack some (222.100 7fff0c1a0b8c), but not all.
func (v Value) Valid() bool { return v.valid }

// Text returns the value for people, without its unit: "21.5", "on",
// "Building protection", "#ff8800", "Wed 13:45:30". Type.Encode reads it back. A
// value that is not valid reads "invalid" with its octets in hex.
func (v Value) Text() string {
	if !v.valid {
		return fmt.Sprintf("invalid (%x)", v.p.octets(Type{v.e}.Length()))
	}
	return v.e.shape.text(v.p)
}

// JSON returns the value for encoding/json: int64 or float64 (not rounded) for a
// number, bool for 1.x, string for an enumeration, a date or a text,
// map[string]any for a value of several parts, nil for a value that is not valid
// and for a part that is lacking.
func (v Value) JSON() any {
	if !v.valid {
		return nil
	}
	return v.e.shape.json(v.p)
}

// payload is the octets of a value: up to eight are held right-aligned in bits,
// more than that, or a variable number, in long.
type payload struct {
	bits uint64
	long string
}

// newPayload takes the octets of a value whose type has the given length, 0 for
// variable.
func newPayload(raw []byte, length int) payload {
	if length == 0 || length > 8 {
		return payload{long: string(raw)}
	}
	var p payload
	for _, b := range raw {
		p.bits = p.bits<<8 | uint64(b)
	}
	return p
}

// octets returns the octets of a value whose type has length n, 0 for variable.
func (p payload) octets(n int) []byte {
	if n == 0 || n > 8 {
		return []byte(p.long)
	}
	raw := make([]byte, n)
	for i, bits := n-1, p.bits; i >= 0; i, bits = i-1, bits>>8 {
		raw[i] = byte(bits)
	}
	return raw
}

// part returns width bits, at most 64 and in at most eight octets, from a bit
// offset counted from the most significant bit of a value of total bits; total 0
// is a value of variable length.
func (p payload) part(offset, width, total int) uint64 {
	mask := ^uint64(0) >> (64 - width)
	if total != 0 && total <= 64 {
		return p.bits >> (total - offset - width) & mask
	}
	var bits uint64
	for i := offset / 8; i < (offset+width+7)/8; i++ {
		bits = bits<<8 | uint64(p.long[i])
	}
	return bits >> ((8 - (offset+width)%8) % 8) & mask
}

// fold makes names comparable as people type them: without case, spaces,
// underscores, hyphens and slashes, and with either decimal sign.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '_', '-', '/':
			return -1
		case ',':
			return '.'
		}
		return r
	}, strings.ToLower(s))
}
