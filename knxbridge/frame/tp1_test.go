package frame_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// heard is what a busmonitor hears of a group telegram.
func heard(l frame.LData) frame.LData {
	l.Message = frame.LBusmonInd
	return l
}

func TestTP1(t *testing.T) {
	long := make([]byte, 20)
	for _, test := range []struct {
		name, hex string
		want      frame.TP1
	}{
		{"switch", "bc11010a01e1008138", frame.TP1{Kind: frame.TP1Data,
			LData: heard(sixBit(group(0, 0x1101, "1/2/1", frame.GroupValueWrite, 1)))}},
		{"repeated", "9c11010a01e1008118", frame.TP1{Kind: frame.TP1Data,
			LData: heard(repeated(sixBit(group(0, 0x1101, "1/2/1", frame.GroupValueWrite, 1))))}},
		{"temperature", "bc11050902e300800c33" + "00", frame.TP1{Kind: frame.TP1Data,
			LData: heard(group(0, 0x1105, "1/1/2", frame.GroupValueWrite, 0x0C, 0x33))}},
		{"connect of a device's transport layer", "b0110511066080" + "ac", frame.TP1{Kind: frame.TP1Data,
			LData: frame.LData{Message: frame.LBusmonInd, HopCount: 6, Source: 0x1105, Destination: 0x1106, TPCI: frame.TPCIConnect}}},
		{"extended", "3ce0" + "1105" + "0902" + "15" + "0080" + strings.Repeat("00", 20) + "a9", frame.TP1{Kind: frame.TP1Data,
			LData: heard(group(0, 0x1105, "1/1/2", frame.GroupValueWrite, long...))}},
		{"poll", "f0" + "1105" + "0001" + "0f" + "15", frame.TP1{Kind: frame.TP1Poll, Source: 0x1105, Group: 1, Slots: 15}},
		{"ACK", "cc", frame.TP1{Kind: frame.TP1Ack}},
		{"NACK", "0c", frame.TP1{Kind: frame.TP1Nack}},
		{"BUSY", "c0", frame.TP1{Kind: frame.TP1Busy}},
		{"NACK+BUSY", "00", frame.TP1{Kind: frame.TP1NackBusy}},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw := unhex(t, test.hex)
			got, err := frame.ParseTP1(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("parsed\n%+v, want\n%+v", got, test.want)
			}
			if test.want.Kind != frame.TP1Data {
				return
			}
			if again := test.want.LData.AppendTP1(nil); !bytes.Equal(again, raw) {
				t.Errorf("written\n%x, want\n%x", again, raw)
			}
		})
	}
}

func repeated(l frame.LData) frame.LData {
	l.Repeated = true
	return l
}

func TestTP1Malformed(t *testing.T) {
	for _, test := range []struct{ name, hex, want string }{
		{"silence", "", "nothing was heard"},
		{"an octet", "bc", "one octet 0xBC, which is no acknowledgement"},
		{"a wrong check octet", "bc11010a01e1008139", "check octet 0x39, want 0x38"},
		{"the start of a frame", "bc11" + "52", "L_Data of 2 bytes, want more than 6"},
		{"no frame", "ff11010a01e1008100", "check octet"},
		{"a wrong control field", "ec11010a01e1008168", "control field 0xEC"},
		{"a length beyond the end", "bc11010a01e2008138" + "", "check octet"},
		{"a long poll", "f0110500010f" + "00" + "15", "L_Poll_Data of 8 bytes, want 7"},
		{"a length that is not there", "bc11010a01ef00" + "81" + "36", "APDU length 15, but 1 bytes follow"},
		{"an extended frame without a length", "3ce011050902" + "3c", "want more than 7"},
	} {
		got, err := frame.ParseTP1(unhex(t, test.hex))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v, want an error with %q", test.name, got, err, test.want)
		}
	}
}

func TestInfo(t *testing.T) {
	items, err := frame.ParseInfo(unhex(t, "2b0b"+"0301ef"+"0402ffff"+"fe0055"[:4]+"0900"+"cc"))
	if err != nil {
		t.Fatal(err)
	}
	want := []frame.Info{
		{Type: frame.InfoBusmonitorStatus, Data: []byte{0xEF}}, {Type: frame.InfoTimestamp, Data: []byte{0xFF, 0xFF}},
		{Type: frame.InfoManufacturer, Data: []byte{}}, {Type: frame.InfoPreamble, Data: []byte{}},
	}
	if !reflect.DeepEqual(items, want) {
		t.Errorf("parsed %+v, want %+v", items, want)
	}
	for _, bad := range []string{"2b", "2b03", "2b0103cc", "2b020301cc", "2bff" + strings.Repeat("00", 300)} {
		if items, err := frame.ParseInfo(unhex(t, bad)); err == nil {
			t.Errorf("%.20s is read as %+v", bad, items)
		}
	}
	if items, err := frame.ParseInfo(unhex(t, "2900")); err != nil || len(items) != 0 {
		t.Errorf("no additional information is read as %+v, %v", items, err)
	}
}

// FuzzParseTP1 looks for a frame that panics, or that reads back differently once it was written.
func FuzzParseTP1(f *testing.F) {
	for _, seed := range []string{"bc11010a01e1008138", "9c11010a01e1008118", "f01105000" + "10f15", "cc", "b0110511066080ac"} {
		f.Add(unhex(f, seed))
	}
	f.Add(group(0, 0x1105, "1/1/2", frame.GroupValueWrite, make([]byte, frame.MaxData)...).AppendTP1(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, err := frame.ParseTP1(raw)
		if err != nil || first.Kind != frame.TP1Data {
			return
		}
		written := first.LData.AppendTP1(nil)
		second, err := frame.ParseTP1(written)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%x is written as %x, which is read as\n%+v (%v), want\n%+v", raw, written, second, err, first)
		}
	})
}
