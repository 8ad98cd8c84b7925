package dpt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A record is a value of several parts, the most significant first. Its text is
// "height 50, slats 25"; a part that has its usual value is left out.
type record []field

// A field is a part of a record. A field without a name is reserved bits, which
// are zero. Only the last may have bits 0, which takes the rest of a value of
// variable length.
type field struct {
	name  string
	bits  int
	shape shape
	unit  string
	usual string // the text of the part where it is not given; "" means that it must be
}

// reserved is bits that shall be zero.
func reserved(bits int) field { return field{bits: bits, shape: integer{bits: bits}.from(0, 0)} }

// flag is one bit, false unless given.
func flag(name string) field { return field{name, 1, truth, "", "false"} }

// validity is one bit that says whether other parts hold, true unless given.
func validity(name string) field { return field{name, 1, truth, "", "true"} }

// number is a part that is a number.
func number(name string, n integer, unit string) field { return field{name, n.bits, n, unit, ""} }

// float is a part that is a 2-octet float, which may have no value.
func float(name string, f float16, unit string) field { return field{name, 16, part16{f}, unit, ""} }

// choice is a part that is an enumeration of so many bits.
func choice(name string, bits int, e enum) field { return field{name, bits, e, "", ""} }

// size is the bits of the whole value, 0 for variable.
func (r record) size() int {
	total := 0
	for _, f := range r {
		if f.bits == 0 {
			return 0
		}
		total += f.bits
	}
	return total
}

// parts takes a value apart, field by field, and stops where each returns false.
func (r record) parts(p payload, each func(field, payload) bool) {
	offset, total := 0, r.size()
	for _, f := range r {
		part := payload{}
		if f.bits == 0 {
			part.long = p.long[offset/8:]
		} else {
			part.bits = p.part(offset, f.bits, total)
		}
		if !each(f, part) {
			return
		}
		offset += f.bits
	}
}

// least is the fewest octets that the fields of fixed size take.
func (r record) least() int {
	bits := 0
	for _, f := range r {
		bits += f.bits
	}
	return (bits + 7) / 8
}

// valid wants all parts to be possible and one to have a value.
func (r record) valid(p payload) bool {
	if r.size() == 0 && len(p.long) < r.least() {
		return false
	}
	ok, some := true, false
	r.parts(p, func(f field, part payload) bool {
		if f.name == "" {
			ok = part.bits == 0
		} else {
			ok = f.shape.valid(part)
			_, mayLack := f.shape.(part16)
			some = some || !mayLack || part.bits != invalidF16
		}
		return ok
	})
	return ok && some
}

func (r record) text(p payload) string {
	var all, given []string
	r.parts(p, func(f field, part payload) bool {
		if f.name != "" {
			text := f.shape.text(part)
			all = append(all, f.name+" "+text)
			if f.usual == "" || text != f.usual {
				given = append(given, f.name+" "+text)
			}
		}
		return true
	})
	if len(given) == 0 {
		given = all
	}
	return strings.Join(given, ", ")
}

func (r record) json(p payload) any {
	parts := make(map[string]any, len(r))
	r.parts(p, func(f field, part payload) bool {
		if f.name != "" {
			parts[f.name] = f.shape.json(part)
		}
		return true
	})
	return parts
}

func (r record) limits() string {
	var all []string
	for _, f := range r {
		if f.name != "" {
			all = append(all, f.name+" ("+withUnit(f.shape.limits(), f.unit)+")")
		}
	}
	return strings.Join(all, ", ")
}

func (r record) parse(s, _ string) (payload, error) {
	given, nulls, isObject, err := object(s)
	if err == nil && !isObject {
		given, err = r.split(s)
	}
	if err != nil {
		return payload{}, err
	}
	for _, f := range r {
		if _, mayLack := f.shape.(part16); mayLack && slices.Contains(nulls, f.name) {
			given[f.name] = invalidPart
		}
	}
	texts, err := r.match(given)
	if err != nil {
		return payload{}, err
	}
	p, err := r.join(texts)
	if err == nil && !r.valid(p) {
		return payload{}, fmt.Errorf("%s has no part with a value, want one at least", quote(s))
	}
	return p, err
}

// split takes the text form apart into the text of each part by name. The last
// field may hold anything, separators too, where it is of variable length.
func (r record) split(s string) (map[string]string, error) {
	given := map[string]string{}
	for rest := strings.TrimLeft(s, " "); rest != ""; {
		name, after := r.leading(rest)
		if name == "" {
			return nil, fmt.Errorf("%s does not start with a part of the value, want %s", quote(rest), r.limits())
		}
		if _, twice := given[name]; twice {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		if f := r[len(r)-1]; f.bits == 0 && f.name == name {
			given[name] = after
			break
		}
		end, next := len(after), len(after)
		for _, separator := range []string{", ", ";"} {
			if i := strings.Index(after, separator); i >= 0 && i < end {
				end, next = i, i+len(separator)
			}
		}
		given[name] = strings.TrimSpace(after[:end])
		rest = strings.TrimLeft(after[next:], " ")
	}
	return given, nil
}

// leading finds the field whose name s starts with and returns it with what
// follows. It prefers the name in its own case, since 242.600 has y and Y, and
// the longer name.
func (r record) leading(s string) (name, after string) {
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for _, f := range r {
			n := len(f.name)
			if n == 0 || len(s) < n || n <= len(name) || s[0]|0x20 != f.name[0]|0x20 || !same(strings.ReplaceAll(s[:n], " ", "_"), f.name) {
				continue
			}
			if len(s) == n {
				name, after = f.name, ""
			} else if strings.IndexByte(" :=", s[n]) >= 0 {
				name, after = f.name, s[n+1:]
			}
		}
		if name != "" {
			break
		}
	}
	return name, after
}

// match gives every field its text: the one given or the usual one.
func (r record) match(given map[string]string) ([]string, error) {
	texts := make([]string, len(r))
	known := 0
	for i, f := range r {
		if f.name == "" {
			continue
		}
		text, ok := given[f.name]
		switch {
		case ok:
			known++
		case f.usual == "":
			return nil, fmt.Errorf("%s is missing, want %s", f.name, r.limits())
		default:
			text = f.usual
		}
		texts[i] = text
	}
	if known == 0 {
		return nil, errors.New("empty, want " + r.limits())
	}
	for name := range given {
		if !slices.ContainsFunc(r, func(f field) bool { return f.name == name }) {
			return nil, fmt.Errorf("%s is no part of the value, want %s", quote(name), r.limits())
		}
	}
	return texts, nil
}

// join reads the texts and puts the parts together.
func (r record) join(texts []string) (payload, error) {
	var octets []byte
	var pending uint64 // the bits of the octet that is not full yet
	var count int
	for i, f := range r {
		var part payload
		if f.name != "" {
			var err error
			if part, err = f.shape.parse(texts[i], f.unit); err != nil {
				return payload{}, fmt.Errorf("%s: %w", f.name, err)
			}
		}
		for bit := f.bits - 1; bit >= 0; bit-- {
			pending = pending<<1 | part.bits>>bit&1
			if count++; count%8 == 0 {
				octets, pending = append(octets, byte(pending)), 0
			}
		}
		octets = append(octets, part.long...)
	}
	if len(octets) > maxVariable {
		return payload{}, fmt.Errorf("%d octets are too many, allowed are %d", len(octets), maxVariable)
	}
	if count%8 != 0 { // a value of less than an octet
		octets = append(octets, byte(pending))
	}
	return newPayload(octets, (r.size()+7)/8), nil
}

// version is 217.001. 31.31.63 says that there is no valid version (KNX 03_07_02
// §3.42).
type version struct{ record }

const noVersion = 0xFFFF

func (v version) valid(p payload) bool { return p.bits != noVersion && v.record.valid(p) }

func (v version) parse(s, unit string) (payload, error) {
	p, err := v.record.parse(s, unit)
	if err == nil && p.bits == noVersion {
		return payload{}, fmt.Errorf("%s means that the version is not valid", quote(s))
	}
	return p, err
}
