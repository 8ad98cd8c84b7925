package knxserver

import (
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Record is what the referee noted. Every telegram of a bus has a running number
// from 1, in the order in which the bus saw it; it never comes again.
type Record struct {
	// Bus is the telegrams on the bus, in order.
	Bus []BusTelegram
	// Deliveries is what was to be sent to clients and has come to an end, within
	// each session in the order of sending. What still waits is in none.
	Deliveries []Delivery
	// BusMissed and DeliveriesMissed count what was beyond the limit.
	BusMissed, DeliveriesMissed uint64
}

// Origin is who put a telegram on the bus.
type Origin uint8

// The origins.
const (
	FromClient    Origin = iota // a tunnelling client
	FromObject                  // a group object of the profile
	FromInjection               // Inject
)

// String names the origin.
func (o Origin) String() string {
	switch o {
	case FromClient:
		return "client"
	case FromObject:
		return "object"
	default:
		return "injection"
	}
}

// BusTelegram is one telegram that the bus saw.
type BusTelegram struct {
	Number uint64
	At     time.Time
	Origin Origin
	// Failed tells that nobody on the bus acknowledged it: no object and no other
	// client saw it. Its sender gets a negative confirmation.
	Failed bool
	// Session, Channel and Client are of FromClient only; Session counts the
	// channels that the server granted.
	Session uint64
	Channel uint8
	Client  netip.AddrPort
	// LData is the telegram with the source as others see it; its Message is
	// L_Data.ind.
	LData frame.LData
}

// Content is what a request to a client carries.
type Content uint8

// The contents.
const (
	ContentIndication   Content = iota // L_Data.ind
	ContentConfirmation                // positive L_Data.con of the client's own telegram
	ContentNegative                    // negative L_Data.con
	ContentFeature                     // answer to a feature request
	ContentFeatureInfo                 // news of a feature
	ContentBusmonitor                  // L_Busmon.ind
	ContentBroken                      // cEMI that makes no sense: Faults.Broken
)

// String names the content.
func (c Content) String() string {
	switch c {
	case ContentIndication:
		return "indication"
	case ContentConfirmation:
		return "confirmation"
	case ContentNegative:
		return "negative confirmation"
	case ContentFeature:
		return "feature"
	case ContentFeatureInfo:
		return "feature info"
	case ContentBusmonitor:
		return "busmonitor"
	default:
		return "broken"
	}
}

// DeliveryOutcome is what became of a delivery.
type DeliveryOutcome uint8

// The outcomes.
const (
	Acked   DeliveryOutcome = iota // the client acknowledged it
	Unacked                        // sent, but the channel ended first: the client may have it or not
	Unsent                         // never sent: the channel ended, its queue was full, or the interface was frozen
)

// String names the outcome.
func (o DeliveryOutcome) String() string {
	switch o {
	case Acked:
		return "acked"
	case Unacked:
		return "unacked"
	default:
		return "unsent"
	}
}

// Delivery is one request for one client.
type Delivery struct {
	Number  uint64 // of the telegram; 0 of ContentFeature and ContentBroken
	Content Content
	Session uint64
	Channel uint8
	Sent    time.Time // first; zero when Unsent
	Ended   time.Time
	Tries   int
	Outcome DeliveryOutcome
}

// TakeRecord returns what was noted since it was last called, and forgets it.
func (s *Server) TakeRecord() Record {
	r := s.record
	s.record = Record{}
	return r
}

func (s *Server) recordBus(t BusTelegram) {
	if len(s.record.Bus) >= s.cfg.RecordLimit {
		s.record.BusMissed++
		return
	}
	s.record.Bus = append(s.record.Bus, t)
}

// ended notes what became of a message.
func (s *Server) ended(now time.Time, c *channel, m message, outcome DeliveryOutcome) {
	d := Delivery{
		Number: m.number, Content: m.content, Session: c.session, Channel: c.number,
		Sent: m.sentAt, Ended: now, Outcome: outcome,
	}
	switch outcome {
	case Acked:
		s.counts.Acked++
	case Unacked:
		s.counts.Unacked++
	case Unsent:
		s.counts.Unsent++
	}
	if outcome != Unsent {
		d.Tries = c.tries
	}
	if len(s.record.Deliveries) >= s.cfg.RecordLimit {
		s.record.DeliveriesMissed++
		return
	}
	s.record.Deliveries = append(s.record.Deliveries, d)
}

// Counts count since New. They never go down.
type Counts struct {
	Received      uint64 // datagrams given to Receive
	Sent          uint64 // datagrams given by Next
	Unheard       uint64 // datagrams lost to Faults.Silent, a reboot, or a full inbox while frozen
	Unsaid        uint64 // datagrams that Faults.Silent kept back
	Malformed     uint64 // datagrams that are no KNXnet/IP frames
	Unexpected    uint64 // frames without a use, such as an ACK that nothing waits for
	Foreign       uint64 // frames for no channel, or from another endpoint than its client's
	Granted       uint64 // CONNECT_REQUESTs
	Refused       uint64 // CONNECT_REQUESTs
	Heartbeats    uint64 // CONNECTIONSTATE_REQUESTs answered
	Left          uint64 // channels that the client ended
	Dropped       uint64 // channels given up: a request unacknowledged, or silence
	Duplicates    uint64 // requests that were acknowledged again
	OutOfSequence uint64 // requests outside the receive window, not answered
	Unusable      uint64 // acknowledged requests that are no L_Data.req
	Bus           uint64 // telegrams on the bus
	Written       uint64 // of these, by clients
	Acked         uint64 // deliveries, by outcome
	Unacked       uint64
	Unsent        uint64
	Repeats       uint64 // requests sent a second time
}

// Counts returns what was counted so far.
func (s *Server) Counts() Counts { return s.counts }
