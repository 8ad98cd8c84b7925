package session

import (
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Config says whom to connect to and how. The zero value of every field but
// Control is a good default.
type Config struct {
	// Control is the interface's control endpoint, such as 192.168.1.3:3671.
	Control netip.AddrPort

	// Fallbacks are further interfaces on the same bus, tried in turn while those
	// before do not give a session. Each loss begins at Control again, but for an
	// interface that has just died: it comes last.
	Fallbacks []netip.AddrPort

	// Layer is what the tunnel works on; zero is frame.LayerLink. With
	// frame.LayerBusmonitor the machine hears every frame of the bus, gives a BusFrame
	// for each, and takes no writes.
	Layer frame.Layer

	// Transport carries the session; zero is TransportUDP.
	Transport Transport

	// Local, when valid, is written into our HPAIs instead of route-back (all
	// zero). It must be the address and port our datagrams come from. Most
	// interfaces want route-back, KNX Virtual refuses it
	// (KNX 03_08_02 Core, HPAI and network address translation).
	Local netip.AddrPort

	// FixedAddress, when not zero, asks for this individual address by the
	// extended CRI of tunnelling version 2. An interface that does not know it is
	// asked again without.
	FixedAddress frame.IndividualAddress

	// Probe, when not zero, is read whenever the bus was quiet for ProbeEvery, so that
	// a dead bus is noticed; a device must answer. Zero ProbeEvery is 20 s.
	Probe      frame.GroupAddress
	ProbeEvery time.Duration

	// Together, when not zero, makes heartbeats fall on multiples of it, counted from
	// 1970: those of many machines in one process then come due at once, and so do
	// the answers, and the process wakes up once for all of them.
	Together time.Duration

	// StopTimeout bounds the wait for the answer to the DISCONNECT_REQUEST when
	// stopping. Zero means the standard's 10 s; more than that is cut to it.
	StopTimeout time.Duration
}

// Machine is one tunnelling client. Its methods must not be called at the same
// time, and their now must never go back.
type Machine struct {
	cfg Config
	rnd func() float64

	phase    phase
	timers   [timerCount]time.Time
	outputs  []Output
	taken    int // outputs[:taken] were returned by Next
	reported StateChanged
	counters Counters

	// Across sessions.
	peers       []peer    // the interfaces: Control, then Fallbacks
	peer        *peer     // the one in use, or asked last
	order       []int     // of peers, those still to be tried before a wait
	plan        []int     // the order after the wait; nil: as configured
	stream      stream    // the TCP connection
	lastAttempt time.Time // of the last CONNECT_REQUEST
	outage      time.Time // since when there has been no session that lasted
	hurried     bool      // a lost session was followed by an attempt at once
	retry       backoff
	slots       backoff
	stopBy      time.Time // after Stop

	distrust bool // the session before had an error: the next one is not ONLINE before it was asked

	// Of the living session.
	link  link
	write outgoing
}

// link is what belongs to one granted session.
type link struct {
	channel  uint8
	data     netip.AddrPort // where TUNNELLING_* go
	grantor  netip.Addr     // who granted it
	stream   bool           // over TCP
	maxAPDU  int            // the longest that the interface carries; 0: it did not tell
	asks     []frame.Frame  // requests for features that wait for their turn
	assigned frame.IndividualAddress
	since    time.Time
	answered time.Time // last answer of the interface
	beats    int       // heartbeats sent since the last answer to one
	doubts   doubt
	// negatives counts negative confirmations, and probes without any, since the bus
	// was last heard, and negativeSince is when the first of them came.
	negatives     int
	negativeSince time.Time
	busTold       bool // the interface tells by its feature that the bus is there

	// Sequence counters, KNX 03_08_04 Tunnelling §2.6: from 0 for each session,
	// modulo 256.
	sendSequence    uint8
	receiveSequence uint8
}

// New returns a machine in phaseIdle. rnd returns random numbers in [0,1) for
// jitter; it is called from the machine's methods only.
func New(cfg Config, rnd func() float64) *Machine {
	if cfg.StopTimeout <= 0 || cfg.StopTimeout > disconnectTimeout {
		cfg.StopTimeout = disconnectTimeout
	}
	if cfg.Layer == 0 {
		cfg.Layer = frame.LayerLink
	}
	if cfg.ProbeEvery <= 0 {
		cfg.ProbeEvery = probeEvery
	}
	m := &Machine{cfg: cfg, rnd: rnd, retry: retryBackoff, slots: slotsBackoff}
	for _, addr := range append([]netip.AddrPort{cfg.Control}, cfg.Fallbacks...) {
		m.peers = append(m.peers, peer{addr: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())})
	}
	m.peer = &m.peers[0]
	return m
}

// Start makes the first attempt. It does nothing when called again.
func (m *Machine) Start(now time.Time) {
	if m.phase == phaseIdle {
		m.outage = now
		m.connect(now)
	}
}

// Kick says that the way to the interface is believed to be back, or has changed.
// A machine that backs off tries now, though not sooner than 1 s (5 s when the
// slots were full) after its last attempt. One with a session asks the interface
// at once if it still knows it: what was sent on the way before may be lost, and
// who restarted with the way has forgotten us. In any other phase it does nothing.
func (m *Machine) Kick(now time.Time) {
	switch m.phase {
	case phaseBackingOff:
	case phaseUp:
		m.heartbeatAgain(now)
		return
	default:
		return
	}
	pause := m.retry.first
	if m.reported.Reason == ReasonSlotsFull {
		pause = m.slots.first
	} else {
		m.retry.reset()
	}
	at := m.lastAttempt.Add(pause)
	switch {
	case !at.After(now):
		m.connect(now)
	case at.Before(m.timers[timerRetry]):
		m.arm(timerRetry, at)
		m.report(now, StateBackingOff, m.reported.Reason, m.reported.Message, at)
	}
}

// Next returns the oldest output not yet taken. Drain it after every call.
func (m *Machine) Next() (Output, bool) {
	if m.taken == len(m.outputs) {
		clear(m.outputs)
		m.outputs, m.taken = m.outputs[:0], 0
		return nil, false
	}
	out := m.outputs[m.taken]
	m.taken++
	return out, true
}

// Counters returns what was counted so far.
func (m *Machine) Counters() Counters { return m.counters }

// State returns the last StateChanged; zero before Start.
func (m *Machine) State() StateChanged { return m.reported }

func (m *Machine) emit(o Output) { m.outputs = append(m.outputs, o) }

// send emits a frame as a datagram.
func (m *Machine) send(to netip.AddrPort, f frame.Frame) {
	m.emit(Send{To: to, Datagram: frame.Append(nil, f)})
}

// control sends to the interface's control endpoint, or over TCP.
func (m *Machine) control(f frame.Frame) { m.answer(m.way(m.peer.addr), f) }

// data sends to the interface's data endpoint, or over TCP.
func (m *Machine) data(f frame.Frame) { m.answer(m.way(m.link.data), f) }

// answer sends to where something came from.
func (m *Machine) answer(to origin, f frame.Frame) {
	if to.stream {
		m.emit(Send{Stream: true, Datagram: frame.Append(nil, f)})
		return
	}
	m.send(to.addr, f)
}

// hpai is our own endpoint as the interface is told: route-back unless
// configured, and always over TCP (KNX 03_08_02 Core, TCP).
func (m *Machine) hpai() frame.HPAI {
	if m.stream == streamOpen {
		return frame.HPAI{TCP: true}
	}
	return frame.HPAI{Addr: m.cfg.Local}
}
