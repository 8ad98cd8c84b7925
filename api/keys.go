package api

import (
	"cmp"
	"context"

	"github.com/knxfleet/knxfleet/fleet/peerconfig"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func (s *buildingService) GenerateKeys(ctx context.Context, request *knxfleetv1.GenerateKeysRequest) (*knxfleetv1.GenerateKeysResponse, error) {
	id := request.GetBuilding()
	if id == "" {
		keys := registry.NewKeys()
		response := &knxfleetv1.GenerateKeysResponse{PublicKey: keys.Public, PrivateKey: keys.Private}
		if request.GetPresharedKey() {
			response.PresharedKey = keys.Preshared
		}
		return response, nil
	}
	if request.GetPresharedKey() {
		return nil, invalid("preshared_key", "together with building the router could not learn it; make it without a building and give it to both sides")
	}
	building, err := s.registry.Update(ctx, id, 0, func(b *registry.Building) error {
		b.RenewKey()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &knxfleetv1.GenerateKeysResponse{PublicKey: building.Tunnel.PrivateKey.Public().String()}, nil
}

// formats are the forms of a router's configuration.
var formats = map[knxfleetv1.PeerConfigFormat]peerconfig.Format{
	knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_WG_QUICK: peerconfig.WGQuick,
	knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_FRITZBOX: peerconfig.FritzBox,
	knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_MIKROTIK: peerconfig.MikroTik,
	knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_OPENWRT:  peerconfig.OpenWrt,
	knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_OPNSENSE: peerconfig.OPNsense,
}

func (s *buildingService) GetPeerConfig(ctx context.Context, request *knxfleetv1.GetPeerConfigRequest) (*knxfleetv1.GetPeerConfigResponse, error) {
	wanted := cmp.Or(request.GetFormat(), knxfleetv1.PeerConfigFormat_PEER_CONFIG_FORMAT_WG_QUICK)
	format, known := formats[wanted]
	if !known {
		return nil, invalid("format", "%d is no format; want WG_QUICK, FRITZBOX, MIKROTIK, OPENWRT or OPNSENSE", wanted)
	}
	building, err := s.registry.Get(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	config, err := peerconfig.Render(building, peerconfig.Request{
		Format:           format,
		Endpoint:         cmp.Or(request.GetEndpoint(), s.tunnelEndpoint),
		RouterPrivateKey: request.GetRouterPrivateKey(),
		PresharedKey:     request.GetPresharedKey(),
	})
	if err != nil {
		return nil, err
	}
	return &knxfleetv1.GetPeerConfigResponse{PeerConfig: &knxfleetv1.PeerConfig{
		Format: wanted, Config: config.Text, FileName: config.FileName, Notes: config.Notes,
	}}, nil
}
