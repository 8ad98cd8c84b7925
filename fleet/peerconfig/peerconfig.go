package peerconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

// Format is what kind of router a configuration is written for.
type Format uint8

const (
	// WGQuick is a file with nothing that wg setconf (wg(8)) would refuse; wg-quick
	// takes it too, with an address added.
	WGQuick Format = iota
	// FritzBox is a file to import in a FRITZ!Box.
	FritzBox
	// MikroTik are commands for RouterOS 7.
	MikroTik
	// OpenWrt are UCI commands.
	OpenWrt
	// OPNsense are the values for OPNsense's forms.
	OPNsense
)

// ErrNoEndpoint: the router has to call the gateway, and nobody knows where.
var ErrNoEndpoint = errors.New("has no endpoint, so its router has to call the gateway, whose own address is not known: name endpoint, or start the gateway with --tunnel-endpoint")

// Request says what is wanted, in text as users give it.
type Request struct {
	Format Format
	// Endpoint is where the router reaches the gateway, HOST:PORT; empty if nobody
	// knows.
	Endpoint string
	// RouterPrivateKey and PresharedKey are written into the configuration; empty
	// leaves a comment in their place.
	RouterPrivateKey, PresharedKey string
}

// Config is a configuration for a router.
type Config struct {
	Text     string   // to import or to paste
	FileName string   // such as hq.conf
	Notes    []string // what is left to do by hand, one sentence each
}

// callKeepalive is what a router behind NAT needs that calls us, in seconds.
const callKeepalive = 25

// peer is what all forms say, each in its way.
type peer struct {
	id         string
	ours       *registry.Building
	privateKey string // empty: not given
	preshared  string // empty: none, or not given
	needsPSK   bool   // there is one, and it was not given
	listenPort uint16 // where we call the router; 0: we do not
	endpoint   tunnel.Endpoint
	allowed    []string // our addresses in the tunnel
	keepalive  int      // seconds; 0: none
}

// Render writes the configuration that a building's router needs. It fails with a
// *registry.FieldError for what was asked, and with a *registry.BuildingError and
// ErrNoEndpoint. Neither repeats a key.
func Render(b registry.Building, r Request) (Config, error) {
	p := peer{id: b.ID, ours: &b, listenPort: b.Tunnel.Endpoint.Port}
	notes, err := p.read(b, r)
	if err != nil {
		return Config{}, err
	}
	if p.endpoint.IsZero() && b.Tunnel.Endpoint.IsZero() {
		return Config{}, &registry.BuildingError{ID: b.ID, Cause: ErrNoEndpoint}
	}
	if b.Tunnel.Endpoint.IsZero() {
		p.keepalive = callKeepalive
	}
	for _, a := range b.Tunnel.Addresses {
		p.allowed = append(p.allowed, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()).String())
	}
	config := Config{FileName: b.ID + ".conf"}
	switch r.Format {
	case WGQuick:
		config.Text = p.wgQuick("")
		notes = append(notes, "For wg-quick, add the router's own address in the tunnel under [Interface], if it has one there.")
	case FritzBox:
		own := p.fritzAddress()
		config.Text = p.wgQuick(own)
		notes = append(notes, fmt.Sprintf("Address must be the FRITZ!Box's own address in its LAN, with the LAN's prefix length; %s is a guess.", own))
	case MikroTik:
		config.Text, config.FileName = p.mikroTik(), b.ID+".rsc"
	case OpenWrt:
		config.Text, config.FileName = p.openWrt(), b.ID+".sh"
	case OPNsense:
		config.Text, config.FileName = p.opnSense(), b.ID+".txt"
	default:
		return Config{}, &registry.FieldError{Field: "format", Problem: fmt.Sprintf("%d is no format", r.Format)}
	}
	config.Notes = slices.Concat(notes, p.notes(r.Format))
	return config, nil
}

// read takes over what the request gives.
func (p *peer) read(b registry.Building, r Request) (notes []string, err error) {
	if r.Endpoint != "" {
		if p.endpoint, err = tunnel.ParseEndpoint(r.Endpoint); err != nil {
			return nil, &registry.FieldError{Field: "endpoint", Problem: err.Error()}
		}
	}
	if r.RouterPrivateKey != "" {
		key, err := tunnel.ParsePrivateKey(r.RouterPrivateKey)
		if err != nil {
			return nil, &registry.FieldError{Field: "router_private_key", Problem: err.Error()}
		}
		if key.Public() != b.Tunnel.Peer {
			return nil, &registry.FieldError{Field: "router_private_key", Problem: fmt.Sprintf("its public key is %s, but the gateway expects %s; change tunnel.peer_public_key first, or give the other key", key.Public(), b.Tunnel.Peer)}
		}
		p.privateKey = r.RouterPrivateKey
	}
	p.needsPSK = !b.Tunnel.PresharedKey.IsZero()
	if r.PresharedKey != "" {
		key, err := tunnel.ParsePresharedKey(r.PresharedKey)
		if err != nil {
			return nil, &registry.FieldError{Field: "preshared_key", Problem: err.Error()}
		}
		p.preshared, p.needsPSK = r.PresharedKey, false
		if key != b.Tunnel.PresharedKey {
			notes = append(notes, "The preshared key is not the one that the gateway has: give it to the gateway too (tunnel.preshared_key).")
		}
	}
	return notes, nil
}

// notes are what no configuration does.
func (p *peer) notes(format Format) []string {
	var notes []string
	if p.privateKey == "" {
		notes = append(notes, fmt.Sprintf("Use the router's own private key, the one whose public key is %s.", p.ours.Tunnel.Peer))
	}
	if p.needsPSK {
		notes = append(notes, "Use the preshared key that the gateway was given; it is not given out again.")
	}
	if p.listenPort != 0 {
		notes = append(notes, fmt.Sprintf("The gateway calls the router at %s: UDP port %d must reach it from outside.", p.ours.Tunnel.Endpoint, p.listenPort))
	}
	addr := p.ours.KNX.Interface.Addr()
	notes = append(notes, fmt.Sprintf("The router's firewall must let packets pass between %s and %s.", strings.Join(p.allowed, ", "), addr))
	i := slices.IndexFunc(p.ours.Tunnel.Addresses, p.inside)
	switch {
	case i < 0:
		notes = append(notes, fmt.Sprintf("The KNX interface %s must have the router as its default gateway, or a route to %s through it.", addr, strings.Join(p.allowed, ", ")))
	case format != FritzBox: // which does so by itself
		notes = append(notes, fmt.Sprintf("The gateway's address %s lies inside the LAN: turn on proxy ARP on the router's LAN interface.", p.ours.Tunnel.Addresses[i].Addr()))
	}
	return notes
}

// inside reports whether our address lies in the network of the KNX interface.
func (p *peer) inside(own netip.Prefix) bool {
	addr := p.ours.KNX.Interface.Addr()
	return slices.ContainsFunc(p.ours.Tunnel.AllowedIPs, func(n netip.Prefix) bool {
		return n.Bits() > 0 && n.Contains(addr) && n.Contains(own.Addr())
	})
}
