package frame

import (
	"fmt"
	"net/netip"

	"github.com/vapourismo/knx-go/knx/knxnet"
)

const hpaiLength = 8

// HPAI is a host protocol address information: where a peer wants to be answered
// (KNX 03_08_02 Core §7.5.1). KNXnet/IP knows IPv4 only.
type HPAI struct {
	// TCP says that the endpoint speaks TCP; otherwise it speaks UDP.
	TCP bool
	// Addr is the endpoint. The zero value means route back: answer to where the frame came from.
	// It is 0.0.0.0:0 on the wire. An IPv6 address has no form in a HPAI and is written as route back.
	Addr netip.AddrPort
}

// Resolve tells where to send to, given the sender of the frame that carried the HPAI.
// Each half of the endpoint that is zero is taken from the sender.
func (h HPAI) Resolve(sender netip.AddrPort) netip.AddrPort {
	addr, port := h.Addr.Addr(), h.Addr.Port()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = sender.Addr()
	}
	if port == 0 {
		port = sender.Port()
	}
	return netip.AddrPortFrom(addr, port)
}

// parseHPAI reads the HPAI at the start of data and returns what follows it.
func parseHPAI(data []byte) (HPAI, []byte, error) {
	if len(data) < hpaiLength {
		return HPAI{}, nil, fmt.Errorf("HPAI: %d bytes, want %d", len(data), hpaiLength)
	}
	var info knxnet.HostInfo
	if _, err := info.Unpack(data[:hpaiLength]); err != nil {
		return HPAI{}, nil, fmt.Errorf("HPAI: length %d, want %d: %w", data[0], hpaiLength, err)
	}
	if info.Protocol != knxnet.UDP4 && info.Protocol != knxnet.TCP4 {
		return HPAI{}, nil, fmt.Errorf("HPAI: protocol 0x%02X, want 0x01 (UDP over IPv4) or 0x02 (TCP over IPv4)", uint8(info.Protocol))
	}
	return hpaiOf(info), data[hpaiLength:], nil
}

// hpaiOf translates from knx-go, in which 0.0.0.0:0 is an address like any other.
func hpaiOf(info knxnet.HostInfo) HPAI {
	h := HPAI{TCP: info.Protocol == knxnet.TCP4}
	if info.Address != (knxnet.Address{}) || info.Port != 0 {
		h.Addr = netip.AddrPortFrom(netip.AddrFrom4(info.Address), uint16(info.Port))
	}
	return h
}

// hostInfo translates to knx-go.
func (h HPAI) hostInfo() knxnet.HostInfo {
	info := knxnet.HostInfo{Protocol: knxnet.UDP4}
	if h.TCP {
		info.Protocol = knxnet.TCP4
	}
	if addr := h.Addr.Addr().Unmap(); addr.Is4() {
		info.Address = addr.As4()
		info.Port = knxnet.Port(h.Addr.Port())
	}
	return info
}

func (h HPAI) append(dst []byte) []byte {
	info := h.hostInfo()
	return appendPacked(dst, &info)
}
