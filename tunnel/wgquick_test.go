package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// Keys of the examples. They belong to nobody.
var (
	exampleKey    = PrivateKey{1, 2, 3}
	examplePeer   = PrivateKey{4, 5, 6}.Public()
	exampleShared = PresharedKey{7, 8, 9}
)

// fill puts the example keys into a file.
func fill(text string) string {
	return strings.NewReplacer(
		"{key}", exampleKey.Base64(),
		"{peer}", examplePeer.String(),
		"{psk}", exampleShared.Base64(),
	).Replace(text)
}

const minimal = `[Interface]
PrivateKey = {key}
Address = 10.0.0.2/32
[Peer]
PublicKey = {peer}
AllowedIPs = 192.168.1.0/24
`

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

func TestParseWGQuick(t *testing.T) {
	base := Config{
		PrivateKey: exampleKey,
		Addresses:  prefixes("10.0.0.2/32"),
		MTU:        DefaultMTU,
		Peer:       examplePeer,
		AllowedIPs: prefixes("192.168.1.0/24"),
		Keepalive:  DefaultKeepalive,
	}
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	tests := []struct {
		name     string
		text     string
		want     Config
		warnings []string // line and key
	}{
		{name: "minimal, router calls us", text: minimal, want: base},
		{
			name: "FRITZ!Box",
			text: "[Interface]\r\nPrivateKey = {key}\r\nAddress = 192.168.178.201/24\r\nDNS = 192.168.178.1\r\nDNS = fritz.box\r\n\r\n" +
				"[Peer]\r\nPublicKey = {peer}\r\nPresharedKey = {psk}\r\nAllowedIPs = 192.168.178.0/24,0.0.0.0/0\r\n" +
				"Endpoint = abcdef123456.myfritz.net:58472\r\nPersistentKeepalive = 25\r\n",
			want: with(func(c *Config) {
				c.Addresses = prefixes("192.168.178.201/24")
				c.PresharedKey = exampleShared
				c.AllowedIPs = prefixes("192.168.178.0/24", "0.0.0.0/0")
				c.Endpoint = Endpoint{"abcdef123456.myfritz.net", 58472}
			}),
			warnings: []string{"4 DNS", "5 DNS"},
		},
		{
			name: "MikroTik",
			text: "[Interface]\nListenPort=51820\nPrivateKey={key}\nAddress=10.10.10.2/32\nDNS=10.10.10.1\n\n" +
				"[Peer]\nPublicKey={peer}\nAllowedIPs=0.0.0.0/0, ::/0\nEndpoint=1a2b3c4d5e6f.sn.mynetname.net:13231\nPersistentKeepalive=25s\n",
			want: with(func(c *Config) {
				c.Addresses = prefixes("10.10.10.2/32")
				c.AllowedIPs = prefixes("0.0.0.0/0", "::/0")
				c.Endpoint = Endpoint{"1a2b3c4d5e6f.sn.mynetname.net", 13231}
			}),
			warnings: []string{"2 ListenPort", "5 DNS"},
		},
		{
			name: "OPNsense and pfSense",
			text: "# Building 7\n\n[Interface]\nPrivateKey = {key}   # ours\nAddress = 10.2.0.2/24,fd00:2::2/64\nMTU = 1300\n\n" +
				"; the router\n[Peer]\nPublicKey = {peer}\nPresharedKey =\nEndpoint = [2001:db8::7]:51820\nAllowedIPs = 192.168.1.5/24,fd00:1::9/64\nPersistentKeepalive = 0 ; none\n",
			want: with(func(c *Config) {
				c.Addresses = prefixes("10.2.0.2/24", "fd00:2::2/64")
				c.MTU = 1300
				c.Endpoint = Endpoint{"2001:db8::7", 51820}
				c.AllowedIPs = prefixes("192.168.1.0/24", "fd00:1::/64")
				c.Keepalive = 0
			}),
			warnings: []string{"11 PresharedKey"},
		},
		{
			name: "wg-quick with everything",
			text: "\ufeff  [ INTERFACE ]\nprivatekey={key}\nADDRESS = 10.0.0.2\nAddress = 10.0.0.3/24 , 10.0.0.2/32\nAddress = fd00::1\nSaveConfig = true\nTable = off\nFwMark = 0x1\n" +
				"PreUp = true\nPostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -A X\nPreDown = a\nPostDown = b=c\nFuture = 1\n" +
				"[peer]\nPUBLICKEY = {peer}\nallowedips = 10.1.2.3\nAllowedIPs = 10.1.2.3/32\nAllowedIPs = 10.1.0.0/16\nendpoint = 203.0.113.7:51820\npersistentkeepalive = OFF\n" +
				"[Extra]\nPrivateKey = x\nsomething\n=\n",
			want: with(func(c *Config) {
				c.Addresses = prefixes("10.0.0.2/32", "10.0.0.3/24", "fd00::1/128")
				c.AllowedIPs = prefixes("10.1.2.3/32", "10.1.0.0/16")
				c.Endpoint = Endpoint{"203.0.113.7", 51820}
				c.Keepalive = 0
			}),
			warnings: []string{"6 SaveConfig", "7 Table", "8 FwMark", "9 PreUp", "10 PostUp", "11 PreDown", "12 PostDown", "13 Future", "21 Extra"},
		},
		{
			name: "peer first, section twice",
			text: "[Peer]\nPublicKey={peer}\nAllowedIPs=0.0.0.0/0\n[Interface]\nAddress=10.0.0.2\n[Interface]\nPrivateKey={key}\nMTU=576",
			want: with(func(c *Config) { c.AllowedIPs = prefixes("0.0.0.0/0"); c.MTU = 576 }),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, warnings, err := ParseWGQuick(fill(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if !sameConfig(cfg, test.want) {
				t.Errorf("got  %+v\nwant %+v", cfg, test.want)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, fmt.Sprint(w.Line, " ", w.Key))
			}
			if !slices.Equal(got, test.warnings) {
				t.Errorf("warnings %q, want %q", got, test.warnings)
			}
		})
	}
}

func sameConfig(a, b Config) bool {
	same := slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.AllowedIPs, b.AllowedIPs)
	return same && a.PrivateKey == b.PrivateKey && a.MTU == b.MTU && a.Peer == b.Peer &&
		a.PresharedKey == b.PresharedKey && a.Endpoint == b.Endpoint && a.Keepalive == b.Keepalive
}

func TestParseWGQuickErrors(t *testing.T) {
	replace := func(old, text string) string {
		if !strings.Contains(minimal, old) {
			t.Fatalf("%q is not in the example", old)
		}
		return strings.Replace(minimal, old, text, 1)
	}
	tests := []struct {
		name, text string
		line       int
		field      string
		has        string // part of the message
	}{
		{"empty", "", 0, "[Interface]", "is missing"},
		{"not a wg-quick file", "<html>", 1, "", "neither a section nor a setting"},
		{"setting before a section", "PrivateKey = {key}\n", 1, "", "before the first section"},
		{"no peer", "[Interface]\nPrivateKey = {key}\nAddress = 10.0.0.2\n", 0, "[Peer]", "is missing"},
		{"two peers", minimal + "[Peer]\nPublicKey = {psk}\n", 7, "[Peer]", "exactly one"},
		{"no private key", replace("PrivateKey = {key}\n", ""), 0, "PrivateKey", "is missing"},
		{"no address", replace("Address = 10.0.0.2/32\n", ""), 0, "Address", "192.168.178.201/24"},
		{"no public key", replace("PublicKey = {peer}\n", ""), 0, "PublicKey", "router's public key"},
		{"no allowed IPs", replace("AllowedIPs = 192.168.1.0/24\n", ""), 0, "AllowedIPs", "networks behind the router"},
		{"empty private key", replace("{key}", ""), 2, "PrivateKey", "no value"},
		{"short private key", replace("{key}", "c2hvcnQ="), 2, "PrivateKey", "8 characters"},
		{"own public key", replace("{peer}", exampleKey.Public().String()), 5, "PublicKey", "our own PrivateKey"},
		{"private key twice", replace("Address", "PrivateKey = {key}\nAddress"), 3, "PrivateKey", "first on line 2"},
		{"key in the wrong section", replace("AllowedIPs", "PrivateKey = {key}\nAllowedIPs"), 6, "PrivateKey", "under [Interface]"},
		{"allowed IPs of ours", replace("Address", "AllowedIPs"), 3, "AllowedIPs", "under [Peer]"},
		{"bad address", replace("10.0.0.2/32", "10.0.0.300/24"), 3, "Address", `"10.0.0.300/24" is not an IP address`},
		{"bad prefix", replace("10.0.0.2/32", "10.0.0.2/33"), 3, "Address", "10.0.0.2/33"},
		{"netmask", replace("10.0.0.2/32", "10.0.0.2/255.255.255.0"), 3, "Address", "prefix length"},
		{"mapped address", replace("10.0.0.2/32", "::ffff:10.0.0.2"), 3, "Address", "IPv4 address written as IPv6"},
		{"zone", replace("10.0.0.2/32", "fe80::1%eth0"), 3, "Address", "not an IP address"},
		{"unspecified address", replace("10.0.0.2/32", "0.0.0.0/0"), 3, "Address", "not the address of one host"},
		{"address is a name", replace("10.0.0.2/32", "example.org"), 3, "Address", "example.org"},
		{"bad network", replace("192.168.1.0/24", "192.168.1.0/24, lan"), 6, "AllowedIPs", `"lan" is not a network`},
		{"mtu no number", replace("[Peer]", "MTU = auto\n[Peer]"), 4, "MTU", "576 to 65535"},
		{"mtu zero", replace("[Peer]", "MTU = 0\n[Peer]"), 4, "MTU", "576 to 65535"},
		{"mtu small", replace("[Peer]", "MTU = 575\n[Peer]"), 4, "MTU", "576 to 65535"},
		{"mtu large", replace("[Peer]", "MTU = 65536\n[Peer]"), 4, "MTU", "576 to 65535"},
		{"mtu small for IPv6", replace("[Peer]", "MTU = 1279\nAddress = fd00::1\n[Peer]"), 4, "MTU", "IPv6 needs 1280"},
		{"keepalive", minimal + "PersistentKeepalive = often\n", 7, "PersistentKeepalive", "0 to 65535, or off"},
		{"keepalive large", minimal + "PersistentKeepalive = 65536\n", 7, "PersistentKeepalive", "0 to 65535, or off"},
		{"endpoint", minimal + "Endpoint = router.example.org\n", 7, "Endpoint", "has no port"},
		{"bracket", "[Interface\n", 1, "", "closing bracket"},
		{"UTF-16", "\xff\xfe[\x00", 0, "", "UTF-8"},
		{"too large", minimal + strings.Repeat("#", maxFileSize), 0, "", "at most 65536"},
		{"too many lines", minimal + strings.Repeat("\n", maxLines), maxLines + 1, "", "at most 2000 lines"},
		{"too many addresses", replace("10.0.0.2/32", many("10.0.0.%d", 70)), 3, "Address", "at most 64"},
		{"too many networks", replace("192.168.1.0/24", many("10.0.%d.0/24", 250)+","+many("10.1.%d.0/24", 250)+","+many("10.2.%d.0/24", 250)+","+many("10.3.%d.0/24", 250)+","+many("10.4.%d.0/24", 250)), 6, "AllowedIPs", "at most 1024"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, warnings, err := ParseWGQuick(fill(test.text))
			bad, ok := errors.AsType[*ConfigError](err)
			if !ok {
				t.Fatalf("got %v, want a ConfigError", err)
			}
			if bad.Line != test.line || bad.Field != test.field || !strings.Contains(err.Error(), test.has) {
				t.Errorf("got %q (line %d, field %q), want line %d, field %q and %q", err, bad.Line, bad.Field, test.line, test.field, test.has)
			}
			if warnings != nil || !sameConfig(cfg, Config{}) {
				t.Error("a refused file left something behind")
			}
			noSecrets(t, err.Error())
		})
	}
}

func many(format string, n int) string {
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(format, i+1))
	}
	return strings.Join(items, ",")
}

func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{exampleKey.Base64(), exampleShared.Base64()} {
		if strings.Contains(text, secret) || strings.Contains(text, secret[:43]) {
			t.Errorf("a secret got out: %s", text)
		}
	}
}

// What people do to their keys: wrap them, put them alone on a line, into the
// wrong setting, behind an unknown name.
func TestSecretsInWrongPlaces(t *testing.T) {
	half := exampleKey.Base64()[22:]
	for _, text := range []string{
		"[Interface]\n{key}\n",
		"[Interface]\n{key}=\n",
		"[{key}]\n",
		"{key}\n",
		"[Interface]\nMyKey = {key}\n",
		"[Interface]\nAddress = {key}\n",
		"[Interface]\nMTU = {key}\n",
		"[Interface]\nDNS = {key}\n",
		"[Peer]\nEndpoint = {key}\n",
		"[Peer]\nEndpoint = {key}:51820\n",
		"[Peer]\nAllowedIPs = {key}\n",
		"[Peer]\nPersistentKeepalive = {psk}\n",
		"[Peer]\nPublicKey = {key}{key}\n",
		"[Peer]\nPrivateKey = {key}\n",
		minimal + half + "\n",
	} {
		_, warnings, err := ParseWGQuick(fill(text))
		out := fmt.Sprint(err, warnings)
		noSecrets(t, out)
		if strings.Contains(out, strings.TrimSuffix(half, "=")) {
			t.Errorf("half a secret got out: %s", out)
		}
	}
}

func TestValidate(t *testing.T) {
	good := configFor(exampleKey, examplePeer, "203.0.113.1:1")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, changes := range map[string][]func(*Config){
		"PrivateKey": {func(c *Config) { c.PrivateKey = PrivateKey{} }},
		"PublicKey": {
			func(c *Config) { c.Peer = PublicKey{} },
			func(c *Config) { c.Peer = c.PrivateKey.Public() },
		},
		"Address": {
			func(c *Config) { c.Addresses = nil },
			func(c *Config) { c.Addresses = []netip.Prefix{{}} },
			func(c *Config) { c.Addresses = prefixes("224.0.0.1/32") },
		},
		"AllowedIPs": {
			func(c *Config) { c.AllowedIPs = nil },
			func(c *Config) { c.AllowedIPs = []netip.Prefix{{}} },
		},
		"MTU": {
			func(c *Config) { c.MTU = -1 },
			func(c *Config) { c.MTU = 500 },
			func(c *Config) { c.MTU = 1000; c.Addresses = prefixes("fd00::1/64") },
		},
		"PersistentKeepalive": {
			func(c *Config) { c.Keepalive = -time.Second },
			func(c *Config) { c.Keepalive = time.Millisecond },
			func(c *Config) { c.Keepalive = 65536 * time.Second },
		},
		"Endpoint": {
			func(c *Config) { c.Endpoint.Port = 0 },
			func(c *Config) { c.Endpoint.Host = "" },
			func(c *Config) { c.Endpoint.Host = "a b" },
			func(c *Config) { c.Endpoint.Host = "0.0.0.0" },
		},
	} {
		for i, change := range changes {
			c := good
			change(&c)
			var bad *ConfigError
			if err := c.Validate(); !errors.As(err, &bad) || bad.Field != field || bad.Want == "" {
				t.Errorf("%s %d: got %v, want a ConfigError for the field", field, i, err)
			}
		}
	}
}

func FuzzParseWGQuick(f *testing.F) {
	f.Add(fill(minimal))
	f.Add(fill(minimal + "Endpoint = [::1]:1\nPresharedKey = {psk}\nPersistentKeepalive = off\n"))
	f.Add("[Interface]\r\nDNS = 1\n; x\n[Peer]\n[Peer]")
	f.Add("\ufeff[interface]\naddress=fe80::1%a/64,\nmtu=1280")
	f.Add(fill("[Interface]\n{key}"))
	f.Fuzz(func(t *testing.T, text string) {
		cfg, warnings, err := ParseWGQuick(text)
		out := fmt.Sprint(warnings, err)
		if strings.Contains(out, exampleKey.Base64()[:43]) {
			t.Fatalf("a secret got out: %s", out)
		}
		if err != nil {
			if _, ok := errors.AsType[*ConfigError](err); !ok {
				t.Fatalf("error %T, want a ConfigError", err)
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Fatalf("a parsed configuration is invalid: %v", err)
		}
		for _, p := range cfg.AllowedIPs {
			if p != p.Masked() {
				t.Fatalf("%v has host bits", p)
			}
		}
		if again, err := ParseEndpoint(cfg.Endpoint.String()); !cfg.Endpoint.IsZero() && (err != nil || again != cfg.Endpoint) {
			t.Fatalf("endpoint %v does not parse again: %v", cfg.Endpoint, err)
		}
	})
}
