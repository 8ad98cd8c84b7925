package registry

import (
	"flag"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/tunnel"
)

func TestMain(m *testing.M) {
	// Each step of the model test waits for the disk. -rapid.checks overrides
	// this, since flags are parsed later.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// openEngine opens the engine over dir until the test ends.
func openEngine(t testing.TB, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func keysetPath(dir string) string { return filepath.Join(dir, "keyset.json") }

// open opens engine and registry over dir until the test ends.
func open(t testing.TB, dir string) (*Registry, *engine.Engine) {
	t.Helper()
	e := openEngine(t, dir)
	r, err := Open(t.Context(), Config{Bucket: e.Registry(), Keyset: keysetPath(dir)})
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

// full is a valid building in which every field is set.
func full(id string) Building {
	return Building{
		ID:          id,
		DisplayName: "Büro " + id,
		Labels:      map[string]string{"city": "Bern", "knxfleet.dev/tier": "1"},
		Enabled:     true,
		Tunnel: tunnel.Config{
			PrivateKey:   tunnel.GeneratePrivateKey(),
			Addresses:    []netip.Prefix{netip.MustParsePrefix("192.168.1.201/24"), netip.MustParsePrefix("fd00::5/64")},
			MTU:          1412,
			Peer:         tunnel.GeneratePrivateKey().Public(),
			PresharedKey: tunnel.PresharedKey(tunnel.GeneratePrivateKey()),
			AllowedIPs:   []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00::/64")},
			Endpoint:     tunnel.Endpoint{Host: "office.example.org", Port: 51820},
			Keepalive:    25 * time.Second,
		},
		KNX: KNX{
			Interface:         netip.MustParseAddrPort("192.168.1.3:3671"),
			Fallback:          netip.MustParseAddrPort("192.168.1.4:3671"),
			Transport:         TransportTCP,
			NAT:               NATExplicit,
			IndividualAddress: 0x11FA,
			WritesPerSecond:   10,
			Probe:             0x0A03,
			ProbeInterval:     time.Minute,
		},
		ReadOnStart: ReadOnStart{Addresses: []string{"1/*/*", "2/0/1"}, PerSecond: 3},
		Limits:      Limits{PacketsPerSecond: 500, BytesPerSecond: 1 << 20, WriteQueue: 32},
	}
}

func create(t testing.TB, r *Registry, b Building) Building {
	t.Helper()
	stored, err := r.Create(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}
