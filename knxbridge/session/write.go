package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Write is a group telegram to send.
type Write struct {
	// ID comes back in the Result. The machine does not look at it.
	ID uint64
	// Command is one of the three group services: read, response or write.
	Command     frame.APCI
	Destination frame.GroupAddress
	// Data is the value, 1 to frame.MaxData bytes; one with SixBit, none for a read.
	Data []byte
	// SixBit sends the value, 0 to 63, inside the octet of the APCI, as types of
	// six bits or less need it (KNX 03_03_07 Application Layer, group services).
	SixBit bool
	// Priority on the bus. Zero, the system priority, is not for group telegrams
	// and means PriorityLow.
	Priority frame.Priority
}

// Validate returns an error that names what cannot be sent.
func (w Write) Validate() error {
	switch w.Command {
	case frame.GroupValueRead:
		if len(w.Data) != 0 {
			return fmt.Errorf("session: a read carries no value, but %d bytes were given", len(w.Data))
		}
		return nil
	case frame.GroupValueResponse, frame.GroupValueWrite:
	default:
		return fmt.Errorf("session: command %s is no group service, want GroupValueRead, GroupValueResponse or GroupValueWrite", w.Command)
	}
	switch {
	case len(w.Data) == 0:
		return errors.New("session: the value is empty, want at least one byte")
	case w.SixBit && (len(w.Data) != 1 || w.Data[0] > 0x3F):
		return fmt.Errorf("session: value %X does not fit six bits, want one byte from 00 to 3F", w.Data)
	case len(w.Data) > frame.MaxData:
		return fmt.Errorf("session: the value has %d bytes, want at most %d", len(w.Data), frame.MaxData)
	}
	return nil
}

// outgoing is the write under way, and after its end the last one, so that a
// late confirmation still finds it.
type outgoing struct {
	id       uint64
	data     frame.LData
	request  frame.Frame
	sequence uint8
	feature  bool // it is no write, but a question for a feature of the interface
	probe    bool // it is no write, but the machine's own read
	tries    int
	active   bool // waits for its ACK or its confirmation
	acked    bool
	answered bool // its Result has been given
	heard    bool // its confirmation has come
	bus      bool // something has come from the bus since it was sent
}

// Ready reports if Write would send at once: the session is ONLINE, and no
// other write is under way. The bus takes one telegram after the other.
func (m *Machine) Ready() bool {
	return m.cfg.Layer == frame.LayerLink && m.phase == phaseUp && m.link.doubts == 0 && !m.write.active && len(m.link.asks) == 0
}

// Write sends a telegram. Its Result follows: NotSent at once when the machine
// is not ready or the write is not valid, else what the bus says.
func (m *Machine) Write(now time.Time, w Write) {
	err := w.Validate()
	if err == nil && !m.Ready() {
		err = ErrNotReady
	}
	if most := m.link.maxAPDU; err == nil && most > 0 && !w.SixBit && 1+len(w.Data) > most {
		err = fmt.Errorf("session: %w: it has %d bytes, allowed are %d", ErrTooLong, len(w.Data), most-1)
	}
	if err != nil {
		m.emit(Result{ID: w.ID, Outcome: NotSent, Err: err})
		return
	}
	priority := w.Priority
	if priority == frame.PrioritySystem {
		priority = frame.PriorityLow
	}
	data := frame.LData{
		Message:     frame.LDataReq,
		Priority:    priority,
		HopCount:    frame.DefaultHopCount,
		Source:      0, // the interface fills in the address it gave us
		Destination: uint16(w.Destination),
		Group:       true,
		APCI:        w.Command,
		Data:        slices.Clone(w.Data),
		SixBit:      w.SixBit,
	}
	m.request(now, outgoing{id: w.ID, data: data})
}

// request begins to send a telegram.
func (m *Machine) request(now time.Time, w outgoing) {
	w.active, w.sequence = true, m.link.sendSequence
	w.request = frame.TunnellingRequest{Channel: m.link.channel, Sequence: w.sequence, CEMI: w.data.Append(nil)}
	m.write = w
	m.counters.Requests++
	m.sendRequest(now)
}

// sendRequest sends the write under way; a repeat is the same to the byte.
func (m *Machine) sendRequest(now time.Time) {
	m.write.tries++
	m.data(m.write.request)
	if m.link.stream {
		m.accepted(now) // there are no ACKs over TCP
		return
	}
	m.arm(timerAck, now.Add(ackTimeout))
}

func (m *Machine) onAck(now time.Time, a frame.TunnellingAck) {
	w := &m.write
	if !w.active || w.acked || a.Sequence != w.sequence {
		m.counters.Unexpected++
		return
	}
	if a.Status != frame.StatusNoError {
		m.ackFailed(now)
		return
	}
	m.disarm(timerAck)
	m.proven(now, doubtAck)
	m.accepted(now)
}

// accepted goes on with a request that the interface has: it may confirm.
func (m *Machine) accepted(now time.Time) {
	w := &m.write
	w.acked = true
	m.link.sendSequence++
	switch {
	case w.feature:
		w.active = false
		m.ask(now)
	case w.heard:
		w.active = false
		m.ask(now)
	case m.neverConfirms():
		m.unconfirmed(now)
	default:
		m.arm(timerConfirm, now.Add(confirmTimeout))
	}
}

// ackFailed repeats a request once, and asks for a heartbeat beside it. The
// second time the session is given up: a good heartbeat does not prove that
// telegrams get through.
func (m *Machine) ackFailed(now time.Time) {
	m.counters.AcksFailed++
	if m.write.tries >= requestTries {
		if m.write.feature {
			m.peer.mute = true // it says that it has features, and does not know the frames
		}
		m.lose(now, loss{reason: ReasonAckMissing, disconnect: true, dead: !m.write.feature})
		return
	}
	m.counters.Repeats++
	m.sendRequest(now)
	m.heartbeatNow(now)
	m.raise(now, doubtAck)
}

// neverConfirms reports if the interface has been silent so often that waiting
// for its confirmation is in vain. A single one ends that.
func (m *Machine) neverConfirms() bool { return m.peer.misses >= silentAfter }

func (m *Machine) confirmMissing(now time.Time) {
	m.peer.misses++
	m.unconfirmed(now)
}

func (m *Machine) unconfirmed(now time.Time) {
	m.counters.Unconfirmed++
	m.write.active = false
	m.result(Unconfirmed)
	m.unproven(now)
	m.ask(now)
}

// result answers the write under way, once.
func (m *Machine) result(o Outcome) {
	if m.write.answered || m.write.feature || m.write.probe {
		return
	}
	m.write.answered = true
	m.emit(Result{ID: m.write.id, Outcome: o})
}

// onConfirmation takes an L_Data.con. It is matched by destination and APDU:
// the source may be 0.0.0 or the address that the interface gave us. One that
// comes after its time is still published, since it tells what the bus did.
func (m *Machine) onConfirmation(now time.Time, con frame.LData) {
	w := &m.write
	if w.tries == 0 || w.feature || w.heard || !w.data.SameAPDU(con) {
		m.counters.Unexpected++
		return
	}
	w.heard = true
	m.peer.misses = 0
	if con.Failed {
		m.counters.Negative++
		m.result(Rejected)
		defer m.unacknowledged(now) // after what else the confirmation says
	} else {
		m.heardBus(now)
		m.result(Confirmed)
		m.counters.OwnTelegrams++
		if con.Source == 0 {
			con.Source = m.link.assigned
		}
		m.publish(con, true)
	}
	m.disarm(timerConfirm)
	m.proven(now, 0)
	if w.acked {
		w.active = false
		m.ask(now)
	}
}
