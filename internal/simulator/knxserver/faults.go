package knxserver

import (
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Faults is what is wrong with the interface. The zero value is nothing. A count n
// hits every nth: 1 is all, 0 none.
type Faults struct {
	// Silent: as with its cable pulled. Nothing is heard and nothing said, while
	// the interface's own timers run.
	Silent bool
	// Frozen: as a process that was stopped. What comes in waits, up to a limit,
	// and is all answered at the thaw; telegrams of the bus are missed.
	Frozen bool

	// Full: other clients have all the slots that are free now; new ones get 0x24.
	Full bool
	// Refuse is the status with which every CONNECT_REQUEST is refused.
	Refuse frame.Status
	// LongRefusals: refusals have 20 instead of 8 bytes, as some devices send them.
	LongRefusals bool
	// RefuseTCP: the description promises TCP, and no connection is taken, as behind a
	// firewall. Those that are open stay.
	RefuseTCP bool
	// Heartbeat is the status with which heartbeats of living channels are
	// answered: 0x21, 0x26 or 0x27. The channel lives on.
	Heartbeat frame.Status

	// BusDown: the interface has lost its bus. Its clients get no telegrams, and a
	// negative confirmation for each of theirs. The feature bus status says so, and
	// those who asked for news of it are told; heartbeats do not.
	BusDown bool

	// Nacks and Busies: a device finds a telegram broken, or cannot take it. It is sent
	// again, and acknowledged then. Only a busmonitor hears of it.
	Nacks, Busies int

	// LoseAcks: our ACKs of a client's request are not sent. The request counts.
	LoseAcks int
	// IgnoreAcks: the client's ACKs are not seen, so that its telegram comes again.
	IgnoreAcks int

	// Confirmation is what L_Data.con says, if it comes.
	Confirmation Confirmation
	// ConfirmationDelay is how long each is held back.
	ConfirmationDelay time.Duration
	// AnonymousConfirmations have source 0.0.0.
	AnonymousConfirmations bool

	// WrongSequence: requests with a sequence counter that is outside of the
	// client's window, also in their repetition.
	WrongSequence int
	// Duplicates: requests are sent twice at once.
	Duplicates int
	// Foreign: before a request, the same for a channel that is not the client's.
	Foreign int
	// Malformed: before a request, one of MalformedFrames.
	Malformed int
	// Broken: before a telegram, a request of its own whose cEMI makes no sense. It
	// has to be acknowledged.
	Broken int
}

// Confirmation is how the interface confirms the telegrams of its clients.
type Confirmation uint8

// The confirmations.
const (
	ConfirmPositive Confirmation = iota
	// ConfirmNegative: nobody on the bus acknowledges the telegrams of clients.
	ConfirmNegative
	// ConfirmNever: the bus takes them, but no L_Data.con comes.
	ConfirmNever
)

// faultCounters count the chances of the faults that hit every nth.
type faultCounters struct {
	nacks, busies, lostAcks, ignoredAcks                  uint64
	wrongSequence, duplicates, foreign, malformed, broken uint64
}

// every counts a chance and tells whether the fault hits it.
func every(n int, count *uint64) bool {
	if n <= 0 {
		return false
	}
	*count++
	return *count%uint64(n) == 0
}

// wrongBy is how far a wrong sequence counter is off.
const wrongBy = 5

// Faults returns what is wrong now.
func (s *Server) Faults() Faults { return s.faults }

// SetFaults changes what is wrong. A thaw answers at once what has waited.
func (s *Server) SetFaults(now time.Time, f Faults) {
	thaw := s.faults.Frozen && !f.Frozen
	before := s.busStatus()
	s.faults = f
	s.tellBusStatus(now, before)
	if !thaw {
		return
	}
	inbox := s.inbox
	s.inbox = nil
	for _, a := range inbox {
		if s.faults.Silent {
			s.counts.Unheard++
			continue
		}
		s.handle(now, a.from, a.datagram)
	}
}

// busStatus is the value of the feature "bus connection status".
func (s *Server) busStatus() byte {
	if s.faults.BusDown || s.faults.Heartbeat == frame.StatusKNXConnection {
		return 0
	}
	return 1
}

// tellBusStatus tells a change of it to the clients that want news.
func (s *Server) tellBusStatus(now time.Time, before byte) {
	after := s.busStatus()
	if after == before {
		return
	}
	for _, c := range s.channels {
		if c.wantsInfo {
			s.enqueue(now, c, message{content: ContentFeatureInfo, payload: []byte{byte(frame.FeatureBusStatus), 0, after}})
		}
	}
}

// brokenCEMI are messages that are no L_Data, or not whole.
var brokenCEMI = [][]byte{
	{},
	{0x29},
	{0x29, 0x00},
	{0x29, 0xFF, 0xBC, 0xE0}, // more additional information than there is
	{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03},                               // ends before the length
	{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03, 0x03, 0x00, 0x80, 0x0C},       // APDU cut
	{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03, 0x01, 0x00, 0x81, 0x0C, 0x33}, // more than the length says
	{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03, 0xFF, 0x00, 0x80},             // reserved length
	{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03, 0x00, 0x00},                   // data frame without an APDU
	{0x2B, 0x04, 0x03, 0x09, 0x00, 0xBC, 0xE0},                                     // busmonitor, cut in its additional information
	{0xC7, 0x00, 0x01, 0x02},                                                       // no such message
}

// MalformedFrames returns datagrams that break the rules of KNXnet/IP, each in
// another way, as if for a client's channel. A client must neither answer nor
// stumble over any.
func MalformedFrames(channel, sequence uint8) [][]byte {
	cemi := []byte{0x29, 0x00, 0xBC, 0xE0, 0x11, 0x05, 0x0A, 0x03, 0x01, 0x00, 0x81}
	request := frame.Append(nil, frame.TunnellingRequest{Channel: channel, Sequence: sequence, CEMI: cemi})
	changed := func(at int, value byte) []byte {
		copied := append([]byte(nil), request...)
		copied[at] = value
		return copied
	}
	return [][]byte{
		{},
		{0x06},
		request[:5],
		request[:8],                     // shorter than its length says
		append(slices.Clip(request), 0), // longer
		changed(0, 0x08),                // header length
		changed(1, 0x20),                // version
		changed(2, 0x7F),                // service
		changed(4, 0xFF),                // total length
		changed(6, 0x03),                // connection header's length
		{0x06, 0x10, 0x04, 0x20, 0x00, 0x08, 0x04, channel},                 // TUNNELLING_REQUEST, cut
		{0x06, 0x10, 0x04, 0x21, 0x00, 0x09, 0x04, channel, sequence},       // TUNNELLING_ACK, cut
		{0x06, 0x10, 0x02, 0x06, 0x00, 0x07, channel},                       // CONNECT_RESPONSE, cut
		{0x06, 0x10, 0x02, 0x06, 0x00, 0x0A, channel, 0x00, 0x08, 0x01},     // in its HPAI
		{0x06, 0x10, 0x02, 0x08, 0x00, 0x07, channel},                       // CONNECTIONSTATE_RESPONSE, cut
		{0x06, 0x10, 0x02, 0x09, 0x00, 0x08, channel, 0x00},                 // DISCONNECT_REQUEST without HPAI
		{0x06, 0x10, 0x02, 0x04, 0x00, 0x0A, 0x00, 0x01, 0x00, 0x00},        // DESCRIPTION_RESPONSE, block of length 0
		{0x06, 0x10, 0x02, 0x04, 0x00, 0x08, 0x36, 0x01},                    // its block longer than the frame
		{0x06, 0x10, 0x04, 0x23, 0x00, 0x0A, 0x04, channel, sequence, 0x00}, // feature response without feature
		{0x06, 0x10, 0x05, 0x31, 0x00, 0x0A, 0xFF, 0x00, 0x00, 0x01},        // ROUTING_LOST_MESSAGE, wrong block
		{0x06, 0x10, 0x04, 0x25, 0x00, 0x0A, 0x04, channel, sequence, 0x00}, // feature info without feature
		{0x06, 0x10, 0x02, 0x04, 0x00, 0x0A, 0x04, 0x01, 0x02, 0x00},        // DESCRIPTION_RESPONSE, device block too short
		{0x06, 0x10, 0x09, 0x50, 0x00, 0x08, 0x00, 0x00},                    // SECURE_WRAPPER, without a secure session
		connectResponse(channel, 0x01, 0x08, 0x04, 0x04),                    // in its CRD
		connectResponse(channel, 0x01, 0x08, 0x02, 0x04, 0x11, 0xFA),        // its CRD shorter than its length says
		connectResponse(channel, 0x01, 0x08, 0x04, 0x03, 0x11, 0xFA),        // its CRD of another connection
		connectResponse(channel, 0x01, 0x09, 0x04, 0x04, 0x11, 0xFA),        // length of its HPAI
		connectResponse(channel, 0x07, 0x08, 0x04, 0x04, 0x11, 0xFA),        // unknown host protocol
	}
}

// connectResponse is a CONNECT_RESPONSE that grants a channel at the default address,
// with the host protocol of its HPAI, that one's length, and its CRD.
func connectResponse(channel, protocol, hpai uint8, crd ...byte) []byte {
	ip, port := defaultAddress.Addr().As4(), defaultAddress.Port()
	body := slices.Concat([]byte{channel, 0x00, hpai, protocol}, ip[:], []byte{byte(port >> 8), byte(port)}, crd)
	return slices.Concat([]byte{0x06, 0x10, 0x02, 0x06, 0x00, byte(6 + len(body))}, body)
}
