package session

import (
	"errors"
	"flag"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// TestMain plays more games than rapid does by itself: they are short.
func TestMain(m *testing.M) {
	flag.Parse()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("2000"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// maxOutputs bounds what one call may cause. The most is a session lost: a
// result, a state, DISCONNECT, the end of TCP, and the way to the next interface;
// late calls do a few things at once.
const maxOutputs = 12

// world drives a machine with anything, and checks what must hold always.
type world struct {
	t        *rapid.T
	m        *Machine
	start    time.Time
	now      time.Time
	writes   uint64
	results  map[uint64]int
	stopped  int
	stopAt   time.Time   // when Stop was called
	asked    []Send      // requests of the machine that nobody has answered
	dialing  bool        // a TCP connection has been asked for
	open     bool        // and is there
	attempts []time.Time // CONNECT_REQUESTs of the last second
}

func (w *world) drain() []Output {
	var all []Output
	for o, ok := w.m.Next(); ok; o, ok = w.m.Next() {
		all = append(all, o)
		switch o := o.(type) {
		case Send:
			f, err := frame.Parse(o.Datagram)
			if err != nil || o.To.IsValid() == o.Stream || (o.Stream && !w.open) {
				w.t.Fatalf("sends what is no frame, or to nobody: %x to %v: %v", o.Datagram, o.To, err)
			}
			w.asked = append(w.asked, o)
			if f.Service() == frame.ConnectRequestService {
				w.attempt()
			}
		case Dial:
			if w.dialing || w.open {
				w.t.Fatal("dials twice")
			}
			w.dialing = true
		case Hangup:
			if !w.dialing && !w.open {
				w.t.Fatal("hangs up what is not there")
			}
			w.dialing, w.open = false, false
		case Result:
			w.results[o.ID]++
			if (o.Outcome == NotSent) != (o.Err != nil) {
				w.t.Fatalf("outcome %v with error %v", o.Outcome, o.Err)
			}
		case StateChanged:
			if o.Reason != ReasonNone && (o.Message == "" || o.Reason.Advice() == "" || o.Reason.what() == "") {
				w.t.Fatalf("reason %s has no sentence", o.Reason)
			}
			if (o.State == StateBackingOff) != !o.RetryAt.IsZero() {
				w.t.Fatalf("state %v with retry time %v", o.State, o.RetryAt)
			}
		case Telegram:
			if !o.LData.GroupService() {
				w.t.Fatalf("no group telegram: %+v", o.LData)
			}
		case Stopped:
			w.stopped++
			if w.dialing || w.open {
				w.t.Fatal("stopped with a TCP connection")
			}
		}
	}
	if len(all) > maxOutputs {
		w.t.Fatalf("%d outputs of one call: %v", len(all), all)
	}
	return all
}

func (w *world) check() {
	at, ok := w.m.Deadline()
	running := w.m.phase != phaseIdle && w.m.phase != phaseStopped
	if ok != running {
		w.t.Fatalf("phase %d has a deadline: %v", w.m.phase, ok)
	}
	if ok && !at.After(w.now) {
		w.t.Fatalf("phase %d wants to be called at %v, which is not after now", w.m.phase, at.Sub(w.start))
	}
	w.checkOnline(w.now)
	if w.m.Ready() && w.m.State().State != StateOnline {
		w.t.Fatalf("ready in state %v", w.m.State().State)
	}
	if !w.stopAt.IsZero() && running && w.now.Sub(w.stopAt) > disconnectTimeout {
		w.t.Fatal("not stopped after 10 s")
	}
}

// attempt checks that the machine is not hot: one attempt in due time, one by the
// basic CRI, one at once after a session that was stable, and none else within 1 s;
// as many again for another interface, and for UDP after TCP.
func (w *world) attempt() {
	w.attempts = slices.DeleteFunc(w.attempts, func(t time.Time) bool { return w.now.Sub(t) >= time.Second })
	most := 3 * len(w.m.peers)
	if w.m.cfg.Transport == TransportAuto {
		most *= 2
	}
	if w.attempts = append(w.attempts, w.now); len(w.attempts) > most {
		w.t.Fatalf("%d attempts within a second", len(w.attempts))
	}
}

// checkOnline checks what ONLINE promises, at any time until the next deadline.
func (w *world) checkOnline(at time.Time) {
	if w.m.phase == phaseUp && w.m.State().State == StateOnline && at.Sub(w.m.link.answered) > 30*time.Second {
		w.t.Fatalf("ONLINE %v after the last answer", at.Sub(w.m.link.answered))
	}
}

// answer does for the interface what the rules say.
func (w *world) answer() {
	asked := w.asked
	w.asked = nil
	for _, s := range asked {
		f, err := frame.Parse(s.Datagram)
		if err != nil {
			w.t.Fatal(err)
		}
		switch f := f.(type) {
		case frame.DescriptionRequest:
			w.reply(s, frame.DescriptionResponse{Description: frame.Description{Services: []frame.SupportedService{
				{Family: frame.FamilyCore, Version: 2}, {Family: frame.FamilyTunnelling, Version: 2},
			}}})
		case frame.ConnectRequest:
			w.reply(s, frame.ConnectResponse{Channel: 1, Data: frame.HPAI{Addr: interfaceAddr}, Assigned: 0x11FA})
		case frame.ConnectionStateRequest:
			w.reply(s, frame.ConnectionStateResponse{Channel: f.Channel})
		case frame.DisconnectRequest:
			w.reply(s, frame.DisconnectResponse{Channel: f.Channel})
		case frame.TunnellingRequest:
			w.reply(s, frame.TunnellingAck{Channel: f.Channel, Sequence: f.Sequence})
		case frame.FeatureGet:
			w.reply(s, frame.TunnellingAck{Channel: f.Channel, Sequence: f.Sequence})
		case frame.FeatureSet:
			w.reply(s, frame.TunnellingAck{Channel: f.Channel, Sequence: f.Sequence})
		}
	}
	if w.dialing {
		w.dialing, w.open = false, true
		w.m.StreamOpened(w.now)
		w.drain()
	}
}

// reply answers the way that something was asked.
func (w *world) reply(to Send, f frame.Frame) {
	if to.Stream {
		w.stream(frame.Append(nil, f))
	} else {
		w.receive(to.To, frame.Append(nil, f))
	}
}

// stream is what comes over TCP while it is open.
func (w *world) stream(datagram []byte) {
	if w.open {
		w.m.ReceiveStream(w.now, datagram)
		w.drain()
	}
}

func (w *world) send(f frame.Frame) { w.receive(interfaceAddr, frame.Append(nil, f)) }

// pass lets time pass as an owner does: everything is done when it is due.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for at, ok := w.m.Deadline(); ok && !at.After(end); at, ok = w.m.Deadline() {
		w.checkOnline(at)
		w.now = at
		w.m.Expire(w.now)
		w.drain()
		w.check()
	}
	w.now = end
}

func (w *world) receive(from netip.AddrPort, datagram []byte) {
	var want *frame.TunnellingAck
	if f, err := frame.Parse(datagram); err == nil && w.m.phase == phaseUp && from == interfaceAddr && !w.m.link.stream {
		if r, ok := f.(frame.TunnellingRequest); ok && r.Channel == w.m.link.channel &&
			w.m.link.receiveSequence-r.Sequence <= 1 {
			want = &frame.TunnellingAck{Channel: r.Channel, Sequence: r.Sequence}
		}
	}
	w.m.Receive(w.now, from, datagram)
	outputs := w.drain()
	if want == nil {
		return
	}
	if len(outputs) == 0 {
		w.t.Fatal("no ACK")
	}
	first, ok := outputs[0].(Send)
	if !ok {
		w.t.Fatalf("first output %T, want the ACK", outputs[0])
	}
	if f, err := frame.Parse(first.Datagram); err != nil || f != frame.Frame(*want) {
		w.t.Fatalf("first output %v, want %v", f, *want)
	}
}

// drawDatagram draws frames that an interface might send, and some garbage.
func (w *world) drawDatagram(t *rapid.T) []byte {
	channel := rapid.SampledFrom([]uint8{1, 1, 1, w.m.link.channel, w.m.link.channel, 2, 0}).Draw(t, "channel")
	status := rapid.SampledFrom([]frame.Status{0, 0, 0, 0x21, 0x22, 0x24, 0x26, 0x27, 0x29, 0x77}).Draw(t, "status")
	sequence := w.m.link.receiveSequence + rapid.SampledFrom([]uint8{0, 0, 0, 255, 1, 128}).Draw(t, "sequence")
	l := frame.LData{
		Message: rapid.SampledFrom([]frame.MessageCode{frame.LDataInd, frame.LDataCon, frame.LDataReq}).Draw(t, "message"),
		Failed:  rapid.Bool().Draw(t, "failed"), Group: true, Destination: 0x0A03, APCI: frame.GroupValueWrite,
		Data: []byte{1}, SixBit: true,
	}
	cemi := l.Append(nil)
	if rapid.IntRange(0, 4).Draw(t, "broken") == 0 {
		cemi = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "cemi")
	}
	frames := []frame.Frame{
		frame.ConnectResponse{Channel: channel, Status: status, Data: frame.HPAI{Addr: interfaceAddr}},
		frame.ConnectResponse{Channel: channel, Data: frame.HPAI{Addr: interfaceAddr}},
		frame.ConnectionStateResponse{Channel: channel, Status: status},
		frame.ConnectionStateResponse{Channel: channel},
		frame.DisconnectRequest{Channel: channel},
		frame.DisconnectResponse{Channel: channel, Status: status},
		frame.TunnellingRequest{Channel: channel, Sequence: sequence, CEMI: cemi},
		frame.TunnellingRequest{Channel: channel, Sequence: sequence, CEMI: cemi},
		frame.TunnellingAck{Channel: channel, Sequence: w.m.link.sendSequence, Status: status},
		frame.TunnellingAck{Channel: channel, Sequence: w.m.link.sendSequence},
		frame.FeatureInfo{Channel: channel, Sequence: sequence, Feature: frame.FeatureBusStatus, Value: []byte{byte(status) & 1}},
		frame.FeatureResponse{Channel: channel, Sequence: sequence, Feature: frame.FeatureMaxAPDULength, Value: []byte{0, byte(status)}},
		frame.DescriptionResponse{Description: frame.Description{Services: []frame.SupportedService{
			{Family: frame.FamilyTunnelling, Version: 2},
		}}},
		frame.ConnectRequest{},
	}
	datagram := frame.Append(nil, rapid.SampledFrom(frames).Draw(t, "frame"))
	if rapid.IntRange(0, 9).Draw(t, "cut") == 0 {
		datagram = datagram[:rapid.IntRange(0, len(datagram)).Draw(t, "length")]
	}
	return datagram
}

// TestAnything: whatever comes, the machine does not panic, always has a next
// deadline until it has stopped, is not hot, acknowledges at once, is ONLINE only
// when it may be, and answers every write once.
func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Control: interfaceAddr}
		if rapid.Bool().Draw(t, "fixed") {
			cfg.FixedAddress = 0x11FB
		}
		cfg.Transport = rapid.SampledFrom([]Transport{TransportUDP, TransportAuto, TransportTCP}).Draw(t, "transport")
		if rapid.Bool().Draw(t, "fallback") {
			cfg.Fallbacks = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.4:3671")}
		}
		random := rapid.Float64Range(0, 0.999999)
		w := &world{t: t, start: epoch, now: epoch, results: map[uint64]int{}}
		w.m = New(cfg, func() float64 { return random.Draw(t, "rnd") })
		w.m.Start(w.now)
		w.drain()
		from := rapid.SampledFrom([]netip.AddrPort{
			interfaceAddr, interfaceAddr, interfaceAddr, netip.MustParseAddrPort("192.168.1.9:3671"), netip.MustParseAddrPort("192.168.1.4:3671"),
			netip.MustParseAddrPort("[::ffff:192.168.1.3]:3671"),
		})
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"receive": func(t *rapid.T) {
				w.receive(from.Draw(t, "from"), w.drawDatagram(t))
			},
			"receive more": func(t *rapid.T) {
				w.receive(from.Draw(t, "from"), w.drawDatagram(t))
			},
			"stream": func(t *rapid.T) { w.stream(w.drawDatagram(t)) },
			"stream lost": func(*rapid.T) {
				if w.dialing || w.open {
					w.dialing, w.open = false, false
					w.m.StreamLost(w.now, errors.New("reset"))
					w.drain()
				}
			},
			"answer":      func(*rapid.T) { w.answer() },
			"answer more": func(*rapid.T) { w.answer() },
			"flap": func(*rapid.T) {
				for range 4 {
					w.answer()
					w.send(frame.DisconnectRequest{Channel: w.m.link.channel})
				}
			},
			"garbage": func(t *rapid.T) {
				w.receive(from.Draw(t, "from"), rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "garbage"))
			},
			"write": func(t *rapid.T) {
				w.writes++
				ready := w.m.Ready()
				known := w.m.link.stream && w.m.neverConfirms() // over TCP there is nothing to wait for then
				w.m.Write(w.now, Write{
					ID: w.writes, Command: frame.GroupValueWrite, Destination: 0x0A03, Data: []byte{1}, SixBit: true,
				})
				w.drain()
				if ready == (w.results[w.writes] != 0) && (!known || !ready) {
					t.Fatalf("ready %v, but the write has %d results at once", ready, w.results[w.writes])
				}
			},
			"wait": func(t *rapid.T) {
				w.pass(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "wait")))
			},
			"next deadline": func(*rapid.T) {
				if at, ok := w.m.Deadline(); ok {
					w.pass(at.Sub(w.now))
				}
			},
			"late": func(t *rapid.T) {
				d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "late"))
				w.now = w.now.Add(d)
				w.m.Expire(w.now)
				w.drain()
				if !w.stopAt.IsZero() {
					w.stopAt = w.stopAt.Add(d) // the owner slept, not the machine
				}
				if w.m.phase == phaseUp {
					w.m.link.answered = w.now // the 30 s are kept only by an owner that keeps time
				}
			},
			"kick":        func(*rapid.T) { w.m.Kick(w.now); w.drain() },
			"send failed": func(*rapid.T) { w.m.SendFailed(w.now, errors.New("no buffer")); w.drain() },
			"transport":   func(*rapid.T) { w.m.TransportLost(w.now, errors.New("closed")); w.drain() },
			"stop": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "really") != 0 {
					return
				}
				if w.stopAt.IsZero() {
					w.stopAt = w.now
				}
				w.m.Stop(w.now)
				w.drain()
			},
			"confirm": func(t *rapid.T) {
				con := w.m.write.data
				con.Message, con.Failed = frame.LDataCon, rapid.Bool().Draw(t, "failed")
				w.send(frame.TunnellingRequest{
					Channel: w.m.link.channel, Sequence: w.m.link.receiveSequence, CEMI: con.Append(nil),
				})
			},
		})
		w.m.Stop(w.now)
		w.drain()
		w.pass(disconnectTimeout)
		if w.stopped != 1 {
			t.Fatalf("%d times stopped", w.stopped)
		}
		for id := range w.writes {
			if w.results[id+1] != 1 {
				t.Fatalf("write %d has %d results", id+1, w.results[id+1])
			}
		}
	})
}

// TestBackoff: waits grow, stay within their bounds, and differ.
func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SampledFrom([]backoff{retryBackoff, slotsBackoff}).Draw(t, "backoff")
		for n := range rapid.IntRange(1, 50).Draw(t, "failures") {
			high := min(b.first<<min(n+1, 20), b.limit)
			d := b.next(rapid.Float64Range(0, 0.999999).Draw(t, "r"))
			if d < b.first || d > b.limit || d < high/2 || d > high {
				t.Fatalf("wait %d is %v, want %v to %v", n, d, high/2, high)
			}
		}
	})
	if a, b := retryBackoff, retryBackoff; a.next(0.1) == b.next(0.9) {
		t.Error("the waits of two buildings are the same")
	}
}

// FuzzReceive: no datagram can panic the machine, in any phase, or make it send
// much.
func FuzzReceive(f *testing.F) {
	seeds := []frame.Frame{
		frame.ConnectResponse{Channel: 7, Data: frame.HPAI{Addr: interfaceAddr}, Assigned: 0x11FA},
		frame.ConnectResponse{Status: frame.StatusNoMoreConnections},
		frame.ConnectionStateResponse{Channel: 7, Status: frame.StatusConnectionID},
		frame.DisconnectRequest{Channel: 7},
		frame.TunnellingRequest{Channel: 7, CEMI: []byte{0x29, 0, 0xBC, 0xE0, 0x11, 5, 0x0A, 3, 1, 0, 0x81}},
		frame.TunnellingAck{Channel: 7},
		frame.FeatureInfo{Channel: 7, Feature: frame.FeatureBusStatus, Value: []byte{1}},
	}
	for phase := range uint8(8) {
		for _, s := range seeds {
			f.Add(phase, frame.Append(nil, s))
		}
	}
	f.Fuzz(func(t *testing.T, phase uint8, datagram []byte) {
		cfg := Config{Control: interfaceAddr}
		if phase&4 != 0 {
			cfg.Transport = TransportTCP
		}
		m := New(cfg, func() float64 { return 0.5 })
		now := epoch
		if phase%4 > 0 {
			m.Start(now)
			m.StreamOpened(now)
		}
		if phase%4 > 1 {
			m.Receive(now, interfaceAddr, frame.Append(nil, seeds[0]))
			m.ReceiveStream(now, frame.Append(nil, seeds[0]))
			m.Write(now, Write{Command: frame.GroupValueRead, Destination: 1})
		}
		if phase%4 > 2 {
			m.Stop(now)
		}
		for range 3 {
			outputs(m)
			m.Receive(now, interfaceAddr, datagram)
			m.ReceiveStream(now, datagram)
			if n := outputs(m); n > maxOutputs {
				t.Fatalf("%d outputs", n)
			}
			now = now.Add(time.Second)
			m.Expire(now)
		}
	})
}

// outputs drains a machine and counts.
func outputs(m *Machine) int {
	n := 0
	for _, ok := m.Next(); ok; _, ok = m.Next() {
		n++
	}
	return n
}

// TestSlotsFullPace: in the first ten minutes of an outage no wait is longer than
// 15 s, and later none longer than a minute; it is never below 5 s.
func TestSlotsFullPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Config{Control: netip.MustParseAddrPort("192.168.1.3:3671")}, func() float64 {
			return rapid.Float64Range(0, 0.999999).Draw(t, "r")
		})
		start := time.Unix(0, 0)
		now, longest := start, time.Duration(0)
		m.Start(now)
		refusal := frame.Append(nil, frame.ConnectResponse{Status: frame.StatusNoMoreConnections})
		for now.Sub(start) < 30*time.Minute {
			m.Receive(now, m.cfg.Control, refusal)
			wait := m.State().RetryAt.Sub(now)
			limit := 15 * time.Second
			if now.Sub(start) >= 10*time.Minute {
				limit = time.Minute
				longest = max(longest, wait)
			}
			if wait < 5*time.Second || wait > limit {
				t.Fatalf("a wait of %v after %v", wait, now.Sub(start))
			}
			for more := true; more; {
				_, more = m.Next()
			}
			now = now.Add(wait)
			m.Expire(now)
		}
		if longest < 30*time.Second {
			t.Fatalf("after ten minutes it is still asked every %v", longest)
		}
	})
}
