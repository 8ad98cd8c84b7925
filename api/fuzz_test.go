package api

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// FuzzFromProto gives any bytes as a request: nothing panics, and of what is
// accepted no secret is in the answer.
func FuzzFromProto(f *testing.F) {
	key, peer := tunnel.GeneratePrivateKey(), tunnel.GeneratePrivateKey().Public().String()
	seed := func(b *knxfleetv1.Building) {
		raw, err := proto.Marshal(&knxfleetv1.CreateBuildingRequest{Building: b})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	fields := (&gateway{router: "router.example.org:51820"}).building("hq", "city=Bern")
	fields.Tunnel.PrivateKey, fields.Tunnel.PresharedKey = key.Base64(), key.Base64()
	fields.Knx.IndividualAddress, fields.Knx.NatMode = "1.1.250", knxfleetv1.NatMode_NAT_MODE_EXPLICIT
	seed(fields)
	seed(&knxfleetv1.Building{
		Id: "hq", Tunnel: &knxfleetv1.TunnelConfig{WgQuick: file(key.Base64(), key.Base64(), peer, "[2001:db8::7]:51820")},
		Knx: &knxfleetv1.KnxConfig{Endpoint: "192.168.178.3"},
	})
	seed(nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var request knxfleetv1.CreateBuildingRequest
		if proto.Unmarshal(raw, &request) != nil {
			return
		}
		building, _, err := fromProto(request.GetBuilding())
		if err == nil {
			building.SetDefaults()
			err = building.Validate()
		}
		if err != nil {
			if s := toStatus(err, ""); len(s.Error()) > 4*maxMessage {
				t.Errorf("an error of %d bytes", len(s.Error()))
			}
			return
		}
		answer, err := proto.Marshal(toProto(building, building.Tunnel.PrivateKey.Public().String(), fleet.NewBuilding(building)))
		if err != nil {
			t.Fatalf("accepted, and cannot be told: %v", err)
		}
		if bytes.Contains(answer, []byte(building.Tunnel.PrivateKey.Base64())) {
			t.Error("the private key is in the answer")
		}
		if psk := building.Tunnel.PresharedKey; !psk.IsZero() && bytes.Contains(answer, []byte(psk.Base64())) {
			t.Error("the preshared key is in the answer")
		}
	})
}
