package dpt

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// maxVariable is the largest value of a type of variable length, in octets: an
// APDU has at most 254 (KNX 03_03_07 §2), of which one is the APCI.
const maxVariable = 253

// A family is all types of one main number: they share a format.
type family struct {
	main  uint16
	name  string // the format in words; the name of the generic type
	bits  int    // the size of a value; 0 is variable
	other shape  // reads a value whose sub number is not known; nil: as the first row
	rows  []row
}

// A row is one datapoint type.
type row struct {
	sub   uint16
	name  string // as in the standard
	unit  string // "" where the type has none, or several
	shape shape
}

// entry is a row together with what it takes from its family.
type entry struct {
	id    ID
	name  string
	unit  string
	bits  int
	shape shape
}

// Type is a datapoint type of the table. Types come from Lookup and All; the zero
// Type is not usable.
type Type struct{ e *entry }

// entries and index hold the table, which never changes after they are made.
var (
	entries = makeEntries(families())
	index   = makeIndex(families(), entries)
)

// makeEntries lists all rows by number.
func makeEntries(all []family) []*entry {
	var list []*entry
	for _, f := range all {
		for _, r := range f.rows {
			list = append(list, &entry{ID{f.main, r.sub}, r.name, r.unit, f.bits, r.shape})
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.id.Main, b.id.Main), cmp.Compare(a.id.Sub, b.id.Sub))
	})
	return list
}

// makeIndex finds an entry by number, and the generic entry of a main number
// under Generic.
func makeIndex(all []family, list []*entry) map[ID]*entry {
	found := make(map[ID]*entry, len(list)+len(all))
	for _, e := range list {
		found[e.id] = e
	}
	for _, f := range all {
		generic := found[ID{f.main, f.rows[0].sub}]
		if f.other != nil {
			generic = &entry{ID{f.main, Generic}, f.name, "", f.bits, f.other}
		}
		found[ID{f.main, Generic}] = generic
	}
	return found
}

// Lookup returns the type of a number. Where the sub number is not known, or is
// Generic, it returns the generic type of the main number, which has the format
// but no unit. It returns false where the main number is not known.
func Lookup(id ID) (Type, bool) {
	e, ok := index[id]
	if !ok {
		e, ok = index[ID{id.Main, Generic}]
	}
	return Type{e}, ok
}

// All returns every type of the table in the order of their numbers, without the
// generic types.
func All() iter.Seq[Type] {
	return func(yield func(Type) bool) {
		for _, e := range entries {
			if !yield(Type{e}) {
				return
			}
		}
	}
}

// ID returns the number of the type.
func (t Type) ID() ID { return t.e.id }

// Name returns the name of the type as the standard has it, such as
// DPT_Value_Temp, or the name of the format for a generic type.
func (t Type) Name() string { return t.e.name }

// Unit returns the unit of the values, such as °C, or "" where there is none.
func (t Type) Unit() string { return t.e.unit }

// Range returns in words what a value may be: "0 to 100" (in Unit), "off, on", or
// the parts of a structured value.
func (t Type) Range() string { return t.e.shape.limits() }

// Bits returns the size of a value in bits; 0 means variable.
func (t Type) Bits() int { return t.e.bits }

// SixBit tells whether a value has six bits or less and so travels within the
// APCI octet (KNX 03_03_07 §3.1). Its octets here are one, with the value in the
// low bits.
func (t Type) SixBit() bool { return t.e.bits > 0 && t.e.bits <= 6 }

// Length returns the length of a value in octets; 0 means variable, from 1 to 253.
func (t Type) Length() int { return (t.e.bits + 7) / 8 }

// Decode reads the octets of a value. It fails only where their number is wrong;
// octets that mean nothing in this type give a Value that is not valid. It keeps
// no reference to raw.
func (t Type) Decode(raw []byte) (Value, error) {
	switch n := t.Length(); {
	case n == 0 && (len(raw) < 1 || len(raw) > maxVariable):
		return Value{}, fmt.Errorf("dpt %s: %d octets, want 1 to %d", t.e.id, len(raw), maxVariable)
	case n != 0 && len(raw) != n:
		return Value{}, fmt.Errorf("dpt %s: %s, want %d", t.e.id, count(len(raw), "octet"), n)
	}
	p := newPayload(raw, t.Length())
	fits := p.bits>>t.e.bits == 0 // always so where the value is held in p.long
	return Value{e: t.e, p: p, valid: fits && t.e.shape.valid(p)}, nil
}

// Encode reads a value as people type it and returns its octets. Names are
// matched without case; a number may carry its unit and use a comma or a point; a
// structured value is its Text, its short form (#ff8800, 13:45) or its JSON form.
// An error says what is allowed.
func (t Type) Encode(text string) ([]byte, error) {
	p, err := t.e.shape.parse(text, t.e.unit)
	if err != nil {
		return nil, fmt.Errorf("dpt %s: %w", t.e.id, err)
	}
	return p.octets(t.Length()), nil
}

// String returns number and name, such as "9.001 DPT_Value_Temp".
func (t Type) String() string { return t.e.id.String() + " " + t.e.name }

// count says a number of things: "1 octet", "2 octets".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// quote shows what was typed in an error, cut to a bearable length.
func quote(s string) string {
	const most = 40
	if r := []rune(s[:min(len(s), 4*most)]); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(s, "\uFFFD"))
}
