package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	if !t.hold() {
		return fmt.Errorf("renew keys: %w", net.ErrClosed)
	}
	defer t.prods.Done()
	if !t.Endpoint().IsValid() {
		return nil
	}
	if err := t.held.SendHandshakeInitiation(false); err != nil {
		return fmt.Errorf("renew keys: %w", err)
	}
	return nil
}

// Restart begins anew, as if the tunnel had been closed and opened again: keys,
// timers and queues are given up, and where the router is known, it is called. The
// tun.Device stays, and so does all that uses it. It must not be called together
// with Close.
func (t *Tunnel) Restart() error {
	if !t.hold() {
		return fmt.Errorf("restart: %w", net.ErrClosed)
	}
	defer t.prods.Done()
	if err := errors.Join(t.device.Down(), t.device.Up()); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if !t.Endpoint().IsValid() {
		return nil
	}
	if err := t.prod(""); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
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
	others := raced[1:]
	t.bind.others.Store(&others)
	if err := t.SetEndpoint(raced[0]); err != nil {
		t.bind.others.Store(nil)
		return err
	}
	return nil
}
