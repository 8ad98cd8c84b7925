package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

func (g *gateway) update(t *testing.T, b *knxfleetv1.Building, paths ...string) *knxfleetv1.Building {
	t.Helper()
	updated, err := g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: b, UpdateMask: maskOf(paths...)})
	noError(t, err)
	return updated.GetBuilding()
}

func maskOf(paths ...string) *fieldmaskpb.FieldMask {
	if len(paths) == 0 {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}

// full is a building in which every field is set that can be.
func (g *gateway) full(id string) *knxfleetv1.Building {
	b := g.building(id, "region=south", "tier=gold")
	b.DisplayName, b.Disabled = "Head office", true
	b.Tunnel.PrivateKey, b.Tunnel.PresharedKey = tunnel.GeneratePrivateKey().Base64(), tunnel.GeneratePrivateKey().Base64()
	b.Tunnel.Keepalive, b.Tunnel.Mtu = durationpb.New(30*time.Second), 1400
	b.Knx.NatMode, b.Knx.IndividualAddress = knxfleetv1.NatMode_NAT_MODE_EXPLICIT, "1.1.250"
	b.Knx.Probe, b.Knx.ProbeInterval = "1/2/9", durationpb.New(time.Minute)
	return b
}

// Each path changes its field and no other; a path whose field is not given
// empties it.
func TestUpdateByMask(t *testing.T) {
	g := start(t)
	other := tunnel.GeneratePrivateKey()
	for i, c := range []struct {
		paths  string
		given  *knxfleetv1.Building
		change func(*knxfleetv1.Building) // of the building as it was
	}{
		{"display_name", &knxfleetv1.Building{DisplayName: "New"}, func(b *knxfleetv1.Building) { b.DisplayName = "New" }},
		{"display_name", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.DisplayName = "" }},
		{"displayName,tunnel.allowedIps", &knxfleetv1.Building{DisplayName: "New", Tunnel: &knxfleetv1.TunnelConfig{AllowedIps: []string{"192.168.0.0/16"}}}, func(b *knxfleetv1.Building) {
			b.DisplayName, b.Tunnel.AllowedIps = "New", []string{"192.168.0.0/16"}
		}},
		{"tunnel.presharedKey", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Tunnel.HasPresharedKey = false }},
		{"labels", &knxfleetv1.Building{Labels: map[string]string{"a": "b"}}, func(b *knxfleetv1.Building) { b.Labels = map[string]string{"a": "b"} }},
		{"labels", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Labels = nil }},
		{"disabled", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Disabled = false }},
		{
			"tunnel.endpoint,knx.endpoint",
			&knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{Endpoint: "new.example.org:1"}, Knx: &knxfleetv1.KnxConfig{Endpoint: "192.168.1.4"}},
			func(b *knxfleetv1.Building) {
				b.Tunnel.Endpoint, b.Knx.Endpoint = "new.example.org:1", "192.168.1.4:3671"
			},
		},
		{"tunnel.endpoint", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Tunnel.Endpoint = "" }},
		{"tunnel.addresses", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{Addresses: []string{"10.0.0.2/24"}}}, func(b *knxfleetv1.Building) {
			b.Tunnel.Addresses = []string{"10.0.0.2/24"}
		}},
		{"tunnel.allowed_ips", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{AllowedIps: []string{"192.168.0.0/16"}}}, func(b *knxfleetv1.Building) {
			b.Tunnel.AllowedIps = []string{"192.168.0.0/16"}
		}},
		{"tunnel.peer_public_key", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{PeerPublicKey: other.Public().String()}}, func(b *knxfleetv1.Building) {
			b.Tunnel.PeerPublicKey = other.Public().String()
		}},
		{"tunnel.private_key", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{PrivateKey: other.Base64()}}, func(b *knxfleetv1.Building) {
			b.Tunnel.PublicKey = other.Public().String()
		}},
		{"tunnel.private_key", &knxfleetv1.Building{}, nil},
		{"tunnel.preshared_key", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Tunnel.HasPresharedKey = false }},
		{"tunnel.keepalive", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{Keepalive: durationpb.New(0)}}, func(b *knxfleetv1.Building) {
			b.Tunnel.Keepalive = durationpb.New(0)
		}},
		{"tunnel.keepalive", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Tunnel.Keepalive = durationpb.New(25 * time.Second) }},
		{"tunnel.mtu", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) { b.Tunnel.Mtu = 1420 }},
		{"tunnel", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{
			Addresses: []string{"10.0.0.2/24"}, AllowedIps: []string{"192.168.1.0/24"}, PeerPublicKey: other.Public().String(),
		}}, func(b *knxfleetv1.Building) {
			// The keys are not given, so they stay.
			b.Tunnel = &knxfleetv1.TunnelConfig{
				Addresses: []string{"10.0.0.2/24"}, AllowedIps: []string{"192.168.1.0/24"}, PeerPublicKey: other.Public().String(),
				Keepalive: durationpb.New(25 * time.Second), Mtu: 1420, PublicKey: b.GetTunnel().GetPublicKey(), HasPresharedKey: true,
			}
		}},
		{"tunnel.wg_quick", &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{
			WgQuick: strings.ReplaceAll(strings.ReplaceAll(file(other.Base64(), other.Base64(), other.Public().String()[:0]+tunnel.PublicKey{1}.String(), "a.example.org:1"), "178", "1"), "PresharedKey", "#"),
		}}, func(b *knxfleetv1.Building) {
			// The file sets everything, no preshared key too.
			b.Tunnel = &knxfleetv1.TunnelConfig{
				Addresses: []string{"192.168.1.201/24"}, AllowedIps: []string{"192.168.1.0/24"}, PeerPublicKey: tunnel.PublicKey{1}.String(),
				Endpoint: "a.example.org:1", Keepalive: durationpb.New(30 * time.Second), Mtu: 1420, PublicKey: other.Public().String(),
			}
		}},
		{"knx", &knxfleetv1.Building{Knx: &knxfleetv1.KnxConfig{Endpoint: "192.168.1.9:1"}}, func(b *knxfleetv1.Building) {
			b.Knx = &knxfleetv1.KnxConfig{Endpoint: "192.168.1.9:1", NatMode: knxfleetv1.NatMode_NAT_MODE_ROUTE_BACK, Transport: knxfleetv1.Transport_TRANSPORT_AUTO}
		}},
		{"knx.nat_mode,knx.individual_address,knx.transport", &knxfleetv1.Building{}, func(b *knxfleetv1.Building) {
			b.Knx.NatMode, b.Knx.IndividualAddress = knxfleetv1.NatMode_NAT_MODE_ROUTE_BACK, ""
		}},
		{"limits,journal,limits.write_queue,journal.max_age", &knxfleetv1.Building{}, nil},
		{"limits.write_queue", &knxfleetv1.Building{Limits: &knxfleetv1.BuildingLimits{WriteQueue: 3, PacketsPerSecond: 10}}, func(b *knxfleetv1.Building) {
			b.Limits = &knxfleetv1.BuildingLimits{WriteQueue: 3}
		}},
		{"knx.probe,knx.probe_interval", &knxfleetv1.Building{Knx: &knxfleetv1.KnxConfig{Probe: "1/2/3"}}, func(b *knxfleetv1.Building) {
			b.Knx.Probe, b.Knx.ProbeInterval = "1/2/3", nil
		}},
		{"etag,display_name", &knxfleetv1.Building{DisplayName: "x"}, func(b *knxfleetv1.Building) { b.DisplayName = "x" }},
		{"", &knxfleetv1.Building{DisplayName: "x", Tunnel: &knxfleetv1.TunnelConfig{Mtu: 1300}}, func(b *knxfleetv1.Building) {
			b.DisplayName, b.Tunnel.Mtu = "x", 1300
		}},
		{"", &knxfleetv1.Building{}, nil},
	} {
		id := fmt.Sprintf("b%d", i)
		want := g.create(t, g.full(id))
		before, err := g.registry.Get(t.Context(), id)
		noError(t, err)
		c.given.Id, c.given.Etag = id, want.GetEtag()
		var paths []string
		if c.paths != "" {
			paths = strings.Split(c.paths, ",")
		}
		preview, err := g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: c.given, UpdateMask: maskOf(paths...), ValidateOnly: true})
		noError(t, err)
		if kept, err := g.registry.Get(t.Context(), id); err != nil || kept.Revision != before.Revision {
			t.Fatalf("%s: validate_only changed the building: %v", c.paths, err)
		}
		got := g.update(t, c.given, paths...)
		if changed := c.change != nil; (got.GetEtag() != want.GetEtag()) != changed || got.GetGeneration() != map[bool]uint64{true: 2, false: 1}[changed] {
			t.Errorf("%s: etag %s after %s, generation %d", c.paths, got.GetEtag(), want.GetEtag(), got.GetGeneration())
		}
		if c.change != nil {
			c.change(want)
		}
		for _, b := range []*knxfleetv1.Building{got, preview.GetBuilding()} {
			b.Etag, b.Generation, b.UpdatedAt, b.Status = want.GetEtag(), want.GetGeneration(), want.GetUpdatedAt(), want.GetStatus()
			if !proto.Equal(b, want) {
				t.Errorf("%s: got  %v\nwant %v", c.paths, b, want)
			}
		}
		after, err := g.registry.Get(t.Context(), id)
		noError(t, err)
		if !strings.Contains(c.paths, "wg_quick") && !strings.Contains(c.paths, "private_key") && after.Tunnel.PrivateKey != before.Tunnel.PrivateKey {
			t.Errorf("%s: the private key was lost", c.paths)
		}
		if !strings.Contains(c.paths, "wg_quick") && !strings.Contains(c.paths, "preshared") && after.Tunnel.PresharedKey != before.Tunnel.PresharedKey {
			t.Errorf("%s: the preshared key was lost", c.paths)
		}
	}
	g.stop()
	g.seen.mustNotHold(t, "a private key", other.Base64())
}

func TestUpdateRefusals(t *testing.T) {
	g := start(t)
	created := g.create(t, g.full("hq"))
	key := tunnel.GeneratePrivateKey().Base64()
	for _, c := range []struct {
		field string
		paths []string
		given *knxfleetv1.Building
	}{
		{"update_mask", []string{"name"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"displayname"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"tunnel.publicKey"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"display_name", ""}, &knxfleetv1.Building{}},
		{"update_mask", []string{"*"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"id"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"generation"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"status.state"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"tunnel.public_key"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"tunnel.keepalive.seconds"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"labels.region"}, &knxfleetv1.Building{}},
		{"update_mask", []string{"display_name.x"}, &knxfleetv1.Building{}},
		{"update_mask", []string{key}, &knxfleetv1.Building{}},
		{"etag", nil, &knxfleetv1.Building{Etag: "latest"}},
		{"labels", []string{"labels"}, &knxfleetv1.Building{Labels: map[string]string{"a b": ""}}},
		{"tunnel.addresses", []string{"tunnel.addresses"}, &knxfleetv1.Building{}},
		{"tunnel.peer_public_key", []string{"tunnel"}, &knxfleetv1.Building{}},
		{"tunnel.private_key", nil, &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{PrivateKey: key[:40]}}},
		{"tunnel.wg_quick", nil, &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{WgQuick: "[Interface]\nPrivateKey = " + key}}},
		{"tunnel.wg_quick", nil, &knxfleetv1.Building{Tunnel: &knxfleetv1.TunnelConfig{WgQuick: "x", Mtu: 1400}}},
		{"tunnel.wg_quick", []string{"tunnel.wg_quick"}, &knxfleetv1.Building{}},
		{"knx.endpoint", []string{"knx"}, &knxfleetv1.Building{}},
		{"knx.endpoint", nil, &knxfleetv1.Building{Knx: &knxfleetv1.KnxConfig{Endpoint: "10.0.0.1"}}},
	} {
		c.given.Id = "hq"
		for _, validateOnly := range []bool{true, false} {
			_, err := g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: c.given, UpdateMask: maskOf(c.paths...), ValidateOnly: validateOnly})
			wrongField(t, err, c.field)
		}
	}
	_, err := g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{})
	wrongField(t, err, "building")
	_, err = g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: &knxfleetv1.Building{}})
	wrongField(t, err, "id")
	_, err = g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: &knxfleetv1.Building{Id: "nowhere"}})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	_, err = g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{Building: &knxfleetv1.Building{Id: "hq", Limits: &knxfleetv1.BuildingLimits{AccessConnections: 1}}})
	refused(t, err, codes.Unimplemented, "NOT_BUILT", "limits")

	kept, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
	noError(t, err)
	if kept.GetBuilding().GetEtag() != created.GetEtag() {
		t.Error("a refused update changed the building")
	}

	changed := g.update(t, &knxfleetv1.Building{Id: "hq", DisplayName: "x", Etag: created.GetEtag()})
	for _, validateOnly := range []bool{true, false} {
		_, err = g.buildings.UpdateBuilding(t.Context(), &knxfleetv1.UpdateBuildingRequest{
			Building: &knxfleetv1.Building{Id: "hq", DisplayName: "y", Etag: created.GetEtag()}, ValidateOnly: validateOnly,
		})
		if info, _ := refused(t, err, codes.Aborted, "ETAG_MISMATCH", "hq"); info.GetMetadata()["building"] != "hq" {
			t.Errorf("metadata %v", info.GetMetadata())
		}
	}
	// What was read can be edited and sent back as it is.
	changed.DisplayName = "z"
	if got := g.update(t, changed); got.GetDisplayName() != "z" || got.GetGeneration() != 3 {
		t.Errorf("got %v", got)
	}
	g.stop()
	g.seen.mustNotHold(t, "a private key", key)
}

// By REST the body's fields are the mask, the etag among them.
func TestUpdateByREST(t *testing.T) {
	g := start(t)
	created := g.create(t, g.full("hq"))
	patch := func(query, body string) (int, string) {
		code, answer, err := fetch(t.Context(), http.MethodPatch, g.url+"/v1/buildings/hq"+query, body)
		noError(t, err)
		return code, answer
	}
	if code, answer := patch("", `{"displayName":"New","tunnel":{"endpoint":"a.example.org:1"},"etag":"`+created.GetEtag()+`"}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, answer)
	}
	kept, err := g.registry.Get(t.Context(), "hq")
	noError(t, err)
	if kept.DisplayName != "New" || kept.Tunnel.Endpoint.Host != "a.example.org" || kept.Tunnel.MTU != 1400 || kept.Labels["tier"] != "gold" || kept.Enabled {
		t.Errorf("kept as %+v", kept)
	}
	if code, answer := patch("", `{"displayName":"Newer","etag":"`+created.GetEtag()+`"}`); code != http.StatusConflict || !strings.Contains(answer, "ETAG_MISMATCH") {
		t.Errorf("with an old etag: %d %s", code, answer)
	}
	if code, answer := patch("?updateMask=labels,disabled", `{}`); code != http.StatusOK || strings.Contains(answer, "gold") {
		t.Errorf("with a mask: %d %s", code, answer)
	}
	if code, answer := patch("?updateMask=tunel", `{}`); code != http.StatusBadRequest || !strings.Contains(answer, "update_mask") {
		t.Errorf("with a slip: %d %s", code, answer)
	}
	kept, err = g.registry.Get(t.Context(), "hq")
	noError(t, err)
	if kept.DisplayName != "New" || len(kept.Labels) != 0 || !kept.Enabled {
		t.Errorf("kept as %+v", kept)
	}
	if _, err := registry.ParseEtag(kept.Etag()); err != nil {
		t.Error(err)
	}
}

func TestReconnectBuilding(t *testing.T) {
	g := start(t)
	g.create(t, g.building("hq"))
	first := g.eventually(t, "hq", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	again, err := g.buildings.ReconnectBuilding(t.Context(), &knxfleetv1.ReconnectBuildingRequest{Id: "hq"})
	noError(t, err)
	if got := again.GetBuilding().GetStatus().GetEpoch(); got != first.GetStatus().GetEpoch() {
		t.Errorf("the session alone: epoch %d after %d", got, first.GetStatus().GetEpoch())
	}
	_, err = g.buildings.ReconnectBuilding(t.Context(), &knxfleetv1.ReconnectBuildingRequest{Id: "hq", Tunnel: true})
	noError(t, err)
	g.eventually(t, "hq", func(s *knxfleetv1.BuildingStatus) bool {
		return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING && s.GetEpoch() > first.GetStatus().GetEpoch()
	})
	_, err = g.buildings.DisableBuilding(t.Context(), &knxfleetv1.DisableBuildingRequest{Id: "hq"})
	noError(t, err)
	_, err = g.buildings.ReconnectBuilding(t.Context(), &knxfleetv1.ReconnectBuildingRequest{Id: "hq"})
	if info, _ := refused(t, err, codes.FailedPrecondition, "BUILDING_DISABLED", "enable it first"); info.GetMetadata()["building"] != "hq" {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	_, err = g.buildings.ReconnectBuilding(t.Context(), &knxfleetv1.ReconnectBuildingRequest{Id: "nowhere"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	_, err = g.buildings.ReconnectBuilding(t.Context(), &knxfleetv1.ReconnectBuildingRequest{})
	wrongField(t, err, "id")
}
