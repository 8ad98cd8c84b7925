package netstack

import (
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// buffers are for packets on their way out. One larger than a buffer takes its own.
var buffers = sync.Pool{New: func() any { b := make([]byte, defaultMTU); return &b }}

// Connect makes every packet to the building be handed to send, at once and by whoever
// causes it. send must not keep the packet, nor call the stack. Connect is called once, and
// before the stack is used; what comes before it is lost.
func (s *Stack) Connect(send func(packet []byte)) { s.send.Store(&send) }

// Deliver takes a packet from the building, and copies what it keeps. What is no IP packet
// is dropped and counted. After Close it does nothing.
func (s *Stack) Deliver(packet []byte) {
	if s.closed.Load() {
		return
	}
	in, ok := inspect(packet)
	if !ok {
		s.counters.malformed.Add(1)
		return
	}
	s.counters.in.Add(1)
	s.taps.show(FromBuilding, in.packet)
	if p, ok := plainIn(in); ok {
		if c := s.socketAt(p.to); c != nil && !slices.Contains(s.addresses, p.from.Addr()) {
			c.arrivals.put(p)
			return
		}
	}
	if to := s.linkFor(in); to != nil {
		to.deliver(in.network, in.packet)
	}
}

// linkFor finds the host that a packet concerns, which is made if need be; nil when it
// concerns none.
func (s *Stack) linkFor(in inbound) *link {
	if tcp := s.tcpLink.Load(); tcp != nil && in.tcp {
		return tcp
	}
	if udp := s.udpLink.Load(); udp != nil {
		return udp
	}
	// A host that has not been there has sent nothing that an error could be about.
	if !s.ours(in) || in.isError() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needUDP() != nil {
		return nil // it is closed, or cannot be made: as if the network had lost the packet
	}
	return s.udp.link
}

// leave hands on a packet to the building. The host that it comes from keeps it.
func (s *Stack) leave(pkt *stack.PacketBuffer) tcpip.Error {
	if s.closed.Load() {
		return &tcpip.ErrClosedForSend{}
	}
	buffer, ok := buffers.Get().(*[]byte)
	if !ok {
		return &tcpip.ErrNoBufferSpace{} // the pool holds nothing else
	}
	defer buffers.Put(buffer)
	packet := slices.Grow((*buffer)[:0], pkt.Size())[:pkt.Size()]
	copyPacket(packet, pkt)
	s.emit(packet)
	return nil
}

// emit hands on a packet to the building.
func (s *Stack) emit(packet []byte) {
	send := s.send.Load()
	if send == nil || s.closed.Load() {
		return // lost, as on any network
	}
	s.counters.out.Add(1)
	s.taps.show(ToBuilding, packet)
	(*send)(packet)
}

// copyPacket copies the whole of pkt to dst, which has its size.
func copyPacket(dst []byte, pkt *stack.PacketBuffer) {
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		dst = dst[copy(dst, b[skip:]):]
		skip = 0
	}
}
