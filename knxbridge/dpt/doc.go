// Package dpt turns the octets of a group telegram into values and text into
// octets, by the datapoint types of the KNX standard (KNX 03_07_02 Datapoint
// Types).
//
// A datapoint type has a number such as 9.001: the main number fixes the format
// of the octets, the sub number their meaning, unit and range. The types stand
// in one table, spread over the table_*.go files by family; each is one line. A
// format is a shape (shape_*.go), which knows four forms of a value: the bits,
// the text people read and type, the JSON form programs read, and the range.
//
// Lookup finds a type, Type.Decode gives a Value, Type.Encode gives octets:
//
//	t, _ := dpt.Lookup(dpt.ID{Main: 9, Sub: 1})
//	v, err := t.Decode([]byte{0x0c, 0x33}) // v.Text() is "21.5", t.Unit() is "°C"
//	raw, err := t.Encode("21,5 °C")        // 0c 33
//
// Octets of the right length always decode. Where they mean nothing in their
// type (9.001 7fff, a reserved enumeration, 31 February, a reserved bit that is
// set) the Value says that it is not valid. Of a value of several parts, the
// 2-octet floats may be 7fff one by one; those parts read invalid, or null in
// JSON, and only where no part is left the Value is not valid. For a valid value, encoding its text
// gives the octets back. Three exceptions encode to their canonical form: a 2-octet
// float with an exponent larger than needed, the fields that a DPT_DateTime itself
// declares unused, and the 0 of a DPT_Trigger, which means the same as the 1.
//
// The package is pure: no I/O, no clock, no state. Everything in it may be used
// from several goroutines at once.
package dpt
