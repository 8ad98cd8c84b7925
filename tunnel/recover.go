package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The methods of this file help a tunnel whose router has gone silent. They wait
// for no network. After Close they return net.ErrClosed.

// maxRaced bounds the addresses that an initiation goes to at once.
const maxRaced = 4

// Renew asks the router for new keys, also while the old ones still hold: it may
// have restarted and lost them, which WireGuard itself notices only 15 s after it
// sent something (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, paper §6.5). The session goes
// on with the old keys until the new ones are there. There is one initiation in
// 5 s at most, whoever asks (REKEY_TIMEOUT, paper §6.4). While nobody knows where
// the router is, Renew does nothing.
func (t *Tunnel) Renew() error {
	return t.change("renew keys", func(now time.Time) bool {
		t.end.Renew(now)
		return false
	})
}

// Restart begins anew, as if the tunnel had been closed and opened again: keys,
// timers and what waits are given up, and where the router is known, it is called. The
// device stays, and so does all that uses it.
func (t *Tunnel) Restart() error {
	return t.change("restart", func(time.Time) bool {
		t.end.Reset()
		return true
	})
}

// Race is SetEndpoint with several addresses of one router, such as those that its
// name has in IPv4 and IPv6: until a handshake completes, each initiation goes to
// all of them, and the one that the first answer comes from is kept. A router that
// gets it twice takes the second for a replay (WireGuard paper §5.1). The first
// address is preferred for all else; those without a socket are left out, and of
// more than four the rest. ErrNoSocket means that none was left.
func (t *Tunnel) Race(addrs []netip.AddrPort) error {
	var raced []netip.AddrPort
	for _, addr := range addrs {
		if addr = unmap(addr); t.x.socket(addr) != nil && len(raced) < maxRaced {
			raced = append(raced, addr)
		}
	}
	if len(raced) == 0 {
		if len(addrs) == 0 {
			return errors.New("race: no addresses")
		}
		return fmt.Errorf("endpoint %v: %w", addrs[0], ErrNoSocket)
	}
	return t.setEndpoints(raced[0], raced[1:])
}
