package dpt

import (
	"encoding/hex"
	"math"
	"testing"
)

// decodeVectors are octets whose value two or more independent implementations
// agree on. A nil value is one that is not valid.
var decodeVectors = []struct {
	dpt, octets string
	value       any
	unit        string
}{
	{"1.001", "01", "on", ""},
	{"1.001", "00", "off", ""},
	{"1.008", "01", "down", ""},
	{"1.009", "01", "close", ""},
	{"4.001", "41", "A", ""},
	{"5.001", "ff", 100.0, "%"},
	{"5.001", "4d", 30.2, "%"},
	{"5.004", "64", 100.0, "%"},
	{"6.001", "9c", -100.0, "%"},
	{"6.010", "80", -128.0, "counter pulses"},
	{"7.001", "1234", 4660.0, "pulses"},
	{"7.002", "ffff", 65535.0, "ms"},
	{"7.005", "0e10", 3600.0, "s"},
	{"7.007", "0018", 24.0, "h"},
	{"7.011", "03e8", 1000.0, "mm"},
	{"7.600", "0bb8", 3000.0, "K"},
	{"8.005", "ffc4", -60.0, "s"},
	{"8.010", "d8f0", -100.0, "%"},
	{"8.011", "ff6a", -150.0, "°"},
	{"9.001", "0c33", 21.5, "°C"},
	{"9.001", "7fff", nil, "°C"},
	{"9.006", "6464", 46039.04, "Pa"},
	{"9.008", "2540", 215.04, "ppm"},
	{"9.010", "0064", 1.0, "s"},
	{"9.021", "0a00", 10.24, "mA"},
	{"9.022", "0c1a", 21.0, "W/m²"},
	{"9.024", "1450", 44.16, "kW"},
	{"9.026", "0064", 1.0, "l/m²"},
	{"10.001", "6d2d1e", map[string]any{"day": "Wed", "time": "13:45:30"}, ""},
	{"10.001", "0d2d1e", map[string]any{"day": nil, "time": "13:45:30"}, ""},
	{"10.001", "f73b3b", map[string]any{"day": "Sun", "time": "23:59:59"}, ""},
	{"11.001", "0e0a18", "2024-10-14", ""},
	{"11.001", "01015a", "1990-01-01", ""},
	{"11.001", "1f0c59", "2089-12-31", ""},
	{"12.001", "ffffffff", 4294967295.0, "counter pulses"},
	{"12.100", "00000e10", 3600.0, "s"},
	{"13.002", "00000064", 100.0, "m³/h"},
	{"13.010", "0000c350", 50000.0, "Wh"},
	{"14.000", "bf800000", -1.0, "m/s²"},
	{"14.056", "44fa0000", 2000.0, "W"},
	{"14.1200", "40200000", 2.5, "m³/h"},
	{"16.001", "e4f6fcdf00000000000000000000", "äöüß", ""},
	{"17.001", "1f", 31.0, ""},
	{"18.001", "81", map[string]any{"scene": 1.0, "learn": true}, ""},
	{"20.102", "01", "Comfort", ""},
	{"20.105", "03", "Cool", ""},
	{"20.105", "06", "Off", ""},
	{"21.001", "05", map[string]any{"out_of_service": true, "fault": false, "overridden": true, "in_alarm": false, "alarm_unacked": false}, ""},
	{"29.010", "0000000000989680", 10000000.0, "Wh"},
	{"29.011", "fffffffffffffffe", -2.0, "VAh"},
	{"29.012", "00000002540be400", 10000000000.0, "VARh"},
	{"222.100", "0c330c1a0b8c", map[string]any{"comfort": 21.5, "standby": 21.0, "economy": 18.16}, "°C"},
	{"242.600", "800040006403", map[string]any{"x": 32768.0, "y": 16384.0, "Y": 100.0, "color_valid": true, "brightness_valid": true}, ""},
	{"251.600", "10203040000f", map[string]any{"r": 16.0, "g": 32.0, "b": 48.0, "w": 64.0, "valid": "rgbw"}, ""},
}

// encodeVectors are the same the other way.
var encodeVectors = []struct{ dpt, text, octets string }{
	{"9.001", "-19.8", "8044"},
	{"9.001", "0.29", "001d"},
	{"9.001", "-30", "8a24"},
	{"5.001", "50", "80"},
	{"5.003", "360", "ff"},
	{"8.010", "-100", "d8f0"},
	{"14.056", "2000", "44fa0000"},
	{"9.001", "-20.3", "8012"},
}

func TestDecodeVectors(t *testing.T) {
	for _, v := range decodeVectors {
		t.Run(v.dpt+" "+v.octets, func(t *testing.T) {
			typ := find(t, v.dpt)
			got, err := typ.Decode(unhex(t, v.octets))
			if err != nil {
				t.Fatal(err)
			}
			if got.Valid() != (v.value != nil) {
				t.Errorf("valid is %v, want %v", got.Valid(), v.value != nil)
			}
			if typ.Unit() != v.unit {
				t.Errorf("unit is %q, want %q", typ.Unit(), v.unit)
			}
			value := got.JSON()
			if typ.ID().Main == 1 {
				value = got.Text()
			}
			if !same(value, v.value) {
				t.Errorf("value is %v, want %v", value, v.value)
			}
		})
	}
}

func TestEncodeVectors(t *testing.T) {
	for _, v := range encodeVectors {
		got, err := find(t, v.dpt).Encode(v.text)
		if err != nil || hex.EncodeToString(got) != v.octets {
			t.Errorf("%s %s gives %x (%v), want %s", v.dpt, v.text, got, err, v.octets)
		}
	}
}

// same compares values, numbers to 0.02 %. The parts of want must all be there.
func same(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		parts, ok := got.(map[string]any)
		for name := range want {
			ok = ok && same(parts[name], want[name])
		}
		return ok
	case float64:
		value, ok := got.(float64)
		if whole, isInt := got.(int64); isInt {
			value, ok = float64(whole), true
		}
		return ok && math.Abs(value-want) <= math.Abs(want)*0.0002
	}
	return got == want
}

func find(t testing.TB, number string) Type {
	t.Helper()
	id, err := ParseID(number)
	if err != nil {
		t.Fatal(err)
	}
	typ, ok := Lookup(id)
	if !ok {
		t.Fatalf("no type %s", number)
	}
	return typ
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
