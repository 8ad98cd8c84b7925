package session

import (
	"errors"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Output is something the machine wants done or known: one of Send, Dial, Hangup,
// Telegram, BusFrame, Result, StateChanged and Stopped. What it holds belongs to the receiver.
type Output interface{ output() }

// Send is a frame to be sent now: as a datagram to To, or with Stream on the TCP
// connection of the last Dial, whose peer splits the frames by their headers. When
// it cannot be, tell the machine by SendFailed, TransportLost or StreamLost.
type Send struct {
	To       netip.AddrPort
	Stream   bool
	Datagram []byte
}

// Dial asks for a TCP connection. Answer by StreamOpened or StreamLost; there is
// one at a time.
type Dial struct{ To netip.AddrPort }

// Hangup ends the TCP connection, or the attempt to open it, once what was sent
// has left. Nothing of it may be told to the machine any more.
type Hangup struct{}

// Telegram is a group telegram seen on the bus, or, with Own, a write of ours
// that the bus has confirmed.
type Telegram struct {
	// LData has group destination and one of the three group services. An own
	// telegram carries our individual address as source if the interface told it.
	LData frame.LData
	Own   bool
}

// BusFrame is a frame or an acknowledgement that the bus carried, heard on the
// busmonitor layer.
type BusFrame struct{ Busmonitor frame.Busmonitor }

// Result answers a Write. Each Write gets exactly one.
type Result struct {
	ID      uint64
	Outcome Outcome
	// Err is set exactly when Outcome is NotSent.
	Err error
}

// StateChanged is the session's state whenever it, its reason or its retry time
// changes. It is comparable.
type StateChanged struct {
	State  State
	Reason Reason
	// Message is a sentence for people: what happened and what to do. Empty with
	// ReasonNone.
	Message string
	// Since is when State (not the reason) began.
	Since time.Time
	// RetryAt is when the next attempt is made; zero unless BACKING_OFF.
	RetryAt time.Time
	// Assigned is our individual address; zero without a session, or when the
	// interface did not tell.
	Assigned frame.IndividualAddress
	// Interface is the interface that granted the session, and TCP how it is
	// spoken to; zero without a session.
	Interface netip.AddrPort
	TCP       bool
}

// Stopped is the last output: the machine has ended.
type Stopped struct{}

func (Send) output()         {}
func (Dial) output()         {}
func (Hangup) output()       {}
func (Telegram) output()     {}
func (BusFrame) output()     {}
func (Result) output()       {}
func (StateChanged) output() {}
func (Stopped) output()      {}

// State is what observers see of a session. Its zero value is none.
type State uint8

// The states.
const (
	// StateConnecting: a session is being asked for, or one exists and is in doubt.
	StateConnecting State = iota + 1
	// StateOnline: confirmed by an answer of the interface in the last 30 s, and no
	// ACK has failed since.
	StateOnline
	// StateBackingOff: waits for the next attempt.
	StateBackingOff
)

// String returns the state as clients see it, such as "ONLINE".
func (s State) String() string {
	switch s {
	case StateConnecting:
		return "CONNECTING"
	case StateOnline:
		return "ONLINE"
	case StateBackingOff:
		return "BACKING_OFF"
	default:
		return "NONE"
	}
}

// Outcome is what became of a write.
type Outcome uint8

// The outcomes.
const (
	// NotSent: nothing left for the interface; the error says why.
	NotSent Outcome = iota
	// Confirmed: the bus took the telegram (positive L_Data.con).
	Confirmed
	// Rejected: the bus did not take it (negative L_Data.con).
	Rejected
	// Unconfirmed: the interface took it, but did not say what the bus did.
	Unconfirmed
	// Unknown: sent, and the session was lost before an answer. It is never
	// repeated by us.
	Unknown
)

// String returns the outcome as clients see it, such as "CONFIRMED".
func (o Outcome) String() string {
	switch o {
	case Confirmed:
		return "CONFIRMED"
	case Rejected:
		return "REJECTED"
	case Unconfirmed:
		return "UNCONFIRMED"
	case Unknown:
		return "UNKNOWN"
	default:
		return "NOT_SENT"
	}
}

// ErrNotReady is the error of a Write that came while Ready was false.
var ErrNotReady = errors.New("session: not ready for a write")

// ErrTooLong is in the error of a Write that the interface would not carry, as it
// told by its feature "maximum APDU length".
var ErrTooLong = errors.New("the value is too long for the interface")

// Counters count since New. They never go down.
type Counters struct {
	Connects           uint64 // CONNECT_REQUESTs sent
	Sessions           uint64 // sessions granted; all but the first are reconnects
	SlotsRefused       uint64 // refusals that mean "no free slot"
	Heartbeats         uint64 // CONNECTIONSTATE_REQUESTs sent
	HeartbeatsMissed   uint64 // of these, without an answer in time
	AcksFailed         uint64 // our requests that were not acknowledged in time, repeats included
	Requests           uint64 // TUNNELLING_REQUESTs sent for writes, repeats not included
	Probes             uint64 // of these, reads of Config.Probe
	Repeats            uint64 // TUNNELLING_REQUESTs sent a second time
	Telegrams          uint64 // group telegrams received from the bus
	OwnTelegrams       uint64 // own writes confirmed
	Negative           uint64 // negative confirmations
	Unconfirmed        uint64 // writes without a confirmation
	BusFrames          uint64 // frames heard on the busmonitor layer
	Failovers          uint64 // attempts that went on to another interface at once
	Features           uint64 // answers and news about features of the interface
	OtherFrames        uint64 // valid cEMI frames that are no group telegrams
	Unparsable         uint64 // acknowledged requests whose cEMI made no sense
	Malformed          uint64 // datagrams that are no KNXnet/IP frames
	Unexpected         uint64 // frames that the phase had no use for
	Foreign            uint64 // frames for channels that are not ours
	Duplicates         uint64 // requests acknowledged a second time
	OutOfSequence      uint64 // requests outside the receive window
	UnawaitedConnected uint64 // late CONNECT_RESPONSEs whose slot was given back
}

// Plus returns the sum of the counters of two machines.
func (c Counters) Plus(other Counters) Counters {
	c.Connects += other.Connects
	c.Sessions += other.Sessions
	c.SlotsRefused += other.SlotsRefused
	c.BusFrames += other.BusFrames
	c.Failovers += other.Failovers
	c.Features += other.Features
	c.Heartbeats += other.Heartbeats
	c.HeartbeatsMissed += other.HeartbeatsMissed
	c.AcksFailed += other.AcksFailed
	c.Requests += other.Requests
	c.Probes += other.Probes
	c.Repeats += other.Repeats
	c.Telegrams += other.Telegrams
	c.OwnTelegrams += other.OwnTelegrams
	c.Negative += other.Negative
	c.Unconfirmed += other.Unconfirmed
	c.OtherFrames += other.OtherFrames
	c.Unparsable += other.Unparsable
	c.Malformed += other.Malformed
	c.Unexpected += other.Unexpected
	c.Foreign += other.Foreign
	c.Duplicates += other.Duplicates
	c.OutOfSequence += other.OutOfSequence
	c.UnawaitedConnected += other.UnawaitedConnected
	return c
}
