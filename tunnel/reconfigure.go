package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The methods of this file change a tunnel while it runs; its session goes on.
// They wait for no network. After Close they return net.ErrClosed.

// SetPresharedKey changes the preshared key; the zero key removes it. The session
// goes on with the keys that it has, and the next handshake, two minutes after the
// last one at the latest, wants the new one from the router (WireGuard paper §5.2).
// Without a session a handshake is tried at once.
func (t *Tunnel) SetPresharedKey(key PresharedKey) error {
	err := t.change(fmt.Sprintf("preshared_key=%s\n", uapi(key)))
	if err != nil {
		return fmt.Errorf("set preshared key: %w", err)
	}
	return nil
}

// SetKeepalive changes the interval of persistent keepalives: whole seconds from
// 1 s to 65535 s, 0 for none.
func (t *Tunnel) SetKeepalive(interval time.Duration) error {
	if interval < 0 || interval > maxKeepalive || interval%time.Second != 0 {
		return &ConfigError{Field: "PersistentKeepalive", Problem: fmt.Sprintf("is %v", interval), Want: keepaliveWant}
	}
	t.keepalive.Store(int64(interval))
	if err := t.change(""); err != nil {
		return fmt.Errorf("set keepalive: %w", err)
	}
	return nil
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
	t.allowedMu.Lock()
	defer t.allowedMu.Unlock()
	allowed := masked(networks)
	var change strings.Builder
	for _, p := range allowed {
		fmt.Fprintf(&change, "allowed_ip=%s\n", p)
	}
	for _, p := range t.allowed {
		if !slices.Contains(allowed, p) {
			fmt.Fprintf(&change, "allowed_ip=-%s\n", p)
		}
	}
	if err := t.change(change.String()); err != nil {
		return fmt.Errorf("set allowed IPs: %w", err)
	}
	t.allowed = allowed
	return nil
}

// change changes the peer and lets the device send. A router whose endpoint is not
// known yet has to call first.
func (t *Tunnel) change(lines string) error {
	if !t.hold() {
		return net.ErrClosed
	}
	defer t.prods.Done()
	if !t.Endpoint().IsValid() {
		return t.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\n%s", uapi(t.peer), lines))
	}
	return t.prod(lines)
}

// masked returns the networks without host bits.
func masked(networks []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(networks))
	for _, p := range networks {
		all = append(all, p.Masked())
	}
	return all
}
