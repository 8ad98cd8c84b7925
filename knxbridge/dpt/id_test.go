package dpt

import "testing"

func TestParseID(t *testing.T) {
	for text, want := range map[string]ID{
		"9.001":      {9, 1},
		"9.1":        {9, 1},
		" 9.001 ":    {9, 1},
		"14.1200":    {14, 1200},
		"14.000":     {14, 0},
		"DPST-9-1":   {9, 1},
		"dpst-14-0":  {14, 0},
		"DPT 9.001":  {9, 1},
		"DPT9.001":   {9, 1},
		"9":          {9, Generic},
		"9.x":        {9, Generic},
		"9.xxx":      {9, Generic},
		"9.*":        {9, Generic},
		"DPT-9":      {9, Generic},
		"65535.9999": {65535, 9999},
	} {
		if got, err := ParseID(text); err != nil || got != want {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "9.", "9.-1", ".1", "0.001", "9.65535", "65536", "DPT-", "9,001", "9.001.2", "+9", "9.1x"} {
		if got, err := ParseID(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestIDString(t *testing.T) {
	for want, id := range map[string]ID{"9.001": {9, 1}, "14.000": {14, 0}, "14.1200": {14, 1200}, "9": {9, Generic}} {
		if got := id.String(); got != want {
			t.Errorf("%#v is %q, want %q", id, got, want)
		}
		if again, err := ParseID(want); err != nil || again != id {
			t.Errorf("%q is %v (%v), want %v", want, again, err, id)
		}
	}
}

func TestLookup(t *testing.T) {
	for text, want := range map[string]string{
		"9.001":   "9.001 DPT_Value_Temp",
		"9":       "9 2-octet float value",
		"9.999":   "9 2-octet float value",
		"14":      "14 4-octet float value",
		"14.000":  "14.000 DPT_Value_Acceleration",
		"232":     "232.600 DPT_Colour_RGB",
		"232.001": "232.600 DPT_Colour_RGB",
	} {
		if got := find(t, text).String(); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
	if typ, ok := Lookup(ID{999, 1}); ok {
		t.Errorf("999.001 is %v, want none", typ)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]struct {
		sixBit bool
		length int
	}{
		"1.001": {true, 1}, "2.001": {true, 1}, "3.007": {true, 1}, "23.001": {true, 1}, "5.001": {false, 1}, "9.001": {false, 2},
		"16.001": {false, 14}, "19.001": {false, 8}, "28.001": {false, 0}, "256.001": {false, 16}, "265.001": {false, 9},
	} {
		typ := find(t, text)
		if typ.SixBit() != want.sixBit || typ.Length() != want.length {
			t.Errorf("%s: six bits %v and %d octets, want %v and %d", text, typ.SixBit(), typ.Length(), want.sixBit, want.length)
		}
	}
}
