package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"203.0.113.7:51820":           {"203.0.113.7", 51820},
		"[2001:db8::7]:1":             {"2001:db8::7", 1},
		"router.example.org:65535":    {"router.example.org", 65535},
		"Router_1.example-1.org.:123": {"Router_1.example-1.org.", 123},
		"xn--bro-hoa.example:1":       {"xn--bro-hoa.example", 1},
		"localhost:1":                 {"localhost", 1},
	} {
		got, err := ParseEndpoint(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %+v (%v), %v", text, got, got, err)
		}
	}
	for text, has := range map[string]string{
		"":                                 "has no port",
		":51820":                           "has no host",
		"203.0.113.7":                      "has no port",
		"router.example.org":               "has no port",
		"2001:db8::7":                      "without brackets",
		"2001:db8::7:51820":                "without brackets",
		"[2001:db8::7]":                    "not a host and a port",
		"router.example.org:0":             "port 0",
		"router.example.org:65536":         "1 to 65535",
		"router.example.org:wg":            "1 to 65535",
		"router example org:1":             "neither an address nor a name",
		"büro.example:1":                   "neither an address nor a name",
		"-a.example:1":                     "neither an address nor a name",
		"a..example:1":                     "neither an address nor a name",
		"203.0.113.300:1":                  "not an IPv4 address",
		"1:1":                              "not an IPv4 address",
		"0.0.0.0:1":                        "not the address of one host",
		"[ff02::1]:1":                      "not the address of one host",
		"[fe80::1%eth0]:1":                 "network interface",
		strings.Repeat("a.", 130) + "b:1":  "longer than",
		strings.Repeat("a", 64) + ".org:1": "neither an address nor a name",
	} {
		ep, err := ParseEndpoint(text)
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Field != "Endpoint" || !strings.Contains(err.Error(), has) || !ep.IsZero() {
			t.Errorf("%q: got %v, %v, want an error with %q", text, ep, err, has)
		}
	}
}

type resolverFunc func(ctx context.Context, network, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return f(ctx, network, host)
}

var _ Resolver = (*net.Resolver)(nil)

func TestResolve(t *testing.T) {
	ctx := context.Background()
	name := Endpoint{"router.example.org", 51820}
	answer := func(addrs ...string) Resolver {
		return resolverFunc(func(_ context.Context, network, host string) ([]netip.Addr, error) {
			if network != "ip" || host != name.Host {
				t.Errorf("asked for %s %s", network, host)
			}
			var list []netip.Addr
			for _, a := range addrs {
				list = append(list, netip.MustParseAddr(a))
			}
			return list, nil
		})
	}
	got, err := Resolve(ctx, answer("2001:db8::1", "::ffff:203.0.113.1", "203.0.113.1", "0.0.0.0"), name)
	want := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:51820"), netip.MustParseAddrPort("203.0.113.1:51820")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	got, err = Resolve(ctx, nil, Endpoint{"203.0.113.9", 1})
	if err != nil || len(got) != 1 || got[0].String() != "203.0.113.9:1" {
		t.Errorf("a literal address: got %v, %v", got, err)
	}
	for _, empty := range []Resolver{answer(), answer("0.0.0.0")} {
		if _, err := Resolve(ctx, empty, name); !errors.Is(err, ErrNameNotFound) || errors.Is(err, ErrNameUnknown) {
			t.Errorf("no address: got %v", err)
		}
	}
	if _, err := Resolve(ctx, nil, Endpoint{}); err == nil {
		t.Error("no endpoint was resolved")
	}
	failing := func(err error) Resolver {
		return resolverFunc(func(context.Context, string, string) ([]netip.Addr, error) { return nil, err })
	}
	if _, err := Resolve(ctx, failing(&net.DNSError{Err: "no such host", IsNotFound: true}), name); !errors.Is(err, ErrNameNotFound) {
		t.Errorf("no such host: got %v", err)
	}
	if _, err := Resolve(ctx, failing(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), name); !errors.Is(err, ErrNameUnknown) || errors.Is(err, ErrNameNotFound) {
		t.Errorf("server failure: got %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Resolve(cancelled, failing(&net.DNSError{Err: "operation was canceled"}), name); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
