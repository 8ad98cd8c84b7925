package knxserver

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// pair is the project's own session machine against a server, by UDP and TCP
// without delay or loss, in virtual time.
type pair struct {
	t         *testing.T
	server    *Server
	client    *session.Machine
	now       time.Time
	open      bool // the TCP connection
	telegrams int
	outcomes  []session.Outcome
	errs      []error
}

func newPair(t *testing.T, cfg Config, transport session.Transport) *pair {
	t.Helper()
	cfg.RecordLimit = 1 << 20
	p := &pair{t: t, now: epoch, server: New(cfg, half)}
	p.client = session.New(session.Config{Control: serverAddr, Transport: transport}, half)
	p.server.Start(p.now)
	p.client.Start(p.now)
	p.drain()
	return p
}

// drain carries everything over until both are quiet.
func (p *pair) drain() {
	for busy := true; busy; {
		busy = false
		for d, ok := p.server.Next(); ok; d, ok = p.server.Next() {
			busy = true
			switch {
			case d.TCP && !p.open:
			case d.TCP && d.Payload == nil:
				p.open = false
				p.client.StreamLost(p.now, errors.New("closed by the interface"))
			case d.TCP:
				p.client.ReceiveStream(p.now, d.Payload)
			default:
				p.client.Receive(p.now, d.From, d.Payload)
			}
		}
		for out, ok := p.client.Next(); ok; out, ok = p.client.Next() {
			busy = true
			p.take(out)
		}
	}
}

func (p *pair) take(out session.Output) {
	switch out := out.(type) {
	case session.Send:
		if out.Stream {
			p.server.ReceiveTCP(p.now, clientAddr, out.Datagram)
		} else {
			p.server.Receive(p.now, clientAddr, out.Datagram)
		}
	case session.Dial:
		if p.open = p.server.Accept(p.now, clientAddr); p.open {
			p.client.StreamOpened(p.now)
		} else {
			p.client.StreamLost(p.now, errors.New("refused"))
		}
	case session.Hangup:
		p.open = false
		p.server.Closed(p.now, clientAddr)
	case session.Telegram:
		if !out.Own {
			p.telegrams++
		}
	case session.Result:
		p.outcomes, p.errs = append(p.outcomes, out.Outcome), append(p.errs, out.Err)
	}
}

func (p *pair) pass(d time.Duration) {
	end := p.now.Add(d)
	for {
		at, ok := p.server.Deadline()
		if other, also := p.client.Deadline(); also && (!ok || other.Before(at)) {
			at, ok = other, true
		}
		if !ok || at.After(end) {
			break
		}
		if at.After(p.now) {
			p.now = at
		}
		p.server.Expire(p.now)
		p.client.Expire(p.now)
		p.drain()
	}
	p.now = end
}

func (p *pair) write(data ...byte) session.Outcome {
	p.t.Helper()
	n := len(p.outcomes)
	p.client.Write(p.now, session.Write{Command: frame.GroupValueWrite, Destination: 0x0A03, Data: data})
	p.drain()
	p.pass(4 * time.Second)
	if len(p.outcomes) != n+1 {
		p.t.Fatalf("a write has %d results", len(p.outcomes)-n)
	}
	return p.outcomes[n]
}

func (p *pair) want(s session.State, tcp bool) {
	p.t.Helper()
	if got := p.client.State(); got.State != s || got.TCP != tcp {
		p.t.Fatalf("the session is %+v, want %v, over TCP %v", got, s, tcp)
	}
}

func (p *pair) inject() {
	p.t.Helper()
	if _, err := p.server.Inject(p.now, Telegram{Destination: 0x7801, Command: frame.GroupValueWrite, Data: []byte{1, 2}}); err != nil {
		p.t.Fatal(err)
	}
	p.drain()
}

var overTCP = Config{Style: StyleCalimero, TCP: true}

func TestSessionOverTCP(t *testing.T) {
	p := newPair(t, overTCP, session.TransportAuto)
	p.want(session.StateOnline, true)
	for range 300 { // more than the sequence counter holds
		p.inject()
	}
	if outcome := p.write(0x0C, 0x33); outcome != session.Confirmed {
		t.Errorf("a write is %v", outcome)
	}
	p.pass(time.Hour)
	p.want(session.StateOnline, true)
	if c := p.client.Counters(); p.telegrams != 300 || c.Sessions != 1 || c.AcksFailed != 0 {
		t.Errorf("%d telegrams, %+v", p.telegrams, c)
	}
	p.client.Stop(p.now)
	p.drain()
	if n := len(p.server.Channels()); n != 0 || p.open {
		t.Errorf("%d channels after the end, connection open: %v", n, p.open)
	}
}

// The transport is what the description offers.
func TestTransportByDescription(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		transport session.Transport
		tcp       bool
	}{
		{overTCP, session.TransportUDP, false},
		{overTCP, session.TransportTCP, true},
		{Config{Style: StyleCalimero}, session.TransportAuto, false},
		{Config{Style: StyleKnxd, TCP: true}, session.TransportAuto, false},
	} {
		newPair(t, c.cfg, c.transport).want(session.StateOnline, c.tcp)
	}
}

func TestTCPFaults(t *testing.T) {
	for name, fault := range map[string]func(p *pair){
		"hang-up":    func(p *pair) { p.server.HangUp(p.now) },
		"disconnect": func(p *pair) { p.server.Disconnect(p.now) },
		"reboot":     func(p *pair) { p.server.Reboot(p.now, 30*time.Second) },
		"silence":    func(p *pair) { p.silence(2 * time.Minute) },
		"forgotten": func(p *pair) {
			p.server.closeChannel(p.now, p.server.channels[0]) // heartbeats are answered 0x21
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, overTCP, session.TransportAuto)
			p.pass(time.Minute)
			fault(p)
			p.drain()
			p.pass(2 * time.Minute)
			p.want(session.StateOnline, true)
			if c := p.client.Counters(); c.Sessions != 2 {
				t.Errorf("%d sessions, want two", c.Sessions)
			}
			p.inject()
			if p.telegrams != 1 || p.write(1, 2) != session.Confirmed {
				t.Errorf("%d telegrams, outcomes %v", p.telegrams, p.outcomes)
			}
			if n := len(p.server.Channels()); n != 1 {
				t.Errorf("%d channels, want one", n)
			}
		})
	}
}

func (p *pair) silence(d time.Duration) {
	p.server.SetFaults(p.now, Faults{Silent: true})
	p.pass(d)
	p.server.SetFaults(p.now, Faults{})
}

func TestTCPIsRefused(t *testing.T) {
	s := New(Config{Style: StyleCalimero, TCP: true}, half)
	if s.Accept(epoch, clientAddr) {
		t.Error("it takes a connection while it is switched off")
	}
	s.Start(epoch)
	if !s.Accept(epoch, clientAddr) || s.Accept(epoch, clientAddr) {
		t.Error("it takes none, or the same twice")
	}
	s.ReceiveTCP(epoch, otherAddr, frame.Append(nil, frame.ConnectRequest{}))
	if d, some := s.Next(); some {
		t.Errorf("it answers %x to a connection that is not there", d.Payload)
	}
	// HPAIs that do not fit the way they came.
	s.ReceiveTCP(epoch, clientAddr, frame.Append(nil, frame.ConnectRequest{Layer: frame.LayerLink}))
	s.Receive(epoch, clientAddr, frame.Append(nil, frame.ConnectRequest{Layer: frame.LayerLink, Control: frame.HPAI{TCP: true}, Data: frame.HPAI{TCP: true}}))
	refusal := frame.Append(nil, frame.ConnectResponse{Status: frame.StatusHostProtocolType})
	for _, tcp := range []bool{true, false} {
		if d, some := s.Next(); !some || !bytes.Equal(d.Payload, refusal) || d.TCP != tcp {
			t.Errorf("it answers %x, over TCP %v, want a refusal", d.Payload, d.TCP)
		}
	}
}

// Where TCP is promised and not taken, the session goes over UDP, and asks anew in the
// next one.
func TestTCPPromisedAndRefused(t *testing.T) {
	script, err := ParseScript("at 0s refuse-tcp 1m; at 2m disconnect")
	if err != nil {
		t.Fatal(err)
	}
	cfg := overTCP
	cfg.Script = script
	p := newPair(t, cfg, session.TransportAuto)
	p.want(session.StateOnline, false)
	p.inject()
	if p.telegrams != 1 || p.write(1, 2) != session.Confirmed {
		t.Errorf("%d telegrams, outcomes %v", p.telegrams, p.outcomes)
	}
	p.pass(3 * time.Minute)
	p.want(session.StateOnline, true)
}

// The bus is gone: version 2 says so at once, also to a session that is up.
func TestBusDown(t *testing.T) {
	for _, transport := range []session.Transport{session.TransportTCP, session.TransportAuto} {
		cfg := overTCP
		cfg.TCP = transport == session.TransportTCP
		p := newPair(t, cfg, transport)
		p.want(session.StateOnline, cfg.TCP)
		p.server.SetFaults(p.now, Faults{BusDown: true})
		p.drain()
		if s := p.client.State(); s.State != session.StateConnecting || s.Reason != session.ReasonBusDown {
			t.Errorf("without its bus the session is %+v", s)
		}
		p.inject()
		p.pass(10 * time.Minute)
		if c := p.client.Counters(); c.Sessions != 1 || p.telegrams != 0 {
			t.Errorf("%d sessions and %d telegrams without a bus", c.Sessions, p.telegrams)
		}
		p.server.SetFaults(p.now, Faults{})
		p.drain()
		p.want(session.StateOnline, cfg.TCP)
	}
}

// An interface that was connected to while its bus was gone.
func TestBusDownFromTheStart(t *testing.T) {
	script, err := ParseScript("at 0s bus-down 90s")
	if err != nil {
		t.Fatal(err)
	}
	cfg := overTCP
	cfg.Script = script
	p := newPair(t, cfg, session.TransportAuto)
	if s := p.client.State(); s.Reason != session.ReasonBusDown {
		t.Errorf("it is %+v", s)
	}
	p.pass(91 * time.Second)
	p.want(session.StateOnline, true)
}

func TestMaxAPDU(t *testing.T) {
	cfg := overTCP
	cfg.MaxAPDU = 55
	p := newPair(t, cfg, session.TransportAuto)
	if outcome := p.write(make([]byte, 54)...); outcome != session.Confirmed {
		t.Errorf("the longest write is %v", outcome)
	}
	if outcome := p.write(make([]byte, 55)...); outcome != session.NotSent || !errors.Is(p.errs[1], session.ErrTooLong) {
		t.Errorf("one that is too long is %v, %v", outcome, p.errs[1])
	}
	// Who does not ask, learns it from the bus.
	p = newPair(t, cfg, session.TransportUDP)
	if outcome := p.write(make([]byte, 55)...); outcome != session.Rejected {
		t.Errorf("one that is too long is %v", outcome)
	}
}
