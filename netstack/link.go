package netstack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link joins a host to the stack's outer side: the host's packets go there, and
// those of the building are delivered to the host. It implements
// gVisor's stack.LinkEndpoint for bare IP packets.
type link struct {
	mtu   uint32
	stack *Stack

	// gate is held for reading while a packet is delivered.
	gate sync.RWMutex
	// host is where packets are delivered to, nil before the host is ready and
	// after detach. Protected by gate.
	host stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*link)(nil)

// deliver gives the host a packet that has arrived. It copies the packet, and
// drops it when the host is gone.
func (l *link) deliver(protocol tcpip.NetworkProtocolNumber, packet []byte) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.host == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer pkt.DecRef()
	l.host.DeliverNetworkPacket(protocol, pkt)
}

// detach stops deliveries and waits for those under way.
func (l *link) detach() { l.Attach(nil) }

// Attach implements stack.LinkEndpoint. gVisor calls it with its own locks
// held: with a host before the first packet, and with nil only after detach, so
// that it never waits here for a delivery.
func (l *link) Attach(host stack.NetworkDispatcher) {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.host = host
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool {
	l.gate.RLock()
	defer l.gate.RUnlock()
	return l.host != nil
}

// WritePackets implements stack.LinkEndpoint. It calls nothing that takes a lock of
// gVisor.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range packets.AsSlice() {
		if err := l.stack.leave(pkt); err != nil {
			return i, err
		}
	}
	return packets.Len(), nil
}

// MTU implements stack.LinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU implements stack.LinkEndpoint. The MTU is fixed.
func (*link) SetMTU(uint32) {}

// MaxHeaderLength implements stack.LinkEndpoint. There is no link header.
func (*link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.LinkEndpoint. There are no link addresses.
func (*link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint.
func (*link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint. Checksums are made and verified
// by the host: the tunnel protects packets only as far as the router.
func (*link) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }

// Wait implements stack.LinkEndpoint. There is no goroutine to wait for.
func (*link) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (*link) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (*link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.LinkEndpoint. The outer side is the stack's, which closes it.
func (*link) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (*link) SetOnCloseAction(func()) {}
