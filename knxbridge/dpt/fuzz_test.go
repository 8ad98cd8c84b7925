package dpt

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzDecode wants any octets to give a value that can be read, and a valid one
// to encode again to a value that reads the same.
func FuzzDecode(f *testing.F) {
	for _, v := range decodeVectors {
		id, err := ParseID(v.dpt)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(id.Main, id.Sub, unhex(f, v.octets))
	}
	f.Add(uint16(28), uint16(1), []byte("caf\xe9\x00"))
	f.Add(uint16(267), uint16(1), []byte{0})
	f.Fuzz(func(t *testing.T, main, sub uint16, raw []byte) {
		typ, ok := Lookup(ID{main, sub})
		if !ok {
			return
		}
		v, err := typ.Decode(raw)
		if err != nil {
			return
		}
		if _, err := json.Marshal(v.JSON()); err != nil || !utf8.ValidString(v.Text()) {
			t.Fatalf("%v %x reads %q: %v", typ, raw, v.Text(), err)
		}
		if !v.Valid() {
			return
		}
		again, err := typ.Encode(v.Text())
		if err != nil {
			t.Fatalf("%v %x reads %q: %v", typ, raw, v.Text(), err)
		}
		if back, err := typ.Decode(again); err != nil || !back.Valid() || back.Text() != v.Text() {
			t.Fatalf("%v %x reads %q, which encodes to %x", typ, raw, v.Text(), again)
		}
	})
}

// FuzzEncode wants what anybody types to be refused or to give a valid value.
func FuzzEncode(f *testing.F) {
	for _, seed := range []struct{ dpt, text string }{
		{"1.001", "on"}, {"2.001", "control on"}, {"3.007", "increase 5"}, {"5.001", "50 %"}, {"9.001", "-20,3 °C"}, {"10.001", "Wed 13:45"},
		{"11.001", "2026-11-21"}, {"16.001", "äöüß"}, {"19.001", "Sat 2026-11-21T13:45:30 fault"}, {"20.102", "Comfort"},
		{"21.001", `{"fault":true}`}, {"29.010", "1e3"}, {"222.100", "comfort 21, standby 20, economy 18"}, {"232.600", "#ff8800"},
		{"251.600", "#ff8800 valid rgb"}, {"267.001", "datetime none, text x"},
	} {
		id, err := ParseID(seed.dpt)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(id.Main, id.Sub, seed.text)
	}
	f.Fuzz(func(t *testing.T, main, sub uint16, text string) {
		typ, ok := Lookup(ID{main, sub})
		if !ok {
			return
		}
		raw, err := typ.Encode(text)
		if err != nil {
			return
		}
		v, err := typ.Decode(raw)
		if err != nil || !v.Valid() {
			t.Fatalf("%v %q encodes to %x: valid %v, %v", typ, text, raw, v.Valid(), err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"9.001", "DPST-9-1", "DPT-9", "9.x", "14.1200"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Fatalf("%q is %v, which is %v (%v)", s, id, again, err)
		}
	})
}
