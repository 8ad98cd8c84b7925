package frame_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

var (
	octet = rapid.Byte()
	word  = rapid.Uint16()
)

func octets(minimum, maximum int) *rapid.Generator[[]byte] {
	return rapid.SliceOfN(octet, minimum, maximum)
}

var hpais = rapid.Custom(func(t *rapid.T) frame.HPAI {
	h := frame.HPAI{TCP: rapid.Bool().Draw(t, "tcp")}
	address, port := [4]byte(octets(4, 4).Draw(t, "address")), word.Draw(t, "port")
	if rapid.Bool().Draw(t, "routeBack") || address == [4]byte{} && port == 0 {
		return h
	}
	h.Addr = netip.AddrPortFrom(netip.AddrFrom4(address), port)
	return h
})

var others = rapid.SampledFrom([]frame.ConnectionType{
	frame.DeviceManagementConnection, frame.RemoteLoggingConnection, frame.RemoteConfigConnection, frame.ObjectServerConnection,
})

var statuses = rapid.Map(octet, func(b byte) frame.Status { return frame.Status(b) })

var descriptions = rapid.Custom(func(t *rapid.T) frame.Description {
	d := frame.Description{
		Device: frame.DeviceInfo{
			Medium:          frame.Medium(octet.Draw(t, "medium")),
			ProgrammingMode: rapid.Bool().Draw(t, "programming"),
			Address:         frame.IndividualAddress(word.Draw(t, "address")),
			Project:         word.Draw(t, "project"),
			Serial:          [6]byte(octets(6, 6).Draw(t, "serial")),
			Multicast:       netip.AddrFrom4([4]byte(octets(4, 4).Draw(t, "multicast"))),
			MAC:             [6]byte(octets(6, 6).Draw(t, "mac")),
			Name:            string(rapid.SliceOfN(rapid.Int32Range(1, 0xFF), 0, 30).Draw(t, "name")),
		},
	}
	for range rapid.IntRange(0, 126).Draw(t, "services") {
		d.Services = append(d.Services, frame.SupportedService{Family: frame.Family(octet.Draw(t, "family")), Version: octet.Draw(t, "version")})
	}
	for range rapid.IntRange(0, 126).Draw(t, "addresses") {
		d.Addresses = append(d.Addresses, frame.IndividualAddress(word.Draw(t, "address")))
	}
	for range rapid.IntRange(0, 29).Draw(t, "others") {
		d.Other = append(d.Other, frame.DIB{
			Type: rapid.SampledFrom([]byte{0x00, 0x03, 0x04, 0x06, 0x07, 0x08, 0xFE, 0xFF}).Draw(t, "type"),
			Data: octets(0, 253).Draw(t, "data"),
		})
	}
	return d
})

// kinds draws, for each frame type, values as Parse makes them.
var kinds = map[string]func(t *rapid.T) frame.Frame{
	"ConnectRequest": func(t *rapid.T) frame.Frame {
		return frame.ConnectRequest{
			Control: hpais.Draw(t, "control"), Data: hpais.Draw(t, "data"),
			Layer: frame.Layer(octet.Draw(t, "layer")), Fixed: frame.IndividualAddress(word.Draw(t, "fixed")),
		}
	},
	"ConnectResponse": func(t *rapid.T) frame.Frame {
		r := frame.ConnectResponse{Channel: octet.Draw(t, "channel"), Status: statuses.Draw(t, "status"), Data: hpais.Draw(t, "data")}
		if rapid.Bool().Draw(t, "granted") {
			r.Status = frame.StatusNoError
		}
		if r.Status == frame.StatusNoError {
			r.Assigned = frame.IndividualAddress(word.Draw(t, "assigned"))
		}
		return r
	},
	"ConnectionStateRequest": func(t *rapid.T) frame.Frame {
		return frame.ConnectionStateRequest{Channel: octet.Draw(t, "channel"), Control: hpais.Draw(t, "control")}
	},
	"ConnectionStateResponse": func(t *rapid.T) frame.Frame {
		return frame.ConnectionStateResponse{Channel: octet.Draw(t, "channel"), Status: statuses.Draw(t, "status")}
	},
	"DisconnectRequest": func(t *rapid.T) frame.Frame {
		return frame.DisconnectRequest{Channel: octet.Draw(t, "channel"), Control: hpais.Draw(t, "control")}
	},
	"DisconnectResponse": func(t *rapid.T) frame.Frame {
		return frame.DisconnectResponse{Channel: octet.Draw(t, "channel"), Status: statuses.Draw(t, "status")}
	},
	"TunnellingRequest": func(t *rapid.T) frame.Frame {
		return frame.TunnellingRequest{Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), CEMI: octets(0, 300).Draw(t, "cemi")}
	},
	"TunnellingAck": func(t *rapid.T) frame.Frame {
		return frame.TunnellingAck{Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Status: statuses.Draw(t, "status")}
	},
	"FeatureGet": func(t *rapid.T) frame.Frame {
		return frame.FeatureGet{Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Feature: frame.Feature(octet.Draw(t, "feature"))}
	},
	"FeatureResponse": func(t *rapid.T) frame.Frame {
		return frame.FeatureResponse{
			Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Feature: frame.Feature(octet.Draw(t, "feature")),
			Code: octet.Draw(t, "code"), Value: octets(0, 40).Draw(t, "value"),
		}
	},
	"FeatureSet": func(t *rapid.T) frame.Frame {
		return frame.FeatureSet{
			Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Feature: frame.Feature(octet.Draw(t, "feature")),
			Value: octets(0, 40).Draw(t, "value"),
		}
	},
	"FeatureInfo": func(t *rapid.T) frame.Frame {
		return frame.FeatureInfo{
			Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Feature: frame.Feature(octet.Draw(t, "feature")),
			Value: octets(0, 40).Draw(t, "value"),
		}
	},
	"DescriptionRequest": func(t *rapid.T) frame.Frame { return frame.DescriptionRequest{Control: hpais.Draw(t, "control")} },
	"DescriptionResponse": func(t *rapid.T) frame.Frame {
		return frame.DescriptionResponse{Description: descriptions.Draw(t, "description")}
	},
	"SearchRequest": func(t *rapid.T) frame.Frame { return frame.SearchRequest{Discovery: hpais.Draw(t, "discovery")} },
	"SearchResponse": func(t *rapid.T) frame.Frame {
		return frame.SearchResponse{Control: hpais.Draw(t, "control"), Description: descriptions.Draw(t, "description")}
	},
	"RoutingIndication": func(t *rapid.T) frame.Frame { return frame.RoutingIndication{CEMI: octets(0, 300).Draw(t, "cemi")} },
	"OtherConnectRequest": func(t *rapid.T) frame.Frame {
		return frame.OtherConnectRequest{Control: hpais.Draw(t, "control"), Data: hpais.Draw(t, "data"), Type: others.Draw(t, "type")}
	},
	"OtherConnectResponse": func(t *rapid.T) frame.Frame {
		return frame.OtherConnectResponse{Channel: octet.Draw(t, "channel"), Data: hpais.Draw(t, "data"), Type: others.Draw(t, "type")}
	},
	"DeviceConfigurationRequest": func(t *rapid.T) frame.Frame {
		return frame.DeviceConfigurationRequest{Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), CEMI: octets(0, 300).Draw(t, "cemi")}
	},
	"DeviceConfigurationAck": func(t *rapid.T) frame.Frame {
		return frame.DeviceConfigurationAck{Channel: octet.Draw(t, "channel"), Sequence: octet.Draw(t, "sequence"), Status: statuses.Draw(t, "status")}
	},
	"SearchRequestExtended": func(t *rapid.T) frame.Frame {
		r := frame.SearchRequestExtended{Discovery: hpais.Draw(t, "discovery")}
		for range rapid.IntRange(0, 32).Draw(t, "parameters") {
			r.Parameters = append(r.Parameters, frame.SRP{
				Type: octet.Draw(t, "type") & 0x7F, Mandatory: rapid.Bool().Draw(t, "mandatory"), Data: octets(0, 253).Draw(t, "data"),
			})
		}
		return r
	},
	"SearchResponseExtended": func(t *rapid.T) frame.Frame {
		r := frame.SearchResponseExtended{Control: hpais.Draw(t, "control"), Description: descriptions.Draw(t, "description")}
		if rapid.Bool().Draw(t, "noDevice") {
			r.Device = frame.DeviceInfo{}
		}
		return r
	},
	"RoutingSystemBroadcast": func(t *rapid.T) frame.Frame {
		return frame.RoutingSystemBroadcast{CEMI: octets(0, 300).Draw(t, "cemi")}
	},
	"SecureWrapper": func(t *rapid.T) frame.Frame {
		return frame.Secure{Kind: frame.SecureWrapperService, Body: octets(38, 300).Draw(t, "body")}
	},
	"TimerNotify": func(t *rapid.T) frame.Frame {
		return frame.Secure{Kind: frame.TimerNotifyService, Body: octets(30, 30).Draw(t, "body")}
	},
	"RoutingLost": func(t *rapid.T) frame.Frame {
		return frame.RoutingLost{DeviceState: octet.Draw(t, "state"), Lost: word.Draw(t, "lost")}
	},
	"RoutingBusy": func(t *rapid.T) frame.Frame {
		return frame.RoutingBusy{
			DeviceState: octet.Draw(t, "state"), Wait: time.Duration(word.Draw(t, "wait")) * time.Millisecond, Control: word.Draw(t, "control"),
		}
	},
}

func TestFrameRoundTrip(t *testing.T) {
	for name, draw := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := draw(t)
				prefix := octets(0, 8).Draw(t, "prefix")
				written := frame.Append(bytes.Clone(prefix), f)
				if !bytes.HasPrefix(written, prefix) {
					t.Fatal("Append changed what was there before")
				}
				got, err := frame.Parse(written[len(prefix):])
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, f) {
					t.Fatalf("read back\n%+v, want\n%+v", got, f)
				}
			})
		})
	}
}

// messages draws L_Data messages as ParseLData makes them, of every length.
var messages = rapid.Custom(func(t *rapid.T) frame.LData {
	l := frame.LData{
		Message:         rapid.SampledFrom([]frame.MessageCode{frame.LDataReq, frame.LDataCon, frame.LDataInd}).Draw(t, "message"),
		Priority:        rapid.SampledFrom([]frame.Priority{frame.PrioritySystem, frame.PriorityNormal, frame.PriorityUrgent, frame.PriorityLow}).Draw(t, "priority"),
		Repeated:        rapid.Bool().Draw(t, "repeated"),
		HopCount:        rapid.Uint8Range(0, 7).Draw(t, "hops"),
		AckRequested:    rapid.Bool().Draw(t, "ack"),
		Failed:          rapid.Bool().Draw(t, "failed"),
		SystemBroadcast: rapid.Bool().Draw(t, "broadcast"),
		Format:          rapid.SampledFrom([]uint8{0, 0, 0, 4, 15}).Draw(t, "format"),
		Source:          frame.IndividualAddress(word.Draw(t, "source")),
		Destination:     word.Draw(t, "destination"),
		Group:           rapid.Bool().Draw(t, "group"),
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0: // transport control
		l.TPCI = frame.TPCI(0x80 | rapid.Uint8Range(0, 0x7F).Draw(t, "control"))
		return l
	case 1: // a value in the APCI
		l.APCI = rapid.SampledFrom([]frame.APCI{frame.GroupValueResponse, frame.GroupValueWrite}).Draw(t, "apci")
		l.SixBit, l.Data = true, []byte{rapid.Uint8Range(0, 63).Draw(t, "value")}
	case 2: // a group value of its own
		l.APCI = rapid.SampledFrom([]frame.APCI{frame.GroupValueResponse, frame.GroupValueWrite}).Draw(t, "apci")
		l.Data = octets(1, frame.MaxData).Draw(t, "data")
	case 3: // any other service
		l.APCI = frame.APCI(rapid.Uint16Range(0x0C0, 0x3FF).Draw(t, "apci"))
		if rapid.Bool().Draw(t, "read") {
			l.APCI = frame.GroupValueRead
		}
		l.Data = octets(0, frame.MaxData).Draw(t, "data")
	}
	l.TPCI = frame.TPCI(rapid.Uint8Range(0, 31).Draw(t, "tpci") << 2)
	return l
})

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := messages.Draw(t, "message")
		written := l.Append(nil)
		got, err := frame.ParseLData(written)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, l) {
			t.Fatalf("read back\n%+v, want\n%+v", got, l)
		}
		// Additional information in front changes nothing.
		info := octets(0, 254).Draw(t, "info")
		with := append(append([]byte{written[0], byte(len(info))}, info...), written[2:]...)
		if got, err = frame.ParseLData(with); err != nil || !reflect.DeepEqual(got, l) {
			t.Fatalf("with %d bytes of additional information read %+v, %v", len(info), got, err)
		}
	})
}

func TestFrameFormatFollowsLength(t *testing.T) {
	for length := 1; length <= frame.MaxData; length++ {
		l := group(frame.LDataReq, 0, "1/2/3", frame.GroupValueWrite, make([]byte, length)...)
		written := l.Append(nil)
		standard := written[2]&0x80 != 0
		if want := length <= 14; standard != want {
			t.Errorf("%d bytes: standard frame %v, want %v", length, standard, want)
		}
		if got := int(written[8]); got != length+1 {
			t.Errorf("%d bytes: APDU length %d, want %d", length, got, length+1)
		}
	}
	tooLong := group(frame.LDataReq, 0, "1/2/3", frame.GroupValueWrite, make([]byte, frame.MaxData+1)...)
	if written := tooLong.Append([]byte{1}); len(written) != 1 {
		t.Errorf("%d bytes were written for data that no frame can carry", len(written)-1)
	}
	tooBig := frame.TunnellingRequest{CEMI: make([]byte, frame.MaxDatagram)}
	if written := frame.Append([]byte{1}, tooBig); len(written) != 1 {
		t.Errorf("%d bytes were written for a frame that no datagram can carry", len(written)-1)
	}
}

// TestLimitsOfDescription writes what is beyond the limits and reads back what is within them.
func TestLimitsOfDescription(t *testing.T) {
	d := frame.Description{Device: frame.DeviceInfo{Name: "ein sehr langer Name € mit zu vielen Zeichen"}}
	for range 200 {
		d.Services = append(d.Services, frame.SupportedService{Family: frame.FamilyTunnelling, Version: 2})
		d.Addresses = append(d.Addresses, 0x1101)
		d.Other = append(d.Other, frame.DIB{Type: 0xFE, Data: make([]byte, 300)})
	}
	f, err := frame.Parse(frame.Append(nil, frame.DescriptionResponse{Description: d}))
	if err != nil {
		t.Fatal(err)
	}
	got := f.(frame.DescriptionResponse)
	if len(got.Services) != 126 || len(got.Addresses) != 126 || len(got.Other) != 29 || len(got.Other[0].Data) != 253 {
		t.Errorf("read back %d services, %d addresses, %d other blocks", len(got.Services), len(got.Addresses), len(got.Other))
	}
	if want := "ein sehr langer Name ? mit zu "; got.Device.Name != want {
		t.Errorf("read back the name %q, want %q", got.Device.Name, want)
	}
	if v := got.Version(frame.FamilyTunnelling); v != 2 {
		t.Errorf("tunnelling in version %d, want 2", v)
	}
	if v := got.Version(frame.FamilyRouting); v != 0 {
		t.Errorf("routing in version %d, want 0 for unsupported", v)
	}
}
