package knxserver

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

var (
	serverAddr = netip.MustParseAddrPort("192.168.1.3:3671")
	clientAddr = netip.MustParseAddrPort("10.9.0.2:40444")
	otherAddr  = netip.MustParseAddrPort("10.9.0.2:40445")
	epoch      = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
)

// desk is a server with a hand that sends frames and looks at what comes.
type desk struct {
	t   *testing.T
	s   *Server
	now time.Time
	got []sent // not yet looked at
}

type sent struct {
	to    netip.AddrPort
	frame frame.Frame // nil when it is none
	raw   []byte
}

// half is the random number of tests that do not depend on one.
func half() float64 { return 0.5 }

func newDesk(t *testing.T, cfg Config) *desk {
	t.Helper()
	if cfg.RecordLimit == 0 {
		cfg.RecordLimit = 1000
	}
	d := &desk{t: t, s: New(cfg, half), now: epoch}
	d.s.Start(d.now)
	return d
}

func (d *desk) drain() {
	for out, ok := d.s.Next(); ok; out, ok = d.s.Next() {
		f, err := frame.Parse(out.Payload)
		if err != nil {
			f = nil
		}
		d.got = append(d.got, sent{out.To, f, out.Payload})
	}
}

func (d *desk) sendFrom(from netip.AddrPort, f frame.Frame) {
	d.s.Receive(d.now, from, frame.Append(nil, f))
	d.drain()
}

func (d *desk) send(f frame.Frame) { d.sendFrom(clientAddr, f) }

func (d *desk) inject(t Telegram) uint64 {
	d.t.Helper()
	number, err := d.s.Inject(d.now, t)
	if err != nil {
		d.t.Fatal(err)
	}
	d.drain()
	return number
}

// pass lets time pass as an owner does: everything is done when it is due.
func (d *desk) pass(by time.Duration) {
	d.t.Helper()
	end := d.now.Add(by)
	for at, ok := d.s.Deadline(); ok && !at.After(end); at, ok = d.s.Deadline() {
		if at.After(d.now) {
			d.now = at
		}
		d.s.Expire(d.now)
		d.drain()
		if again, ok := d.s.Deadline(); ok && !again.After(d.now) {
			d.t.Fatalf("wants to be called at %v again", again.Sub(epoch))
		}
	}
	d.now = end
}

// want compares all that was sent since the last look.
func (d *desk) want(frames ...frame.Frame) {
	d.t.Helper()
	got := d.got
	d.got = nil
	if len(got) != len(frames) {
		d.t.Fatalf("sent %d frames, want %d: %+v", len(got), len(frames), got)
	}
	for i, f := range frames {
		if !reflect.DeepEqual(got[i].frame, f) {
			d.t.Errorf("frame %d is %T %+v (%x), want %T %+v", i, got[i].frame, got[i].frame, got[i].raw, f, f)
		}
	}
}

// heard takes what was sent since the last look.
func (d *desk) heard() []sent {
	got := d.got
	d.got = nil
	return got
}

func (d *desk) connectFrom(from netip.AddrPort) frame.ConnectResponse {
	d.t.Helper()
	d.got = nil
	d.sendFrom(from, frame.ConnectRequest{Layer: frame.LayerLink})
	if got := d.heard(); len(got) == 1 {
		if r, ok := got[0].frame.(frame.ConnectResponse); ok && got[0].to == from {
			return r
		}
	}
	d.t.Fatal("no CONNECT_RESPONSE")
	return frame.ConnectResponse{}
}

func (d *desk) connect() uint8 {
	d.t.Helper()
	r := d.connectFrom(clientAddr)
	if r.Status != frame.StatusNoError {
		d.t.Fatalf("refused: %v", r.Status)
	}
	return r.Channel
}

// on is a GroupValueWrite of one bit.
func on(to frame.GroupAddress) Telegram {
	return Telegram{Source: 0x1105, Destination: to, Command: frame.GroupValueWrite, Data: []byte{1}, SixBit: true}
}

// light is the address that most tests write to.
const light frame.GroupAddress = 0x0A03 // 1/2/3

// cemi is the message of a telegram to light.
func cemi(code frame.MessageCode, source frame.IndividualAddress, failed bool) []byte {
	return frame.LData{
		Message: code, Priority: frame.PriorityLow, HopCount: 6, Failed: failed, Source: source,
		Destination: uint16(light), Group: true, APCI: frame.GroupValueWrite, Data: []byte{1}, SixBit: true,
	}.Append(nil)
}

func request(channel, sequence uint8, message []byte) frame.TunnellingRequest {
	return frame.TunnellingRequest{Channel: channel, Sequence: sequence, CEMI: message}
}

func ackOf(channel, sequence uint8) frame.TunnellingAck {
	return frame.TunnellingAck{Channel: channel, Sequence: sequence}
}

// outcomes are the ends of the deliveries so far.
func (d *desk) outcomes() []DeliveryOutcome {
	var list []DeliveryOutcome
	for _, delivery := range d.s.TakeRecord().Deliveries {
		list = append(list, delivery.Outcome)
	}
	return list
}
