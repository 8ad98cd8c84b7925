package session

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs of the golden scripts anew")

// TestScripts plays the interaction scripts of testdata: one for each rule. A
// script is blocks of commands, "----", and what the machine did, to the next
// empty line. The commands are:
//
//	config [control=A:P] [local=A:P] [fixed=IA] [fallback=A:P] [transport=auto|tcp] [layer=busmonitor] [probe=GA] [every=DURATION] [together=DURATION]   a new machine
//	start | stop | kick
//	at +DURATION          time passes; what is due on the way is done when due
//	late +DURATION        time passes, and only then what is due is done
//	recv SERVICE k=v …    the interface sends (from=A:P, default its control endpoint)
//	recv hex BYTES        the same, raw
//	write ID GA COMMAND [HEX] [six] [prio=low|normal|urgent]
//	recv … tcp            the same, over TCP
//	sendfailed TEXT | transportlost TEXT | streamopened | streamlost TEXT
//	message | ready | counters NAME…
//	quiet N COMMAND       the command N times without output, {i} counts from 0
//
// Times are those since the last config; the random number is always 0.5.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s: the machine did otherwise (go test -run TestScripts -rewrite, then look at the diff):\n%s",
					file, firstDifference(string(text), got))
			}
		})
	}
}

// Each rule of the tunnelling client has a script of its name.
func TestEachRuleHasAScript(t *testing.T) {
	for _, rule := range []string{
		"CONNECT", "Data endpoint", "NAT", "Heartbeat", "Heartbeat answer 0x21", "Send", "Counters", "Receive", "Foreign channel",
		"ACK path", "L_Data.con", "Own frames", "Source", "DISCONNECT", "Refused", "Extended CRI", "Features", "TCP v2", "Layers", "Rate",
	} {
		name := strings.NewReplacer(" ", "_", ".", "_").Replace(strings.ToLower(rule)) + ".txt"
		if _, err := os.Stat(filepath.Join("testdata", name)); err != nil {
			t.Errorf("rule %s: %v", rule, err)
		}
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\n got %s", i+1, strings.Join(w[min(i, len(w)):min(i+4, len(w))], "\n     "),
				strings.Join(g[min(i, len(g)):min(i+4, len(g))], "\n     "))
		}
	}
	return ""
}

// play runs a script and returns it with the outputs that came.
func play(t *testing.T, text string) string {
	t.Helper()
	p := newPlayer()
	var out strings.Builder
	expected := false // inside the old output, which is replaced
	pending := false  // commands were run whose output is not written yet
	for _, line := range strings.SplitAfter(text, "\n") {
		command := strings.TrimSpace(line)
		switch {
		case expected && command != "":
			continue
		case command == "----":
			out.WriteString("----\n" + p.flush())
			expected, pending = true, false
			continue
		case command == "", strings.HasPrefix(command, "#"):
			expected = false
		default:
			if err := p.run(command); err != nil {
				t.Fatalf("%q: %v", command, err)
			}
			pending = true
		}
		out.WriteString(line)
	}
	if pending {
		t.Fatal("the last block has no ----")
	}
	return out.String()
}

var (
	interfaceAddr = netip.MustParseAddrPort("192.168.1.3:3671")
	epoch         = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
)

type player struct {
	m    *Machine
	now  time.Time
	zero time.Time // the clock's origin in the output
	out  strings.Builder
	last string // datagram of the last request, to show repeats
}

func newPlayer() *player {
	p := &player{now: epoch}
	p.config(Config{Control: interfaceAddr})
	return p
}

func (p *player) config(cfg Config) {
	p.m = New(cfg, func() float64 { return 0.5 })
	p.zero, p.last = p.now, ""
}

// flush returns the output so far and the deadline.
func (p *player) flush() string {
	if at, ok := p.m.Deadline(); ok {
		p.linef("next %s", p.clock(at))
	} else {
		p.linef("next never")
	}
	text := p.out.String()
	p.out.Reset()
	return text
}

func (p *player) clock(t time.Time) string { return "+" + t.Sub(p.zero).String() }

func (p *player) linef(format string, args ...any) {
	fmt.Fprintf(&p.out, format+"\n", args...)
}

func (p *player) run(command string) error {
	word, rest, _ := strings.Cut(command, " ")
	switch word {
	case "config":
		return p.runConfig(args(rest))
	case "start":
		p.m.Start(p.now)
	case "stop":
		p.m.Stop(p.now)
	case "kick":
		p.m.Kick(p.now)
	case "at", "late":
		return p.pass(word == "late", rest)
	case "recv":
		if err := p.receive(args(rest)); err != nil {
			return err
		}
	case "write":
		if err := p.write(args(rest)); err != nil {
			return err
		}
	case "sendfailed":
		p.m.SendFailed(p.now, errors.New(rest))
	case "transportlost":
		p.m.TransportLost(p.now, errors.New(rest))
	case "streamopened":
		p.m.StreamOpened(p.now)
	case "streamlost":
		p.m.StreamLost(p.now, errors.New(rest))
	case "quiet":
		return p.quiet(rest)
	case "message":
		p.linef("%s", p.m.State().Message)
	case "ready":
		p.linef("ready %v", p.m.Ready())
	case "counters":
		return p.counters(strings.Fields(rest))
	default:
		return errors.New("no such command")
	}
	p.drain()
	return nil
}

func (p *player) runConfig(a arguments) error {
	cfg := Config{Control: interfaceAddr}
	var err error
	if v, ok := a["control"]; ok {
		cfg.Control, err = netip.ParseAddrPort(v)
	}
	if v, ok := a["local"]; ok && err == nil {
		cfg.Local, err = netip.ParseAddrPort(v)
	}
	if v, ok := a["fixed"]; ok && err == nil {
		cfg.FixedAddress, err = frame.ParseIndividualAddress(v)
	}
	if v, ok := a["fallback"]; ok && err == nil {
		var addr netip.AddrPort
		addr, err = netip.ParseAddrPort(v)
		cfg.Fallbacks = []netip.AddrPort{addr}
	}
	if v, ok := a["probe"]; ok && err == nil {
		cfg.Probe, err = frame.ParseGroupAddress(v)
	}
	if v, ok := a["every"]; ok && err == nil {
		cfg.ProbeEvery, err = time.ParseDuration(v)
	}
	if v, ok := a["together"]; ok && err == nil {
		cfg.Together, err = time.ParseDuration(v)
	}
	cfg.Transport = map[string]Transport{"auto": TransportAuto, "tcp": TransportTCP}[a["transport"]]
	if a["layer"] == "busmonitor" {
		cfg.Layer = frame.LayerBusmonitor
	}
	p.config(cfg)
	return err
}

// pass lets time pass.
func (p *player) pass(late bool, text string) error {
	d, err := time.ParseDuration(strings.TrimPrefix(text, "+"))
	if err != nil {
		return err
	}
	end := p.now.Add(d)
	for at, ok := p.m.Deadline(); !late && ok && !at.After(end); at, ok = p.m.Deadline() {
		p.now = at
		p.m.Expire(p.now)
		p.drain()
	}
	p.now = end
	p.m.Expire(p.now)
	p.drain()
	return nil
}

func (p *player) counters(names []string) error {
	// The names are those of the fields, as the %+v of the struct writes them.
	all := fmt.Sprintf("%+v ", p.m.Counters())
	for _, name := range names {
		i := strings.Index(strings.ReplaceAll(all, "{", " "), " "+name+":")
		if i < 0 {
			return fmt.Errorf("no counter %s", name)
		}
		value, _, _ := strings.Cut(all[i+len(name)+2:], " ")
		p.linef("%s %s", name, strings.TrimSuffix(value, "}"))
	}
	return nil
}

func (p *player) quiet(text string) error {
	count, command, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	before := p.out.String()
	for i := range n {
		if err := p.run(strings.ReplaceAll(command, "{i}", strconv.Itoa(i))); err != nil {
			return err
		}
	}
	p.out.Reset()
	p.out.WriteString(before)
	return nil
}

// arguments are words of a command: k=v by name, others by their position, and
// by themselves as flags.
type arguments map[string]string

func args(text string) arguments {
	a := arguments{}
	position := 0
	for word := range strings.FieldsSeq(text) {
		if k, v, ok := strings.Cut(word, "="); ok {
			a[k] = v
			continue
		}
		a[strconv.Itoa(position)] = word
		a[word] = word
		position++
	}
	return a
}

func (a arguments) number(name string) uint8 {
	n, err := strconv.ParseUint(a[name], 0, 8)
	if err != nil {
		return 0
	}
	return uint8(n)
}

func (p *player) receive(a arguments) error {
	from := interfaceAddr
	if v, ok := a["from"]; ok {
		var err error
		if from, err = netip.ParseAddrPort(v); err != nil {
			return err
		}
	}
	datagram, err := datagramOf(a)
	if err != nil {
		return err
	}
	if _, tcp := a["tcp"]; tcp {
		p.m.ReceiveStream(p.now, datagram)
	} else {
		p.m.Receive(p.now, from, datagram)
	}
	// The owner reuses its buffer: nothing may depend on it any more.
	clear(datagram)
	return nil
}

func datagramOf(a arguments) ([]byte, error) {
	ch, seq, status := a.number("ch"), a.number("seq"), frame.Status(a.number("status"))
	var f frame.Frame
	switch a["0"] {
	case "hex":
		return hex.DecodeString(a["1"])
	case "connect_response":
		r := frame.ConnectResponse{Channel: ch, Status: status}
		if v, ok := a["data"]; ok && v != "route-back" {
			addr, err := netip.ParseAddrPort(v)
			if err != nil {
				return nil, err
			}
			r.Data.Addr = addr
		}
		if v, ok := a["ia"]; ok {
			ia, err := frame.ParseIndividualAddress(v)
			if err != nil {
				return nil, err
			}
			r.Assigned = ia
		}
		f = r
	case "connectionstate_response":
		f = frame.ConnectionStateResponse{Channel: ch, Status: status}
	case "disconnect_request":
		f = frame.DisconnectRequest{Channel: ch}
	case "disconnect_response":
		f = frame.DisconnectResponse{Channel: ch, Status: status}
	case "tunnelling_ack":
		f = frame.TunnellingAck{Channel: ch, Sequence: seq, Status: status}
	case "description_response":
		f = frame.DescriptionResponse{Description: frame.Description{Services: []frame.SupportedService{
			{Family: frame.FamilyCore, Version: a.number("core")}, {Family: frame.FamilyTunnelling, Version: a.number("tunnelling")},
		}}}
	case "feature_info", "feature_response":
		value, err := hex.DecodeString(a["value"])
		if err != nil {
			return nil, err
		}
		feature := frame.Feature(a.number("feature"))
		if f = (frame.FeatureInfo{Channel: ch, Sequence: seq, Feature: feature, Value: value}); a["0"] == "feature_response" {
			f = frame.FeatureResponse{Channel: ch, Sequence: seq, Feature: feature, Code: a.number("code"), Value: value}
		}
	case "tunnelling_request":
		cemi, err := cemiOf(a)
		if err != nil {
			return nil, err
		}
		f = frame.TunnellingRequest{Channel: ch, Sequence: seq, CEMI: cemi}
	default:
		return nil, errors.New("no such service")
	}
	return frame.Append(nil, f), nil
}

func cemiOf(a arguments) ([]byte, error) {
	if raw, ok := a["cemi"]; ok {
		return hex.DecodeString(raw)
	}
	src, err := frame.ParseIndividualAddress(a["src"])
	if err != nil {
		return nil, err
	}
	dst, err := frame.ParseGroupAddress(a["dst"])
	if err != nil {
		return nil, err
	}
	data, err := hex.DecodeString(a["data"])
	if err != nil {
		return nil, err
	}
	l := frame.LData{
		Message: frame.LDataInd, Priority: frame.PriorityLow, HopCount: 6, Source: src,
		Destination: uint16(dst), Group: true, APCI: commands[a["apci"]], Data: data,
	}
	_, l.SixBit = a["six"]
	_, l.Failed = a["failed"]
	if _, con := a["con"]; con {
		l.Message = frame.LDataCon
	}
	return l.Append(nil), nil
}

var commands = map[string]frame.APCI{
	"read": frame.GroupValueRead, "response": frame.GroupValueResponse, "write": frame.GroupValueWrite,
	"memory": 0x200,
}

var priorities = map[string]frame.Priority{
	"low": frame.PriorityLow, "normal": frame.PriorityNormal, "urgent": frame.PriorityUrgent,
}

func (p *player) write(a arguments) error {
	dst, err := frame.ParseGroupAddress(a["1"])
	if err != nil {
		return err
	}
	var data []byte
	if a["3"] != "six" {
		if data, err = hex.DecodeString(a["3"]); err != nil {
			return err
		}
	}
	_, six := a["six"]
	p.m.Write(p.now, Write{
		ID: uint64(a.number("0")), Destination: dst, Command: commands[a["2"]],
		Data: data, SixBit: six, Priority: priorities[a["prio"]],
	})
	clear(data)
	return nil
}

func (p *player) drain() {
	for o, ok := p.m.Next(); ok; o, ok = p.m.Next() {
		p.linef("%s %s", p.clock(p.now), p.render(o))
	}
}

func (p *player) render(o Output) string {
	switch o := o.(type) {
	case Send:
		if o.Stream {
			return "send tcp " + p.renderDatagram(o.Datagram)
		}
		return fmt.Sprintf("send %s %s", o.To, p.renderDatagram(o.Datagram))
	case Dial:
		return fmt.Sprintf("dial %s", o.To)
	case Hangup:
		return "hangup"
	case Telegram:
		text := "telegram " + renderLData(o.LData)
		if o.Own {
			text += " own"
		}
		return text
	case BusFrame:
		b := o.Busmonitor
		return fmt.Sprintf("busmonitor %X seq=%d time=%d lost=%v", b.Frame, b.Sequence, b.Timestamp, b.Lost)
	case Result:
		text := fmt.Sprintf("result %d %s", o.ID, o.Outcome)
		if o.Err != nil {
			text += ": " + o.Err.Error()
		}
		return text
	case StateChanged:
		text := fmt.Sprintf("state %s since %s", o.State, p.clock(o.Since))
		if o.Reason != ReasonNone {
			text += " " + string(o.Reason)
		}
		if !o.RetryAt.IsZero() {
			text += " retry " + p.clock(o.RetryAt)
		}
		if o.Assigned != 0 {
			text += " as " + o.Assigned.String()
		}
		if o.Interface.IsValid() && o.Interface != interfaceAddr {
			text += " at " + o.Interface.String()
		}
		if o.TCP {
			text += " over tcp"
		}
		return text
	case Stopped:
		return "stopped"
	default:
		return fmt.Sprintf("unknown output %T", o)
	}
}

func (p *player) renderDatagram(datagram []byte) string {
	f, err := frame.Parse(datagram)
	if err != nil {
		return "BROKEN " + err.Error()
	}
	text := f.Service().String()
	switch f := f.(type) {
	case frame.ConnectRequest:
		text += fmt.Sprintf(" control=%s data=%s layer=0x%02X", renderHPAI(f.Control), renderHPAI(f.Data), uint8(f.Layer))
		if f.Fixed != 0 {
			text += " fixed=" + f.Fixed.String()
		}
	case frame.ConnectionStateRequest:
		text += fmt.Sprintf(" ch=%d control=%s", f.Channel, renderHPAI(f.Control))
	case frame.DisconnectRequest:
		text += fmt.Sprintf(" ch=%d control=%s", f.Channel, renderHPAI(f.Control))
	case frame.DisconnectResponse:
		text += fmt.Sprintf(" ch=%d %s", f.Channel, f.Status)
	case frame.DescriptionRequest:
		text += fmt.Sprintf(" control=%s", renderHPAI(f.Control))
	case frame.FeatureGet:
		text += fmt.Sprintf(" ch=%d seq=%d %s", f.Channel, f.Sequence, f.Feature)
	case frame.FeatureSet:
		text += fmt.Sprintf(" ch=%d seq=%d %s %x", f.Channel, f.Sequence, f.Feature, f.Value)
	case frame.TunnellingAck:
		text += fmt.Sprintf(" ch=%d seq=%d %s", f.Channel, f.Sequence, f.Status)
	case frame.TunnellingRequest:
		text += fmt.Sprintf(" ch=%d seq=%d", f.Channel, f.Sequence)
		if l, err := frame.ParseLData(f.CEMI); err == nil {
			text += " " + renderLData(l)
		}
		if p.last == string(datagram) {
			text += " (the same bytes)"
		}
		p.last = string(datagram)
	}
	return text
}

func renderHPAI(h frame.HPAI) string {
	if h.TCP {
		return "tcp"
	}
	if !h.Addr.IsValid() {
		return "route-back"
	}
	return h.Addr.String()
}

func renderLData(l frame.LData) string {
	text := fmt.Sprintf("%s %s>%s %s", l.Message, l.Source, frame.GroupAddress(l.Destination), l.APCI)
	if len(l.Data) > 0 {
		text += " " + hex.EncodeToString(l.Data)
	}
	if l.SixBit {
		text += " six"
	}
	if l.Message == frame.LDataReq {
		text += fmt.Sprintf(" %s hops=%d", l.Priority, l.HopCount)
	}
	if l.Failed {
		text += " failed"
	}
	return text
}
