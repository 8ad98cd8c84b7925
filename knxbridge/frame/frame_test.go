package frame_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestResolveEndpoint(t *testing.T) {
	sender := netip.MustParseAddrPort("192.168.1.3:50100")
	for endpoint, want := range map[frame.HPAI]string{
		{}:                           "192.168.1.3:50100",
		{TCP: true}:                  "192.168.1.3:50100",
		endpoint("192.168.1.9:3671"): "192.168.1.9:3671",
		endpoint("0.0.0.0:3671"):     "192.168.1.3:3671",
		endpoint("192.168.1.9:0"):    "192.168.1.9:50100",
		endpoint("0.0.0.0:0"):        "192.168.1.3:50100",
	} {
		if got := endpoint.Resolve(sender); got.String() != want {
			t.Errorf("%+v is reached at %v, want %s", endpoint, got, want)
		}
	}
}

func TestEndpointWithoutAFormIsRouteBack(t *testing.T) {
	for _, h := range []frame.HPAI{endpoint("[2001:db8::1]:3671"), endpoint("0.0.0.0:0"), {}} {
		f, err := frame.Parse(frame.Append(nil, frame.DescriptionRequest{Control: h}))
		if want := (frame.DescriptionRequest{}); err != nil || f != want {
			t.Errorf("%+v reads back as %+v, %v, want route back", h, f, err)
		}
	}
	mapped := endpoint("[::ffff:10.0.0.1]:3671")
	f, err := frame.Parse(frame.Append(nil, frame.DescriptionRequest{Control: mapped}))
	if want := (frame.DescriptionRequest{Control: endpoint("10.0.0.1:3671")}); err != nil || f != want {
		t.Errorf("%+v reads back as %+v, %v", mapped, f, err)
	}
}

func TestRefusalInEveryForm(t *testing.T) {
	for _, text := range []string{
		"0610020600080024",
		"06100206001400240801c0a801010e5700000000",
		"0610020600140024" + strings.Repeat("00", 12),
		"06100206001400240801000000000000040400" + "00",
	} {
		f, err := frame.Parse(unhex(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if r := f.(frame.ConnectResponse); r.Status != frame.StatusNoMoreConnections || r.Assigned != 0 {
			t.Errorf("%s is read as %+v", text, r)
		}
	}
}

func TestGroupService(t *testing.T) {
	write := sixBit(group(frame.LDataInd, 0x1105, "1/1/1", frame.GroupValueWrite, 1))
	change := func(how func(l *frame.LData)) frame.LData {
		l := write
		how(&l)
		return l
	}
	tests := []struct {
		name string
		l    frame.LData
		want bool
	}{
		{"write", write, true},
		{"read", group(frame.LDataInd, 0x1105, "1/1/1", frame.GroupValueRead), true},
		{"response", group(frame.LDataInd, 0x1105, "1/1/1", frame.GroupValueResponse, 1, 2), true},
		{"to a device", change(func(l *frame.LData) { l.Group = false }), false},
		{"broadcast", change(func(l *frame.LData) { l.Destination = 0 }), false},
		{"numbered", change(func(l *frame.LData) { l.TPCI = 0x44 }), false},
		{"tag group", change(func(l *frame.LData) { l.TPCI = frame.TPCIDataTagGroup }), false},
		{"LTE frame", change(func(l *frame.LData) { l.Format = 4 }), false},
		{"encrypted", change(func(l *frame.LData) { l.APCI = frame.SecureService }), false},
		{"property", change(func(l *frame.LData) { l.APCI = 0x3D7 }), false},
		{"transport control", frame.LData{Group: true, Destination: 1, TPCI: frame.TPCIConnect}, false},
	}
	for _, test := range tests {
		if got := test.l.GroupService(); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestSameAPDU(t *testing.T) {
	request := sixBit(group(frame.LDataReq, 0, "1/1/1", frame.GroupValueWrite, 1))
	confirmation := failed(hops(5, sixBit(group(frame.LDataCon, 0x11FA, "1/1/1", frame.GroupValueWrite, 1))))
	if !confirmation.SameAPDU(request) {
		t.Error("a confirmation does not match its request")
	}
	for name, other := range map[string]frame.LData{
		"value":       sixBit(group(frame.LDataCon, 0, "1/1/1", frame.GroupValueWrite, 0)),
		"length":      group(frame.LDataCon, 0, "1/1/1", frame.GroupValueWrite, 1),
		"destination": sixBit(group(frame.LDataCon, 0, "1/1/2", frame.GroupValueWrite, 1)),
		"service":     sixBit(group(frame.LDataCon, 0, "1/1/1", frame.GroupValueResponse, 1)),
		"read":        group(frame.LDataCon, 0, "1/1/1", frame.GroupValueRead),
	} {
		if other.SameAPDU(request) || request.SameAPDU(other) {
			t.Errorf("a confirmation of another %s matches", name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := messages.Draw(t, "a"), messages.Draw(t, "b")
		if rapid.Bool().Draw(t, "sameDestination") {
			b.Destination, b.Group, b.TPCI, b.APCI = a.Destination, a.Group, a.TPCI, a.APCI
			b.Data, b.SixBit = a.Data, a.SixBit
		}
		apdu := func(l frame.LData) []byte { // destination type, destination, length, TPDU
			written := l.Append(nil)
			return append([]byte{written[3] & 0x80}, written[6:]...)
		}
		if got, want := a.SameAPDU(b), bytes.Equal(apdu(a), apdu(b)); got != want {
			t.Fatalf("%v, want %v for\n%+v\n%+v", got, want, a, b)
		}
	})
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		frame.TunnellingRequestService.String(): "TUNNELLING_REQUEST",
		frame.FeatureInfoService.String():       "TUNNELLING_FEATURE_INFO",
		frame.Service(0x0FFF).String():          "service 0x0FFF",
		frame.StatusNoMoreConnections.String():  "E_NO_MORE_CONNECTIONS",
		frame.Status(0x2A).String():             "status 0x2A",
		frame.LDataInd.String():                 "L_Data.ind",
		frame.MessageCode(0x99).String():        "message 0x99",
		frame.APCI(0x3D5).String():              "PropertyValueRead",
		frame.APCI(0x20C).String():              "MemoryRead",
		frame.APCI(0x2FF).String():              "APCI 0x2FF",
		frame.TPCI(0xC6).String():               "T_ACK 1",
		frame.TPCI(0xCB).String():               "T_NAK 2",
		frame.TPCI(0x4C).String():               "T_Data_Connected 3",
		frame.LayerRaw.String():                 "TUNNEL_RAW",
		frame.PriorityUrgent.String():           "urgent",
		frame.FeatureBusStatus.String():         "bus connection status",
		frame.StyleTwoLevel.String():            "TwoLevel",
	} {
		if got != want {
			t.Errorf("name %q, want %q", got, want)
		}
	}
	for code := range 256 {
		if meaning := frame.Status(code).Meaning(); !strings.HasSuffix(meaning, ".") {
			t.Errorf("status 0x%02X means %q, want a sentence", code, meaning)
		}
	}
}

// TestNamesAreUnique finds a name that was given to two values.
func TestNamesAreUnique(t *testing.T) {
	for kind, name := range map[string]func(n int) string{
		"service": func(n int) string { return frame.Service(n).String() },
		"status":  func(n int) string { return frame.Status(n).String() },
		"meaning": func(n int) string { return frame.Status(n).Meaning() },
		"message": func(n int) string { return frame.MessageCode(n).String() },
		"feature": func(n int) string { return frame.Feature(n).String() },
		"family":  func(n int) string { return frame.Family(n).String() },
		"medium":  func(n int) string { return frame.Medium(n).String() },
		"layer":   func(n int) string { return frame.Layer(n).String() },
		"TPCI":    func(n int) string { return frame.TPCI(n).String() },
		"style":   func(n int) string { return frame.Style(n).String() },
		"APCI":    func(n int) string { return frame.APCI(n).String() },
	} {
		limit := 0x100
		switch kind {
		case "service":
			limit = 0x10000
		case "APCI":
			limit = 0x400
		}
		first := map[string]int{}
		for n := range limit {
			text := name(n)
			was, twice := first[text]
			if !twice {
				first[text] = n
			}
			// The services of four bits keep their name whatever the other six say.
			if twice && (kind != "APCI" || was != n&^0x3F) {
				t.Errorf("%s 0x%X and 0x%X are both named %q", kind, was, n, text)
			}
		}
	}
}

func TestMessageOf(t *testing.T) {
	if code, ok := frame.MessageOf([]byte{0x2B, 0}); !ok || code != frame.LBusmonInd {
		t.Errorf("message %v, %v, want L_Busmon.ind", code, ok)
	}
	if code, ok := frame.MessageOf(nil); ok {
		t.Errorf("an empty cEMI is message %v", code)
	}
}

// TestParseKeepsWhatItGot looks at what a frame holds on to: never bytes beside the datagram in the same
// buffer, and never much more than the datagram had.
func TestParseKeepsWhatItGot(t *testing.T) {
	for name, draw := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				buffer := frame.Append(nil, draw(t))
				length := len(buffer)
				buffer = append(buffer, bytes.Repeat([]byte{0xAA}, 64)...)
				before := bytes.Clone(buffer)
				f, err := frame.Parse(buffer[:length])
				if err != nil {
					t.Fatal(err)
				}
				if held := heldBytes(reflect.ValueOf(f)); held > length+2048 {
					t.Fatalf("a datagram of %d bytes keeps %d bytes", length, held)
				}
				for _, alias := range aliases(f) {
					_ = append(alias, 0x55)
				}
				if !bytes.Equal(buffer, before) {
					t.Fatal("what a frame holds reaches beyond its datagram")
				}
			})
		})
	}
	for _, r := range requests {
		buffer := append(unhex(t, r.hex), 0xAA, 0xAA)
		f, err := frame.Parse(buffer[:len(buffer)-2])
		if err != nil {
			t.Fatal(err)
		}
		for _, alias := range aliases(f) {
			_ = append(alias, 0x55)
		}
		if !bytes.HasSuffix(buffer, []byte{0xAA, 0xAA}) {
			t.Errorf("%s: the message's data reaches beyond its datagram", r.name)
		}
	}
}

// aliases are the parts of a frame that may alias its datagram, and the data of the message in it.
func aliases(f frame.Frame) [][]byte {
	switch f := f.(type) {
	case frame.TunnellingRequest:
		all := [][]byte{f.CEMI}
		if l, err := frame.ParseLData(f.CEMI); err == nil {
			all = append(all, l.Data)
		}
		return all
	case frame.RoutingIndication:
		return [][]byte{f.CEMI}
	case frame.FeatureResponse:
		return [][]byte{f.Value}
	case frame.FeatureSet:
		return [][]byte{f.Value}
	case frame.FeatureInfo:
		return [][]byte{f.Value}
	}
	return nil
}

// heldBytes counts what slices and strings within v keep alive.
func heldBytes(v reflect.Value) int {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Slice:
		held := v.Cap() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			held += heldBytes(v.Index(i))
		}
		return held
	case reflect.Struct:
		held := 0
		for _, field := range v.Fields() {
			held += heldBytes(field)
		}
		return held
	}
	return 0
}

func TestCloneOutlivesTheBuffer(t *testing.T) {
	buffer := group(frame.LDataInd, 0x1105, "1/1/2", frame.GroupValueWrite, 0x0C, 0x33).Append(nil)
	l, err := frame.ParseLData(buffer)
	if err != nil {
		t.Fatal(err)
	}
	kept := l.Clone()
	clear(buffer)
	if !bytes.Equal(kept.Data, []byte{0x0C, 0x33}) {
		t.Errorf("the clone's data changed with the buffer to %x", kept.Data)
	}
}
