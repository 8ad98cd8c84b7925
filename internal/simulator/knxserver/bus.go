package knxserver

import (
	"fmt"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// reactionTime is how long a device takes to answer, and its status to follow:
// two telegrams of TP1.
const reactionTime = 40 * time.Millisecond

// Telegram is a group telegram that a device on the bus sends.
type Telegram struct {
	// Source is the device; zero means device 1 of the interface's line.
	Source      frame.IndividualAddress
	Destination frame.GroupAddress // not zero
	// Command is any service; the zero value is GroupValueRead.
	Command frame.APCI
	// Data is the value, at most frame.MaxData bytes; one with SixBit.
	Data []byte
	// SixBit sends the value, 0 to 63, inside the octet of the APCI.
	SixBit bool
	// Urgent sends it with urgent instead of low priority.
	Urgent bool
}

// Inject puts a telegram on the bus: objects react to it, and all channels get
// it. It returns the telegram's number, or an error, and then nothing happens.
func (s *Server) Inject(now time.Time, t Telegram) (uint64, error) {
	switch {
	case s.started.IsZero():
		return 0, fmt.Errorf("telegram to %s: the bus has no power, call Start first", t.Destination)
	case t.Destination == 0:
		return 0, fmt.Errorf("telegram: destination 0/0/0 is the broadcast address, want 0/0/1 to 31/7/255")
	case len(t.Data) > frame.MaxData:
		return 0, fmt.Errorf("telegram to %s: %d bytes, want at most %d", t.Destination, len(t.Data), frame.MaxData)
	case t.SixBit && (len(t.Data) != 1 || t.Data[0] > 0x3F):
		return 0, fmt.Errorf("telegram to %s: value %X does not fit six bits, want one byte from 00 to 3F", t.Destination, t.Data)
	}
	s.runScript(now)
	l := frame.LData{
		Priority: frame.PriorityLow, HopCount: frame.DefaultHopCount, Source: t.Source,
		Destination: uint16(t.Destination), Group: true, APCI: t.Command,
		Data: slices.Clone(t.Data), SixBit: t.SixBit,
	}
	if t.Urgent {
		l.Priority = frame.PriorityUrgent
	}
	if l.Source == 0 {
		l.Source = s.device(0)
	}
	return s.put(now, FromInjection, l), nil
}

// put puts a telegram of a device on the bus.
func (s *Server) put(now time.Time, origin Origin, l frame.LData) uint64 {
	number := s.appear(now, origin, nil, l, false)
	s.forward(now, nil, l, number, false)
	return number
}

// appear numbers and records a telegram. failed tells that nobody on the bus
// acknowledged it.
func (s *Server) appear(now time.Time, origin Origin, c *channel, l frame.LData, failed bool) uint64 {
	s.numbers++
	s.counts.Bus++
	t := BusTelegram{Number: s.numbers, At: now, Origin: origin, Failed: failed, LData: l}
	if c != nil {
		s.counts.Written++
		t.Session, t.Channel, t.Client = c.session, c.number, c.data.AddrPort
	}
	t.LData.Message = frame.LDataInd
	s.recordBus(t)
	s.monitor(now, l, failed)
	return s.numbers
}

// forward lets the objects and all clients but the sender see a telegram.
func (s *Server) forward(now time.Time, sender *channel, l frame.LData, number uint64, failed bool) {
	if failed {
		return
	}
	var cemi []byte // shared by all channels
	for _, c := range s.channels {
		if c == sender || c.monitors || s.faults.BusDown {
			continue
		}
		if cemi == nil {
			l.Message = frame.LDataInd
			cemi = l.Append(nil)
		}
		s.enqueue(now, c, message{number: number, content: ContentIndication, payload: cemi})
	}
	if l.GroupService() {
		s.observe(now, l)
	}
}

// reaction is a telegram that an object is going to send, with the value that it
// has then.
type reaction struct {
	at     time.Time
	object int
	answer bool // to a GroupValueRead
}

// react plans a telegram of an object; the same one planned twice is sent once,
// so that there are at most two for each object.
func (s *Server) react(now time.Time, object int, answer bool) {
	for i := range s.pending {
		if s.pending[i].object == object && s.pending[i].answer == answer {
			return
		}
	}
	s.pending = append(s.pending, reaction{now.Add(reactionTime), object, answer})
}

// observe lets the objects see a group telegram.
func (s *Server) observe(now time.Time, l frame.LData) {
	p := s.cfg.Profile
	i, ok := p.find(frame.GroupAddress(l.Destination))
	if !ok {
		return
	}
	switch l.APCI {
	case frame.GroupValueRead:
		if p.objects[i].Kind != Move {
			s.react(now, i, true)
		}
	case frame.GroupValueWrite:
		if value, ok := p.decode(i, l); ok {
			s.written(now, i, value)
		}
	}
}

// written takes a new value into an object that others may write, and makes
// follow what depends on it.
func (s *Server) written(now time.Time, i int, value float64) {
	p := s.cfg.Profile
	switch o := &p.objects[i]; o.Kind {
	case Control:
		s.values[i] = value
		for _, follower := range p.followers[i] {
			if p.objects[follower].Kind == Status {
				s.values[follower] = value
				s.react(now, follower, false)
			}
		}
	case Move:
		s.values[i] = value
		target, ok := p.find(o.Of)
		if !ok {
			return
		}
		end := p.objects[target].Low
		if value != 0 {
			end = p.objects[target].High
		}
		s.written(now, target, end)
	}
}

// expireBus sends what objects planned, and lets one send by itself when it is
// time.
func (s *Server) expireBus(now time.Time) {
	for i := 0; i < len(s.pending); {
		r := s.pending[i]
		if r.at.After(now) {
			i++
			continue
		}
		s.pending = slices.Delete(s.pending, i, i+1)
		command := frame.GroupValueWrite
		if r.answer {
			command = frame.GroupValueResponse
		}
		s.sendObject(now, r.object, command, s.values[r.object])
	}
	if !s.tickAt.IsZero() && !s.tickAt.After(now) {
		s.tick(now)
		s.planTick(now)
	}
}

// planTick spreads the objects' own telegrams: half to one and a half times the
// average interval.
func (s *Server) planTick(now time.Time) {
	if s.cfg.Rate > 0 {
		interval := (0.5 + s.rnd()) / s.cfg.Rate
		s.tickAt = now.Add(time.Duration(interval * float64(time.Second)))
	}
}

// tick lets one object live: a sensor measures, a meter counts, somebody uses a
// switch.
func (s *Server) tick(now time.Time) {
	active := s.cfg.Profile.active
	i := active[min(int(s.rnd()*float64(len(active))), len(active)-1)]
	value := s.cfg.Profile.objects[i].live(s.values[i], s.rnd())
	if kind := s.cfg.Profile.objects[i].Kind; kind == Sensor || kind == Meter {
		s.values[i] = value
	}
	// Of a switch the value is taken when its telegram is on the bus.
	s.sendObject(now, i, frame.GroupValueWrite, value)
}

func (s *Server) sendObject(now time.Time, i int, command frame.APCI, value float64) {
	p := s.cfg.Profile
	s.put(now, FromObject, frame.LData{
		Priority: frame.PriorityLow, HopCount: frame.DefaultHopCount, Source: s.device(i),
		Destination: uint16(p.objects[i].Address), Group: true, APCI: command,
		Data: p.encode(i, value), SixBit: p.types[i].SixBit(),
	})
}

// objectsPerDevice: a device has several objects, such as the channels of an
// actuator.
const objectsPerDevice = 4

// device is the individual address of the device that an object is in.
func (s *Server) device(object int) frame.IndividualAddress {
	return s.cfg.IndividualAddress&0xFF00 | frame.IndividualAddress(1+object/objectsPerDevice)
}

// Value returns the value of a group object as text without its unit, such as
// "on" or "21.5"; false when there is no such object.
func (s *Server) Value(address frame.GroupAddress) (string, bool) {
	p := s.cfg.Profile
	i, ok := p.find(address)
	if !ok {
		return "", false
	}
	value, err := p.types[i].Decode(p.encode(i, s.values[i]))
	if err != nil {
		return "", false // NewProfile has seen to it that this does not happen
	}
	return value.Text(), true
}
