package knxserver

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// maxOutputs bounds what one call may cause: an answer, and for each channel a
// request under way with what faults put beside it, or its end. A thaw does that
// for each datagram that waited.
const (
	maxOutputs     = 1 + maxSlots*6
	maxThawOutputs = (inboxLimit + 1) * maxOutputs
)

// world drives a server with anything, and checks what must hold always.
type world struct {
	t       *rapid.T
	s       *Server
	now     time.Time
	clients []netip.AddrPort
}

func (w *world) drain(limit int) {
	count := 0
	for out, ok := w.s.Next(); ok; out, ok = w.s.Next() {
		count++
		if !out.To.IsValid() || !out.From.IsValid() {
			w.t.Fatalf("a datagram from %v to %v", out.From, out.To)
		}
	}
	if count > limit {
		w.t.Fatalf("%d datagrams of one call, want at most %d", count, limit)
	}
}

func (w *world) check() {
	s := w.s
	if len(s.channels) > s.cfg.Slots || len(s.inbox) > inboxLimit || len(s.pending) > 2*len(s.values) {
		w.t.Fatalf("%d channels, %d datagrams and %d reactions wait", len(s.channels), len(s.inbox), len(s.pending))
	}
	if len(s.record.Bus) > s.cfg.RecordLimit || len(s.record.Deliveries) > s.cfg.RecordLimit {
		w.t.Fatal("the record is beyond its limit")
	}
	numbers, slots := map[uint8]bool{0: true}, map[int]bool{}
	for _, c := range s.channels {
		if numbers[c.number] || slots[c.slot] || c.slot >= s.cfg.Slots {
			w.t.Fatalf("channel %d in slot %d is not the only one", c.number, c.slot)
		}
		numbers[c.number], slots[c.slot] = true, true
		if len(c.queue) > queueLimit || len(c.late) > lateLimit {
			w.t.Fatalf("%d and %d telegrams wait", len(c.queue), len(c.late))
		}
		if (c.tries > 0) != !c.repeatAt.IsZero() || (c.tries > 0 && len(c.queue) == 0) {
			w.t.Fatalf("%d tries of %d telegrams, repeated at %v", c.tries, len(c.queue), c.repeatAt)
		}
		if c.tries == 0 && len(c.queue) > 0 {
			w.t.Fatal("telegrams wait, but none is under way")
		}
	}
}

// pass lets time pass; nothing may want to be done twice at the same time.
func (w *world) pass(by time.Duration) {
	end := w.now.Add(by)
	for at, ok := w.s.Deadline(); ok && !at.After(end); at, ok = w.s.Deadline() {
		if at.After(w.now) {
			w.now = at
		}
		w.s.Expire(w.now)
		w.drain(maxThawOutputs)
		w.check()
		if again, ok := w.s.Deadline(); ok && !again.After(w.now) {
			w.t.Fatal("wants to be called again at once")
		}
	}
	w.now = end
}

func (w *world) drawDatagram() []byte {
	t := w.t
	if rapid.IntRange(0, 9).Draw(t, "garbage") == 0 {
		return rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "datagram")
	}
	// Mostly what fits to a living channel.
	channel, expected, wire := rapid.Uint8Range(0, 9).Draw(t, "channel"), uint8(0), uint8(0)
	if n := len(w.s.channels); n > 0 && rapid.IntRange(0, 5).Draw(t, "living") > 0 {
		c := w.s.channels[rapid.IntRange(0, n-1).Draw(t, "which")]
		channel, expected, wire = c.number, c.expected, c.wire
	}
	sequence := rapid.SampledFrom([]uint8{0, 0, 0, 255, 1, 128}).Draw(t, "sequence")
	l := frame.LData{
		Message:     rapid.SampledFrom([]frame.MessageCode{frame.LDataReq, frame.LDataReq, frame.LDataInd}).Draw(t, "message"),
		Destination: rapid.SampledFrom([]uint16{0, 0x0A01, 0x0B01, 0x1101, 0x1901, 0x1A01, 0x7801}).Draw(t, "destination"),
		Group:       rapid.IntRange(0, 9).Draw(t, "group") > 0,
		APCI:        rapid.SampledFrom([]frame.APCI{0, 0x080, 0x080, 0x040, 0x3D5}).Draw(t, "apci"),
		Data:        rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "data"),
	}
	if len(l.Data) == 1 && l.APCI != 0 && l.Data[0] < 64 {
		l.SixBit = rapid.Bool().Draw(t, "six bits")
	}
	message := l.Append(nil)
	if rapid.IntRange(0, 5).Draw(t, "broken") == 0 {
		message = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "cemi")
	}
	layer := rapid.SampledFrom([]frame.Layer{frame.LayerLink, frame.LayerLink, frame.LayerRaw}).Draw(t, "layer")
	fixed := rapid.SampledFrom([]frame.IndividualAddress{0, 0, 0x11F1, 0x11F2, 0x1101, 0xFFFF}).Draw(t, "fixed")
	feature := frame.Feature(rapid.Uint8Range(0, 10).Draw(t, "feature"))
	frames := []frame.Frame{
		frame.ConnectRequest{Layer: layer, Fixed: fixed},
		frame.ConnectRequest{Layer: frame.LayerLink},
		frame.ConnectionStateRequest{Channel: channel},
		frame.DisconnectRequest{Channel: channel},
		frame.DisconnectResponse{Channel: channel},
		frame.TunnellingRequest{Channel: channel, Sequence: expected + sequence, CEMI: message},
		frame.TunnellingRequest{Channel: channel, Sequence: expected, CEMI: message},
		frame.TunnellingRequest{Channel: channel, Sequence: expected, CEMI: message},
		frame.TunnellingAck{Channel: channel, Sequence: wire + sequence},
		frame.TunnellingAck{Channel: channel, Sequence: wire},
		frame.TunnellingAck{Channel: channel, Sequence: wire},
		frame.FeatureGet{Channel: channel, Sequence: expected, Feature: feature},
		frame.FeatureSet{Channel: channel, Sequence: expected, Feature: feature, Value: []byte{1}},
		frame.DescriptionRequest{}, frame.SearchRequest{},
		frame.ConnectResponse{Channel: channel},
	}
	return frame.Append(nil, rapid.SampledFrom(frames).Draw(t, "frame"))
}

func drawFaults(t *rapid.T) Faults {
	rarely := func(name string) bool { return rapid.IntRange(0, 5).Draw(t, name) == 0 }
	count := func(name string) int {
		return rapid.SampledFrom([]int{0, 0, 0, 1, 2, 5, -1}).Draw(t, name)
	}
	return Faults{
		Silent: rarely("silent"), Frozen: rarely("frozen"), Full: rarely("full"),
		Refuse:       rapid.SampledFrom([]frame.Status{0, 0, 0, 0, 0x24}).Draw(t, "refuse"),
		LongRefusals: rarely("long"), Heartbeat: rapid.SampledFrom([]frame.Status{0, 0, 0x21}).Draw(t, "heartbeat"),
		LoseAcks: count("lose acks"), IgnoreAcks: count("ignore acks"),
		Confirmation:      rapid.SampledFrom([]Confirmation{0, 0, ConfirmNegative, ConfirmNever}).Draw(t, "confirmation"),
		ConfirmationDelay: rapid.SampledFrom([]time.Duration{0, 0, time.Second, time.Hour}).Draw(t, "delay"),
		WrongSequence:     count("wrong sequence"), Duplicates: count("duplicates"), Foreign: count("foreign"),
		Malformed: count("malformed"), Broken: count("broken"),
	}
}

var shared = Building()

func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		w := &world{t: t, now: epoch, clients: []netip.AddrPort{clientAddr, clientAddr, clientAddr, otherAddr}}
		w.s = New(Config{
			Slots:       rapid.IntRange(0, 9).Draw(t, "slots"),
			Style:       rapid.SampledFrom(styles).Draw(t, "style"),
			Profile:     rapid.SampledFrom([]*Profile{nil, shared}).Draw(t, "profile"),
			Rate:        rapid.SampledFrom([]float64{0, 1, 50}).Draw(t, "rate"),
			RecordLimit: rapid.IntRange(0, 30).Draw(t, "limit"),
		}, rand.New(rand.NewPCG(seed, 0)).Float64)
		w.s.Start(w.now)
		t.Repeat(map[string]func(*rapid.T){
			"receive": func(t *rapid.T) {
				w.t = t
				from := rapid.SampledFrom(w.clients).Draw(t, "client")
				w.s.Receive(w.now, from, w.drawDatagram())
				w.drain(maxOutputs)
			},
			"inject": func(t *rapid.T) {
				w.t = t
				_, err := w.s.Inject(w.now, Telegram{
					Destination: frame.GroupAddress(rapid.SampledFrom([]uint16{0, 0x0A01, 0x1101}).Draw(t, "to")),
					Command:     frame.GroupValueWrite, Data: []byte{1}, SixBit: rapid.Bool().Draw(t, "six bits"),
				})
				_ = err // one to 0/0/0 is refused
				w.drain(maxOutputs)
			},
			"faults": func(t *rapid.T) {
				w.t = t
				w.s.SetFaults(w.now, drawFaults(t))
				w.drain(maxThawOutputs)
			},
			"reboot": func(t *rapid.T) {
				w.t = t
				w.s.Reboot(w.now, time.Duration(rapid.IntRange(0, 5).Draw(t, "down"))*time.Second)
				w.drain(0)
			},
			"disconnect": func(t *rapid.T) {
				w.t = t
				w.s.Disconnect(w.now)
				w.drain(maxSlots)
			},
			"pass": func(t *rapid.T) {
				w.t = t
				w.pass(rapid.SampledFrom([]time.Duration{
					0, time.Millisecond, 50 * time.Millisecond, time.Second, 5 * time.Second, 2 * time.Minute,
				}).Draw(t, "time"))
			},
			"": func(t *rapid.T) {
				w.t = t
				w.check()
			},
		})
	})
}

// FuzzReceive gives a server with an open channel a list of datagrams, each with its
// length before it.
func FuzzReceive(f *testing.F) {
	list := func(frames ...frame.Frame) []byte {
		var data []byte
		for _, each := range frames {
			raw := frame.Append(nil, each)
			data = append(binary.BigEndian.AppendUint16(data, uint16(len(raw))), raw...)
		}
		return data
	}
	f.Add(list(frame.DescriptionRequest{}, frame.SearchRequest{}), false)
	f.Add(list(request(1, 0, cemi(frame.LDataReq, 0, false)), ackOf(1, 0), request(1, 1, cemi(frame.LDataReq, 0, false))), true)
	f.Add(list(frame.ConnectionStateRequest{Channel: 1}, frame.DisconnectRequest{Channel: 1}), true)
	f.Add(list(frame.ConnectRequest{Layer: frame.LayerLink, Fixed: 0x11F3}, frame.FeatureGet{Channel: 1, Feature: 6}), true)
	for _, raw := range MalformedFrames(1, 0) {
		f.Add(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, calimero bool) {
		cfg := Config{Profile: shared, Rate: 5}
		if calimero {
			cfg.Style = StyleCalimero
		}
		s := New(cfg, half)
		s.Start(epoch)
		s.Receive(epoch, clientAddr, frame.Append(nil, frame.ConnectRequest{Layer: frame.LayerLink}))
		now := epoch
		for len(data) >= 2 {
			n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
			s.Receive(now, clientAddr, data[2:2+n])
			data = data[2+n:]
			now = now.Add(100 * time.Millisecond)
			s.Expire(now)
			count := 0
			for out, ok := s.Next(); ok; out, ok = s.Next() {
				if _, err := frame.Parse(out.Payload); err != nil {
					t.Fatalf("sends %x: %v", out.Payload, err)
				}
				count++
			}
			if count > 2*maxOutputs {
				t.Fatalf("%d datagrams at once", count)
			}
		}
	})
}

func FuzzParseScript(f *testing.F) {
	f.Add(sessionScript)
	f.Add("at 1s silence 2s; at 3s refuse 0x24")
	f.Add("at 1s late-confirmations 4s 5s # late")
	f.Fuzz(func(t *testing.T, text string) {
		script, err := ParseScript(text)
		if err != nil {
			if len(script.steps) != 0 {
				t.Error("an error, and half a script")
			}
			return
		}
		s := New(Config{Script: script}, half)
		s.Start(epoch)
		for range 3 * maxSteps {
			at, ok := s.Deadline()
			if !ok {
				return
			}
			s.Expire(at)
		}
		t.Error("the script does not end")
	})
}
