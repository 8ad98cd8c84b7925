package dpt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The highest characters of the character sets of the standard.
const (
	ascii  = 0x7F
	latin1 = 0xFF // ISO 8859-1, whose octets are the first 256 code points
)

// character is one character in one octet (KNX 03_07_02 §3.4).
type character struct{ highest rune }

func (c character) valid(p payload) bool { return p.bits <= uint64(c.highest) }

func (c character) text(p payload) string { return string(rune(p.bits)) }

func (c character) json(p payload) any { return c.text(p) }

func (c character) limits() string { return "one character of " + charset(c.highest) }

func (c character) parse(s, _ string) (payload, error) {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 || size != len(s) || (r == utf8.RuneError && size == 1) {
		return payload{}, fmt.Errorf("%s is not one character", quote(s))
	}
	if r > c.highest {
		return payload{}, fmt.Errorf("%s is not in %s", quote(s), charset(c.highest))
	}
	return payload{bits: uint64(r)}, nil
}

// characters is a text of one octet a character, filled with zeros to its size,
// which is more than eight (KNX 03_07_02 §3.16). size 0 is the variable form,
// which ends with a zero (§3.24).
type characters struct {
	size    int
	highest rune
}

func (c characters) valid(p payload) bool {
	text, filling, zero := strings.Cut(p.long, "\x00")
	if c.size == 0 && (!zero || filling != "") {
		return false
	}
	for _, b := range []byte(text) {
		if rune(b) > c.highest {
			return false
		}
	}
	return strings.Trim(filling, "\x00") == ""
}

func (c characters) text(p payload) string {
	octets, _, _ := strings.Cut(p.long, "\x00")
	runes := make([]rune, 0, maxVariable)
	for _, b := range []byte(octets) {
		runes = append(runes, rune(b))
	}
	return string(runes)
}

func (c characters) json(p payload) any { return c.text(p) }

func (c characters) most() int {
	if c.size == 0 {
		return maxVariable - 1
	}
	return c.size
}

func (c characters) limits() string {
	return fmt.Sprintf("up to %d characters of %s", c.most(), charset(c.highest))
}

func (c characters) parse(s, _ string) (payload, error) {
	octets := make([]byte, 0, maxVariable)
	for _, r := range s {
		switch {
		case r == 0 || r > c.highest: // what is no UTF-8 is U+FFFD here
			return payload{}, fmt.Errorf("%s has a character that is not in %s", quote(s), charset(c.highest))
		case len(octets) == c.most():
			return payload{}, fmt.Errorf("%s is too long, allowed are %d characters", quote(s), c.most())
		}
		octets = append(octets, byte(r))
	}
	if c.size == 0 {
		return payload{long: string(append(octets, 0))}, nil
	}
	return newPayload(octets[:c.size], c.size), nil
}

func charset(highest rune) string {
	if highest == ascii {
		return "ASCII"
	}
	return "ISO 8859-1"
}

// utf8Text is a text of variable length that ends with a zero octet (KNX 03_07_02
// §3.28).
type utf8Text struct{}

func (utf8Text) valid(p payload) bool {
	text, rest, zero := strings.Cut(p.long, "\x00")
	return zero && rest == "" && utf8.ValidString(text)
}

func (utf8Text) text(p payload) string { return strings.TrimSuffix(p.long, "\x00") }

func (u utf8Text) json(p payload) any { return u.text(p) }

func (utf8Text) limits() string { return fmt.Sprintf("a text of up to %d octets", maxVariable-1) }

func (u utf8Text) parse(s, _ string) (payload, error) {
	switch {
	case !utf8.ValidString(s) || strings.Contains(s, "\x00"):
		return payload{}, fmt.Errorf("%s is no UTF-8 text without zero characters", quote(s))
	case len(s) > maxVariable-1:
		return payload{}, fmt.Errorf("%s has %d octets, allowed are %d", quote(s), len(s), maxVariable-1)
	}
	return payload{long: s + "\x00"}, nil
}

// bcd is a number of decimal digits, four bits each, as access codes are (KNX
// 03_07_02 §3.15). It stays a text because its leading zeros count.
type bcd int

func (d bcd) valid(p payload) bool {
	for i := range int(d) {
		if p.bits>>(4*i)&0xF > 9 {
			return false
		}
	}
	return true
}

func (d bcd) text(p payload) string { return fmt.Sprintf("%0*x", int(d), p.bits) }

func (d bcd) json(p payload) any { return d.text(p) }

func (d bcd) limits() string { return count(int(d), "digit") }

func (d bcd) parse(s, _ string) (payload, error) {
	var p payload
	text := strings.TrimSpace(s)
	if len(text) != int(d) {
		return p, fmt.Errorf("%s: want %s", quote(s), d.limits())
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return p, fmt.Errorf("%s: want %s", quote(s), d.limits())
		}
		p.bits = p.bits<<4 | uint64(c-'0')
	}
	return p, nil
}

// letters is a code of so many ASCII letters, as ISO has them for languages and
// regions (KNX 03_07_02 §3.47). Case does not count but is kept.
type letters int

func (n letters) valid(p payload) bool { return allLetters(p.octets(int(n))) }

func (n letters) text(p payload) string { return string(p.octets(int(n))) }

func (n letters) json(p payload) any { return n.text(p) }

func (n letters) limits() string { return count(int(n), "letter") }

func (n letters) parse(s, _ string) (payload, error) {
	code := []byte(strings.TrimSpace(s))
	if len(code) != int(n) || !allLetters(code) {
		return payload{}, fmt.Errorf("%s: want %s", quote(s), n.limits())
	}
	return newPayload(code, int(n)), nil
}

func allLetters(code []byte) bool {
	for _, c := range code {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}
