package knxserver

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func address(t *testing.T, text string) frame.GroupAddress {
	t.Helper()
	a, err := frame.ParseGroupAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bus describes what the bus saw, as SOURCE SERVICE DESTINATION VALUE.
func (d *desk) bus() []string {
	d.t.Helper()
	var list []string
	for _, b := range d.s.TakeRecord().Bus {
		to := frame.GroupAddress(b.LData.Destination)
		text := b.LData.Source.String() + " " + b.LData.APCI.String() + " " + to.String()
		if i, ok := d.s.cfg.Profile.find(to); ok && len(b.LData.Data) > 0 && b.Origin == FromObject {
			value, err := d.s.cfg.Profile.types[i].Decode(b.LData.Data)
			if err != nil || !value.Valid() {
				d.t.Fatalf("%s: %x is no value of its type: %v", text, b.LData.Data, err)
			}
			text += " " + value.Text()
		}
		list = append(list, text)
	}
	return list
}

func TestObjectsReact(t *testing.T) {
	write := func(to string, data ...byte) Telegram {
		return Telegram{Source: 0x1105, Destination: address(t, to), Command: frame.GroupValueWrite, Data: data}
	}
	bit := func(to string, value byte) Telegram {
		telegram := write(to, value)
		telegram.SixBit = true
		return telegram
	}
	read := func(to string) Telegram { return Telegram{Source: 0x1105, Destination: address(t, to)} }
	tests := []struct {
		name string
		put  []Telegram
		want []string // after the telegrams themselves
	}{
		{"a light's status follows", []Telegram{bit("1/2/1", 1)}, []string{"1.1.2 GroupValueWrite 1/3/1 on"}},
		{"and is read afterwards", []Telegram{bit("1/2/1", 1), read("1/3/1")},
			[]string{"1.1.2 GroupValueWrite 1/3/1 on", "1.1.2 GroupValueResponse 1/3/1 on"}},
		{"a dimmer's status follows to the bit", []Telegram{write("1/2/10", 0x55)}, []string{"1.1.2 GroupValueWrite 1/3/10 33.3"}},
		{"a setpoint's status follows", []Telegram{write("2/2/1", 0x0C, 0x33)}, []string{"1.1.4 GroupValueWrite 2/3/1 21.5"}},
		{"a blind moves down", []Telegram{bit("3/1/1", 1)}, []string{"1.1.6 GroupValueWrite 3/3/1 100"}},
		{"a blind moves up", []Telegram{bit("3/1/1", 0)}, []string{"1.1.6 GroupValueWrite 3/3/1 0"}},
		{"a blind goes to a position", []Telegram{write("3/2/1", 0x80)}, []string{"1.1.6 GroupValueWrite 3/3/1 50.2"}},
		{"a sensor answers", []Telegram{read("2/1/4")}, []string{"1.1.3 GroupValueResponse 2/1/4 2"}},
		{"a meter answers", []Telegram{read("4/1/1")}, []string{"1.1.6 GroupValueResponse 4/1/1 48213400"}},
		{"a sensor takes no writes", []Telegram{write("2/1/4", 0x0C, 0x33), read("2/1/4")}, []string{"1.1.3 GroupValueResponse 2/1/4 2"}},
		{"a value that does not fit has no effect", []Telegram{write("1/2/1", 1), bit("1/2/10", 1), write("1/2/10", 1, 2)}, nil},
		{"an invalid value has no effect", []Telegram{write("2/2/1", 0x7F, 0xFF)}, nil},
		{"asked twice, answered once", []Telegram{read("2/1/4"), read("2/1/4")}, []string{"1.1.3 GroupValueResponse 2/1/4 2"}},
		{"nobody has the address", []Telegram{read("9/0/1"), bit("9/0/1", 1)}, nil},
		{"a move command has no state", []Telegram{read("3/1/1")}, nil},
	}
	profile := Building()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, Config{Profile: profile})
			for _, telegram := range tt.put {
				d.inject(telegram)
			}
			d.pass(time.Minute)
			if got := d.bus()[len(tt.put):]; !slices.Equal(got, tt.want) {
				t.Errorf("the bus saw %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClientsReadObjects(t *testing.T) {
	d := newDesk(t, Config{Profile: Building()})
	channel := d.connect()
	read := frame.LData{
		Message: frame.LDataReq, Priority: frame.PriorityLow, HopCount: 6, Destination: uint16(address(t, "2/2/1")), Group: true,
	}
	d.send(request(channel, 0, read.Append(nil)))
	d.send(ackOf(channel, 0))
	d.heard()
	d.pass(time.Second)
	answer, err := frame.ParseLData(d.heard()[0].frame.(frame.TunnellingRequest).CEMI)
	if err != nil || answer.APCI != frame.GroupValueResponse || answer.Source != 0x1104 || !slices.Equal(answer.Data, []byte{0x0C, 0x1A}) {
		t.Errorf("answer %+v, %v; want 21 °C", answer, err)
	}
}

func TestObjectsLive(t *testing.T) {
	const rate, length = 10, 10 * time.Minute
	run := func(seed uint64) []string {
		d := &desk{t: t, now: epoch, s: New(Config{
			Profile: Building(), Rate: rate, RecordLimit: 100_000,
		}, rand.New(rand.NewPCG(seed, 0)).Float64)}
		d.s.Start(d.now)
		d.pass(length)
		return d.bus() // checks that all values are in range of their types
	}
	first := run(1)
	if !slices.Equal(first, run(1)) {
		t.Error("the same seed gives something else")
	}
	if slices.Equal(first, run(2)) {
		t.Error("another seed gives the same")
	}
	// Statuses come on top of what the rate says.
	own := 0
	values := map[string]map[string]bool{}
	for _, line := range first {
		fields := strings.SplitN(line, " ", 4)
		if values[fields[2]] == nil {
			values[fields[2]] = map[string]bool{}
		}
		values[fields[2]][fields[3]] = true
		if a := address(t, fields[2]); a>>8&7 != 3 || a>>11 == 4 {
			own++
		}
	}
	if want := rate * length.Seconds(); math.Abs(float64(own)-want) > want/10 {
		t.Errorf("%d telegrams in %v, want about %v", own, length, want)
	}
	for _, o := range Building().Objects() {
		if len(values[o.Address.String()]) < 2 {
			t.Errorf("%s %q has values %v, want several", o.Address, o.Name, values[o.Address.String()])
		}
	}
}

func TestBuildingTable(t *testing.T) {
	objects := Building().Objects()
	if len(objects) < 20 || len(objects) > 30 {
		t.Errorf("%d objects, want about two dozen", len(objects))
	}
	mains := map[uint16]bool{}
	names := map[string]bool{}
	for _, o := range objects {
		mains[o.DPT.Main] = true
		names[o.Name] = true
		if typ, ok := dpt.Lookup(o.DPT); !ok || typ.ID() != o.DPT {
			t.Errorf("%s: type %s is not in the table", o.Name, o.DPT)
		}
	}
	for _, main := range []uint16{1, 5, 9, 12, 13, 14} {
		if !mains[main] {
			t.Errorf("no object of main type %d", main)
		}
	}
	if len(names) != len(objects) {
		t.Errorf("%d names for %d objects", len(names), len(objects))
	}
}

func TestProfileErrors(t *testing.T) {
	lamp := Object{Address: 0x0901, Name: "Lamp", DPT: dpt.ID{Main: 1, Sub: 1}, Kind: Control, High: 1}
	with := func(change func(o *Object)) Object {
		o := lamp
		o.Address, o.Name = 0x0A01, "Second"
		change(&o)
		return o
	}
	tests := []struct {
		object Object
		want   string
	}{
		{with(func(o *Object) { o.Address = 0 }), "0/0/0 is the broadcast address"},
		{with(func(o *Object) { o.Address = lamp.Address }), `also that of "Lamp"`},
		{with(func(o *Object) { o.Kind = 9 }), "kind 9"},
		{with(func(o *Object) { o.Start = 2 }), "low 0, start 2, high 1"},
		{with(func(o *Object) { o.Low = math.NaN() }), "low NaN"},
		{with(func(o *Object) { o.Decimals = 9 }), "9 decimals"},
		{with(func(o *Object) { o.DPT = dpt.ID{Main: 999} }), "datapoint type 999.000 is not known"},
		{with(func(o *Object) { o.DPT = dpt.ID{Main: 16} }), "is no number or bool"},
		{with(func(o *Object) { o.DPT = dpt.ID{Main: 5, Sub: 1}; o.High = 300 }), "300"},
		{with(func(o *Object) { o.Kind = Status; o.Of = 0x0B01 }), "belongs to 1/3/1, want the address of a Control"},
		{with(func(o *Object) { o.Kind = Status; o.Of = lamp.Address; o.DPT = dpt.ID{Main: 5, Sub: 1} }), "want the same main type"},
		{with(func(o *Object) { o.Kind = Move; o.Of = lamp.Address; o.DPT = dpt.ID{Main: 5, Sub: 1} }), "want 1.x"},
	}
	for _, tt := range tests {
		_, err := NewProfile([]Object{lamp, tt.object})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q in it", tt.object, err, tt.want)
		}
	}
	if _, err := NewProfile(make([]Object, maxObjects+1)); err == nil {
		t.Error("no limit to the number of objects")
	}
}

func TestInjectErrors(t *testing.T) {
	d := newDesk(t, Config{})
	for want, telegram := range map[string]Telegram{
		"broadcast":           {Command: frame.GroupValueWrite},
		"want at most 253":    {Destination: light, Data: make([]byte, 254)},
		"64 does not fit six": {Destination: light, Data: []byte{0x64}, SixBit: true},
		"one byte from 00":    {Destination: light, SixBit: true},
	} {
		if number, err := d.s.Inject(d.now, telegram); err == nil || number != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: number %d, error %v, want %q in it", telegram, number, err, want)
		}
	}
	if len(d.s.TakeRecord().Bus) != 0 {
		t.Error("something is on the bus")
	}
}
