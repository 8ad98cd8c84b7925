package knxserver

import (
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// channel is one client's tunnel.
type channel struct {
	number   uint8
	session  uint64 // counts the channels of the server: numbers come again
	slot     int
	monitors bool // on the busmonitor layer: it hears all frames, and no telegrams
	assigned frame.IndividualAddress
	control  endpoint // where the client is told about the channel
	data     endpoint // where it gets its telegrams
	since    time.Time
	heard    time.Time // last sign of life

	// Sequence counters, KNX 03_08_04 Tunnelling §2.6: from 0 for each channel,
	// modulo 256.
	expected uint8 // of the client's next request
	sequence uint8 // of our next request

	// queue holds what is to be sent, at most queueLimit; the first is under way
	// when tries is not zero.
	queue    []message
	tries    int
	wire     uint8     // sequence number of the request under way, as it was sent
	repeatAt time.Time // the request under way is unacknowledged

	wantsInfo bool // set the feature "info service enable"

	late []lateMessage // confirmations that are held back, at most lateLimit
}

// message is one request to a client.
type message struct {
	number  uint64 // of the telegram; 0 where it is none
	content Content
	// payload is the cEMI message, shared by the channels that get it. Of
	// ContentFeature it is the feature, the return code and the value.
	payload []byte
	sentAt  time.Time // first
}

type lateMessage struct {
	at time.Time
	message
}

func (c *channel) deadlines(sooner func(time.Time)) {
	sooner(c.repeatAt)
	sooner(c.heard.Add(aliveTime))
	for i := range c.late {
		sooner(c.late[i].at)
	}
}

func (s *Server) expireChannel(now time.Time, c *channel) {
	if !c.heard.Add(aliveTime).After(now) {
		s.drop(now, c)
		return
	}
	if !c.repeatAt.IsZero() && !c.repeatAt.After(now) {
		if c.tries >= requestTries {
			s.drop(now, c)
			return
		}
		s.counts.Repeats++
		s.transmit(now, c)
	}
	for len(c.late) > 0 && !c.late[0].at.After(now) {
		m := c.late[0].message
		c.late = slices.Delete(c.late, 0, 1)
		s.enqueue(now, c, m)
	}
}

// drop gives up a client that is not heard any more.
func (s *Server) drop(now time.Time, c *channel) {
	s.counts.Dropped++
	if s.cfg.Style == StyleCalimero {
		s.requestDisconnect(c)
	}
	s.closeChannel(now, c)
}

// closeChannel forgets a channel and what waited in it.
func (s *Server) closeChannel(now time.Time, c *channel) {
	s.channels = slices.DeleteFunc(s.channels, func(other *channel) bool { return other == c })
	for i := range c.queue {
		outcome := Unsent
		if i == 0 && c.tries > 0 {
			outcome = Unacked
		}
		s.ended(now, c, c.queue[i], outcome)
	}
	for i := range c.late {
		s.ended(now, c, c.late[i].message, Unsent)
	}
	c.queue, c.late = nil, nil
}

// enqueue gives a client something to receive, after what waits already.
func (s *Server) enqueue(now time.Time, c *channel, m message) {
	if every(s.faults.Broken, &s.nth.broken) {
		s.push(now, c, message{content: ContentBroken, payload: brokenCEMI[s.nth.broken%uint64(len(brokenCEMI))]})
	}
	s.push(now, c, m)
}

func (s *Server) push(now time.Time, c *channel, m message) {
	if s.faults.Frozen || len(c.queue) >= queueLimit {
		s.ended(now, c, m, Unsent)
		return
	}
	c.queue = append(c.queue, m)
	s.pump(now, c)
}

// pump sends the next request when none is under way.
func (s *Server) pump(now time.Time, c *channel) {
	if c.tries > 0 || len(c.queue) == 0 {
		return
	}
	c.queue[0].sentAt = now
	c.wire = c.sequence
	if every(s.faults.WrongSequence, &s.nth.wrongSequence) {
		c.wire += wrongBy
	}
	if every(s.faults.Foreign, &s.nth.foreign) {
		s.send(s.cfg.DataAddress, c.data, frame.TunnellingRequest{
			Channel: c.number + 100, Sequence: c.wire, CEMI: c.queue[0].payload,
		})
	}
	if every(s.faults.Malformed, &s.nth.malformed) {
		list := MalformedFrames(c.number, c.wire)
		s.sendRaw(s.cfg.DataAddress, c.data, list[s.nth.malformed%uint64(len(list))])
	}
	s.transmit(now, c)
	if c.data.tcp {
		s.acknowledged(now, c) // by TCP
	}
}

// transmit sends the first of the queue; a repeat is the same to the byte.
func (s *Server) transmit(now time.Time, c *channel) {
	c.tries++
	c.repeatAt = now.Add(ackTimeout)
	m := c.queue[0]
	copies := 1
	if every(s.faults.Duplicates, &s.nth.duplicates) {
		copies = 2
	}
	for range copies {
		switch m.content {
		case ContentFeatureInfo:
			s.send(s.cfg.DataAddress, c.data, frame.FeatureInfo{
				Channel: c.number, Sequence: c.wire, Feature: frame.Feature(m.payload[0]), Value: m.payload[2:],
			})
		case ContentFeature:
			s.send(s.cfg.DataAddress, c.data, frame.FeatureResponse{
				Channel: c.number, Sequence: c.wire,
				Feature: frame.Feature(m.payload[0]), Code: m.payload[1], Value: m.payload[2:],
			})
		default:
			s.send(s.cfg.DataAddress, c.data, frame.TunnellingRequest{Channel: c.number, Sequence: c.wire, CEMI: m.payload})
		}
	}
}

// onAck ends the request under way. An ACK with an error status counts as none.
func (s *Server) onAck(now time.Time, from endpoint, a frame.TunnellingAck) {
	c := s.channel(a.Channel)
	if c == nil || c.data != from {
		s.counts.Foreign++
		return
	}
	c.heard = now
	if c.tries == 0 || a.Sequence != c.wire || a.Status != frame.StatusNoError {
		s.counts.Unexpected++
		return
	}
	if every(s.faults.IgnoreAcks, &s.nth.ignoredAcks) {
		return
	}
	s.acknowledged(now, c)
}

// acknowledged ends the request under way and goes on to the next.
func (s *Server) acknowledged(now time.Time, c *channel) {
	s.ended(now, c, c.queue[0], Acked)
	c.queue[0] = message{}
	c.queue = c.queue[1:]
	if len(c.queue) == 0 {
		c.queue = nil // an idle channel holds no memory
	}
	c.sequence++
	c.tries = 0
	c.repeatAt = time.Time{}
	s.pump(now, c)
}

// Channel is an open connection as an observer sees it.
type Channel struct {
	Number   uint8
	Session  uint64 // counts all channels that the server granted
	Client   netip.AddrPort
	Assigned frame.IndividualAddress
	Since    time.Time
	Waiting  int // telegrams not yet acknowledged
}

// Channels returns the open connections, the oldest first.
func (s *Server) Channels() []Channel {
	list := make([]Channel, len(s.channels))
	for i, c := range s.channels {
		list[i] = Channel{c.number, c.session, c.control.AddrPort, c.assigned, c.since, len(c.queue)}
	}
	return list
}
