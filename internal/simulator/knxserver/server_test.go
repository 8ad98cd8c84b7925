package knxserver

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestConnectGrantsEachSlotOnce(t *testing.T) {
	d := newDesk(t, Config{Slots: 2})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want(frame.ConnectResponse{Channel: 1, Data: frame.HPAI{Addr: serverAddr}, Assigned: 0x11F1})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want(frame.ConnectResponse{Channel: 2, Data: frame.HPAI{Addr: serverAddr}, Assigned: 0x11F2})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want(frame.ConnectResponse{Status: frame.StatusNoMoreConnections})

	d.send(frame.DisconnectRequest{Channel: 1})
	d.want(frame.DisconnectResponse{Channel: 1})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want(frame.ConnectResponse{Channel: 1, Data: frame.HPAI{Addr: serverAddr}, Assigned: 0x11F1})
	if list := d.s.Channels(); len(list) != 2 || list[1].Session != 3 || list[1].Client != clientAddr {
		t.Errorf("channels are %+v", list)
	}
}

func TestSlotsAreOneToEight(t *testing.T) {
	for slots, want := range map[int]int{-1: 4, 0: 4, 1: 1, 8: 8, 99: 8} {
		d := newDesk(t, Config{Slots: slots})
		for range 20 {
			d.connectFrom(clientAddr)
		}
		if got := len(d.s.Channels()); got != want {
			t.Errorf("%d slots configured: %d channels, want %d", slots, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	fixed := func(a frame.IndividualAddress) frame.ConnectRequest {
		return frame.ConnectRequest{Layer: frame.LayerLink, Fixed: a}
	}
	tests := []struct {
		name    string
		style   Style
		request frame.ConnectRequest
		want    frame.Status
	}{
		{"busmonitor", StyleKnxd, frame.ConnectRequest{Layer: frame.LayerBusmonitor}, frame.StatusTunnellingLayer},
		{"raw", StyleCalimero, frame.ConnectRequest{Layer: frame.LayerRaw}, frame.StatusTunnellingLayer},
		{"TCP endpoint", StyleKnxd, frame.ConnectRequest{Control: frame.HPAI{TCP: true}, Layer: frame.LayerLink}, frame.StatusHostProtocolType},
		{"extended CRI at knxd", StyleKnxd, fixed(0x11F3), frame.StatusConnectionType},
		{"extended CRI", StyleCalimero, fixed(0x11F3), frame.StatusNoError},
		{"address in use", StyleCalimero, fixed(0x11F1), frame.StatusConnectionInUse},
		{"foreign address", StyleCalimero, fixed(0x1105), frame.StatusNoTunnellingAddress},
		{"address beyond the slots", StyleCalimero, fixed(0x11F5), frame.StatusNoTunnellingAddress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, Config{Style: tt.style, NoBusmonitor: true})
			d.connectFrom(otherAddr) // has 1.1.241
			d.send(tt.request)
			got := d.heard()
			r, ok := got[0].frame.(frame.ConnectResponse)
			if len(got) != 1 || !ok || r.Status != tt.want {
				t.Fatalf("got %+v, want status %v", got, tt.want)
			}
			if tt.want == frame.StatusNoError && r.Assigned != tt.request.Fixed {
				t.Errorf("assigned %v, want %v", r.Assigned, tt.request.Fixed)
			}
		})
	}
}

func TestChannelNumbersByStyle(t *testing.T) {
	for style, want := range map[Style]uint8{StyleKnxd: 1, StyleCalimero: 2} {
		d := newDesk(t, Config{Style: style})
		d.send(frame.DisconnectRequest{Channel: d.connect()})
		if got := d.connect(); got != want {
			t.Errorf("%v: the second channel is %d, want %d", style, got, want)
		}
	}
	d := newDesk(t, Config{Style: StyleCalimero, Slots: 1})
	for range 600 { // around, past 0
		number := d.connect()
		if number == 0 {
			t.Fatal("channel 0")
		}
		d.send(frame.DisconnectRequest{Channel: number})
	}
}

func TestEndpoints(t *testing.T) {
	control, data := netip.MustParseAddrPort("10.9.0.2:1001"), netip.MustParseAddrPort("10.9.0.2:1002")
	serverData := netip.MustParseAddrPort("192.168.1.4:3672")
	d := newDesk(t, Config{DataAddress: serverData})
	d.sendFrom(control, frame.ConnectRequest{
		Control: frame.HPAI{Addr: control}, Data: frame.HPAI{Addr: data}, Layer: frame.LayerLink,
	})
	if got := d.heard(); got[0].to != control || got[0].frame.(frame.ConnectResponse).Data.Addr != serverData {
		t.Fatalf("CONNECT_RESPONSE %+v", got)
	}
	d.s.Receive(d.now, data, frame.Append(nil, request(1, 0, cemi(frame.LDataReq, 0, false))))
	for range 2 { // ACK, confirmation
		out, ok := d.s.Next()
		if !ok || out.From != serverData || out.To != data {
			t.Fatalf("from %v to %v, want from %v to %v", out.From, out.To, serverData, data)
		}
	}
	// A heartbeat from the data endpoint is not the client's.
	d.sendFrom(data, frame.ConnectionStateRequest{Channel: 1})
	d.want(frame.ConnectionStateResponse{Channel: 1, Status: frame.StatusConnectionID})
	d.sendFrom(control, frame.ConnectionStateRequest{Channel: 1})
	d.want(frame.ConnectionStateResponse{Channel: 1})

	d = newDesk(t, Config{RouteBack: true})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want(frame.ConnectResponse{Channel: 1, Assigned: 0x11F1})
}

func TestHeartbeatAndDisconnectOfUnknownChannels(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want(frame.ConnectionStateResponse{Channel: channel})
	d.send(frame.ConnectionStateRequest{Channel: 77})
	d.want(frame.ConnectionStateResponse{Channel: 77, Status: frame.StatusConnectionID})
	d.send(frame.DisconnectRequest{Channel: 77})
	d.want(frame.DisconnectResponse{Channel: 77, Status: frame.StatusConnectionID})
	// Another client cannot end this one's channel.
	d.sendFrom(otherAddr, frame.DisconnectRequest{Channel: channel})
	d.want(frame.DisconnectResponse{Channel: channel, Status: frame.StatusConnectionID})
	d.send(request(77, 0, cemi(frame.LDataReq, 0, false)))
	d.want()
}

func TestDescriptionAndSearch(t *testing.T) {
	for style, version := range map[Style]uint8{StyleKnxd: 1, StyleCalimero: 2} {
		d := newDesk(t, Config{Style: style, Name: "Lobby"})
		d.send(frame.DescriptionRequest{})
		answer := d.heard()[0].frame.(frame.DescriptionResponse)
		if answer.Device.Name != "Lobby" || answer.Device.Address != 0x11F0 || len(answer.Addresses) != 4 ||
			answer.Version(frame.FamilyTunnelling) != version || answer.Version(frame.FamilyCore) != 1 {
			t.Errorf("%v: description %+v", style, answer)
		}
		d.sendFrom(otherAddr, frame.SearchRequest{Discovery: frame.HPAI{Addr: clientAddr}})
		got := d.heard()
		if got[0].to != clientAddr || got[0].frame.(frame.SearchResponse).Control.Addr != serverAddr {
			t.Errorf("%v: search answer %+v", style, got)
		}
	}
}

func TestReceiveWindow(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	message := cemi(frame.LDataReq, 0, false)
	con := cemi(frame.LDataCon, 0, false)

	d.send(request(channel, 0, message))
	d.want(ackOf(channel, 0), request(channel, 0, con))
	d.send(ackOf(channel, 0))
	d.send(request(channel, 0, message)) // duplicate: ACK only
	d.want(ackOf(channel, 0))
	d.send(request(channel, 2, message)) // future: nothing
	d.want()
	d.send(request(channel, 1, message))
	d.want(ackOf(channel, 1), request(channel, 1, con))
	d.send(request(channel, 2, []byte{0x11})) // no message: ACK only
	d.want(ackOf(channel, 2))
	d.send(request(channel, 3, cemi(frame.LDataInd, 0, false)))
	d.want(ackOf(channel, 3))

	if bus := d.s.TakeRecord().Bus; len(bus) != 2 || bus[0].LData.Source != 0x11F1 || bus[1].Number != 2 || bus[0].Session != 1 {
		t.Errorf("the bus saw %+v", bus)
	}
	counts := d.s.Counts()
	if counts.Duplicates != 1 || counts.OutOfSequence != 1 || counts.Unusable != 2 || counts.Written != 2 {
		t.Errorf("counts %+v", counts)
	}
}

func TestSequenceCountersWrap(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	for i := range 600 {
		d.send(request(channel, uint8(i), cemi(frame.LDataReq, 0, false)))
		d.want(ackOf(channel, uint8(i)), request(channel, uint8(i), cemi(frame.LDataCon, 0, false)))
		d.send(ackOf(channel, uint8(i)))
	}
	if got := len(d.s.TakeRecord().Bus); got != 600 {
		t.Errorf("the bus saw %d telegrams, want 600", got)
	}
}

func TestOneRequestAtATimeInOrder(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	ind := cemi(frame.LDataInd, 0x1105, false)
	for want := range uint64(3) {
		if number := d.inject(on(light)); number != want+1 {
			t.Errorf("number %d, want %d", number, want+1)
		}
	}
	d.want(request(channel, 0, ind))
	for i := range uint8(3) {
		d.send(frame.TunnellingAck{Channel: channel, Sequence: i + 9}) // of another request
		d.send(frame.TunnellingAck{Channel: channel, Sequence: i, Status: frame.StatusSequenceNumber})
		d.want()
		d.send(ackOf(channel, i))
		if i < 2 {
			d.want(request(channel, i+1, ind))
		}
	}
	d.want()
	var numbers []uint64
	for _, delivery := range d.s.TakeRecord().Deliveries {
		if delivery.Outcome != Acked || delivery.Tries != 1 {
			t.Errorf("delivery %+v", delivery)
		}
		numbers = append(numbers, delivery.Number)
	}
	if !slices.Equal(numbers, []uint64{1, 2, 3}) {
		t.Errorf("delivered %v", numbers)
	}
}

func TestWithoutACK(t *testing.T) {
	for _, style := range []Style{StyleKnxd, StyleCalimero} {
		t.Run(style.String(), func(t *testing.T) {
			d := newDesk(t, Config{Style: style})
			channel := d.connect()
			d.inject(on(light))
			d.inject(on(light))
			first := d.heard()
			d.pass(999 * time.Millisecond)
			d.want()
			d.pass(time.Millisecond)
			if again := d.heard(); len(again) != 1 || !slices.Equal(again[0].raw, first[0].raw) {
				t.Fatalf("repeat %+v, want the same as %+v", again, first)
			}
			d.pass(999 * time.Millisecond)
			d.want()
			d.pass(time.Millisecond) // at 2.0 s
			if style == StyleCalimero {
				d.want(frame.DisconnectRequest{Channel: channel, Control: frame.HPAI{Addr: serverAddr}})
			} else {
				d.want()
			}
			d.send(frame.ConnectionStateRequest{Channel: channel})
			d.want(frame.ConnectionStateResponse{Channel: channel, Status: frame.StatusConnectionID})
			d.send(ackOf(channel, 0)) // too late
			d.want()
			if got := d.outcomes(); !slices.Equal(got, []DeliveryOutcome{Unacked, Unsent}) {
				t.Errorf("outcomes %v", got)
			}
		})
	}
}

func TestSilentClientIsDroppedAfter120s(t *testing.T) {
	for _, style := range []Style{StyleKnxd, StyleCalimero} {
		d := newDesk(t, Config{Style: style})
		channel := d.connect()
		d.pass(119 * time.Second)
		d.send(frame.ConnectionStateRequest{Channel: channel})
		d.heard()
		d.pass(119 * time.Second)
		if len(d.s.Channels()) != 1 {
			t.Errorf("%v: dropped after 119 s", style)
		}
		d.pass(time.Second)
		if len(d.s.Channels()) != 0 || d.s.Counts().Dropped != 1 {
			t.Errorf("%v: not dropped after 120 s", style)
		}
		if got := d.heard(); (len(got) == 1) != (style == StyleCalimero) {
			t.Errorf("%v: sent %+v", style, got)
		}
		if _, ok := d.s.Deadline(); ok {
			t.Errorf("%v: a deadline with nothing to do", style)
		}
	}
}

func TestConfirmationsAndOtherClients(t *testing.T) {
	for style, source := range map[Style]frame.IndividualAddress{StyleKnxd: 0, StyleCalimero: 0x11F1} {
		d := newDesk(t, Config{Style: style})
		writer := d.connectFrom(clientAddr).Channel
		listener := d.connectFrom(otherAddr).Channel
		d.send(request(writer, 0, cemi(frame.LDataReq, 0, false)))
		// The other client sees the tunnel's address as source.
		d.want(ackOf(writer, 0), request(writer, 0, cemi(frame.LDataCon, source, false)),
			request(listener, 0, cemi(frame.LDataInd, 0x11F1, false)))
	}
}

func TestLongAPDUIsConfirmed(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	l := frame.LData{
		Message: frame.LDataReq, Priority: frame.PriorityLow, HopCount: 6, Destination: uint16(light), Group: true,
		APCI: frame.GroupValueWrite, Data: make([]byte, 39),
	}
	message := l.Append(nil)
	l.Message = frame.LDataCon
	d.send(request(channel, 0, message))
	d.want(ackOf(channel, 0), request(channel, 0, l.Append(nil)))
}

func TestFeatures(t *testing.T) {
	d := newDesk(t, Config{Style: StyleCalimero})
	channel := d.connect()
	tests := []struct {
		ask  frame.Feature
		code uint8
		want []byte
	}{
		{frame.FeatureIndividualAddress, 0, []byte{0x11, 0xF1}},
		{frame.FeatureMaxAPDULength, 0, []byte{0, 254}},
		{frame.FeatureBusStatus, 0, []byte{1}},
		{99, codeAddressVoid, []byte{}},
	}
	for i, tt := range tests {
		sequence := uint8(i)
		d.send(frame.FeatureGet{Channel: channel, Sequence: sequence, Feature: tt.ask})
		d.want(ackOf(channel, sequence), frame.FeatureResponse{
			Channel: channel, Sequence: sequence, Feature: tt.ask, Code: tt.code, Value: tt.want,
		})
		d.send(ackOf(channel, sequence))
	}
	d.send(frame.FeatureSet{Channel: channel, Sequence: 4, Feature: frame.FeatureIndividualAddress, Value: []byte{1, 1}})
	if got := d.heard(); got[1].frame.(frame.FeatureResponse).Code != codeReadOnly {
		t.Errorf("set answered %+v", got)
	}

	d = newDesk(t, Config{}) // knxd does not know them
	d.send(frame.FeatureGet{Channel: d.connect(), Feature: frame.FeatureBusStatus})
	d.want()
}

func TestOffUntilStart(t *testing.T) {
	s := New(Config{Profile: Building(), Rate: 1}, half)
	s.Receive(epoch, clientAddr, frame.Append(nil, frame.ConnectRequest{Layer: frame.LayerLink}))
	s.Expire(epoch)
	if _, ok := s.Next(); ok {
		t.Error("it answers")
	}
	if _, ok := s.Deadline(); ok {
		t.Error("it has a deadline")
	}
	if _, err := s.Inject(epoch, on(light)); err == nil {
		t.Error("its bus has power")
	}
	s.Start(epoch)
	if _, ok := s.Deadline(); !ok {
		t.Error("no deadline after Start")
	}
}
