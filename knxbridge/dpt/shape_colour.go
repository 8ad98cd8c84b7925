package dpt

import (
	"fmt"
	"strconv"
	"strings"
)

// rgb is 232.600 (KNX 03_07_02 §6.6). Its text is #ff8800; "255 136 0" and the
// parts by name are read too.
type rgb struct{}

var rgbParts = record{{"r", 8, u8, "", ""}, {"g", 8, u8, "", ""}, {"b", 8, u8, "", ""}}

func (rgb) valid(payload) bool { return true }

func (rgb) text(p payload) string { return fmt.Sprintf("#%06x", p.bits) }

func (rgb) json(p payload) any { return rgbParts.json(p) }

func (rgb) limits() string { return "#000000 to #ffffff" }

func (c rgb) parse(s, unit string) (payload, error) {
	if bits, ok := hexColour(s, 6); ok {
		return payload{bits: bits}, nil
	}
	if parts := numbers(s); len(parts) == 3 {
		return rgbParts.join(parts)
	}
	p, err := rgbParts.parse(s, unit)
	if err != nil {
		return p, fmt.Errorf("want a colour such as #ff8800 or 255 136 0: %w", err)
	}
	return p, nil
}

// rgbw is 251.600: four levels and a mask that says which of them count (KNX
// 03_07_02 §6.18). Its text is #ff880000, with "valid rgb" after it where not all
// of them do.
type rgbw struct{}

const allChannels = "rgbw"

var rgbwParts = record{
	{"r", 8, u8, "", "0"}, {"g", 8, u8, "", "0"}, {"b", 8, u8, "", "0"}, {"w", 8, u8, "", "0"},
	reserved(12), {"valid", 4, channels{}, "", allChannels},
}

func (rgbw) valid(p payload) bool { return p.bits>>4&0xFFF == 0 }

func (rgbw) text(p payload) string {
	s := fmt.Sprintf("#%08x", p.bits>>16)
	if mask := (channels{}).text(p); mask != allChannels {
		s += " valid " + mask
	}
	return s
}

func (rgbw) json(p payload) any { return rgbwParts.json(p) }

func (rgbw) limits() string {
	return "#00000000 to #ffffffff, with valid and some of r, g, b, w after it where not all count"
}

func (c rgbw) parse(s, unit string) (payload, error) {
	colour, mask := s, allChannels
	if words := strings.Fields(s); len(words) > 2 && strings.EqualFold(words[len(words)-2], "valid") {
		colour, mask = strings.Join(words[:len(words)-2], " "), words[len(words)-1]
	}
	valid, err := channels{}.parse(mask, "")
	if err != nil {
		return payload{}, err
	}
	if bits, ok := hexColour(colour, 8); ok {
		return payload{bits: bits<<16 | valid.bits}, nil
	}
	if bits, ok := hexColour(colour, 6); ok {
		if colour == s {
			valid.bits = 0xE // white was not given and keeps what it is
		}
		return payload{bits: bits<<24 | valid.bits}, nil
	}
	if parts := numbers(colour); len(parts) == 4 {
		return rgbwParts.join(append(parts, "", mask))
	}
	p, err := rgbwParts.parse(s, unit)
	if err != nil {
		return p, fmt.Errorf("want a colour such as #ff880000 or 255 136 0 0: %w", err)
	}
	return p, nil
}

// channels is the mask of 251.600: the letters of the channels that count.
type channels struct{}

func (channels) valid(payload) bool { return true }

func (channels) text(p payload) string {
	var s strings.Builder
	for i, letter := range allChannels {
		if p.bits>>(3-i)&1 == 1 {
			s.WriteRune(letter)
		}
	}
	if s.Len() == 0 {
		return "none"
	}
	return s.String()
}

func (c channels) json(p payload) any {
	if p.bits&0xF == 0 {
		return ""
	}
	return c.text(p)
}

func (channels) limits() string { return "some of the letters " + allChannels + ", or none" }

func (c channels) parse(s, _ string) (payload, error) {
	var p payload
	name := strings.ToLower(strings.TrimSpace(s))
	if name == "none" {
		return p, nil
	}
	for _, letter := range name {
		i := strings.IndexRune(allChannels, letter)
		if i < 0 {
			return p, fmt.Errorf("valid: %s is not %s", quote(s), c.limits())
		}
		p.bits |= 1 << (3 - i)
	}
	return p, nil
}

// hexColour reads so many hex digits, with or without #, which begins a comment in
// many a shell. With it, half as many do, each for two: #f80 is #ff8800.
func hexColour(s string, digits int) (uint64, bool) {
	hex, marked := strings.CutPrefix(strings.TrimSpace(s), "#")
	if marked && len(hex) == digits/2 {
		var long strings.Builder
		for i := range len(hex) {
			long.WriteString(hex[i:i+1] + hex[i:i+1])
		}
		hex = long.String()
	}
	if len(hex) != digits {
		return 0, false
	}
	bits, err := strconv.ParseUint(hex, 16, 64)
	return bits, err == nil
}

// numbers splits "255 136 0" and "255, 136, 0" where all of it is digits.
func numbers(s string) []string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	for _, part := range parts {
		if _, ok := digits(part); !ok {
			return nil
		}
	}
	return parts
}
