package api

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// file is a wg-quick file as a router exports it.
func file(private, psk, peer, endpoint string) string {
	return fmt.Sprintf(`[Interface]
PrivateKey = %s
Address = 192.168.178.201/24
DNS = 192.168.178.1

[Peer]
PublicKey = %s
PresharedKey = %s
AllowedIPs = 192.168.178.0/24
Endpoint = %s
PersistentKeepalive = 30
`, private, peer, psk, endpoint)
}

func TestCreateByFile(t *testing.T) {
	g := start(t)
	private, psk := tunnel.GeneratePrivateKey(), tunnel.GeneratePrivateKey().Base64()
	peer := tunnel.GeneratePrivateKey().Public().String()
	created, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: &knxfleetv1.Building{
		Id: "hq", DisplayName: "Büro Süd", Labels: map[string]string{"city": "Bern"},
		Tunnel: &knxfleetv1.TunnelConfig{WgQuick: file(private.Base64(), psk, peer, g.router)},
		Knx:    &knxfleetv1.KnxConfig{Endpoint: "192.168.178.3"},
	}})
	noError(t, err)
	if w := created.GetWarnings(); len(w) != 1 || w[0].GetLine() != 4 || w[0].GetSubject() != "DNS" || w[0].GetMessage() == "" {
		t.Errorf("warnings %v, want one for DNS on line 4", w)
	}
	b := created.GetBuilding()
	want := &knxfleetv1.TunnelConfig{
		Addresses: []string{"192.168.178.201/24"}, AllowedIps: []string{"192.168.178.0/24"},
		PeerPublicKey: peer, Endpoint: g.router, Keepalive: durationpb.New(30 * time.Second), Mtu: 1420,
		PublicKey: private.Public().String(), HasPresharedKey: true,
	}
	if !proto.Equal(b.GetTunnel(), want) {
		t.Errorf("tunnel %v\nwant %v", b.GetTunnel(), want)
	}
	if b.GetDisplayName() != "Büro Süd" || b.GetLabels()["city"] != "Bern" || b.GetKnx().GetEndpoint() != "192.168.178.3:3671" {
		t.Errorf("kept as %v", b)
	}
	if b.GetEtag() == "" || b.GetGeneration() != 1 || time.Since(b.GetCreatedAt().AsTime()) > time.Minute || !proto.Equal(b.GetCreatedAt(), b.GetUpdatedAt()) {
		t.Errorf("output only fields of %v", b)
	}
	if b.GetStatus().GetState() == knxfleetv1.State_STATE_UNSPECIFIED || b.GetStatus().GetSince() == nil {
		t.Errorf("status %v, want a state and its time", b.GetStatus())
	}
	// It runs: the router is called, and does not answer.
	running := g.eventually(t, "hq", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	if s := running.GetStatus(); s.GetObservedGeneration() != 1 || s.GetEpoch() == 0 || s.GetReason() == "" {
		t.Errorf("running with status %v", s)
	}
	g.stop()
	g.seen.mustNotHold(t, "the private key", private.Base64())
	g.seen.mustNotHold(t, "the preshared key", psk)
}

func TestCreateByFieldsMakesAKey(t *testing.T) {
	g := start(t)
	wanted := g.building("hq")
	wanted.Knx.NatMode = knxfleetv1.NatMode_NAT_MODE_EXPLICIT
	wanted.Knx.IndividualAddress = "1.1.250"
	wanted.Knx.FallbackEndpoint, wanted.Knx.Transport = strings.Replace(wanted.GetKnx().GetEndpoint(), ".3", ".4", 1), knxfleetv1.Transport_TRANSPORT_TCP
	wanted.Knx.ReadOnStart, wanted.Knx.ReadsPerSecond, wanted.Knx.WritesPerSecond = []string{"1/*/*"}, 5, 10
	wanted.Knx.Probe, wanted.Knx.ProbeInterval = "1/2/9", durationpb.New(time.Minute)
	wanted.Limits = &knxfleetv1.BuildingLimits{PacketsPerSecond: 100, BytesPerSecond: math.MaxUint64, WriteQueue: 10_000}
	b := g.create(t, wanted)
	kept, err := g.registry.Get(t.Context(), "hq")
	noError(t, err)
	if got, want := b.GetTunnel().GetPublicKey(), kept.Tunnel.PrivateKey.Public().String(); got != want || kept.Tunnel.PrivateKey.IsZero() {
		t.Errorf("public key %s, want %s, that of the key that is kept", got, want)
	}
	if b.GetTunnel().GetHasPresharedKey() || b.GetTunnel().GetKeepalive().AsDuration() != 25*time.Second || b.GetTunnel().GetMtu() != 1420 {
		t.Errorf("defaults of %v", b.GetTunnel())
	}
	if k := b.GetKnx(); len(k.GetReadOnStart()) != 1 || k.GetReadsPerSecond() != 5 || k.GetWritesPerSecond() != 10 || k.GetNatMode() != knxfleetv1.NatMode_NAT_MODE_EXPLICIT || k.GetIndividualAddress() != "1.1.250" {
		t.Errorf("KNX settings %v", k)
	}
	if l := b.GetLimits(); l.GetPacketsPerSecond() != 100 || l.GetBytesPerSecond() != math.MaxInt64 || l.GetWriteQueue() != 10_000 {
		t.Errorf("limits %v", l)
	}
	if k := b.GetKnx(); k.GetProbe() != "1/2/9" || k.GetProbeInterval().AsDuration() != time.Minute {
		t.Errorf("probe %v", k)
	}
	if k := b.GetKnx(); k.GetFallbackEndpoint() == "" || k.GetFallbackEndpoint() == k.GetEndpoint() || k.GetTransport() != knxfleetv1.Transport_TRANSPORT_TCP {
		t.Errorf("interfaces %v", k)
	}
	got, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
	noError(t, err)
	if got.GetBuilding().GetEtag() != b.GetEtag() || !proto.Equal(got.GetBuilding().GetTunnel(), b.GetTunnel()) {
		t.Errorf("read back as %v\nwant %v", got.GetBuilding(), b)
	}
	g.stop()
	g.seen.mustNotHold(t, "the private key", kept.Tunnel.PrivateKey.Base64())
}

func TestCreateTakesGivenKeys(t *testing.T) {
	g := start(t)
	private, psk := tunnel.GeneratePrivateKey(), tunnel.GeneratePrivateKey().Base64()
	wanted := g.building("hq")
	wanted.Tunnel.PrivateKey, wanted.Tunnel.PresharedKey = private.Base64(), psk
	wanted.Tunnel.Keepalive, wanted.Tunnel.Mtu = durationpb.New(0), 1300
	wanted.Tunnel.Endpoint = ""
	got := g.create(t, wanted).GetTunnel()
	if got.GetPublicKey() != private.Public().String() || !got.GetHasPresharedKey() || got.GetKeepalive().AsDuration() != 0 || got.GetMtu() != 1300 {
		t.Errorf("kept as %v", got)
	}
	// Without an endpoint the router has to call, and the message says with what.
	g.eventually(t, "hq", func(s *knxfleetv1.BuildingStatus) bool {
		return s.GetReason() == "AWAITING_ROUTER" && strings.Contains(s.GetMessage(), private.Public().String())
	})
	g.stop()
	g.seen.mustNotHold(t, "the private key", private.Base64())
	g.seen.mustNotHold(t, "the preshared key", psk)
}

func TestCreateRefusesAnIDInUse(t *testing.T) {
	g := start(t)
	first := g.create(t, g.building("hq"))
	for _, validateOnly := range []bool{false, true} {
		other := g.building("hq")
		_, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: other, ValidateOnly: validateOnly})
		info, _ := refused(t, err, codes.AlreadyExists, "BUILDING_EXISTS", "hq")
		if info.GetMetadata()["building"] != "hq" {
			t.Errorf("metadata %v, want the building", info.GetMetadata())
		}
	}
	got, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
	noError(t, err)
	if got.GetBuilding().GetEtag() != first.GetEtag() {
		t.Error("the refused creation changed the building")
	}
}

func TestValidateOnlyCreatesNothing(t *testing.T) {
	g := start(t)
	would, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: g.building("hq"), ValidateOnly: true})
	noError(t, err)
	if b := would.GetBuilding(); b.GetId() != "hq" || b.GetTunnel().GetMtu() != 1420 {
		t.Errorf("answered %v, want the building with its defaults", b)
	}
	bad := g.building("hq")
	bad.Knx.Endpoint = "10.0.0.3"
	_, err = g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: bad, ValidateOnly: true})
	wrongField(t, err, "knx.endpoint")
	if ids := g.ids(t); len(ids) != 0 {
		t.Errorf("created %v", ids)
	}
}

// Every wrong field is named, as the contract spells it, and nothing is created.
func TestCreateNamesTheWrongField(t *testing.T) {
	g := start(t)
	key := tunnel.GeneratePrivateKey()
	good := func() string {
		return file(key.Base64(), key.Base64(), tunnel.GeneratePrivateKey().Public().String(), g.router)
	}
	for _, c := range []struct {
		name, field string
		spoil       func(b *knxfleetv1.Building)
	}{
		{"no id", "id", func(b *knxfleetv1.Building) { b.Id = "" }},
		{"an id with other characters", "id", func(b *knxfleetv1.Building) { b.Id = "HQ/1" }},
		{"an id that is too long", "id", func(b *knxfleetv1.Building) { b.Id = strings.Repeat("a", 64) }},
		{"a long display name", "display_name", func(b *knxfleetv1.Building) { b.DisplayName = strings.Repeat("x", 201) }},
		{"a label key", "labels", func(b *knxfleetv1.Building) { b.Labels = map[string]string{"a b": "c"} }},
		{"a label value", "labels.city", func(b *knxfleetv1.Building) { b.Labels = map[string]string{"city": "St. Gallen"} }},
		{"no tunnel", "tunnel.peer_public_key", func(b *knxfleetv1.Building) { b.Tunnel = nil }},
		{"no peer key", "tunnel.peer_public_key", func(b *knxfleetv1.Building) { b.Tunnel.PeerPublicKey = "" }},
		{"a short peer key", "tunnel.peer_public_key", func(b *knxfleetv1.Building) { b.Tunnel.PeerPublicKey = "c2hvcnQ=" }},
		{"our own key as peer", "tunnel.peer_public_key", func(b *knxfleetv1.Building) {
			b.Tunnel.PrivateKey, b.Tunnel.PeerPublicKey = key.Base64(), key.Public().String()
		}},
		{"a private key cut short", "tunnel.private_key", func(b *knxfleetv1.Building) { b.Tunnel.PrivateKey = key.Base64()[:43] }},
		{"a preshared key that is no base64", "tunnel.preshared_key", func(b *knxfleetv1.Building) { b.Tunnel.PresharedKey = strings.Repeat("!", 44) }},
		{"no address", "tunnel.addresses", func(b *knxfleetv1.Building) { b.Tunnel.Addresses = nil }},
		{"an address", "tunnel.addresses", func(b *knxfleetv1.Building) { b.Tunnel.Addresses = []string{"192.168.1.300/24"} }},
		{"no allowed IPs", "tunnel.allowed_ips", func(b *knxfleetv1.Building) { b.Tunnel.AllowedIps = nil }},
		{"allowed IPs", "tunnel.allowed_ips", func(b *knxfleetv1.Building) { b.Tunnel.AllowedIps = []string{"192.168.1.0/33"} }},
		{"too many allowed IPs", "tunnel.allowed_ips", func(b *knxfleetv1.Building) {
			for i := range 65 {
				b.Tunnel.AllowedIps = append(b.Tunnel.AllowedIps, fmt.Sprintf("10.0.%d.0/24", i))
			}
		}},
		{"an endpoint without port", "tunnel.endpoint", func(b *knxfleetv1.Building) { b.Tunnel.Endpoint = "office.example.org" }},
		{"a keepalive of half a second", "tunnel.keepalive", func(b *knxfleetv1.Building) { b.Tunnel.Keepalive = durationpb.New(time.Second / 2) }},
		{"a negative keepalive", "tunnel.keepalive", func(b *knxfleetv1.Building) { b.Tunnel.Keepalive = durationpb.New(-time.Second) }},
		{"an endless keepalive", "tunnel.keepalive", func(b *knxfleetv1.Building) {
			b.Tunnel.Keepalive = &durationpb.Duration{Seconds: math.MaxInt64}
		}},
		{"a small MTU", "tunnel.mtu", func(b *knxfleetv1.Building) { b.Tunnel.Mtu = 575 }},
		{"a huge MTU", "tunnel.mtu", func(b *knxfleetv1.Building) { b.Tunnel.Mtu = math.MaxUint32 }},
		{"a file and fields", "tunnel.wg_quick", func(b *knxfleetv1.Building) { b.Tunnel.WgQuick = good() }},
		{"a file and a keepalive", "tunnel.wg_quick", func(b *knxfleetv1.Building) {
			b.Tunnel = &knxfleetv1.TunnelConfig{WgQuick: good(), Keepalive: durationpb.New(0)}
		}},
		{"a broken file", "tunnel.wg_quick", func(b *knxfleetv1.Building) {
			b.Tunnel = &knxfleetv1.TunnelConfig{WgQuick: strings.Replace(good(), "/24", "/99", 1)}
		}},
		{"a wrong key in a file", "tunnel.wg_quick", func(b *knxfleetv1.Building) {
			b.Tunnel = &knxfleetv1.TunnelConfig{WgQuick: strings.Replace(good(), key.Base64(), key.Base64()[:40], 1)}
		}},
		{"no KNX", "knx.endpoint", func(b *knxfleetv1.Building) { b.Knx = nil }},
		{"a KNX interface by name", "knx.endpoint", func(b *knxfleetv1.Building) { b.Knx.Endpoint = "knx.local" }},
		{"a KNX interface outside", "knx.endpoint", func(b *knxfleetv1.Building) { b.Knx.Endpoint = "10.0.0.3" }},
		{"a KNX interface with a key for an address", "knx.endpoint", func(b *knxfleetv1.Building) { b.Knx.Endpoint = key.Base64() }},
		{"a fallback outside", "knx.fallback_endpoint", func(b *knxfleetv1.Building) { b.Knx.FallbackEndpoint = "10.0.0.3" }},
		{"a fallback by name", "knx.fallback_endpoint", func(b *knxfleetv1.Building) { b.Knx.FallbackEndpoint = "knx.local" }},
		{"a pattern to read", "knx.read_on_start", func(b *knxfleetv1.Building) { b.Knx.ReadOnStart = []string{"1/*/300"} }},
		{"too many to read", "knx.read_on_start", func(b *knxfleetv1.Building) { b.Knx.ReadOnStart = slices.Repeat([]string{"1/2/3"}, 101) }},
		{"a pace of reads", "knx.reads_per_second", func(b *knxfleetv1.Building) { b.Knx.ReadsPerSecond = 11 }},
		{"a pace of writes", "knx.writes_per_second", func(b *knxfleetv1.Building) { b.Knx.WritesPerSecond = math.MaxUint32 }},
		{"a probe of nothing", "knx.probe", func(b *knxfleetv1.Building) { b.Knx.Probe = "0/0/0" }},
		{"a probe by pattern", "knx.probe", func(b *knxfleetv1.Building) { b.Knx.Probe = "1/2/*" }},
		{"probing all the time", "knx.probe_interval", func(b *knxfleetv1.Building) { b.Knx.ProbeInterval = durationpb.New(time.Second) }},
		{"probing once a day", "knx.probe_interval", func(b *knxfleetv1.Building) { b.Knx.ProbeInterval = durationpb.New(24 * time.Hour) }},
		{"an impossible duration", "knx.probe_interval", func(b *knxfleetv1.Building) { b.Knx.ProbeInterval = &durationpb.Duration{Nanos: -1, Seconds: 20} }},
		{"a trickle of packets", "limits.packets_per_second", func(b *knxfleetv1.Building) { b.Limits = &knxfleetv1.BuildingLimits{PacketsPerSecond: 9} }},
		{"a flood of packets", "limits.packets_per_second", func(b *knxfleetv1.Building) { b.Limits = &knxfleetv1.BuildingLimits{PacketsPerSecond: 1_000_001} }},
		{"a trickle of bytes", "limits.bytes_per_second", func(b *knxfleetv1.Building) { b.Limits = &knxfleetv1.BuildingLimits{BytesPerSecond: 9_999} }},
		{"an endless queue", "limits.write_queue", func(b *knxfleetv1.Building) { b.Limits = &knxfleetv1.BuildingLimits{WriteQueue: 10_001} }},
		{"an individual address", "knx.individual_address", func(b *knxfleetv1.Building) { b.Knx.IndividualAddress = "16.1.1" }},
		{"an unknown NAT mode", "knx.nat_mode", func(b *knxfleetv1.Building) { b.Knx.NatMode = 99 }},
		{"an unknown transport", "knx.transport", func(b *knxfleetv1.Building) { b.Knx.Transport = 99 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := g.building("hq")
			c.spoil(b)
			for _, validateOnly := range []bool{true, false} {
				_, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: b, ValidateOnly: validateOnly})
				wrongField(t, err, c.field)
			}
		})
	}
	_, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{})
	wrongField(t, err, "building")
	if ids := g.ids(t); len(ids) != 0 {
		t.Errorf("half created: %v", ids)
	}
	g.stop()
	g.seen.mustNotHold(t, "the private key", key.Base64())
}

// What a client sent comes back shortened, so that the answer fits into headers.
func TestErrorsStaySmall(t *testing.T) {
	g := start(t)
	b := g.building("hq")
	b.Knx.Endpoint = strings.Repeat("1.", 1<<17)
	_, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: b})
	wrongField(t, err, "knx.endpoint")
	_, err = g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{LabelSelector: "a=" + strings.Repeat("b", 1<<17)})
	wrongField(t, err, "label_selector")
	if n := proto.Size(status.Convert(err).Proto()); n > 4*maxMessage {
		t.Errorf("the error has %d bytes with its details", n)
	}
}

func TestCreateTellsWhatIsNotBuilt(t *testing.T) {
	g := start(t)
	for name, spoil := range map[string]func(b *knxfleetv1.Building){
		"limits":  func(b *knxfleetv1.Building) { b.Limits = &knxfleetv1.BuildingLimits{AccessConnections: 3} },
		"journal": func(b *knxfleetv1.Building) { b.Journal = &knxfleetv1.JournalConfig{Off: true} },
	} {
		b := g.building("hq")
		spoil(b)
		_, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: b})
		if info, _ := refused(t, err, codes.Unimplemented, "NOT_BUILT", "not built"); info.GetMetadata()["building"] != "hq" {
			t.Errorf("%s: metadata %v", name, info.GetMetadata())
		}
	}
	if ids := g.ids(t); len(ids) != 0 {
		t.Errorf("created %v", ids)
	}
}
