package tunnel

import "net/netip"

// addresses returns where an IP packet comes from and goes to.
func addresses(packet []byte) (source, destination netip.Addr, ok bool) {
	const header4, header6 = 20, 40
	switch {
	case len(packet) >= header4 && packet[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), true
	case len(packet) >= header6 && packet[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40])), true
	}
	return netip.Addr{}, netip.Addr{}, false
}

// within reports whether one of the networks has the address: what WireGuard calls
// cryptokey routing (paper §2), where there is one peer.
func within(networks []netip.Prefix, addr netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// masked returns the networks without host bits.
func masked(networks []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(networks))
	for _, p := range networks {
		all = append(all, p.Masked())
	}
	return all
}
