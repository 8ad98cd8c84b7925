package frame_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func endpoint(s string) frame.HPAI { return frame.HPAI{Addr: netip.MustParseAddrPort(s)} }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// group is an L_Data message as devices send it to a group.
func group(message frame.MessageCode, source frame.IndividualAddress, destination string, apci frame.APCI, data ...byte) frame.LData {
	ga, err := frame.ParseGroupAddress(destination)
	if err != nil {
		panic(err)
	}
	if data == nil {
		data = []byte{}
	}
	return frame.LData{
		Message: message, Priority: frame.PriorityLow, HopCount: frame.DefaultHopCount,
		Source: source, Destination: uint16(ga), Group: true, APCI: apci, Data: data,
	}
}

func sixBit(l frame.LData) frame.LData {
	l.SixBit = true
	return l
}

func failed(l frame.LData) frame.LData {
	l.Failed = true
	return l
}

func priority(p frame.Priority, l frame.LData) frame.LData {
	l.Priority = p
	return l
}

// frames were checked by independent implementations or come from captures of real devices.
var frames = []struct {
	name string
	hex  string
	want frame.Frame
}{
	{"connect request", "06100205001a0801c0a82a0184950801c0a82a01cca904040200", frame.ConnectRequest{
		Control: endpoint("192.168.42.1:33941"), Data: endpoint("192.168.42.1:52393"), Layer: frame.LayerLink}},
	{"connect request, route back, busmonitor", "06100205001a0801000000000000080100000000000004048000",
		frame.ConnectRequest{Layer: frame.LayerBusmonitor}},
	{"connect request with a fixed address", "06100205001c08010000000000000801000000000000060402001105",
		frame.ConnectRequest{Layer: frame.LayerLink, Fixed: 0x1105}},
	{"connect response", "06100206001401000801c0a82a0a0e57040411ff", frame.ConnectResponse{
		Channel: 1, Data: endpoint("192.168.42.10:3671"), Assigned: 0x11FF}},
	{"connect response of a real interface", "06100206001451000801c0a801310e57040411fa", frame.ConnectResponse{
		Channel: 0x51, Data: endpoint("192.168.1.49:3671"), Assigned: 0x11FA}},
	{"refusal, long form", "06100206001400240801c0a801010e5700000000", frame.ConnectResponse{
		Status: frame.StatusNoMoreConnections, Data: endpoint("192.168.1.1:3671")}},
	{"refusal, short form", "061002060008002d", frame.ConnectResponse{Status: frame.StatusNoTunnellingAddress}},
	{"connection state request", "06100207001015000801000000000000", frame.ConnectionStateRequest{Channel: 0x15}},
	{"connection state response", "0610020800081b21", frame.ConnectionStateResponse{
		Channel: 0x1B, Status: frame.StatusConnectionID}},
	{"disconnect request over TCP", "06100209001015000802000000000000", frame.DisconnectRequest{
		Channel: 0x15, Control: frame.HPAI{TCP: true}}},
	{"disconnect response", "0610020a00081500", frame.DisconnectResponse{Channel: 0x15}},
	{"acknowledgement", "06100421000a04010000", frame.TunnellingAck{Channel: 1}},
	{"negative acknowledgement", "06100421000a040a0504", frame.TunnellingAck{
		Channel: 10, Sequence: 5, Status: frame.StatusSequenceNumber}},
	{"request with an empty cEMI", "06100420000a04010900", frame.TunnellingRequest{Channel: 1, Sequence: 9, CEMI: []byte{}}},
	{"feature get", "06100422000c040117000300", frame.FeatureGet{Channel: 1, Sequence: 23, Feature: frame.FeatureBusStatus}},
	{"feature response", "06100423000e0401170003000100", frame.FeatureResponse{
		Channel: 1, Sequence: 23, Feature: frame.FeatureBusStatus, Value: []byte{1, 0}}},
	{"feature set", "06100424000e0401170008000100", frame.FeatureSet{
		Channel: 1, Sequence: 23, Feature: frame.FeatureInfoServiceEnable, Value: []byte{1, 0}}},
	{"feature info", "06100425000d04011800030000", frame.FeatureInfo{
		Channel: 1, Sequence: 24, Feature: frame.FeatureBusStatus, Value: []byte{0}}},
	{"management connection", "0610020500180801c0a802010e570801c0a802010e570203", frame.OtherConnectRequest{
		Control: endpoint("192.168.2.1:3671"), Data: endpoint("192.168.2.1:3671"), Type: frame.DeviceManagementConnection}},
	{"management connection granted", "06100206001201000801c0a802010e570203", frame.OtherConnectResponse{
		Channel: 1, Data: endpoint("192.168.2.1:3671"), Type: frame.DeviceManagementConnection}},
	{"property read", "06100310001104010500fc000b01341001", frame.DeviceConfigurationRequest{
		Channel: 1, Sequence: 5, CEMI: []byte{0xFC, 0x00, 0x0B, 0x01, 0x34, 0x10, 0x01}}},
	{"configuration acknowledged", "06100311000a04010500", frame.DeviceConfigurationAck{Channel: 1, Sequence: 5}},
	{"extended search for tunnelling", "0610020b00120801c0a802010e5704830402", frame.SearchRequestExtended{
		Discovery: endpoint("192.168.2.1:3671"), Parameters: []frame.SRP{{Type: 3, Mandatory: true, Data: []byte{4, 2}}}}},
	{"extended answer with services alone", "0610020c00180801c0a802010e570a020202030204020502", frame.SearchResponseExtended{
		Control: endpoint("192.168.2.1:3671"), Description: frame.Description{Services: []frame.SupportedService{
			{Family: frame.FamilyCore, Version: 2}, {Family: frame.FamilyDeviceManagement, Version: 2},
			{Family: frame.FamilyTunnelling, Version: 2}, {Family: frame.FamilyRouting, Version: 2},
		}}}},
	{"session status", "0610095400080000", frame.Secure{Kind: frame.SessionStatusService, Body: []byte{0, 0}}},
	{"routing lost", "06100531000a04000005", frame.RoutingLost{Lost: 5}},
	{"routing busy", "06100532000c060000640000", frame.RoutingBusy{Wait: 100 * time.Millisecond}},
	{"search request", "06100201000e0801e000170c0e57", frame.SearchRequest{Discovery: endpoint("224.0.23.12:3671")}},
	{"description request", "06100203000e0801000000000000", frame.DescriptionRequest{}},
	{"description of a router", "061002040048360102001000000000082d40834de000170c000ab3274a324b4e582f49502d526f757465720000000000" +
		"0000000000000000000000000c0202020302040205020701", frame.DescriptionResponse{Description: router}},
	{"search response", "0610020200500801c0a82a0a0e57360102001000000000082d40834de000170c000ab3274a324b4e582f49502d526f75" +
		"74657200000000000000000000000000000000000c0202020302040205020701",
		frame.SearchResponse{Control: endpoint("192.168.42.10:3671"), Description: router}},
	{"description of Calimero", "06100204005a3601020011000000000000000000000000009212098a549f4275696c64696e6720370000000000000000" +
		"00000000000000000000000008020202030204020a05110a110b110c110d0cfe0000626d323031312020",
		frame.DescriptionResponse{Description: frame.Description{
			Device: frame.DeviceInfo{
				Medium: frame.MediumTP1, Address: 0x1100, Multicast: netip.IPv4Unspecified(),
				MAC: [6]byte{0x92, 0x12, 0x09, 0x8A, 0x54, 0x9F}, Name: "Building 7",
			},
			Services: []frame.SupportedService{
				{Family: frame.FamilyCore, Version: 2}, {Family: frame.FamilyDeviceManagement, Version: 2}, {Family: frame.FamilyTunnelling, Version: 2},
			},
			Addresses: []frame.IndividualAddress{0x110A, 0x110B, 0x110C, 0x110D},
			Other:     []frame.DIB{{Type: 0xFE, Data: []byte("\x00\x00bm2011  ")}},
		}}},
}

var router = frame.Description{
	Device: frame.DeviceInfo{
		Medium: frame.MediumTP1, Address: 0x1000, Serial: [6]byte{0x00, 0x08, 0x2D, 0x40, 0x83, 0x4D},
		Multicast: netip.MustParseAddr("224.0.23.12"), MAC: [6]byte{0x00, 0x0A, 0xB3, 0x27, 0x4A, 0x32}, Name: "KNX/IP-Router",
	},
	Services: []frame.SupportedService{
		{Family: frame.FamilyCore, Version: 2}, {Family: frame.FamilyDeviceManagement, Version: 2}, {Family: frame.FamilyTunnelling, Version: 2},
		{Family: frame.FamilyRouting, Version: 2}, {Family: frame.FamilyRemoteConfig, Version: 1},
	},
}

// requests are tunnelling requests with the L_Data message in them.
var requests = []struct {
	name              string
	hex               string
	channel, sequence uint8
	want              frame.LData
	text              string // of source, destination and service
}{
	{"write of a bit", "061004200015040117001100bce000004808010081", 1, 23,
		sixBit(group(frame.LDataReq, 0, "9/0/8", frame.GroupValueWrite, 1)), "0.0.0 9/0/8 GroupValueWrite"},
	{"confirmation", "061004200015040101002e00bce0110a0901010081", 1, 1,
		sixBit(group(frame.LDataCon, 0x110A, "1/1/1", frame.GroupValueWrite, 1)), "1.1.10 1/1/1 GroupValueWrite"},
	{"negative confirmation", "061004200015040101002e00bde0110a0901010081", 1, 1,
		failed(sixBit(group(frame.LDataCon, 0x110A, "1/1/1", frame.GroupValueWrite, 1))), "1.1.10 1/1/1 GroupValueWrite"},
	{"write of a temperature", "061004200017040105002900bce0110509020300800c33", 1, 5,
		group(frame.LDataInd, 0x1105, "1/1/2", frame.GroupValueWrite, 0x0C, 0x33), "1.1.5 1/1/2 GroupValueWrite"},
	{"read", "061004200015040106002900bce011051203010000", 1, 6,
		group(frame.LDataInd, 0x1105, "2/2/3", frame.GroupValueRead), "1.1.5 2/2/3 GroupValueRead"},
	{"response", "061004200017040107002900bce0110512030300400c1a", 1, 7,
		group(frame.LDataInd, 0x1105, "2/2/3", frame.GroupValueResponse, 0x0C, 0x1A), "1.1.5 2/2/3 GroupValueResponse"},
	{"write of a float", "06100420001904010a002900bce01103250105008042f70000", 1, 10,
		group(frame.LDataInd, 0x1103, "4/5/1", frame.GroupValueWrite, 0x42, 0xF7, 0, 0), "1.1.3 4/5/1 GroupValueWrite"},
	{"confirmed time of a real interface", "061004200018045100002e00bce011fa1400040080c4132a", 0x51, 0,
		group(frame.LDataCon, 0x11FA, "2/4/0", frame.GroupValueWrite, 0xC4, 0x13, 0x2A), "1.1.250 2/4/0 GroupValueWrite"},
	{"temperature of a real interface", "061004200017041052002900bce01109280a0300800e63", 0x10, 0x52,
		group(frame.LDataInd, 0x1109, "5/0/10", frame.GroupValueWrite, 0x0E, 0x63), "1.1.9 5/0/10 GroupValueWrite"},
	{"telegram of an ETS log", "061004200016040100002900bcd01129010302008019", 1, 0,
		hops(5, group(frame.LDataInd, 0x1129, "0/1/3", frame.GroupValueWrite, 0x19)), "1.1.41 0/1/3 GroupValueWrite"},
	{"encrypted telegram", "061004200017040100002900bce011050901" + "0303f1aabb", 1, 0,
		group(frame.LDataInd, 0x1105, "1/1/1", frame.SecureService, 0xAA, 0xBB), "1.1.5 1/1/1 SecureService"},
	{"connect of a device's transport layer", "061004200014040100002900b06011051106" + "0080", 1, 0,
		frame.LData{Message: frame.LDataInd, HopCount: 6, Source: 0x1105, Destination: 0x1106, TPCI: frame.TPCIConnect},
		"1.1.5 1.1.6 T_Connect"},
	{"urgent write", "061004200015040101002900b8e0110a0901010080", 1, 1,
		priority(frame.PriorityUrgent, sixBit(group(frame.LDataInd, 0x110A, "1/1/1", frame.GroupValueWrite, 0))), "1.1.10 1/1/1 GroupValueWrite"},
}

func hops(n uint8, l frame.LData) frame.LData {
	l.HopCount = n
	return l
}

func TestFrames(t *testing.T) {
	for _, test := range frames {
		t.Run(test.name, func(t *testing.T) {
			datagram := unhex(t, test.hex)
			got, err := frame.Parse(datagram)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("parsed\n%+v, want\n%+v", got, test.want)
			}
			if again := frame.Append(nil, test.want); !bytes.Equal(again, datagram) {
				t.Errorf("written\n%x, want\n%x", again, datagram)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	for _, test := range requests {
		t.Run(test.name, func(t *testing.T) {
			datagram := unhex(t, test.hex)
			f, err := frame.Parse(datagram)
			if err != nil {
				t.Fatal(err)
			}
			request, ok := f.(frame.TunnellingRequest)
			if !ok || request.Channel != test.channel || request.Sequence != test.sequence {
				t.Fatalf("parsed %+v, want a request on channel %d with sequence %d", f, test.channel, test.sequence)
			}
			got, err := frame.ParseLData(request.CEMI)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("parsed\n%+v, want\n%+v", got, test.want)
			}
			if text := describe(got); text != test.text {
				t.Errorf("reads %q, want %q", text, test.text)
			}
			request.CEMI = test.want.Append(nil)
			if again := frame.Append(nil, request); !bytes.Equal(again, datagram) {
				t.Errorf("written\n%x, want\n%x", again, datagram)
			}
		})
	}
}

func describe(l frame.LData) string {
	destination := frame.IndividualAddress(l.Destination).String()
	if l.Group {
		destination = frame.GroupAddress(l.Destination).String()
	}
	service := l.APCI.String()
	if l.TPCI.Control() {
		service = l.TPCI.String()
	}
	return l.Source.String() + " " + destination + " " + service
}

func TestRoutingIndication(t *testing.T) {
	f, err := frame.Parse(unhex(t, "0610053000112900bcd0fff90149010080"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := frame.ParseLData(f.(frame.RoutingIndication).CEMI)
	if err != nil {
		t.Fatal(err)
	}
	want := hops(5, sixBit(group(frame.LDataInd, 0xFFF9, "0/1/73", frame.GroupValueWrite, 0)))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
}

func TestBusmonitor(t *testing.T) {
	f, err := frame.Parse(unhex(t, "06100420001d040115002b0703010404020001bc1103090101e10081c4"))
	if err != nil {
		t.Fatal(err)
	}
	cemi := f.(frame.TunnellingRequest).CEMI
	got, err := frame.ParseBusmonitor(cemi)
	if err != nil {
		t.Fatal(err)
	}
	want := frame.Busmonitor{Sequence: 4, Timestamp: 1, Frame: unhex(t, "bc1103090101e10081c4")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
	if _, err := frame.ParseLData(cemi); err == nil {
		t.Error("a busmonitor message was read as L_Data")
	}

	got, err = frame.ParseBusmonitor(unhex(t, "2b0c"+"0301ef"+"0604000f4240"+"070155"+"cc"))
	if err != nil {
		t.Fatal(err)
	}
	want = frame.Busmonitor{
		FrameError: true, BitError: true, ParityError: true, Lost: true, Sequence: 7,
		Timestamp: 1_000_000, Extended: true, Frame: []byte{0xCC},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
}
