package knxserver

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Kind is how a group object behaves.
type Kind uint8

// The kinds. All but Move answer a GroupValueRead.
const (
	// Sensor measures: its value drifts by up to Step, and it sends it by itself.
	// Writes to it have no effect.
	Sensor Kind = iota
	// Meter counts up by up to Step, back to Low after High, and sends by itself.
	Meter
	// Control is switched or set: by clients, and now and then by people in the
	// building.
	Control
	// Status shows the value of the Control in Of, and sends it after each write to
	// that.
	Status
	// Move drives the Control in Of to its Low (0) or High (1), as 1.008 does with
	// a blind's position.
	Move
)

// Object is one group object of a bus: a row of a profile's table.
type Object struct {
	Address frame.GroupAddress
	Name    string
	// DPT is its datapoint type: one whose value is a number or a bool.
	DPT  dpt.ID
	Kind Kind
	Of   frame.GroupAddress // of Status and Move

	// Low and High limit what the object does by itself, in the unit of its type,
	// and Step is by how much it changes; Start is its value when the bus gets
	// power. Clients may write what they want. A bool has 0 and 1.
	Low, High, Step, Start float64
	// Decimals is how many a value has that the object made itself.
	Decimals int
}

// maxObjects keeps the devices, four objects each, below device 200 of the line.
const maxObjects = 796

// Profile is the group objects of a bus. It does not change and may be shared.
type Profile struct {
	objects   []Object // by address
	types     []dpt.Type
	followers [][]int // of each Control, those that show or move it
	active    []int   // those that send by themselves
}

// NewProfile checks a table of objects and makes a profile of it. The error names
// the object and what would be right.
func NewProfile(objects []Object) (*Profile, error) {
	if len(objects) > maxObjects {
		return nil, fmt.Errorf("profile: %d objects, want at most %d", len(objects), maxObjects)
	}
	p := &Profile{objects: slices.Clone(objects), followers: make([][]int, len(objects))}
	slices.SortStableFunc(p.objects, func(a, b Object) int { return cmp.Compare(a.Address, b.Address) })
	for i, o := range p.objects {
		if err := p.add(i, o); err != nil {
			return nil, fmt.Errorf("profile: object %s %q: %w", o.Address, o.Name, err)
		}
	}
	for i, o := range p.objects {
		if err := p.follow(i, o); err != nil {
			return nil, fmt.Errorf("profile: object %s %q: %w", o.Address, o.Name, err)
		}
	}
	return p, nil
}

func (p *Profile) add(i int, o Object) error {
	if o.Address == 0 {
		return fmt.Errorf("address 0/0/0 is the broadcast address, want 0/0/1 to 31/7/255")
	}
	if i > 0 && p.objects[i-1].Address == o.Address {
		return fmt.Errorf("the address is also that of %q, want another one", p.objects[i-1].Name)
	}
	if o.Kind > Move {
		return fmt.Errorf("kind %d, want one of the kinds", o.Kind)
	}
	if !(o.Low <= o.Start && o.Start <= o.High) { // also NaN
		return fmt.Errorf("low %g, start %g, high %g: want them in this order", o.Low, o.Start, o.High)
	}
	if o.Decimals < 0 || o.Decimals > 6 {
		return fmt.Errorf("%d decimals, want 0 to 6", o.Decimals)
	}
	t, ok := dpt.Lookup(o.DPT)
	if !ok {
		return fmt.Errorf("datapoint type %s is not known", o.DPT)
	}
	p.types = append(p.types, t)
	for _, value := range []float64{o.Low, o.High, o.Start} {
		raw, err := t.Encode(text(value))
		if err != nil {
			return err
		}
		if _, ok := p.number(i, raw); !ok {
			return fmt.Errorf("datapoint type %s is no number or bool", o.DPT)
		}
	}
	if o.Kind != Status {
		p.active = append(p.active, i)
	}
	return nil
}

func (p *Profile) follow(i int, o Object) error {
	if o.Kind != Status && o.Kind != Move {
		return nil
	}
	of, ok := p.find(o.Of)
	if !ok || p.objects[of].Kind != Control {
		return fmt.Errorf("it belongs to %s, want the address of a Control", o.Of)
	}
	if o.Kind == Status && p.objects[of].DPT.Main != o.DPT.Main {
		return fmt.Errorf("type %s shows type %s, want the same main type", o.DPT, p.objects[of].DPT)
	}
	if o.Kind == Move && o.DPT.Main != 1 {
		return fmt.Errorf("type %s, want 1.x to move something", o.DPT)
	}
	p.followers[of] = append(p.followers[of], i)
	return nil
}

// Objects returns a copy of the table, by address.
func (p *Profile) Objects() []Object { return slices.Clone(p.objects) }

func (p *Profile) find(a frame.GroupAddress) (int, bool) {
	return slices.BinarySearchFunc(p.objects, a, func(o Object, a frame.GroupAddress) int {
		return cmp.Compare(o.Address, a)
	})
}

func (p *Profile) initial() []float64 {
	if len(p.objects) == 0 {
		return nil
	}
	values := make([]float64, len(p.objects))
	for i, o := range p.objects {
		values[i] = o.Start
	}
	return values
}

// encode makes the bytes of a value: of one that was written, the same again. A
// Status whose type has less room than its Control's, such as 5.001 beside 5.004,
// shows zero for what it cannot hold.
func (p *Profile) encode(i int, value float64) []byte {
	raw, err := p.types[i].Encode(text(value))
	if err != nil {
		raw = make([]byte, p.types[i].Length())
	}
	return raw
}

// decode reads the value of a telegram; false when it does not fit the type.
func (p *Profile) decode(i int, l frame.LData) (float64, bool) {
	if l.SixBit != p.types[i].SixBit() {
		return 0, false
	}
	return p.number(i, l.Data)
}

func (p *Profile) number(i int, raw []byte) (float64, bool) {
	value, err := p.types[i].Decode(raw)
	if err != nil || !value.Valid() {
		return 0, false
	}
	switch v := value.JSON().(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsInf(v, 0) && !math.IsNaN(v)
	}
	return 0, false
}

// text writes a value as dpt reads it.
func text(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }

// live gives the next value of an object by itself, for a random number r in
// [0,1).
func (o *Object) live(value, r float64) float64 {
	unit := math.Pow10(o.Decimals)
	return math.Round(o.next(value, r)*unit) / unit
}

func (o *Object) next(value, r float64) float64 {
	switch o.Kind {
	case Sensor:
		// The further from the middle, the more it tends back.
		middle := (o.Low + o.High) / 2
		pull := 0.0
		if span := o.High - o.Low; span > 0 {
			pull = (middle - value) / span
		}
		return min(max(value+o.Step*(2*r-1+pull), o.Low), o.High)
	case Meter:
		if next := value + o.Step*(0.5+r/2); next <= o.High {
			return next
		}
		return o.Low
	case Control, Move:
		if o.DPT.Main == 1 {
			return 1 - value
		}
		steps := 0.0
		if o.Step > 0 {
			steps = math.Floor((o.High - o.Low) / o.Step)
		}
		return o.Low + o.Step*math.Floor(r*(steps+1))
	}
	return value
}
