package knxserver

import (
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// endpoint is where a client is: a UDP endpoint, or the far end of a TCP
// connection.
type endpoint struct {
	netip.AddrPort

	tcp bool
}

// resolve is where a client wants to be answered. Over TCP there is one place only
// (KNX 03_08_02 Core, TCP).
func (e endpoint) resolve(h frame.HPAI) endpoint {
	if e.tcp {
		return e
	}
	return endpoint{AddrPort: h.Resolve(e.AddrPort)}
}

// hpai is the interface's own control endpoint as a client is told.
func (s *Server) hpai(c *channel) frame.HPAI {
	if c.control.tcp {
		return frame.HPAI{TCP: true}
	}
	return frame.HPAI{Addr: s.cfg.Address}
}

// OffersTCP reports whether the interface's description promises TCP.
func (s *Server) OffersTCP() bool { return s.cfg.TCP }

// TakesTCP reports whether the interface listens for TCP connections now.
func (s *Server) TakesTCP() bool { return s.cfg.TCP && !s.faults.RefuseTCP }

// Accept says that a client has opened a TCP connection to the control endpoint,
// and reports if the interface takes it. A silent interface does not, nor one
// that TakesTCP says it of.
func (s *Server) Accept(now time.Time, client netip.AddrPort) bool {
	if s.started.IsZero() {
		return false
	}
	s.runScript(now)
	if !s.TakesTCP() || s.faults.Silent || now.Before(s.downUntil) || len(s.conns) >= connLimit || slices.Contains(s.conns, client) {
		return false
	}
	s.conns = append(s.conns, client)
	return true
}

// ReceiveTCP takes one frame from a client's TCP connection. The owner splits the
// stream by frame.Length.
func (s *Server) ReceiveTCP(now time.Time, client netip.AddrPort, datagram []byte) {
	if slices.Contains(s.conns, client) {
		s.receive(now, endpoint{client, true}, datagram)
	}
}

// Closed says that a client's TCP connection has ended, and with it its channels.
func (s *Server) Closed(now time.Time, client netip.AddrPort) {
	s.conns = slices.DeleteFunc(s.conns, func(other netip.AddrPort) bool { return other == client })
	for _, c := range slices.Backward(slices.Clone(s.channels)) {
		if c.control == (endpoint{client, true}) {
			s.counts.Left++
			s.closeChannel(now, c)
		}
	}
}

// HangUp closes all TCP connections without a word.
func (s *Server) HangUp(now time.Time) {
	clients := slices.Clone(s.conns)
	s.closeConns()
	for _, client := range clients {
		s.Closed(now, client)
	}
}

func (s *Server) closeConns() {
	for _, client := range s.conns {
		s.outputs = append(s.outputs, Datagram{From: s.cfg.Address, To: client, TCP: true})
	}
	s.conns = nil
}
