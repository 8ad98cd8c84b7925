package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is where a building's router listens: an address or a name, and a UDP
// port. The zero value means that nobody knows, and that the router calls us.
type Endpoint struct {
	Host string // IPv4 or IPv6 address without brackets, or a DNS name
	Port uint16 // 1 to 65535
}

// Errors of [Resolve] that a caller tells apart.
var (
	// ErrNameNotFound means that the name server answered, and that the name
	// has no address. Asking again soon helps only if the name is about to be
	// created.
	ErrNameNotFound = errors.New("name has no address")
	// ErrNameUnknown means that there was no usable answer (server unreachable,
	// failing or slow). Asking again may help.
	ErrNameUnknown = errors.New("name could not be looked up")
)

// Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	// LookupNetIP returns the addresses of host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const endpointWant = `host:port such as office.example.org:51820, 203.0.113.7:51820 or [2001:db8::7]:51820`

// ParseEndpoint reads "host:port", "[IPv6]:port" or "name:port". The error is a
// *ConfigError for the field Endpoint.
func ParseEndpoint(s string) (Endpoint, error) {
	fail := func(problem string) (Endpoint, error) {
		return Endpoint{}, &ConfigError{Field: "Endpoint", Problem: problem, Want: endpointWant}
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Is6() {
			return fail(Quote(s) + " is an IPv6 address without brackets and port")
		}
		return fail(Quote(s) + " has no port")
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		if strings.Count(s, ":") > 1 && !strings.Contains(s, "[") {
			return fail(Quote(s) + " is an IPv6 address without brackets")
		}
		if strings.Contains(s, ":") {
			return fail(Quote(s) + " is not a host and a port")
		}
		return fail(Quote(s) + " has no port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return fail("port " + Quote(portText) + " is not a number from 1 to 65535")
	}
	ep := Endpoint{Host: host, Port: uint16(port)}
	if ep.IsZero() {
		return fail("is empty")
	}
	if err := ep.validate(); err != nil {
		return Endpoint{}, err
	}
	return ep, nil
}

// IsZero reports whether there is no endpoint, so that the router must call us.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// String returns host:port, with brackets around an IPv6 address, and the empty
// string for the zero value.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// AddrPort returns the endpoint's address when its host is an address and no
// lookup is needed.
func (e Endpoint) AddrPort() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(e.Host)
	if err != nil || e.Port == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), e.Port), true
}

func (e Endpoint) validate() error {
	if e.IsZero() {
		return nil
	}
	fail := func(problem string) error {
		return &ConfigError{Field: "Endpoint", Problem: problem, Want: endpointWant}
	}
	switch {
	case e.Host == "":
		return fail("has no host")
	case e.Port == 0:
		return fail("has port 0")
	}
	if addr, err := netip.ParseAddr(e.Host); err == nil {
		if addr.Zone() != "" {
			return fail(Quote(e.Host) + " names a network interface of one machine (the part after %)")
		}
		if !reachable(addr.Unmap()) {
			return fail(Quote(e.Host) + " is not the address of one host")
		}
		return nil
	}
	return validateName(e.Host, fail)
}

// validateName checks a DNS name as RFC 1123 §2.1 has it; underscores are let
// pass, because resolvers do.
func validateName(name string, fail func(string) error) error {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if len(name) > 254 {
		return fail("name is longer than 253 characters")
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fail("host " + Quote(name) + " is neither an address nor a name")
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return fail("host " + Quote(name) + " is neither an address nor a name")
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fail("host " + Quote(name) + " is not an IPv4 address")
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// reachable reports whether addr can be the address of one remote host.
func reachable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast() &&
		addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Resolve returns the addresses at which ep may be reached, IPv4 and IPv6, in
// the resolver's order of preference and at least one of them. An endpoint that
// is an address needs no lookup and may have a nil resolver. The error wraps
// [ErrNameNotFound] or [ErrNameUnknown], and the context's error if that was the
// reason.
//
// Names of routers move every day: resolve again whenever a handshake stays
// unanswered, and never once for good.
func Resolve(ctx context.Context, r Resolver, ep Endpoint) ([]netip.AddrPort, error) {
	if ep.IsZero() {
		return nil, errors.New("resolve: the tunnel has no endpoint; its router calls us")
	}
	if err := ep.validate(); err != nil {
		return nil, err
	}
	if addr, ok := ep.AddrPort(); ok {
		return []netip.AddrPort{addr}, nil
	}
	addrs, err := r.LookupNetIP(ctx, "ip", ep.Host)
	if err != nil {
		class := ErrNameUnknown
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound {
			class = ErrNameNotFound
		}
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, fmt.Errorf("resolve %s: %w: %w", ep.Host, class, err)
	}
	var found []netip.AddrPort
	for _, addr := range addrs {
		candidate := netip.AddrPortFrom(addr.Unmap(), ep.Port)
		if reachable(candidate.Addr()) && !slices.Contains(found, candidate) {
			found = append(found, candidate)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("resolve %s: %w that could be a router's", ep.Host, ErrNameNotFound)
	}
	return found, nil
}
