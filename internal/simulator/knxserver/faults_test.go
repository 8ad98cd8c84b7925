package knxserver

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func (d *desk) fault(f Faults) {
	d.s.SetFaults(d.now, f)
	d.drain()
}

func TestSilence(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{Silent: true})
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.send(frame.DescriptionRequest{})
	d.want()
	d.pass(30 * time.Second)
	d.fault(Faults{})
	d.want() // nothing is answered later
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want(frame.ConnectionStateResponse{Channel: channel}) // no telegram came: it still knows the channel

	d.fault(Faults{Silent: true})
	d.inject(on(light))
	d.pass(3 * time.Second) // nobody acknowledges
	d.fault(Faults{})
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want(frame.ConnectionStateResponse{Channel: channel, Status: frame.StatusConnectionID})
	if counts := d.s.Counts(); counts.Unheard != 3 || counts.Unsaid != 2 {
		t.Errorf("counts %+v", counts)
	}
}

func TestFrozenInterfaceGrantsAllWhenItThaws(t *testing.T) {
	d := newDesk(t, Config{Slots: 3})
	channel := d.connect()
	d.fault(Faults{Frozen: true})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.inject(on(light))
	d.pass(100 * time.Second)
	for range 2 * inboxLimit {
		d.send(frame.ConnectionStateRequest{Channel: channel})
	}
	d.want()
	d.fault(Faults{})
	got := d.heard()
	if len(got) != inboxLimit || len(d.s.Channels()) != 3 {
		t.Errorf("%d answers and %d channels after the thaw, want %d and 3", len(got), len(d.s.Channels()), inboxLimit)
	}
	if got := d.outcomes(); !slices.Equal(got, []DeliveryOutcome{Unsent}) {
		t.Errorf("outcomes %v", got)
	}
}

func TestReboot(t *testing.T) {
	d := newDesk(t, Config{Style: StyleCalimero}) // numbers in turn
	channel := d.connect()
	d.inject(on(light))
	d.inject(on(light))
	d.heard()
	d.s.Reboot(d.now, 20*time.Second)
	d.drain()
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.pass(19 * time.Second)
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want()
	d.pass(time.Second)
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want(frame.ConnectionStateResponse{Channel: channel, Status: frame.StatusConnectionID})
	got := d.s.TakeRecord().Deliveries
	if len(got) != 2 || got[0].Outcome != Unacked || got[0].Tries != 1 || !got[0].Sent.Equal(epoch) ||
		got[1].Outcome != Unsent || got[1].Tries != 0 || !got[1].Sent.IsZero() {
		t.Errorf("deliveries %+v", got)
	}
	if d.connect() != channel {
		t.Error("numbers do not begin anew")
	}
}

func TestDisconnect(t *testing.T) {
	d := newDesk(t, Config{})
	first := d.connectFrom(clientAddr).Channel
	second := d.connectFrom(otherAddr).Channel
	d.s.Disconnect(d.now)
	d.drain()
	own := frame.HPAI{Addr: serverAddr}
	d.want(frame.DisconnectRequest{Channel: first, Control: own}, frame.DisconnectRequest{Channel: second, Control: own})
	d.send(frame.DisconnectResponse{Channel: first})
	d.want()
}

func TestSlotExhaustionAndRefusals(t *testing.T) {
	d := newDesk(t, Config{})
	connect := frame.ConnectRequest{Layer: frame.LayerLink}
	d.fault(Faults{Full: true})
	d.send(connect)
	got := d.heard()
	if len(got[0].raw) != 8 || got[0].frame.(frame.ConnectResponse).Status != frame.StatusNoMoreConnections {
		t.Errorf("refusal %x, want the short form with 0x24", got[0].raw)
	}
	d.fault(Faults{Full: true, LongRefusals: true})
	d.send(connect)
	got = d.heard()
	if len(got[0].raw) != 20 || got[0].frame.(frame.ConnectResponse).Status != frame.StatusNoMoreConnections {
		t.Errorf("refusal %x, want the long form with 0x24", got[0].raw)
	}
	d.fault(Faults{Refuse: frame.StatusNoMoreUniqueConnections})
	d.send(connect)
	d.want(frame.ConnectResponse{Status: frame.StatusNoMoreUniqueConnections})
	d.fault(Faults{})
	d.connect()
	if counts := d.s.Counts(); counts.Refused != 3 || counts.Granted != 1 {
		t.Errorf("counts %+v", counts)
	}
}

func TestHeartbeatErrors(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	for _, status := range []frame.Status{0x21, 0x26, 0x27} {
		d.fault(Faults{Heartbeat: status})
		d.send(frame.ConnectionStateRequest{Channel: channel})
		d.want(frame.ConnectionStateResponse{Channel: channel, Status: status})
	}
	d.fault(Faults{})
	d.send(frame.ConnectionStateRequest{Channel: channel})
	d.want(frame.ConnectionStateResponse{Channel: channel})
}

func TestLostAcks(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{LoseAcks: 2, Confirmation: ConfirmNever})
	message := cemi(frame.LDataReq, 0, false)
	d.send(request(channel, 0, message))
	d.want(ackOf(channel, 0))
	d.send(request(channel, 1, message))
	d.want() // lost
	d.send(request(channel, 1, message))
	d.want(ackOf(channel, 1))
	if got := len(d.s.TakeRecord().Bus); got != 2 {
		t.Errorf("the bus saw %d telegrams, want 2", got)
	}
}

func TestIgnoredAcks(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{IgnoreAcks: 2})
	ind := cemi(frame.LDataInd, 0x1105, false)
	for i := range uint8(2) {
		d.inject(on(light))
		d.want(request(channel, i, ind))
		d.send(ackOf(channel, i))
	}
	d.pass(time.Second)
	d.want(request(channel, 1, ind)) // the same again
	d.send(ackOf(channel, 1))
	d.pass(time.Minute)
	d.want()
	if got := d.s.TakeRecord().Deliveries; len(got) != 2 || got[1].Outcome != Acked || got[1].Tries != 2 {
		t.Errorf("deliveries %+v", got)
	}
}

func TestConfirmationFaults(t *testing.T) {
	d := newDesk(t, Config{Style: StyleCalimero, Profile: Building()})
	channel := d.connectFrom(clientAddr).Channel
	other := d.connectFrom(otherAddr).Channel
	message := cemi(frame.LDataReq, 0, false)
	ind := cemi(frame.LDataInd, 0x11F1, false)

	d.fault(Faults{Confirmation: ConfirmNegative})
	d.send(request(channel, 0, message))
	d.want(ackOf(channel, 0), request(channel, 0, cemi(frame.LDataCon, 0x11F1, true))) // and nobody else
	d.send(ackOf(channel, 0))
	if bus := d.s.TakeRecord().Bus; len(bus) != 1 || !bus[0].Failed {
		t.Errorf("bus %+v, want one that failed", bus)
	}
	if value, _ := d.s.Value(light); value != "off" {
		t.Error("the light is on, but nobody acknowledged")
	}

	d.fault(Faults{Confirmation: ConfirmNever})
	d.send(request(channel, 1, message))
	d.want(ackOf(channel, 1), request(other, 0, ind))
	d.sendFrom(otherAddr, ackOf(other, 0))
	d.pass(time.Second)
	status := d.heard() // of the light, to both
	if len(status) != 2 {
		t.Fatalf("got %+v, want the light's status", status)
	}
	d.send(ackOf(channel, 1))
	d.sendFrom(otherAddr, ackOf(other, 1))

	d.fault(Faults{AnonymousConfirmations: true})
	d.send(request(channel, 2, message))
	got := d.heard()
	if r := got[1].frame.(frame.TunnellingRequest); !bytes.Equal(r.CEMI, cemi(frame.LDataCon, 0, false)) {
		t.Errorf("confirmation %x", r.CEMI)
	}
}

func TestLateConfirmation(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{ConfirmationDelay: 4 * time.Second})
	d.send(request(channel, 0, cemi(frame.LDataReq, 0, false)))
	d.want(ackOf(channel, 0))
	d.fault(Faults{ConfirmationDelay: time.Second}) // the second overtakes
	d.send(request(channel, 1, cemi(frame.LDataReq, 0x1109, false)))
	d.want(ackOf(channel, 1))
	d.pass(999 * time.Millisecond)
	d.want()
	d.pass(time.Millisecond)
	d.want(request(channel, 0, cemi(frame.LDataCon, 0x1109, false)))
	d.send(ackOf(channel, 0))
	d.pass(3 * time.Second)
	d.want(request(channel, 1, cemi(frame.LDataCon, 0, false)))
	d.send(ackOf(channel, 1))

	d.fault(Faults{ConfirmationDelay: time.Hour})
	for i := range uint8(lateLimit + 3) {
		d.send(request(channel, 2+i, cemi(frame.LDataReq, 0, false)))
	}
	d.send(frame.DisconnectRequest{Channel: channel})
	if counts := d.s.Counts(); counts.Unsent != lateLimit+3 {
		t.Errorf("%d unsent, want %d", counts.Unsent, lateLimit+3)
	}
}

func TestWrongSequence(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{WrongSequence: 2})
	ind := cemi(frame.LDataInd, 0x1105, false)
	d.inject(on(light))
	d.want(request(channel, 0, ind))
	d.send(ackOf(channel, 0))
	d.inject(on(light))
	d.want(request(channel, 1+wrongBy, ind))
	d.pass(time.Second)
	d.want(request(channel, 1+wrongBy, ind))
	d.pass(time.Second)
	if len(d.s.Channels()) != 0 {
		t.Error("the channel lives on")
	}
}

func TestDuplicatesAndForeignRequests(t *testing.T) {
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{Duplicates: 1, Foreign: 1})
	d.inject(on(light))
	ind := cemi(frame.LDataInd, 0x1105, false)
	d.want(request(channel+100, 0, ind), request(channel, 0, ind), request(channel, 0, ind))
	d.send(ackOf(channel, 0))
	d.send(ackOf(channel, 0)) // of the copy
	if got := d.outcomes(); !slices.Equal(got, []DeliveryOutcome{Acked}) {
		t.Errorf("outcomes %v", got)
	}
}

func TestMalformed(t *testing.T) {
	for i, raw := range MalformedFrames(1, 0) {
		if f, err := frame.Parse(raw); err == nil {
			t.Errorf("frame %d is well formed: %+v", i, f)
		}
	}
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{Malformed: 1})
	seen := map[string]bool{}
	for i := range 60 {
		d.inject(on(light))
		got := d.heard()
		if len(got) != 2 || got[0].frame != nil || got[1].frame == nil {
			t.Fatalf("sent %+v, want something malformed and then the request", got)
		}
		seen[string(got[0].raw)] = true
		d.send(ackOf(channel, uint8(i)))
	}
	if want := len(MalformedFrames(channel, 0)); len(seen) < want {
		t.Errorf("%d different frames, want at least %d", len(seen), want)
	}
}

func TestBrokenCEMI(t *testing.T) {
	for i, message := range brokenCEMI {
		if l, err := frame.ParseLData(message); err == nil {
			t.Errorf("message %d makes sense: %+v", i, l)
		}
	}
	d := newDesk(t, Config{})
	channel := d.connect()
	d.fault(Faults{Broken: 1})
	d.inject(on(light))
	got := d.heard()
	if _, err := frame.ParseLData(got[0].frame.(frame.TunnellingRequest).CEMI); err == nil || len(got) != 1 {
		t.Fatalf("sent %+v, want a request that makes no sense", got)
	}
	d.send(ackOf(channel, 0))
	d.want(request(channel, 1, cemi(frame.LDataInd, 0x1105, false)))
	d.send(ackOf(channel, 1))
	if got := d.s.TakeRecord().Deliveries; len(got) != 2 || got[0].Content != ContentBroken || got[1].Number != 1 {
		t.Errorf("deliveries %+v", got)
	}
}

func TestFullQueueDropsTheNewest(t *testing.T) {
	d := newDesk(t, Config{})
	d.connect()
	for range queueLimit + 10 {
		d.inject(on(light))
	}
	if waiting := d.s.Channels()[0].Waiting; waiting != queueLimit {
		t.Errorf("%d wait, want %d", waiting, queueLimit)
	}
	dropped := d.s.TakeRecord().Deliveries
	if len(dropped) != 10 || dropped[0].Outcome != Unsent || dropped[0].Number != queueLimit+1 {
		t.Errorf("dropped %+v", dropped)
	}
}

func TestRecordLimit(t *testing.T) {
	d := newDesk(t, Config{RecordLimit: 3})
	channel := d.connect()
	for i := range uint8(5) {
		d.inject(on(light))
		d.send(ackOf(channel, i))
	}
	r := d.s.TakeRecord()
	if len(r.Bus) != 3 || r.BusMissed != 2 || len(r.Deliveries) != 3 || r.DeliveriesMissed != 2 {
		t.Errorf("record %+v", r)
	}
	if number := d.inject(on(light)); number != 6 {
		t.Errorf("number %d after the record was taken, want 6", number)
	}
	if r := d.s.TakeRecord(); len(r.Bus) != 1 || r.Bus[0].Number != 6 || r.BusMissed != 0 {
		t.Errorf("record %+v", r)
	}
}
