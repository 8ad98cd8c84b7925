package frame_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/vapourismo/knx-go/knx/cemi"
	"github.com/vapourismo/knx-go/knx/knxnet"
	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// knxGo reads a good frame with knx-go.
func knxGo(t *rapid.T, datagram []byte) knxnet.Service {
	var service knxnet.Service
	if _, err := knxnet.Unpack(datagram, &service); err != nil {
		t.Fatalf("knx-go cannot read %x: %v", datagram, err)
	}
	return service
}

func sameHPAI(h frame.HPAI, info knxnet.HostInfo) bool {
	addr := netip.AddrPortFrom(netip.AddrFrom4(info.Address), uint16(info.Port))
	if h.Addr == (netip.AddrPort{}) {
		addr = netip.AddrPort{}
	}
	return h.Addr == addr && h.TCP == (info.Protocol == knxnet.TCP4)
}

// TestFramesAgreeWithKNXGo has knx-go read what this package writes, where knx-go is right.
func TestFramesAgreeWithKNXGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{
			"ConnectRequest", "ConnectResponse", "ConnectionStateRequest", "ConnectionStateResponse", "DisconnectRequest",
			"DisconnectResponse", "TunnellingAck", "DescriptionRequest", "SearchRequest", "RoutingLost", "RoutingBusy",
		}).Draw(t, "frame")
		f := kinds[name](t)
		if r, ok := f.(frame.ConnectRequest); ok {
			r.Fixed = 0 // knx-go has no extended connection request information
			f = r
		}
		if !agrees(f, knxGo(t, frame.Append(nil, f))) {
			t.Fatalf("knx-go reads %+v otherwise", f)
		}
	})
}

func agrees(f frame.Frame, service knxnet.Service) bool {
	switch f := f.(type) {
	case frame.ConnectRequest:
		s, ok := service.(*knxnet.ConnReq)
		return ok && sameHPAI(f.Control, s.Control) && sameHPAI(f.Data, s.Tunnel) && byte(f.Layer) == byte(s.Layer)
	case frame.ConnectResponse:
		s, ok := service.(*knxnet.ConnRes)
		return ok && f.Channel == s.Channel && byte(f.Status) == byte(s.Status) && (s.Status != 0 || sameHPAI(f.Data, s.Control))
	case frame.ConnectionStateRequest:
		s, ok := service.(*knxnet.ConnStateReq)
		return ok && f.Channel == s.Channel && sameHPAI(f.Control, s.Control)
	case frame.ConnectionStateResponse:
		s, ok := service.(*knxnet.ConnStateRes)
		return ok && f.Channel == s.Channel && byte(f.Status) == byte(s.Status)
	case frame.DisconnectRequest:
		s, ok := service.(*knxnet.DiscReq)
		return ok && f.Channel == s.Channel && sameHPAI(f.Control, s.Control)
	case frame.DisconnectResponse:
		s, ok := service.(*knxnet.DiscRes)
		return ok && f.Channel == s.Channel && byte(f.Status) == s.Status
	case frame.TunnellingAck:
		s, ok := service.(*knxnet.TunnelRes)
		return ok && f.Channel == s.Channel && f.Sequence == s.SeqNumber && byte(f.Status) == byte(s.Status)
	case frame.DescriptionRequest:
		s, ok := service.(*knxnet.DescriptionReq)
		return ok && sameHPAI(f.Control, s.HostInfo)
	case frame.SearchRequest:
		s, ok := service.(*knxnet.SearchReq)
		return ok && sameHPAI(f.Discovery, s.HostInfo)
	case frame.RoutingLost:
		s, ok := service.(*knxnet.RoutingLost)
		return ok && f.DeviceState == byte(s.Status) && f.Lost == s.Count
	case frame.RoutingBusy:
		s, ok := service.(*knxnet.RoutingBusy)
		return ok && f.DeviceState == byte(s.Status) && f.Wait == s.WaitTime && f.Control == s.Control
	}
	return false
}

// TestDescriptionAgreesWithKNXGo compares the two blocks that knx-go reads rightly.
func TestDescriptionAgreesWithKNXGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := descriptions.Draw(t, "description")
		d.Addresses, d.Other = nil, nil
		s, ok := knxGo(t, frame.Append(nil, frame.DescriptionResponse{Description: d})).(*knxnet.DescriptionRes)
		if !ok {
			t.Fatal("knx-go reads another service")
		}
		device := s.DeviceHardware
		if byte(device.Medium) != byte(d.Device.Medium) || uint16(device.Source) != uint16(d.Device.Address) ||
			uint16(device.ProjectIdentifier) != d.Device.Project || device.SerialNumber != d.Device.Serial ||
			device.RoutingMulticastAddress != d.Device.Multicast.As4() || !bytes.Equal(device.HardwareAddr, net.HardwareAddr(d.Device.MAC[:])) ||
			device.FriendlyName != d.Device.Name || (device.Status == 1) != d.Device.ProgrammingMode {
			t.Fatalf("knx-go reads %+v, want %+v", device, d.Device)
		}
		if len(s.SupportedServices.Families) != len(d.Services) {
			t.Fatalf("knx-go reads %d families, want %d", len(s.SupportedServices.Families), len(d.Services))
		}
		for i, family := range s.SupportedServices.Families {
			if byte(family.Type) != byte(d.Services[i].Family) || family.Version != d.Services[i].Version {
				t.Fatalf("knx-go reads %+v, want %+v", family, d.Services[i])
			}
		}
	})
}

// TestMessagesAgreeWithKNXGo has knx-go read the L_Data that this package writes, and write it again.
// Its APCI has four bits, so the comparison is of those and of the first data octet's rest.
func TestMessagesAgreeWithKNXGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := messages.Draw(t, "message")
		written := l.Append(nil)
		var message cemi.Message
		if _, err := cemi.Unpack(written, &message); err != nil {
			t.Fatalf("knx-go cannot read %x: %v", written, err)
		}
		data, ok := ldataOf(message)
		if !ok || byte(message.MessageCode()) != byte(l.Message) {
			t.Fatalf("knx-go reads %x as %v", written, message.MessageCode())
		}
		if uint16(data.Source) != uint16(l.Source) || data.Destination != l.Destination || data.Control2.IsGroupAddr() != l.Group {
			t.Fatalf("knx-go reads other addresses in %x", written)
		}
		if byte(data.Control1>>2)&3 != byte(l.Priority) || data.Control1&cemi.Control1HasError != 0 != l.Failed ||
			data.Control1&cemi.Control1NoRepeat == 0 != l.Repeated || data.Control1&cemi.Control1WantAck != 0 != l.AckRequested ||
			data.Control2&0x70 != cemi.Control2Hops(l.HopCount) {
			t.Fatalf("knx-go reads other control fields in %x", written)
		}
		unit, isData := data.Data.(*cemi.AppData)
		if isData == l.TPCI.Control() {
			t.Fatalf("knx-go reads %T in %x", data.Data, written)
		}
		if isData {
			first := byte(l.APCI) & 0x3F
			rest := l.Data
			if l.SixBit {
				first, rest = l.Data[0], nil
			}
			if uint16(unit.Command) != uint16(l.APCI>>6) || unit.Data[0] != first || !bytes.Equal(unit.Data[1:], rest) {
				t.Fatalf("knx-go reads %+v in %x", unit, written)
			}
		}
		if l.TPCI&0x40 != 0 || l.TPCI&0x3C == 0 { // knx-go drops the sequence of an unnumbered frame
			again := make([]byte, cemi.Size(message))
			cemi.Pack(again, message)
			if !bytes.Equal(again, written) {
				t.Fatalf("knx-go writes %x, want %x", again, written)
			}
		}
	})
}

func ldataOf(message cemi.Message) (cemi.LData, bool) {
	switch message := message.(type) {
	case *cemi.LDataReq:
		return message.LData, true
	case *cemi.LDataCon:
		return message.LData, true
	case *cemi.LDataInd:
		return message.LData, true
	}
	return cemi.LData{}, false
}

func TestAddressesAgreeWithKNXGo(t *testing.T) {
	for n := 1; n <= 0xFFFF; n++ {
		ga, err := cemi.NewGroupAddrString(frame.GroupAddress(n).String())
		if err != nil || int(ga) != n {
			t.Fatalf("knx-go reads %v as %v, %v", frame.GroupAddress(n), ga, err)
		}
		ia, err := cemi.NewIndividualAddrString(frame.IndividualAddress(n).String())
		if err != nil || int(ia) != n {
			t.Fatalf("knx-go reads %v as %v, %v", frame.IndividualAddress(n), ia, err)
		}
	}
}
