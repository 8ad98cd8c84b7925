package knxserver

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func (s *Server) onSearch(from endpoint, r frame.SearchRequest) {
	s.send(s.cfg.Address, from.resolve(r.Discovery), frame.SearchResponse{
		Control:     frame.HPAI{Addr: s.cfg.Address},
		Description: s.description(),
	})
}

func (s *Server) onDescription(from endpoint, r frame.DescriptionRequest) {
	s.send(s.cfg.Address, from.resolve(r.Control), frame.DescriptionResponse{Description: s.description()})
}

// description says who the interface is (KNX 03_08_02 Core §7.5.4). Version 2
// of the core promises TCP.
func (s *Server) description() frame.Description {
	own := s.cfg.IndividualAddress
	id := [6]byte{0x00, 0xFA, 0x10, 0x00, byte(own >> 8), byte(own)}
	tunnelling := uint8(1)
	if s.cfg.Style == StyleCalimero {
		tunnelling = 2
	}
	core := uint8(1)
	if s.cfg.TCP {
		core = 2
	}
	d := frame.Description{
		Device: frame.DeviceInfo{Medium: frame.MediumTP1, Address: own, Serial: id, MAC: id, Name: s.cfg.Name},
		Services: []frame.SupportedService{
			{Family: frame.FamilyCore, Version: core},
			{Family: frame.FamilyTunnelling, Version: tunnelling},
		},
	}
	d.Device.MAC[0] = 0x02 // locally administered
	for slot := range s.cfg.Slots {
		d.Addresses = append(d.Addresses, s.tunnelAddress(slot))
	}
	return d
}

func (s *Server) tunnelAddress(slot int) frame.IndividualAddress {
	return s.cfg.IndividualAddress + 1 + frame.IndividualAddress(slot)
}

// onConnect grants a slot or refuses (KNX 03_08_02 Core §7.8.1, §7.8.2). A client
// that asks twice gets two, as at real interfaces.
func (s *Server) onConnect(now time.Time, from endpoint, r frame.ConnectRequest) {
	control := from.resolve(r.Control)
	slot, status := s.admit(from, r)
	if status != frame.StatusNoError {
		s.counts.Refused++
		refusal := frame.ConnectResponse{Status: status}
		if s.faults.LongRefusals {
			refusal.Data = frame.HPAI{Addr: s.cfg.DataAddress}
		}
		s.send(s.cfg.Address, control, refusal)
		return
	}
	s.counts.Granted++
	c := &channel{
		number:   s.channelNumber(),
		session:  s.counts.Granted,
		monitors: r.Layer == frame.LayerBusmonitor,
		slot:     slot,
		assigned: s.tunnelAddress(slot),
		control:  control,
		data:     from.resolve(r.Data),
		since:    now,
		heard:    now,
	}
	s.lastChannel = c.number
	s.channels = append(s.channels, c)
	grant := frame.ConnectResponse{Channel: c.number, Assigned: c.assigned}
	if from.tcp {
		grant.Data = frame.HPAI{TCP: true}
	} else if !s.cfg.RouteBack {
		grant.Data = frame.HPAI{Addr: s.cfg.DataAddress}
	}
	s.send(s.cfg.Address, control, grant)
}

// admit finds a slot for a client, or the reason for a refusal.
func (s *Server) admit(from endpoint, r frame.ConnectRequest) (slot int, status frame.Status) {
	switch {
	case s.faults.Refuse != frame.StatusNoError:
		return 0, s.faults.Refuse
	case r.Control.TCP != from.tcp || r.Data.TCP != from.tcp:
		return 0, frame.StatusHostProtocolType
	case r.Layer != frame.LayerLink && (r.Layer != frame.LayerBusmonitor || s.cfg.NoBusmonitor):
		return 0, frame.StatusTunnellingLayer
	case r.Layer == frame.LayerBusmonitor && s.monitored():
		return 0, frame.StatusNoMoreConnections
	case r.Fixed != 0 && s.cfg.Style == StyleKnxd:
		return 0, frame.StatusConnectionType
	case s.faults.Full || len(s.channels) >= s.cfg.Slots:
		return 0, frame.StatusNoMoreConnections
	case r.Fixed != 0:
		slot := int(r.Fixed) - int(s.tunnelAddress(0))
		if slot < 0 || slot >= s.cfg.Slots {
			return 0, frame.StatusNoTunnellingAddress
		}
		if s.slotTaken(slot) {
			return 0, frame.StatusConnectionInUse
		}
		return slot, frame.StatusNoError
	}
	for s.slotTaken(slot) {
		slot++ // one is free: there are fewer channels than slots
	}
	return slot, frame.StatusNoError
}

func (s *Server) slotTaken(slot int) bool {
	for _, c := range s.channels {
		if c.slot == slot {
			return true
		}
	}
	return false
}

// channelNumber chooses the number of a new channel, never 0.
func (s *Server) channelNumber() uint8 {
	number := uint8(1)
	if s.cfg.Style == StyleCalimero {
		number = s.lastChannel + 1
	}
	for number == 0 || s.channel(number) != nil {
		number++
	}
	return number
}

func (s *Server) channel(number uint8) *channel {
	for _, c := range s.channels {
		if c.number == number {
			return c
		}
	}
	return nil
}

// known finds the channel of a client's request to the control endpoint. One from
// anywhere but the client's control endpoint is for no channel, as at knxd.
func (s *Server) known(from endpoint, number uint8) (*channel, frame.Status) {
	c := s.channel(number)
	if c == nil || c.control != from {
		s.counts.Foreign++
		return nil, frame.StatusConnectionID
	}
	return c, frame.StatusNoError
}

// onHeartbeat answers a CONNECTIONSTATE_REQUEST (KNX 03_08_02 Core §5.4).
func (s *Server) onHeartbeat(now time.Time, from endpoint, r frame.ConnectionStateRequest) {
	c, status := s.known(from, r.Channel)
	if c != nil {
		c.heard = now
		status = s.faults.Heartbeat
	}
	s.counts.Heartbeats++
	s.send(s.cfg.Address, from.resolve(r.Control), frame.ConnectionStateResponse{Channel: r.Channel, Status: status})
}

func (s *Server) onDisconnect(now time.Time, from endpoint, r frame.DisconnectRequest) {
	c, status := s.known(from, r.Channel)
	s.send(s.cfg.Address, from.resolve(r.Control), frame.DisconnectResponse{Channel: r.Channel, Status: status})
	if c != nil {
		s.counts.Left++
		s.closeChannel(now, c)
	}
}

// Disconnect ends all channels with a DISCONNECT_REQUEST each, as an interface
// does that is being reprogrammed.
func (s *Server) Disconnect(now time.Time) {
	for len(s.channels) > 0 {
		c := s.channels[0]
		s.requestDisconnect(c)
		s.closeChannel(now, c)
	}
}

func (s *Server) requestDisconnect(c *channel) {
	s.send(s.cfg.Address, c.control, frame.DisconnectRequest{
		Channel: c.number, Control: s.hpai(c),
	})
}

// Reachable reports whether the interface's network answers: it has power, and its
// cable is plugged. What it says of KNX is another matter.
func (s *Server) Reachable(now time.Time) bool { return !s.faults.Silent && !now.Before(s.downUntil) }

// Reboot makes the interface forget its channels without a word, and neither hear
// nor say anything for down. Heartbeats for the old channels are then answered
// 0x21. Its bus lives on.
func (s *Server) Reboot(now time.Time, down time.Duration) {
	for len(s.channels) > 0 {
		s.closeChannel(now, s.channels[0])
	}
	s.closeConns()
	s.inbox = nil
	s.lastChannel = 0
	s.downUntil = now.Add(down)
}
