package knxserver

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// What devices answer to a frame on TP1, one octet (KNX 03_02_02 Twisted Pair 1
// §2.2.6).
const (
	ackOctet  = 0xCC
	nackOctet = 0x0C
	busyOctet = 0xC0
)

// busRepeats is how often a frame is repeated that nobody acknowledges (KNX 03_02_02
// Twisted Pair 1).
const busRepeats = 3

// monitored reports if a client has the busmonitor.
func (s *Server) monitored() bool {
	for _, c := range s.channels {
		if c.monitors {
			return true
		}
	}
	return false
}

// monitor shows a telegram to the client that has the busmonitor, as frames of the
// bus: the telegram, what devices answered, and its repetitions.
func (s *Server) monitor(now time.Time, l frame.LData, failed bool) {
	if !s.monitored() || s.faults.BusDown {
		return
	}
	show := func(raw []byte) {
		s.heard++
		ticks := uint16(now.Sub(s.started) / (time.Second / busTicks)) // it wraps
		heard := frame.Busmonitor{Sequence: s.heard & 7, Timestamp: uint32(ticks), Frame: raw}
		for _, c := range s.channels {
			if c.monitors {
				s.enqueue(now, c, message{number: s.numbers, content: ContentBusmonitor, payload: heard.Append(nil)})
			}
		}
	}
	again := l
	again.Repeated = true
	show(l.AppendTP1(nil))
	if failed {
		for range busRepeats {
			show(again.AppendTP1(nil))
		}
		return
	}
	if every(s.faults.Nacks, &s.nth.nacks) {
		show([]byte{nackOctet})
		show(again.AppendTP1(nil))
	}
	if every(s.faults.Busies, &s.nth.busies) {
		show([]byte{busyOctet})
		show(again.AppendTP1(nil))
	}
	show([]byte{ackOctet})
}

// busTicks is the interface's clock: bits of TP1 in a second.
const busTicks = 9600
