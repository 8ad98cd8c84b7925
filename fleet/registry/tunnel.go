package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/tunnel"
)

// Tunnel is a tunnel as users write it: a whole file, or single fields as text.
type Tunnel struct {
	// WGQuick is the file that a router exported; the fields below must be empty
	// beside it.
	WGQuick string

	PrivateKey    string // base64; empty makes a new key
	PresharedKey  string // base64; empty is none
	PeerPublicKey string // base64
	Addresses     []string
	AllowedIPs    []string
	Endpoint      string         // host:port; empty: the router calls us
	Keepalive     *time.Duration // nil is tunnel.DefaultKeepalive
	MTU           int            // 0 is tunnel.DefaultMTU
}

// Warning says what of a file was accepted without effect.
type Warning = tunnel.Warning

// Config reads the tunnel. The error is a *FieldError, which repeats no key.
func (t Tunnel) Config() (tunnel.Config, []Warning, error) {
	if t.WGQuick == "" {
		config, err := t.fields()
		return config, nil, err
	}
	if t.PrivateKey != "" || t.PresharedKey != "" || t.PeerPublicKey != "" || len(t.Addresses) > 0 ||
		len(t.AllowedIPs) > 0 || t.Endpoint != "" || t.Keepalive != nil || t.MTU != 0 {
		return tunnel.Config{}, nil, &FieldError{"tunnel.wg_quick", "stands beside other fields of tunnel; give either the file or the fields"}
	}
	config, warnings, err := tunnel.ParseWGQuick(t.WGQuick)
	if err != nil {
		return config, nil, &FieldError{"tunnel.wg_quick", err.Error()}
	}
	return config, warnings, nil
}

func (t Tunnel) fields() (config tunnel.Config, err error) {
	config.MTU = t.MTU
	config.Keepalive = tunnel.DefaultKeepalive
	if t.Keepalive != nil {
		config.Keepalive = *t.Keepalive
	}
	if t.PrivateKey == "" {
		config.PrivateKey = tunnel.GeneratePrivateKey()
	} else if config.PrivateKey, err = tunnel.ParsePrivateKey(t.PrivateKey); err != nil {
		return config, tunnelError(err)
	}
	if t.PeerPublicKey == "" {
		return config, &FieldError{"tunnel.peer_public_key", "is missing; want the router's public key, or a file in tunnel.wg_quick"}
	}
	if config.Peer, err = tunnel.ParsePublicKey(t.PeerPublicKey); err != nil {
		return config, tunnelError(err)
	}
	if t.PresharedKey != "" {
		if config.PresharedKey, err = tunnel.ParsePresharedKey(t.PresharedKey); err != nil {
			return config, tunnelError(err)
		}
	}
	if t.Endpoint != "" {
		if config.Endpoint, err = tunnel.ParseEndpoint(t.Endpoint); err != nil {
			return config, tunnelError(err)
		}
	}
	if config.Addresses, err = prefixes("tunnel.addresses", t.Addresses); err != nil {
		return config, err
	}
	config.AllowedIPs, err = prefixes("tunnel.allowed_ips", t.AllowedIPs)
	for i, p := range config.AllowedIPs {
		config.AllowedIPs[i] = p.Masked()
	}
	return config, err
}

// Keys are new WireGuard keys in base64, in clear: for the one answer that gives
// them out.
type Keys struct{ Private, Public, Preshared string }

// NewKeys makes a key pair and a preshared key.
func NewKeys() Keys {
	private := tunnel.GeneratePrivateKey()
	return Keys{Private: private.Base64(), Public: private.Public().String(), Preshared: tunnel.GeneratePresharedKey().Base64()}
}

// RenewKey gives the building a new private key. Its router must learn the public
// half.
func (b *Building) RenewKey() { b.Tunnel.PrivateKey = tunnel.GeneratePrivateKey() }

// prefixes reads addresses with or without a prefix length.
func prefixes(field string, texts []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, &FieldError{field, fmt.Sprintf("entry %d, %s, is no address; want a form such as 192.168.1.0/24", i, Quote(text))}
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		parsed = append(parsed, p)
	}
	return parsed, nil
}

// Quote repeats a user's text in an error, but not where it may hold a key.
func Quote(text string) string { return tunnel.Quote(text) }

// tunnelFields are the API's names of what package tunnel names as wg-quick
// does.
var tunnelFields = map[string]string{
	"PrivateKey":          "tunnel.private_key",
	"Address":             "tunnel.addresses",
	"MTU":                 "tunnel.mtu",
	"PublicKey":           "tunnel.peer_public_key",
	"PresharedKey":        "tunnel.preshared_key",
	"AllowedIPs":          "tunnel.allowed_ips",
	"Endpoint":            "tunnel.endpoint",
	"PersistentKeepalive": "tunnel.keepalive",
}

// tunnelError names the field of a tunnel's error as the API does.
func tunnelError(err error) error {
	wrong, ok := errors.AsType[*tunnel.ConfigError](err)
	if !ok {
		return &FieldError{"tunnel", err.Error()}
	}
	field, known := tunnelFields[wrong.Field]
	if !known {
		field = "tunnel"
	}
	problem := wrong.Problem
	if wrong.Want != "" {
		problem += "; want " + wrong.Want
	}
	return &FieldError{field, problem}
}
