package netstack

import (
	"os"
	"slices"
	"sync"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// buffers are for packets on their way out. One larger than a buffer takes its own.
var buffers = sync.Pool{New: func() any { b := make([]byte, defaultMTU); return &b }}

// Connect makes every packet to the building be handed to send, at once and by whoever
// causes it, from then on. send must not keep the packet, nor call the stack. Connect is
// called once and before the stack is used; there is no Read then.
func (s *Stack) Connect(send func(packet []byte)) { s.connected.Store(&send) }

// Deliver is Write of one packet, for a stack that is connected. After Close it does
// nothing.
func (s *Stack) Deliver(packet []byte) {
	if !s.closed.Load() {
		s.receive(packet)
	}
}

// leave takes a packet to the building from a host, which keeps it: it is copied, or
// queued as a clone that shares the bytes.
func (s *Stack) leave(pkt *stack.PacketBuffer) tcpip.Error {
	send := s.connected.Load()
	if send == nil {
		clone := pkt.Clone()
		err := s.out.push(clone)
		if err != nil {
			clone.DecRef()
		}
		return err
	}
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
	s.counters.out.Add(1)
	s.taps.show(ToBuilding, packet)
	(*send)(packet)
	return nil
}

// Read waits for a packet to the building and copies it to bufs[0] from offset
// on; its length goes to sizes[0]. It returns one packet at a time, and
// os.ErrClosed once the stack is closed. A packet that does not fit is dropped
// and counted; packets are never larger than the MTU.
func (s *Stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		pkt, err := s.out.pop()
		if err != nil {
			return 0, err
		}
		size := pkt.Size()
		if offset+size > len(bufs[0]) {
			pkt.DecRef()
			s.counters.dropped.Add(1)
			continue
		}
		packet := bufs[0][offset : offset+size]
		copyPacket(packet, pkt)
		pkt.DecRef()
		sizes[0] = size
		s.counters.out.Add(1)
		s.taps.show(ToBuilding, packet)
		return 1, nil
	}
}

// Write takes packets from the building, each from offset on in its buffer, and
// copies what it keeps. What is no IP packet is dropped and counted, and never
// an error, since a peer must not be able to stop the device. It returns
// os.ErrClosed once the stack is closed.
func (s *Stack) Write(bufs [][]byte, offset int) (int, error) {
	if s.closed.Load() {
		return 0, os.ErrClosed
	}
	for _, buf := range bufs {
		s.receive(buf[min(offset, len(buf)):])
	}
	return len(bufs), nil
}

// receive sorts a packet from the building to the host that it is for.
func (s *Stack) receive(packet []byte) {
	in, ok := inspect(packet)
	if !ok {
		s.counters.malformed.Add(1)
		return
	}
	s.counters.in.Add(1)
	s.taps.show(FromBuilding, in.packet)
	to := s.udp.link
	if tcp := s.tcpLink.Load(); tcp != nil && in.tcp {
		to = tcp
	}
	to.deliver(in.network, in.packet)
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

// MTU returns the largest packet in bytes.
func (s *Stack) MTU() (int, error) { return s.mtu, nil }

// Name returns a fixed name: the device is none of the system's.
func (*Stack) Name() (string, error) { return "netstack", nil }

// File returns nil: no file descriptor stands behind the device.
func (*Stack) File() *os.File { return nil }

// Events returns the channel that carries one tun.EventUp and is closed by Close.
func (s *Stack) Events() <-chan tun.Event { return s.events }

// BatchSize returns 1: larger batches cost a 64 KiB buffer for each place in
// WireGuard's reader, and gain little.
func (*Stack) BatchSize() int { return 1 }
