package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// What is exported reads back as what was declared, whatever a YAML reader might
// take its texts for.
func TestBuildingsReadBack(t *testing.T) {
	var text strings.Builder
	var want []*knxfleetv1.Building
	for _, id := range []string{"hq", "7", "1e3", "null", "on"} {
		b := &knxfleetv1.Building{
			Id: id, DisplayName: "Büro: \"" + id + "\" # no comment", Labels: map[string]string{"floor": "007", "off": "no", "x": ""},
			Tunnel: &knxfleetv1.TunnelConfig{
				Addresses: []string{"10.0.0.2/24"}, AllowedIps: []string{"fd00::/64"}, Mtu: 1400,
				PrivateKey: "secret", PresharedKey: "secret", WgQuick: "secret", PublicKey: "x", HasPresharedKey: true,
			},
			Knx:  &knxfleetv1.KnxConfig{Endpoint: "192.168.1.3:3671", NatMode: knxfleetv1.NatMode_NAT_MODE_EXPLICIT},
			Etag: "1", Generation: 3, Status: &knxfleetv1.BuildingStatus{Reason: "X"},
		}
		document, err := buildingYAML(b)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(document))
		want = append(want, forFile(b))
	}
	if strings.Contains(text.String(), "secret") {
		t.Error("a secret is in the file")
	}
	got, err := parseBuildings([]byte(text.String()))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d buildings, %v\n%s", len(got), err, text.String())
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("read back as %v\nwant %v", got[i], want[i])
		}
	}
}

func FuzzParseBuildings(f *testing.F) {
	for _, seed := range []string{"id: a", "- id: a\n- id: b\n---\n{\"id\": \"c\"}", "a: &a [*a]", "? [x]\n: y", "---\n...\n", "id: !!binary x", "<<: {id: a}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		buildings, err := parseBuildings([]byte(text))
		if (err == nil) != (len(buildings) > 0) {
			t.Errorf("%d buildings, %v", len(buildings), err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	})
}
