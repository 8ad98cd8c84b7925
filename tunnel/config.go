package tunnel

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultMTU is the tunnel's MTU where nothing else is said, in bytes. It is
	// what wg-quick uses on a path of 1500 bytes.
	DefaultMTU = 1420
	// DefaultKeepalive is the persistent keepalive of a wg-quick file without
	// one. wg-quick itself would send none; but the routers sit behind NAT and
	// the telegrams come to us, so a mapping that expires silences a building.
	DefaultKeepalive = 25 * time.Second

	maxKeepalive = 65535 * time.Second
	minMTU       = 576  // RFC 791: what every IPv4 host accepts
	minMTU6      = 1280 // RFC 8200 §5
	maxMTU       = 65535
	maxAddresses = 64   // more is no building
	maxAllowed   = 1024 // more is no building
)

// Config is what one tunnel needs. It is a value; [Exchange.Open] keeps a copy.
type Config struct {
	// PrivateKey is our own key.
	PrivateKey PrivateKey
	// Addresses are ours inside the tunnel, at least one, each with the prefix
	// length of its subnet. Host bits are kept: 192.168.178.201/24.
	Addresses []netip.Prefix
	// MTU is the tunnel's MTU in bytes, 576 to 65535 and at least 1280 with an
	// IPv6 address. 0 means [DefaultMTU].
	MTU int
	// Peer is the public key of the building's router.
	Peer PublicKey
	// PresharedKey is optional.
	PresharedKey PresharedKey
	// AllowedIPs are the networks behind the router, at least one. Packets from
	// other addresses are dropped, packets to others are not sent. Host bits
	// mean nothing.
	AllowedIPs []netip.Prefix
	// Endpoint is where the router listens. Zero means that the router calls us.
	Endpoint Endpoint
	// Keepalive is the interval of persistent keepalives, whole seconds from 1 s
	// to 65535 s. 0 means none.
	Keepalive time.Duration
}

// ConfigError says what is wrong with one field of a tunnel's configuration. It
// never contains a key.
type ConfigError struct {
	Line    int    // line in the file, from 1; 0 when the file as a whole or no file is meant
	Field   string // as wg-quick names it: PrivateKey, Address, AllowedIPs, ...; may be empty
	Problem string // what is wrong, to be read after the field
	Want    string // what would be right; may be empty
}

// Error reads like "line 3: Address "10.0.0.300" is not an IP address; want ...".
func (e *ConfigError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Field != "" {
		b.WriteString(e.Field + " ")
	}
	b.WriteString(e.Problem)
	if e.Want != "" {
		b.WriteString("; want " + e.Want)
	}
	return b.String()
}

// Validate checks a configuration, however it was made. The error is a
// *ConfigError without a line.
func (c Config) Validate() error {
	fail := func(field, problem, want string) error {
		return &ConfigError{Field: field, Problem: problem, Want: want}
	}
	if c.PrivateKey.IsZero() {
		return fail("PrivateKey", "is missing", "our own key, as wg genkey prints it")
	}
	if len(c.Addresses) == 0 {
		return fail("Address", "is missing", "our address inside the tunnel, such as 192.168.178.201/24")
	}
	if len(c.Addresses) > maxAddresses {
		return fail("Address", fmt.Sprintf("has %d entries", len(c.Addresses)), fmt.Sprintf("at most %d", maxAddresses))
	}
	ipv6 := false
	for _, p := range c.Addresses {
		if problem := addressProblem(p); problem != "" {
			return fail("Address", problem, addressWant)
		}
		ipv6 = ipv6 || p.Addr().Is6()
	}
	if problem, want := mtuProblem(c.MTU, ipv6); problem != "" {
		return fail("MTU", problem, want)
	}
	if c.Peer.IsZero() {
		return fail("PublicKey", "is missing", "the router's public key, as wg pubkey prints it")
	}
	if c.Peer == c.PrivateKey.Public() {
		return fail("PublicKey", "belongs to our own PrivateKey", "the router's public key")
	}
	if len(c.AllowedIPs) == 0 {
		return fail("AllowedIPs", "is missing", "the networks behind the router, such as 192.168.178.0/24")
	}
	if len(c.AllowedIPs) > maxAllowed {
		return fail("AllowedIPs", fmt.Sprintf("has %d entries", len(c.AllowedIPs)), fmt.Sprintf("at most %d", maxAllowed))
	}
	for _, p := range c.AllowedIPs {
		if problem := networkProblem(p); problem != "" {
			return fail("AllowedIPs", problem, networkWant)
		}
	}
	if err := c.Endpoint.validate(); err != nil {
		return err
	}
	if c.Keepalive < 0 || c.Keepalive > maxKeepalive || c.Keepalive%time.Second != 0 {
		return fail("PersistentKeepalive", fmt.Sprintf("is %v", c.Keepalive), keepaliveWant)
	}
	return nil
}

const (
	addressWant   = "an address with the prefix length of its subnet, such as 192.168.178.201/24 or fd00::5/64"
	networkWant   = "a network, such as 192.168.178.0/24 or fd00::/64"
	keepaliveWant = "whole seconds from 0 to 65535, or off"
)

func addressProblem(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "is not an IP address"
	case p.Addr().Is4In6():
		return Quote(p.String()) + " is an IPv4 address written as IPv6"
	case !reachable(p.Addr()):
		return Quote(p.String()) + " is not the address of one host"
	}
	return ""
}

func networkProblem(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "is not a network"
	case p.Addr().Is4In6():
		return Quote(p.String()) + " is an IPv4 network written as IPv6"
	}
	return ""
}

func mtuProblem(mtu int, ipv6 bool) (problem, want string) {
	least := minMTU
	if ipv6 {
		least = minMTU6
	}
	if mtu == 0 || mtu >= least && mtu <= maxMTU {
		return "", ""
	}
	want = fmt.Sprintf("%d to %d bytes", least, maxMTU)
	if ipv6 {
		want += " (IPv6 needs 1280)"
	}
	return "is " + strconv.Itoa(mtu), want
}

// Quote repeats a user's text in an error: shortened, and not at all where it may
// hold a key that got into the wrong place.
func Quote(s string) string {
	if mayHoldKey(s) {
		return hidden
	}
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return strconv.Quote(s)
}

// keyRun is how many characters of base64 in a row may be a key, which has 44.
const keyRun = 40

// mayHoldKey reports whether a text may contain a key: by itself, or in a whole
// file that was pasted into one field.
func mayHoldKey(s string) bool {
	run := 0
	for _, c := range []byte(s) {
		if !isLetter(c) && !isDigit(c) && c != '+' && c != '/' {
			run = 0
			continue
		}
		if run++; run >= keyRun {
			return true
		}
	}
	return false
}
