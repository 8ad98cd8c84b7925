package fleet

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// AddressPattern selects group addresses. The zero value selects none.
type AddressPattern struct{ levels levels }

// styleBits are the widths of the levels in the free, two-level and three-level
// style (KNX 03_03_02 Data Link Layer General §1.4).
var styleBits = [...][]int{1: {16}, 2: {5, 11}, 3: {5, 3, 8}}

// ParseAddressPattern reads an address in any of the three styles, in which a
// level may also be "*" or a range such as "0-99": 1/2/3, 1/2/*, 1/*/*, 1/2/0-99,
// 1/*, *. The number of levels says which style it is.
func ParseAddressPattern(text string) (AddressPattern, error) {
	if count := strings.Count(text, "/") + 1; count < len(styleBits) {
		if p, ok := parseLevels(text, "/", styleBits[count]); ok {
			return AddressPattern{p}, nil
		}
	}
	return AddressPattern{}, fmt.Errorf("%.80q is no group address pattern; want an address such as 1/2/3 (0-31/0-7/0-255) in which a level may be * or a range: 1/*/*, 1/2/0-99", text)
}

// Match reports whether the pattern selects the address.
func (p AddressPattern) Match(a frame.GroupAddress) bool { return p.levels.match(uint16(a)) }

// SourcePattern selects individual addresses. The zero value selects none.
type SourcePattern struct{ levels levels }

// sourceBits are the widths of area, line and device.
var sourceBits = []int{4, 4, 8}

// ParseSourcePattern reads an individual address in which a level may also be "*"
// or a range: 1.1.5, 1.1.*, 1.0-3.*.
func ParseSourcePattern(text string) (SourcePattern, error) {
	p, ok := parseLevels(text, ".", sourceBits)
	if !ok {
		return SourcePattern{}, fmt.Errorf("%.80q is no pattern of individual addresses; want an address such as 1.1.5 (0-15.0-15.0-255) in which a level may be * or a range: 1.1.*, 1.1.0-99", text)
	}
	return SourcePattern{p}, nil
}

// Match reports whether the pattern selects the address.
func (p SourcePattern) Match(a frame.IndividualAddress) bool { return p.levels.match(uint16(a)) }

// NamePattern selects names without regard to case; "*" stands for any text. The
// zero value selects none.
type NamePattern struct{ parts []string } // in lower case; what lies between the stars

// maxNamePattern bounds a pattern in bytes: a name of 255 characters, and more.
const maxNamePattern = 1024

// ParseNamePattern reads a pattern such as "*light*".
func ParseNamePattern(text string) (NamePattern, error) {
	switch {
	case text == "":
		return NamePattern{}, fmt.Errorf("an empty pattern selects nothing; want a name, in which * stands for any text, such as *light*")
	case len(text) > maxNamePattern:
		return NamePattern{}, fmt.Errorf("the pattern has %d bytes; want at most %d", len(text), maxNamePattern)
	}
	parts := strings.Split(strings.Map(unicode.ToLower, text), "*")
	// Stars in a row are one; the first and the last part say where a name begins
	// and ends.
	if last := len(parts) - 1; last > 1 {
		inner := slices.DeleteFunc(slices.Clone(parts[1:last]), func(part string) bool { return part == "" })
		parts = slices.Concat(parts[:1], inner, parts[last:])
	}
	return NamePattern{parts}, nil
}

// Match reports whether the pattern selects the name; no pattern selects the empty
// one, which is none. It takes time in proportion to the name, times the pattern's
// length at worst, and no memory.
func (p NamePattern) Match(name string) bool {
	if len(p.parts) == 0 || name == "" {
		return false
	}
	rest, ok := cutFold(name, p.parts[0])
	if !ok || len(p.parts) == 1 {
		return ok && rest == ""
	}
	last := len(p.parts) - 1
	// The earliest place of a part leaves the most to those that follow.
	for _, part := range p.parts[1:last] {
		if rest, ok = cutAfter(rest, part); !ok {
			return false
		}
	}
	return endsFold(rest, p.parts[last])
}

// cutFold cuts a beginning, given in lower case, from a text of any case.
func cutFold(text, beginning string) (rest string, ok bool) {
	for beginning != "" {
		want, n := utf8.DecodeRuneInString(beginning)
		got, m := utf8.DecodeRuneInString(text)
		if m == 0 || unicode.ToLower(got) != want {
			return text, false
		}
		beginning, text = beginning[n:], text[m:]
	}
	return text, true
}

// cutAfter finds what follows the first occurrence of a part.
func cutAfter(text, part string) (rest string, ok bool) {
	for i := range text {
		if rest, ok := cutFold(text[i:], part); ok {
			return rest, true
		}
	}
	return "", false
}

// endsFold reports whether a text of any case ends with what is given in lower
// case.
func endsFold(text, end string) bool {
	for end != "" {
		want, n := utf8.DecodeLastRuneInString(end)
		got, m := utf8.DecodeLastRuneInString(text)
		if m == 0 || unicode.ToLower(got) != want {
			return false
		}
		end, text = end[:len(end)-n], text[:len(text)-m]
	}
	return true
}
