package knxserver

import (
	"encoding/binary"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// accept applies the receive window (KNX 03_08_04 Tunnelling §2.6) to a client's
// request, acknowledges it, and returns its channel when it is to be processed.
func (s *Server) accept(now time.Time, from endpoint, number, sequence uint8) *channel {
	c := s.channel(number)
	if c == nil || c.data != from {
		s.counts.Foreign++
		return nil
	}
	c.heard = now
	if from.tcp {
		return c // neither counters nor ACKs
	}
	switch sequence {
	case c.expected:
		s.ack(c, sequence)
		c.expected++
		return c
	case c.expected - 1:
		// Our ACK was lost. Again, but to the bus only once.
		s.counts.Duplicates++
		s.ack(c, sequence)
	default:
		s.counts.OutOfSequence++
	}
	return nil
}

func (s *Server) ack(c *channel, sequence uint8) {
	if every(s.faults.LoseAcks, &s.nth.lostAcks) {
		return
	}
	s.send(s.cfg.DataAddress, c.data, frame.TunnellingAck{Channel: c.number, Sequence: sequence})
}

// onCEMI takes the content of a request that was acknowledged.
func (s *Server) onCEMI(now time.Time, c *channel, cemi []byte) {
	l, err := frame.ParseLData(cemi)
	if c.monitors || err != nil || l.Message != frame.LDataReq {
		s.counts.Unusable++
		return
	}
	l = l.Clone()
	con := l
	if l.Source == 0 {
		l.Source = c.assigned
	}
	failed := s.faults.Confirmation == ConfirmNegative || s.faults.BusDown || (!l.SixBit && 1+len(l.Data) > s.cfg.MaxAPDU)
	number := s.appear(now, FromClient, c, l, failed)
	s.confirm(now, c, con, number, failed)
	s.forward(now, c, l, number, failed)
}

// confirm sends the L_Data.con (KNX 03_06_03 EMI_IMI §4.1.5).
func (s *Server) confirm(now time.Time, c *channel, con frame.LData, number uint64, failed bool) {
	if s.faults.Confirmation == ConfirmNever {
		return
	}
	content := ContentConfirmation
	con.Message = frame.LDataCon
	if failed {
		content = ContentNegative
		con.Failed = true
	}
	switch {
	case s.faults.AnonymousConfirmations:
		con.Source = 0
	case s.cfg.Style == StyleCalimero:
		con.Source = c.assigned
	}
	m := message{number: number, content: content, payload: con.Append(nil)}
	switch {
	case s.faults.ConfirmationDelay <= 0:
		s.enqueue(now, c, m)
	case len(c.late) < lateLimit:
		c.hold(now.Add(s.faults.ConfirmationDelay), m)
	default:
		s.ended(now, c, m, Unsent)
	}
}

// hold keeps a confirmation back, in the order of their times.
func (c *channel) hold(at time.Time, m message) {
	i := len(c.late)
	for i > 0 && c.late[i-1].at.After(at) {
		i--
	}
	c.late = append(c.late, lateMessage{})
	copy(c.late[i+1:], c.late[i:])
	c.late[i] = lateMessage{at, m}
}

// Return codes of feature services (KNX 03_03_07 Application Layer).
const (
	codeSuccess     = 0x00
	codeReadOnly    = 0xFB
	codeAddressVoid = 0xFD
)

// onFeature answers TUNNELLING_FEATURE_GET and, when set is not nil, _SET
// (KNX 03_08_04 Tunnelling). Version 1 does not know them and stays silent.
func (s *Server) onFeature(now time.Time, from endpoint, number, sequence uint8, f frame.Feature, set []byte) {
	if s.cfg.Style != StyleCalimero {
		s.counts.Unexpected++
		return
	}
	c := s.accept(now, from, number, sequence)
	if c == nil {
		return
	}
	code, value := byte(codeSuccess), []byte(nil)
	switch f {
	case frame.FeatureSupportedEMITypes:
		value = []byte{0x00, 0x04} // cEMI only
	case frame.FeatureHostDeviceDescriptor:
		value = []byte{0x09, 0x1A} // KNXnet/IP router
	case frame.FeatureBusStatus:
		value = []byte{s.busStatus()}
	case frame.FeatureManufacturer:
		value = []byte{0x00, 0xFA} // as in the serial number
	case frame.FeatureActiveEMIType:
		value = []byte{0x03}
	case frame.FeatureIndividualAddress:
		value = binary.BigEndian.AppendUint16(nil, uint16(c.assigned))
	case frame.FeatureMaxAPDULength:
		value = binary.BigEndian.AppendUint16(nil, uint16(s.cfg.MaxAPDU))
	case frame.FeatureInfoServiceEnable:
		if set != nil {
			c.wantsInfo = len(set) > 0 && set[0]&1 == 1
		}
		if value = []byte{0}; c.wantsInfo {
			value = []byte{1}
		}
	default:
		code = codeAddressVoid
	}
	if set != nil && code == codeSuccess && f != frame.FeatureInfoServiceEnable {
		code = codeReadOnly
	}
	s.enqueue(now, c, message{content: ContentFeature, payload: append([]byte{byte(f), code}, value...)})
}
