package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsUpdateCmd struct {
	client

	ID                 string            `arg:"" help:"Id of the building."`
	Name               *string           `help:"Display name."`
	Label              map[string]string `help:"Labels to set; others stay." placeholder:"KEY=VALUE"`
	Unlabel            []string          `help:"Labels to remove." placeholder:"KEY"`
	WGQuick            string            `name:"wg-quick" help:"Replace the tunnel, keys included, by a WireGuard configuration of the gateway's side; - for standard input." placeholder:"FILE"`
	Endpoint           *string           `help:"Where the router listens; empty: it calls us." placeholder:"HOST:PORT"`
	Address            []string          `help:"Our addresses in the tunnel." placeholder:"IP/LENGTH,…"`
	AllowedIPs         []string          `name:"allowed-ips" help:"The building's networks." placeholder:"IP/LENGTH,…"`
	PeerPublicKey      *string           `help:"The router's public key." placeholder:"KEY"`
	PresharedKey       string            `help:"File with the preshared key; - for standard input." placeholder:"FILE"`
	RemovePresharedKey bool              `help:"Remove the preshared key."`
	Keepalive          *time.Duration    `help:"Send an empty packet after this silence; 0s never does." placeholder:"25s"`
	MTU                *uint32           `name:"mtu" help:"Largest packet inside the tunnel, in bytes." placeholder:"1420"`
	KNX                *string           `name:"knx" help:"Address of the KNX IP interface in the building's LAN." placeholder:"IP[:PORT]"`
	KNXFallback        *string           `name:"knx-fallback" help:"Address of another interface on the same bus, for when the first does not answer; empty for none." placeholder:"IP[:PORT]"`
	Transport          *string           `enum:"auto,udp,tcp" help:"How the KNX session is carried: auto, udp or tcp."`
	NATMode            *string           `name:"nat-mode" enum:"route-back,explicit" help:"What the interface is told about our address: route-back or explicit."`
	IndividualAddress  *string           `help:"Individual address to ask the interface for; empty leaves it the choice." placeholder:"1.1.250"`
	ReadOnStart        []string          `help:"Group addresses, or patterns of those in the table, to read whenever the building comes online; - for none." placeholder:"ADDRESS,…"`
	ReadsPerSecond     *uint32           `help:"Pace of --read-on-start: 1 to 10." placeholder:"2"`
	WritesPerSecond    *uint32           `help:"Most telegrams to send in a second: 1 to 50." placeholder:"20"`
	Probe              *string           `help:"Group address to read while the bus is quiet, so that a dead bus is noticed; a device must answer. Empty for none." placeholder:"ADDRESS"`
	ProbeInterval      *time.Duration    `help:"Silence of the bus before --probe is read: 10s to 1h." placeholder:"20s"`
	PacketsPerSecond   *uint32           `help:"Packets a second that the building may send: 10 to 1000000; 0 for the default." placeholder:"20000"`
	BytesPerSecond     *uint64           `help:"Bytes a second that the building may send: 10000 or more; 0 for the default." placeholder:"30000000"`
	WriteQueue         *uint32           `help:"Writes and reads that may wait for the bus: 1 to 10000; 0 for the default." placeholder:"64"`
	Etag               string            `help:"Refuse unless the building still has this etag."`
	DryRun             bool              `help:"Change nothing; show what the building would be."`
}

// Run sends the named fields.
func (c *buildingsUpdateCmd) Run(ctx context.Context, s *streams) error {
	building, paths, err := c.change(s)
	if err != nil {
		return err
	}
	labels := len(c.Label)+len(c.Unlabel) > 0
	if len(paths) == 0 && !labels {
		return usagef("nothing to change: name at least one field, such as --endpoint (see knxfleet buildings update --help)")
	}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		updated, err := c.send(ctx, buildings, building, paths, labels)
		if err != nil {
			return err
		}
		for _, w := range updated.GetWarnings() {
			fmt.Fprintf(s.err, "knxfleet: %s, line %d: %s: %s\n", c.WGQuick, w.GetLine(), w.GetSubject(), w.GetMessage())
		}
		if c.json() {
			return printJSON(s.out, updated.GetBuilding())
		}
		return printBuilding(s.out, updated.GetBuilding())
	})
}

// maxAttempts bounds how often a change of single labels is repeated because
// somebody else changed the building in between.
const maxAttempts = 5

func (c *buildingsUpdateCmd) send(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, building *knxfleetv1.Building, paths []string, relabel bool) (*knxfleetv1.UpdateBuildingResponse, error) {
	request := &knxfleetv1.UpdateBuildingRequest{Building: building, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, ValidateOnly: c.DryRun}
	if !relabel {
		return buildings.UpdateBuilding(ctx, request)
	}
	request.UpdateMask.Paths = append(request.UpdateMask.Paths, "labels")
	for attempt := 1; ; attempt++ {
		current, err := buildings.GetBuilding(ctx, &knxfleetv1.GetBuildingRequest{Id: c.ID})
		if err != nil {
			return nil, err
		}
		labels := make(map[string]string)
		maps.Copy(labels, current.GetBuilding().GetLabels())
		maps.Copy(labels, c.Label)
		for _, key := range c.Unlabel {
			delete(labels, key)
		}
		building.Labels = labels
		if c.Etag == "" {
			building.Etag = current.GetBuilding().GetEtag()
		}
		updated, err := buildings.UpdateBuilding(ctx, request)
		if s, ok := statusOf(err); ok && s.Code() == codes.Aborted && c.Etag == "" && attempt < maxAttempts {
			continue
		}
		return updated, err
	}
}

// change gathers what the flags name, but the labels.
func (c *buildingsUpdateCmd) change(s *streams) (*knxfleetv1.Building, []string, error) {
	tunnel, knx := &knxfleetv1.TunnelConfig{}, &knxfleetv1.KnxConfig{}
	limits := &knxfleetv1.BuildingLimits{}
	building := &knxfleetv1.Building{Id: c.ID, Etag: c.Etag, Tunnel: tunnel, Knx: knx, Limits: limits}
	var paths []string
	text := func(path string, flag *string, to *string) {
		if flag != nil {
			*to = *flag
			paths = append(paths, path)
		}
	}
	list := func(path string, flag []string, to *[]string) {
		if len(flag) > 0 {
			*to = flag
			paths = append(paths, path)
		}
	}
	text("display_name", c.Name, &building.DisplayName)
	text("tunnel.endpoint", c.Endpoint, &tunnel.Endpoint)
	text("tunnel.peer_public_key", c.PeerPublicKey, &tunnel.PeerPublicKey)
	text("knx.endpoint", c.KNX, &knx.Endpoint)
	text("knx.fallback_endpoint", c.KNXFallback, &knx.FallbackEndpoint)
	if c.Transport != nil {
		knx.Transport = knxfleetv1.Transport(knxfleetv1.Transport_value["TRANSPORT_"+strings.ToUpper(*c.Transport)])
		paths = append(paths, "knx.transport")
	}
	text("knx.individual_address", c.IndividualAddress, &knx.IndividualAddress)
	list("knx.read_on_start", c.ReadOnStart, &knx.ReadOnStart)
	if slices.Equal(c.ReadOnStart, []string{"-"}) {
		knx.ReadOnStart = nil
	}
	number := func(path string, flag *uint32, to *uint32) {
		if flag != nil {
			*to = *flag
			paths = append(paths, path)
		}
	}
	number("knx.reads_per_second", c.ReadsPerSecond, &knx.ReadsPerSecond)
	number("knx.writes_per_second", c.WritesPerSecond, &knx.WritesPerSecond)
	text("knx.probe", c.Probe, &knx.Probe)
	if c.ProbeInterval != nil {
		knx.ProbeInterval = durationpb.New(*c.ProbeInterval)
		paths = append(paths, "knx.probe_interval")
	}
	number("limits.packets_per_second", c.PacketsPerSecond, &limits.PacketsPerSecond)
	number("limits.write_queue", c.WriteQueue, &limits.WriteQueue)
	if c.BytesPerSecond != nil {
		limits.BytesPerSecond = *c.BytesPerSecond
		paths = append(paths, "limits.bytes_per_second")
	}
	list("tunnel.addresses", c.Address, &tunnel.Addresses)
	list("tunnel.allowed_ips", c.AllowedIPs, &tunnel.AllowedIps)
	if c.Keepalive != nil {
		tunnel.Keepalive = durationpb.New(*c.Keepalive)
		paths = append(paths, "tunnel.keepalive")
	}
	if c.MTU != nil {
		tunnel.Mtu = *c.MTU
		paths = append(paths, "tunnel.mtu")
	}
	if c.NATMode != nil {
		knx.NatMode = knxfleetv1.NatMode_NAT_MODE_ROUTE_BACK
		if *c.NATMode == "explicit" {
			knx.NatMode = knxfleetv1.NatMode_NAT_MODE_EXPLICIT
		}
		paths = append(paths, "knx.nat_mode")
	}
	var err error
	if c.WGQuick != "" {
		if tunnel.WgQuick, err = readSmall("--wg-quick", c.WGQuick, s.in, maxWGQuick); err != nil {
			return nil, nil, err
		}
		paths = append(paths, "tunnel.wg_quick")
	}
	switch {
	case c.PresharedKey != "" && c.RemovePresharedKey:
		return nil, nil, usagef("want either --preshared-key or --remove-preshared-key")
	case c.PresharedKey != "":
		if tunnel.PresharedKey, err = readKey("--preshared-key", c.PresharedKey, s); err != nil {
			return nil, nil, err
		}
		fallthrough
	case c.RemovePresharedKey:
		paths = append(paths, "tunnel.preshared_key")
	}
	return building, paths, nil
}

// readKey reads a file with one key in base64. Keys are not given on the command
// line, which every user of the machine can read.
func readKey(flag, name string, s *streams) (string, error) {
	const most = 4 << 10
	text, err := readSmall(flag, name, s.in, most)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(text)
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return "", usagef("%s: %s must have the key in one line, and nothing else", flag, name)
	}
	return key, nil
}

type buildingsEnableCmd struct{ switchFlags }

// Run enables the buildings.
func (c *buildingsEnableCmd) Run(ctx context.Context, s *streams) error {
	return c.each(s, func(buildings knxfleetv1.BuildingServiceClient, id string) (*knxfleetv1.Building, error) {
		enabled, err := buildings.EnableBuilding(ctx, &knxfleetv1.EnableBuildingRequest{Id: id})
		return enabled.GetBuilding(), err
	})
}

type buildingsDisableCmd struct{ switchFlags }

// Run disables the buildings.
func (c *buildingsDisableCmd) Run(ctx context.Context, s *streams) error {
	return c.each(s, func(buildings knxfleetv1.BuildingServiceClient, id string) (*knxfleetv1.Building, error) {
		disabled, err := buildings.DisableBuilding(ctx, &knxfleetv1.DisableBuildingRequest{Id: id})
		return disabled.GetBuilding(), err
	})
}

// switchFlags are those of commands that do one thing to some buildings.
type switchFlags struct {
	client

	IDs []string `arg:"" name:"id" help:"Ids of the buildings."`
}

// each stops at the first building that fails.
func (c *switchFlags) each(s *streams, do func(knxfleetv1.BuildingServiceClient, string) (*knxfleetv1.Building, error)) error {
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		for _, id := range c.IDs {
			building, err := do(buildings, id)
			if err != nil {
				return err
			}
			if err := printBuildings(c.client, s.out, building); err != nil {
				return err
			}
		}
		return nil
	})
}

type buildingsReconnectCmd struct {
	switchFlags

	Tunnel bool `help:"Also rebuild the tunnel and look the router's name up again."`
}

// Run reconnects the buildings, one after the other.
func (c *buildingsReconnectCmd) Run(ctx context.Context, s *streams) error {
	return c.each(s, func(buildings knxfleetv1.BuildingServiceClient, id string) (*knxfleetv1.Building, error) {
		reconnected, err := buildings.ReconnectBuilding(ctx, &knxfleetv1.ReconnectBuildingRequest{Id: id, Tunnel: c.Tunnel})
		return reconnected.GetBuilding(), err
	})
}
