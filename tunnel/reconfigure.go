package tunnel

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// The methods of this file change a tunnel while it runs; its session goes on.
// They wait for no network. After Close they return net.ErrClosed.

// SetEndpoint tells where the router listens and sends to it at once: a
// keepalive when the session holds, an initiation when not. Setting the same
// address again is a way to try at once. A router that calls from elsewhere
// later is followed there. It returns net.ErrClosed after Close, and ErrNoSocket
// when the exchange has no socket of the address's family.
func (t *Tunnel) SetEndpoint(addr netip.AddrPort) error { return t.setEndpoints(addr, nil) }

func (t *Tunnel) setEndpoints(addr netip.AddrPort, others []netip.AddrPort) error {
	addr = unmap(addr)
	if !reachable(addr.Addr()) || addr.Port() == 0 {
		return fmt.Errorf("endpoint %v: want the address and port of one host", addr)
	}
	if t.x.socket(addr) == nil {
		return fmt.Errorf("endpoint %v: %w", addr, ErrNoSocket)
	}
	return t.change("set endpoint", func(time.Time) bool {
		t.others = others
		t.end.SetEndpoint(addr)
		return true
	})
}

// SetPresharedKey changes the preshared key; the zero key removes it. The session
// goes on with the keys that it has, and the next handshake, two minutes after the
// last one at the latest, wants the new one from the router (WireGuard paper §5.2).
// Without a session a handshake is tried at once.
func (t *Tunnel) SetPresharedKey(key PresharedKey) error {
	return t.change("set preshared key", func(time.Time) bool {
		t.end.SetPresharedKey(wireguard.Secret(key))
		return true
	})
}

// SetKeepalive changes the interval of persistent keepalives: whole seconds from
// 1 s to 65535 s, 0 for none.
func (t *Tunnel) SetKeepalive(interval time.Duration) error {
	if interval < 0 || interval > maxKeepalive || interval%time.Second != 0 {
		return &ConfigError{Field: "PersistentKeepalive", Problem: fmt.Sprintf("is %v", interval), Want: keepaliveWant}
	}
	return t.change("set keepalive", func(now time.Time) bool {
		t.end.SetKeepalive(now, interval)
		return true
	})
}

// SetAllowedIPs changes the networks behind the router, as in Config. Those that
// stay are not interrupted.
func (t *Tunnel) SetAllowedIPs(networks []netip.Prefix) error {
	if len(networks) == 0 || len(networks) > maxAllowed {
		return &ConfigError{Field: "AllowedIPs", Problem: fmt.Sprintf("has %d entries", len(networks)), Want: fmt.Sprintf("1 to %d", maxAllowed)}
	}
	for _, p := range networks {
		if problem := networkProblem(p); problem != "" {
			return &ConfigError{Field: "AllowedIPs", Problem: problem, Want: networkWant}
		}
	}
	allowed := masked(networks)
	return t.change("set allowed IPs", func(time.Time) bool {
		t.allowed = allowed
		return true
	})
}
