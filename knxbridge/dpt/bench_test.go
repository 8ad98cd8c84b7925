package dpt

import "testing"

// typical are the telegrams that a building sends most.
var typical = []struct{ dpt, octets string }{{"1.001", "01"}, {"5.001", "4d"}, {"9.001", "0c33"}, {"14.056", "44fa0000"}}

// TestDecodeAllocations keeps the way of a telegram, from its type's number to
// its text, within two allocations.
func TestDecodeAllocations(t *testing.T) {
	for _, c := range typical {
		id, raw := find(t, c.dpt).ID(), unhex(t, c.octets)
		var text string
		allocations := testing.AllocsPerRun(100, func() {
			typ, _ := Lookup(id)
			v, err := typ.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			text = v.Text()
		})
		if allocations > 2 {
			t.Errorf("%s %q takes %v allocations, want at most 2", c.dpt, text, allocations)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range typical {
		id, raw := find(b, c.dpt).ID(), unhex(b, c.octets)
		b.Run(c.dpt, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				typ, _ := Lookup(id)
				if _, err := typ.Decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.dpt+"/text", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				typ, _ := Lookup(id)
				v, err := typ.Decode(raw)
				if err != nil || v.Text() == "" {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	typ := find(b, "9.001")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := typ.Encode("21.5 °C"); err != nil {
			b.Fatal(err)
		}
	}
}
