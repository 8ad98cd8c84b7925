package frame_test

import (
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// decode is what a session does with every telegram.
func decode(tb testing.TB, datagram []byte) frame.LData {
	f, err := frame.Parse(datagram)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := frame.ParseLData(f.(frame.TunnellingRequest).CEMI)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func TestAllocations(t *testing.T) {
	for name, test := range map[string]struct {
		hex string
		max float64
	}{
		"two bytes": {"061004200017040105002900bce0110509020300800c33", 1},
		"six bits":  {"061004200015040101002900bce0110a0901010081", 2},
	} {
		datagram := unhex(t, test.hex)
		if got := testing.AllocsPerRun(100, func() { decode(t, datagram) }); got > test.max {
			t.Errorf("a telegram of %s costs %v allocations, want at most %v", name, got, test.max)
		}
	}
	buffer := make([]byte, 0, 64)
	ack := frame.Frame(frame.TunnellingAck{Channel: 1, Sequence: 2})
	if got := testing.AllocsPerRun(100, func() { buffer = frame.Append(buffer[:0], ack) }); got > 0 {
		t.Errorf("writing an acknowledgement costs %v allocations, want none", got)
	}
}

func BenchmarkTelegram(b *testing.B) {
	for name, text := range map[string]string{
		"two bytes": "061004200017040105002900bce0110509020300800c33",
		"six bits":  "061004200015040101002900bce0110a0901010081",
	} {
		datagram := unhex(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decode(b, datagram)
			}
		})
	}
}

func BenchmarkAcknowledgement(b *testing.B) {
	buffer := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buffer = frame.Append(buffer[:0], frame.TunnellingAck{Channel: 1, Sequence: 2})
	}
}
