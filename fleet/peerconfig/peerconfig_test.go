package peerconfig

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

var update = flag.Bool("update", false, "write the golden files")

// Keys of the tests, which protect nothing.
var (
	gatewayKey = mustPrivate("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHk8=")
	routerKey  = mustPrivate("IAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHk8=")
	preshared  = "MAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func mustPrivate(text string) tunnel.PrivateKey {
	key, err := tunnel.ParsePrivateKey(text)
	if err != nil {
		panic(err)
	}
	return key
}

func building() registry.Building {
	psk, err := tunnel.ParsePresharedKey(preshared)
	if err != nil {
		panic(err)
	}
	return registry.Building{
		ID: "hq", DisplayName: "\"; rm -rf / #", Enabled: true,
		Tunnel: tunnel.Config{
			PrivateKey: gatewayKey, Peer: routerKey.Public(), PresharedKey: psk, MTU: 1420, Keepalive: 25 * time.Second,
			Addresses:  []netip.Prefix{netip.MustParsePrefix("192.168.178.201/24"), netip.MustParsePrefix("fd00::5/64")},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.168.178.0/24"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00::/64")},
			Endpoint:   tunnel.Endpoint{Host: "office.example.org", Port: 51820},
		},
		KNX: registry.KNX{Interface: netip.MustParseAddrPort("192.168.178.3:3671")},
	}
}

// called is a building whose router has to call us.
func called() registry.Building {
	b := building()
	b.Tunnel.Endpoint, b.Tunnel.PresharedKey = tunnel.Endpoint{}, tunnel.PresharedKey{}
	b.Tunnel.Addresses = []netip.Prefix{netip.MustParsePrefix("10.9.0.2/32")}
	return b
}

var formatNames = map[Format]string{WGQuick: "wg-quick", FritzBox: "fritzbox", MikroTik: "mikrotik", OpenWrt: "openwrt", OPNsense: "opnsense"}

// The files in testdata are what routers get; -update writes them.
func TestGolden(t *testing.T) {
	for format, name := range formatNames {
		for variant, c := range map[string]struct {
			building registry.Building
			request  Request
		}{
			"we-call":  {building(), Request{}},
			"it-calls": {called(), Request{Endpoint: "gateway.example.org:51820"}},
			"complete": {building(), Request{Endpoint: "[2001:db8::1]:51820", RouterPrivateKey: routerKey.Base64(), PresharedKey: preshared}},
		} {
			c.request.Format = format
			config, err := Render(c.building, c.request)
			if err != nil {
				t.Fatal(err)
			}
			got := "file " + config.FileName + "\n\n" + config.Text + "\n"
			for _, note := range config.Notes {
				got += "note: " + note + "\n"
			}
			path := filepath.Join("testdata", name+"."+variant+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
			}
		}
	}
}

// Whatever the building: the file has nothing that wg setconf refuses, and no key
// that was not given for it.
func TestPlainForm(t *testing.T) {
	// wg(8), CONFIGURATION FILE FORMAT
	takes := map[string][]string{
		"[Interface]": {"PrivateKey", "ListenPort", "FwMark"},
		"[Peer]":      {"PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"},
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := building()
		if rapid.Bool().Draw(rt, "called") {
			b = called()
		}
		r := Request{Endpoint: rapid.SampledFrom([]string{"gw.example.org:1", "[2001:db8::1]:65535", "203.0.113.7:51820"}).Draw(rt, "endpoint")}
		if rapid.Bool().Draw(rt, "private") {
			r.RouterPrivateKey = routerKey.Base64()
		}
		if rapid.Bool().Draw(rt, "preshared") {
			r.PresharedKey = preshared
		}
		config, err := Render(b, r)
		if err != nil {
			rt.Fatal(err)
		}
		section := ""
		for line := range strings.Lines(config.Text) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if line[0] == '[' {
				section = line
				continue
			}
			key, value, ok := strings.Cut(line, " = ")
			if !ok || !slices.Contains(takes[section], key) || value == "" {
				rt.Fatalf("wg setconf does not take %q under %s", line, section)
			}
		}
		for format := range formatNames {
			r.Format = format
			config, err := Render(b, r)
			if err != nil {
				rt.Fatal(err)
			}
			all := config.Text + strings.Join(config.Notes, "")
			if strings.Contains(all, gatewayKey.Base64()) || r.PresharedKey == "" && strings.Contains(all, preshared) {
				rt.Fatalf("%s tells a key", formatNames[format])
			}
			if !strings.Contains(all, gatewayKey.Public().String()) {
				rt.Fatalf("%s does not tell the gateway's public key", formatNames[format])
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	other := tunnel.GeneratePrivateKey().Base64()
	for name, c := range map[string]struct {
		request Request
		field   string
	}{
		"endpoint without port": {Request{Endpoint: "gateway.example.org"}, "endpoint"},
		"no private key":        {Request{RouterPrivateKey: other[:40]}, "router_private_key"},
		"another router's key":  {Request{RouterPrivateKey: other}, "router_private_key"},
		"no preshared key":      {Request{PresharedKey: "x"}, "preshared_key"},
		"an unknown format":     {Request{Format: 99}, "format"},
	} {
		_, err := Render(building(), c.request)
		wrong, ok := errors.AsType[*registry.FieldError](err)
		if !ok || wrong.Field != c.field || strings.Contains(err.Error(), other[:40]) {
			t.Errorf("%s: %v, want a FieldError for %s", name, err, c.field)
		}
	}
	if _, err := Render(called(), Request{}); !errors.Is(err, ErrNoEndpoint) || !strings.Contains(err.Error(), "hq") {
		t.Errorf("without any endpoint: %v", err)
	}
	config, err := Render(building(), Request{PresharedKey: other})
	if err != nil || !strings.Contains(strings.Join(config.Notes, " "), "not the one that the gateway has") {
		t.Errorf("another preshared key: notes %q, %v", config.Notes, err)
	}
}
