package frame_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// FuzzParse looks for a datagram that panics, that changes while it is read, or whose frame reads back
// differently once it was written.
func FuzzParse(f *testing.F) {
	for _, test := range frames {
		f.Add(unhex(f, test.hex))
	}
	for _, test := range requests {
		f.Add(unhex(f, test.hex))
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		before := bytes.Clone(datagram)
		first, err := frame.Parse(datagram)
		if !bytes.Equal(datagram, before) {
			t.Fatal("Parse changed the datagram")
		}
		if err != nil {
			if first != nil {
				t.Fatalf("an error beside the frame %+v", first)
			}
			return
		}
		written := frame.Append(nil, first)
		second, err := frame.Parse(written)
		if err != nil {
			t.Fatalf("%x is written as %x, which is not read: %v", datagram, written, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%x is read as\n%+v and read back as\n%+v", datagram, first, second)
		}
	})
}

// FuzzParseLData does the same with cEMI messages.
func FuzzParseLData(f *testing.F) {
	for _, test := range requests {
		f.Add(unhex(f, test.hex)[10:])
	}
	f.Add(unhex(f, "2b0703010404020001bc1103090101e10081c4"))
	f.Add(unhex(f, "29040402000139e0110509010302"+"00800c33"))
	f.Add(group(frame.LDataReq, 0, "1/2/3", frame.GroupValueWrite, make([]byte, frame.MaxData)...).Append(nil))
	f.Fuzz(func(t *testing.T, cemi []byte) {
		before := bytes.Clone(cemi)
		first, err := frame.ParseLData(cemi)
		_, busErr := frame.ParseBusmonitor(cemi)
		if !bytes.Equal(cemi, before) {
			t.Fatal("the message was changed while it was read")
		}
		if err == nil && busErr == nil {
			t.Fatalf("%x is read both as L_Data and as L_Busmon", cemi)
		}
		if err != nil {
			return
		}
		written := first.Append(nil)
		second, err := frame.ParseLData(written)
		if err != nil {
			t.Fatalf("%x is written as %x, which is not read: %v", cemi, written, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%x is read as\n%+v and read back as\n%+v", cemi, first, second)
		}
	})
}
