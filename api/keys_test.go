package api

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

func TestGenerateKeys(t *testing.T) {
	g := start(t)
	for _, withPSK := range []bool{false, true} {
		keys, err := g.buildings.GenerateKeys(t.Context(), &knxfleetv1.GenerateKeysRequest{PresharedKey: withPSK})
		noError(t, err)
		private, err := tunnel.ParsePrivateKey(keys.GetPrivateKey())
		noError(t, err)
		if private.Public().String() != keys.GetPublicKey() {
			t.Error("the public key is that of another private key")
		}
		if _, err := tunnel.ParsePresharedKey(keys.GetPresharedKey()); (err == nil) != withPSK {
			t.Errorf("preshared key asked for: %v; %v", withPSK, err)
		}
	}
	before := g.create(t, g.full("hq"))
	keys, err := g.buildings.GenerateKeys(t.Context(), &knxfleetv1.GenerateKeysRequest{Building: "hq"})
	noError(t, err)
	kept, err := g.registry.Get(t.Context(), "hq")
	noError(t, err)
	if keys.GetPrivateKey() != "" || keys.GetPresharedKey() != "" || keys.GetPublicKey() != kept.Tunnel.PrivateKey.Public().String() ||
		keys.GetPublicKey() == before.GetTunnel().GetPublicKey() || kept.Generation != 2 || kept.Tunnel.PresharedKey.IsZero() {
		t.Errorf("a building's new key: answered public key %s of %v", keys.GetPublicKey(), kept.Generation)
	}
	_, err = g.buildings.GenerateKeys(t.Context(), &knxfleetv1.GenerateKeysRequest{Building: "hq", PresharedKey: true})
	wrongField(t, err, "preshared_key")
	_, err = g.buildings.GenerateKeys(t.Context(), &knxfleetv1.GenerateKeysRequest{Building: "nowhere"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	_, err = g.buildings.GenerateKeys(t.Context(), &knxfleetv1.GenerateKeysRequest{Building: "b.*"})
	wrongField(t, err, "id")
	g.stop()
	g.seen.mustNotHold(t, "the building's new key", kept.Tunnel.PrivateKey.Base64())
}

func TestPeerConfig(t *testing.T) {
	g := startWith(t, setup{tunnelEndpoint: "gateway.example.org:51820"})
	router := tunnel.GeneratePrivateKey()
	b := g.full("hq")
	b.Tunnel.PeerPublicKey = router.Public().String()
	private, psk := b.GetTunnel().GetPrivateKey(), b.GetTunnel().GetPresharedKey()
	created := g.create(t, b)
	for number, name := range knxfleetv1.PeerConfigFormat_name {
		format := knxfleetv1.PeerConfigFormat(number)
		got, err := g.buildings.GetPeerConfig(t.Context(), &knxfleetv1.GetPeerConfigRequest{Id: "hq", Format: format})
		noError(t, err)
		config := got.GetPeerConfig()
		if !strings.Contains(config.GetConfig(), created.GetTunnel().GetPublicKey()) || !strings.Contains(config.GetConfig(), "gateway.example.org") ||
			!strings.HasPrefix(config.GetFileName(), "hq.") || len(config.GetNotes()) == 0 ||
			config.GetFormat() != format && format != knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_UNSPECIFIED {
			t.Errorf("%s: %v", name, config)
		}
	}
	got, err := g.buildings.GetPeerConfig(t.Context(), &knxfleetv1.GetPeerConfigRequest{Id: "hq", Endpoint: "[2001:db8::1]:7", RouterPrivateKey: router.Base64()})
	noError(t, err)
	if text := got.GetPeerConfig().GetConfig(); !strings.Contains(text, "PrivateKey = "+router.Base64()+"\n") || !strings.Contains(text, "Endpoint = [2001:db8::1]:7\n") {
		t.Errorf("with what was given: %s", text)
	}
	other := tunnel.GeneratePrivateKey().Base64()
	for field, request := range map[string]*knxfleetv1.GetPeerConfigRequest{
		"format":             {Format: 99},
		"endpoint":           {Endpoint: "gateway"},
		"router_private_key": {RouterPrivateKey: other},
		"preshared_key":      {PresharedKey: other[:9]},
	} {
		request.Id = "hq"
		_, err := g.buildings.GetPeerConfig(t.Context(), request)
		wrongField(t, err, field)
	}
	_, err = g.buildings.GetPeerConfig(t.Context(), &knxfleetv1.GetPeerConfigRequest{Id: "nowhere"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	_, metrics, err := fetch(t.Context(), http.MethodGet, g.url+"/metrics", "")
	noError(t, err)
	_, rest, err := fetch(t.Context(), http.MethodPost, g.url+"/v1/buildings/hq:peerConfig", `{"format":"PEER_CONFIG_FORMAT_MIKROTIK"}`)
	noError(t, err)
	if _, err := g.seen.Write([]byte(metrics + rest)); err != nil || !strings.Contains(rest, "/interface/wireguard/add") {
		t.Errorf("by REST: %s, %v", rest, err)
	}
	g.stop()
	for what, key := range map[string]string{"the private key": private, "the preshared key": psk, "another key": other} {
		g.seen.mustNotHold(t, what, key)
	}
}

// A router that has to call us needs to know where we are.
func TestPeerConfigWithoutAnEndpoint(t *testing.T) {
	g := start(t)
	b := g.building("hq")
	b.Tunnel.Endpoint = ""
	g.create(t, b)
	_, err := g.buildings.GetPeerConfig(t.Context(), &knxfleetv1.GetPeerConfigRequest{Id: "hq"})
	if info, _ := refused(t, err, codes.FailedPrecondition, "GATEWAY_ENDPOINT_UNKNOWN", "--tunnel-endpoint"); info.GetMetadata()["building"] != "hq" {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	got, err := g.buildings.GetPeerConfig(t.Context(), &knxfleetv1.GetPeerConfigRequest{Id: "hq", Endpoint: "gateway.example.org:1"})
	noError(t, err)
	if text := got.GetPeerConfig().GetConfig(); !strings.Contains(text, "PersistentKeepalive = 25\n") {
		t.Errorf("nothing keeps the router's mapping open: %s", text)
	}
}
