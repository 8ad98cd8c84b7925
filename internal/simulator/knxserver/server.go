package knxserver

import (
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Server is one virtual interface with its bus. Make it with New. Its methods
// must not be called at the same time, and their now must never go back.
type Server struct {
	cfg     Config
	rnd     func() float64
	started time.Time // zero before Start

	outputs []Datagram
	taken   int // outputs[:taken] were returned by Next

	// The interface.
	channels    []*channel       // open, at most cfg.Slots, in the order they were granted
	lastChannel uint8            // the number granted last
	conns       []netip.AddrPort // TCP connections, at most connLimit
	inbox       []arrival        // while frozen, at most inboxLimit
	downUntil   time.Time        // after a reboot

	// The bus.
	values  []float64  // of the profile's objects
	pending []reaction // each object at most once as an answer and once by itself
	tickAt  time.Time  // when the next object sends by itself; zero: never
	numbers uint64     // telegrams so far
	heard   uint8      // frames that the busmonitor heard, modulo 8

	// What goes wrong.
	faults Faults
	next   int // step of the script
	nth    faultCounters

	record Record
	counts Counts
}

// Datagram is what the interface sends. It belongs to the receiver.
type Datagram struct {
	From, To netip.AddrPort
	Payload  []byte
	// TCP: it goes over the client's TCP connection; without Payload, that is
	// closed.
	TCP bool
}

// arrival is a datagram that waits while the interface is frozen.
type arrival struct {
	from     endpoint
	datagram []byte
}

// New returns an interface that is switched off until Start. rnd returns random
// numbers in [0,1); it is called from the server's methods only.
func New(cfg Config, rnd func() float64) *Server {
	s := &Server{cfg: cfg.withDefaults(), rnd: rnd}
	s.values = s.cfg.Profile.initial()
	return s
}

// Start switches the interface on; script and objects begin. It does nothing
// when called again.
func (s *Server) Start(now time.Time) {
	if !s.started.IsZero() {
		return
	}
	s.started = now
	s.planTick(now)
	s.runScript(now)
}

// Receive takes one datagram that reached the interface. The server keeps no
// part of it. Whatever it holds, it causes a bounded number of answers.
func (s *Server) Receive(now time.Time, from netip.AddrPort, datagram []byte) {
	s.receive(now, endpoint{AddrPort: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, datagram)
}

func (s *Server) receive(now time.Time, from endpoint, datagram []byte) {
	if s.started.IsZero() {
		return
	}
	s.runScript(now)
	s.counts.Received++
	switch {
	case s.faults.Silent || now.Before(s.downUntil):
		s.counts.Unheard++
	case s.faults.Frozen && len(s.inbox) >= inboxLimit:
		s.counts.Unheard++
	case s.faults.Frozen:
		s.inbox = append(s.inbox, arrival{from, slices.Clone(datagram)})
	default:
		s.handle(now, from, datagram)
	}
}

func (s *Server) handle(now time.Time, from endpoint, datagram []byte) {
	f, err := frame.Parse(datagram)
	if err != nil {
		s.counts.Malformed++
		return
	}
	switch f := f.(type) {
	case frame.SearchRequest:
		s.onSearch(from, f)
	case frame.DescriptionRequest:
		s.onDescription(from, f)
	case frame.ConnectRequest:
		s.onConnect(now, from, f)
	case frame.OtherConnectRequest:
		s.counts.Refused++
		s.send(s.cfg.Address, from.resolve(f.Control), frame.ConnectResponse{Status: frame.StatusConnectionType})
	case frame.ConnectionStateRequest:
		s.onHeartbeat(now, from, f)
	case frame.DisconnectRequest:
		s.onDisconnect(now, from, f)
	case frame.TunnellingRequest:
		if c := s.accept(now, from, f.Channel, f.Sequence); c != nil {
			s.onCEMI(now, c, f.CEMI)
		}
	case frame.TunnellingAck:
		s.onAck(now, from, f)
	case frame.FeatureGet:
		s.onFeature(now, from, f.Channel, f.Sequence, f.Feature, nil)
	case frame.FeatureSet:
		s.onFeature(now, from, f.Channel, f.Sequence, f.Feature, f.Value)
	default:
		// Such as the answer to our own DISCONNECT_REQUEST, whose channel is gone.
		s.counts.Unexpected++
	}
}

// Expire does what is due at now. Calling it early does nothing; calling it late
// does everything missed once.
func (s *Server) Expire(now time.Time) {
	if s.started.IsZero() {
		return
	}
	s.runScript(now)
	s.expireBus(now)
	if s.faults.Frozen {
		return
	}
	// From the end, because a channel that is dropped leaves the list.
	for _, c := range slices.Backward(s.channels) {
		s.expireChannel(now, c)
	}
}

// Deadline returns when Expire must be called next, and false when only a call
// can cause something.
func (s *Server) Deadline() (time.Time, bool) {
	if s.started.IsZero() {
		return time.Time{}, false
	}
	first := s.tickAt
	sooner := func(at time.Time) {
		if !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if at, ok := s.scriptDeadline(); ok {
		sooner(at)
	}
	for i := range s.pending {
		sooner(s.pending[i].at)
	}
	if !s.faults.Frozen {
		for _, c := range s.channels {
			c.deadlines(sooner)
		}
	}
	return first, !first.IsZero()
}

// keptOutputs is how much room for outputs an idle server keeps.
const keptOutputs = 4

// Next returns the oldest datagram not yet taken. Drain it after every call.
func (s *Server) Next() (Datagram, bool) {
	if s.taken < len(s.outputs) {
		d := s.outputs[s.taken]
		s.outputs[s.taken] = Datagram{}
		s.taken++
		return d, true
	}
	s.taken = 0
	s.outputs = s.outputs[:0]
	if cap(s.outputs) > keptOutputs {
		s.outputs = nil
	}
	return Datagram{}, false
}

// send emits a frame from one of the interface's endpoints.
func (s *Server) send(from netip.AddrPort, to endpoint, f frame.Frame) {
	s.sendRaw(from, to, frame.Append(nil, f))
}

func (s *Server) sendRaw(from netip.AddrPort, to endpoint, payload []byte) {
	if s.faults.Silent {
		s.counts.Unsaid++
		return
	}
	s.counts.Sent++
	s.outputs = append(s.outputs, Datagram{From: from, To: to.AddrPort, Payload: payload, TCP: to.tcp})
}
