package fleet

import (
	"fmt"
	"slices"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

// needsRestart reports whether a running site has to be built anew to follow the
// change from old to changed: with other keys there is another tunnel, with other
// addresses or another MTU another stack. All else the site takes over.
func needsRestart(old, changed registry.Building) bool {
	a, b := &old.Tunnel, &changed.Tunnel
	return a.PrivateKey != b.PrivateKey || a.Peer != b.Peer || a.MTU != b.MTU || !slices.Equal(a.Addresses, b.Addresses)
}

// reconfigure brings into effect what is desired now. It touches only what
// differs: labels and names nothing, the tunnel's settings and limits not the session, and
// another KNX interface not the tunnel.
func (s *site) reconfigure(endpoints *endpoints) error {
	old, changed := s.applied, s.desired.Load()
	if old == changed {
		return nil
	}
	s.applied = changed
	if old.Tunnel.PresharedKey != changed.Tunnel.PresharedKey {
		if err := s.tunnel.SetPresharedKey(changed.Tunnel.PresharedKey); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
	}
	if old.Tunnel.Keepalive != changed.Tunnel.Keepalive {
		if err := s.tunnel.SetKeepalive(changed.Tunnel.Keepalive); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
	}
	if !slices.Equal(old.Tunnel.AllowedIPs, changed.Tunnel.AllowedIPs) {
		if err := s.tunnel.SetAllowedIPs(changed.Tunnel.AllowedIPs); err != nil {
			return fmt.Errorf("tunnel: %w", err)
		}
	}
	if old.Tunnel.Endpoint != changed.Tunnel.Endpoint {
		endpoints.rename(changed.Tunnel.Endpoint)
	}
	if old.Limits != changed.Limits {
		s.tunnel.SetLimits(tunnelLimits(changed.Limits))
		s.sessions.bridge().SetQueueLength(changed.Limits.WriteQueue)
	}
	if old.KNX != changed.KNX {
		s.renewSession()
	}
	return nil
}

func tunnelLimits(l registry.Limits) tunnel.Limits {
	return tunnel.Limits{Packets: l.PacketsPerSecond, Bytes: l.BytesPerSecond}
}
