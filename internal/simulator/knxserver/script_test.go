package knxserver

import (
	"strings"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func TestScriptRuns(t *testing.T) {
	script, err := ParseScript(`
		# what goes wrong in this building
		at 10s silence 30s; at 20s lose-acks 3
		at 40s refuse 0x24 10s   # ends with the next line's start
		at 50s refuse 0x25 10s
		at 1m heartbeat 38
		at 65s late-confirmations 4s 5s
		at 65s negative-confirmations 5s
		at 2m clear
		at 3m freeze 1s
	`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[time.Duration]Faults{
		0:                 {},
		10 * time.Second:  {Silent: true},
		39 * time.Second:  {Silent: true, LoseAcks: 3},
		40 * time.Second:  {Refuse: 0x24, LoseAcks: 3},
		50 * time.Second:  {Refuse: 0x25, LoseAcks: 3},
		60 * time.Second:  {Heartbeat: 0x26, LoseAcks: 3},
		66 * time.Second:  {Heartbeat: 0x26, LoseAcks: 3, ConfirmationDelay: 4 * time.Second, Confirmation: ConfirmNegative},
		70 * time.Second:  {Heartbeat: 0x26, LoseAcks: 3},
		120 * time.Second: {},
		180 * time.Second: {Frozen: true},
		181 * time.Second: {},
	}
	d := newDesk(t, Config{Script: script})
	for at := time.Duration(0); at < 200*time.Second; at += time.Second {
		if faults, ok := want[at]; ok && d.s.Faults() != faults {
			t.Errorf("at %v: %+v, want %+v", at, d.s.Faults(), faults)
		}
		d.pass(time.Second)
	}
}

func TestScriptEvents(t *testing.T) {
	script, err := ParseScript("at 10s disconnect; at 20s reboot 5s")
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, Config{Script: script})
	d.connect()
	d.pass(10 * time.Second)
	if got := d.heard(); len(got) != 1 || len(d.s.Channels()) != 0 {
		t.Errorf("sent %+v, want one DISCONNECT_REQUEST", got)
	}
	d.connect()
	d.pass(10 * time.Second)
	if len(d.s.Channels()) != 0 {
		t.Error("the channel lives on")
	}
	d.pass(4 * time.Second)
	d.send(frame.DescriptionRequest{})
	d.want()
	d.pass(time.Second)
	d.connect()
}

// A script runs also when the owner is late and a datagram comes first.
func TestScriptGoesBeforeDatagrams(t *testing.T) {
	script, err := ParseScript("at 10s silence")
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, Config{Script: script})
	d.now = d.now.Add(10 * time.Second)
	d.send(frame.ConnectRequest{Layer: frame.LayerLink})
	d.want()
}

func TestEveryScriptedFaultChangesSomethingAndEnds(t *testing.T) {
	values := map[string]string{"refuse": "0x24", "heartbeat": "0x21", "late-confirmations": "4s"}
	for _, fault := range scriptedFaults {
		text := "at 1s " + fault.name
		if fault.value != nil {
			value := values[fault.name]
			if value == "" {
				value = "3"
			}
			text += " " + value
		}
		script, err := ParseScript(text + " 2s")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		d := newDesk(t, Config{Script: script})
		d.pass(time.Second)
		if d.s.Faults() == (Faults{}) {
			t.Errorf("%s: nothing is wrong", text)
		}
		d.pass(2 * time.Second)
		if d.s.Faults() != (Faults{}) {
			t.Errorf("%s: it does not end: %+v", text, d.s.Faults())
		}
	}
}

func TestScriptErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"silence 30s", `line 1: "silence 30s", want at TIME FAULT`},
		{"\nat 10s", `line 2: "at 10s", want at TIME FAULT`},
		{"at ten silence", `time "ten" is no duration`},
		{"at -1s silence", `time "-1s" is no duration from 0s`},
		{"at 99999h silence", `is no duration from 0s to 10000h`},
		{"at 1s explode", `fault "explode" is not known, want one of silence, freeze`},
		{"at 1s silence 0s", "silence: length 0"},
		{"at 1s silence 3s 4s", `silence: "4s" is too much`},
		{"at 1s lose-acks", "lose-acks needs a value"},
		{"at 1s lose-acks 0", `lose-acks: value "0" is no count from 1`},
		{"at 1s lose-acks x 3s", `lose-acks: value "x" is no count`},
		{"at 1s refuse 0x124", `refuse: value "0x124" is no status`},
		{"at 1s late-confirmations 3", `late-confirmations: value "3" is no duration`},
		{"at 1s late-confirmations 0s", "delays nothing"},
		{"at 1s clear 3s", `clear: "3s" is too much`},
		{"at 1s disconnect 3s", `disconnect: "3s" is too much`},
		{"at 1s reboot soon", `reboot: length "soon" is no duration`},
		{strings.Repeat("at 1s clear;", maxSteps+1), "more than 1000 steps"},
	}
	for _, tt := range tests {
		script, err := ParseScript(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: error %v, want %q in it", tt.text, err, tt.want)
		}
		if len(script.steps) != 0 {
			t.Errorf("%.60q: half a script is left", tt.text)
		}
	}
}
