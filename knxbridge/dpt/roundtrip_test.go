package dpt

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestEveryPattern decodes every pattern of every type of up to 16 bits, and
// wants each valid value to encode to the same octets from its text, and every
// some from its JSON form too.
func TestEveryPattern(t *testing.T) {
	// Types that differ by name and unit alone need the patterns only once.
	done := map[any]bool{}
	for typ := range withGeneric() {
		if typ.e.bits == 0 || typ.e.bits > 16 {
			continue
		}
		if reflect.TypeOf(typ.e.shape).Comparable() {
			if done[typ.e.shape] {
				continue
			}
			done[typ.e.shape] = true
		}
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			valid := 0
			for bits := range uint64(1) << (8 * typ.Length()) {
				raw := payload{bits: bits}.octets(typ.Length())
				if roundTrip(t, typ, raw, bits < 256 || bits%31 == 0) {
					valid++
				}
			}
			if valid == 0 || valid > 1<<typ.e.bits {
				t.Errorf("%d valid values in %d bits", valid, typ.e.bits)
			}
		})
	}
}

// TestLargePatterns does the same with drawn values of every longer type.
func TestLargePatterns(t *testing.T) {
	for typ := range withGeneric() {
		if typ.e.bits != 0 && typ.e.bits <= 16 {
			continue
		}
		t.Run(typ.String(), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				p := draw(r, typ.e.shape, typ.e.bits)
				if !roundTrip(r, typ, p.octets(typ.Length()), true) {
					r.Fatalf("%x is not valid", p.octets(typ.Length()))
				}
			})
		})
	}
}

// withGeneric yields all types, the generic ones too.
func withGeneric() func(yield func(Type) bool) {
	return func(yield func(Type) bool) {
		for typ := range All() {
			if !yield(typ) {
				return
			}
		}
		for id, e := range index {
			if id.Sub == Generic && e.id.Sub == Generic && !yield(Type{e}) {
				return
			}
		}
	}
}

// roundTrip checks one value, its JSON form too if asked to, and tells whether it
// is valid.
func roundTrip(t rapid.TB, typ Type, raw []byte, andJSON bool) bool {
	t.Helper()
	v, err := typ.Decode(raw)
	if err != nil {
		t.Fatalf("%v: %x: %v", typ, raw, err)
	}
	if !v.Valid() {
		if v.JSON() != nil || v.Text() == "" {
			t.Fatalf("%v: %x is not valid but reads %q, %v", typ, raw, v.Text(), v.JSON())
		}
		return false
	}
	texts := []string{v.Text()}
	if andJSON {
		texts = append(texts, typed(t, v.JSON()))
	}
	for _, text := range texts {
		again, err := typ.Encode(text)
		if err != nil {
			t.Fatalf("%v: %x reads %q, which does not encode: %v", typ, raw, text, err)
		}
		if bytes.Equal(raw, again) {
			continue
		}
		back, err := typ.Decode(again)
		if !hasCanonical(typ.e.shape) || err != nil || back.Text() != v.Text() {
			t.Fatalf("%v: %x reads %q, which encodes to %x (%v)", typ, raw, text, again, err)
		}
	}
	return true
}

// typed writes a JSON form as one types it.
func typed(t rapid.TB, value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	s, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// hasCanonical tells whether a value may have several patterns, of which encoding
// takes one.
func hasCanonical(s shape) bool {
	switch s := s.(type) {
	case float16, part16, dateTime, trigger:
		return true
	case record:
		for _, f := range s {
			if f.name != "" && hasCanonical(f.shape) {
				return true
			}
		}
	}
	return false
}

// TestFloat16Canonical wants that only an exponent larger than needed may change.
func TestFloat16Canonical(t *testing.T) {
	typ := find(t, "9.002")
	same := 0
	for bits := range uint64(1 << 16) {
		raw := payload{bits: bits}.octets(2)
		v, err := typ.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if !v.Valid() {
			continue
		}
		again, err := typ.Encode(v.Text())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(again, raw) {
			same++
			continue
		}
		if exponent, least := raw[0]>>3&0xF, again[0]>>3&0xF; least >= exponent {
			t.Fatalf("%x encodes to %x", raw, again)
		}
	}
	// Exponent 0 has 2048 + 2048 values; each further one adds those whose mantissa
	// does not fit with the exponent below: 1024 positive and 1024 negative. One
	// pattern means invalid.
	if want := 4096 + 15*2048 - 1; same != want {
		t.Errorf("%d patterns are canonical, want %d", same, want)
	}
}

// draw makes a valid payload of a shape that has so many bits.
func draw(t *rapid.T, s shape, bits int) payload {
	any64 := func(bits int) uint64 { return rapid.Uint64().Draw(t, "bits") >> (64 - bits) }
	valid := func(p payload) payload {
		if !s.valid(p) {
			t.Skip("not valid")
		}
		return p
	}
	switch s := s.(type) {
	case integer:
		lo, hi := s.bounds()
		return payload{bits: uint64(rapid.Int64Range(lo, hi).Draw(t, "raw")) << (64 - bits) >> (64 - bits)}
	case enum:
		return payload{bits: uint64(s.index(rapid.SampledFrom(names(s)).Draw(t, "name")))}
	case flags:
		p, err := s.parse(rapid.SampledFrom(names(s)).Draw(t, "one")+","+rapid.SampledFrom(names(s)).Draw(t, "other"), "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	case bcd:
		p, err := s.parse(rapid.StringMatching(`[0-9]{6}`).Draw(t, "digits"), "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	case letters:
		p, err := s.parse(rapid.StringMatching(`[a-zA-Z]{2}`).Draw(t, "code"), "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	case characters:
		text := rapid.SliceOfN(rapid.Int32Range(1, s.highest), 0, s.most()).Draw(t, "text")
		p, err := s.parse(string(text), "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	case utf8Text:
		text := strings.ReplaceAll(rapid.StringN(0, -1, 200).Draw(t, "text"), "\x00", "")
		return payload{long: text + "\x00"}
	case timeOfDay:
		return payload{bits: rapid.Uint64Range(0, 7).Draw(t, "day")<<21 | drawClock(t)}
	case date:
		return valid(payload{bits: rapid.Uint64Range(1, 31).Draw(t, "day")<<16 | rapid.Uint64Range(1, 12).Draw(t, "month")<<8 | rapid.Uint64Range(0, 99).Draw(t, "year")})
	case dateTime:
		return valid(payload{bits: rapid.Uint64Range(0, 255).Draw(t, "year")<<56 | rapid.Uint64Range(1, 12).Draw(t, "month")<<48 |
			rapid.Uint64Range(1, 31).Draw(t, "day")<<40 | rapid.Uint64Range(0, 7).Draw(t, "weekday")<<37 | drawClock(t)<<16 | any64(10)<<6})
	case rgbw:
		return payload{bits: any64(32)<<16 | any64(4)}
	case record:
		return drawRecord(t, s)
	}
	return valid(payload{bits: any64(bits)})
}

func drawClock(t *rapid.T) uint64 {
	return rapid.Uint64Range(0, 23).Draw(t, "hour")<<16 | rapid.Uint64Range(0, 59).Draw(t, "minute")<<8 | rapid.Uint64Range(0, 59).Draw(t, "second")
}

// drawRecord draws each part and writes them bit by bit.
func drawRecord(t *rapid.T, r record) payload {
	var bits []byte
	var tail string
	for _, f := range r {
		part := payload{}
		if f.name != "" {
			part = draw(t, f.shape, f.bits)
		}
		for bit := f.bits - 1; bit >= 0; bit-- {
			bits = append(bits, byte(part.bits>>bit&1))
		}
		tail = part.long
	}
	octets := make([]byte, len(bits)/8)
	for i, bit := range bits {
		octets[i/8] = octets[i/8]<<1 | bit
	}
	return newPayload(append(octets, tail...), (r.size()+7)/8)
}
