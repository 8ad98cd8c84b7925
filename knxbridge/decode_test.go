package knxbridge

import (
	"encoding/hex"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// typical are the telegrams that a building sends most, as an interface delivers
// them, with their type and what people read.
var typical = []struct{ name, datagram, dpt, text string }{
	{"switch", "061004200015040101002900bce0110a0901010081", "1.001", "on"},
	{"percentage", "061004200016040101002900bce0110a090102008080", "5.001", "50.2"},
	{"temperature", "061004200017040105002900bce0110509020300800c33", "9.001", "21.5"},
	{"power", "06100420001904010a002900bce01103250105008044fa0000", "14.056", "2000"},
}

// decode goes all the way from a datagram to the text of the value.
func decode(tb testing.TB, datagram []byte, id dpt.ID) string {
	f, err := frame.Parse(datagram)
	if err != nil {
		tb.Fatal(err)
	}
	request, _ := f.(frame.TunnellingRequest)
	l, err := frame.ParseLData(request.CEMI)
	if err != nil {
		tb.Fatal(err)
	}
	typ, _ := dpt.Lookup(id)
	value, err := typ.Decode(l.Data)
	if err != nil {
		tb.Fatal(err)
	}
	return value.Text()
}

func typicalInput(tb testing.TB, datagram, number string) ([]byte, dpt.ID) {
	tb.Helper()
	raw, err := hex.DecodeString(datagram)
	if err != nil {
		tb.Fatal(err)
	}
	id, err := dpt.ParseID(number)
	if err != nil {
		tb.Fatal(err)
	}
	return raw, id
}

// TestDecodeAllocations keeps the whole way within two allocations.
func TestDecodeAllocations(t *testing.T) {
	for _, c := range typical {
		raw, id := typicalInput(t, c.datagram, c.dpt)
		if got := decode(t, raw, id); got != c.text {
			t.Errorf("%s reads %q, want %q", c.name, got, c.text)
		}
		if n := testing.AllocsPerRun(100, func() { decode(t, raw, id) }); n > 2 {
			t.Errorf("%s takes %v allocations, want at most 2", c.name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range typical {
		raw, id := typicalInput(b, c.datagram, c.dpt)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decode(b, raw, id)
			}
		})
	}
}
