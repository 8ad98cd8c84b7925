package api

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// diagnosticsService implements knxfleet.v1.DiagnosticsService.
type diagnosticsService struct {
	knxfleetv1.UnimplementedDiagnosticsServiceServer

	registry *registry.Registry
	fleet    *fleet.Fleet
}

func (s *diagnosticsService) Diagnose(ctx context.Context, request *knxfleetv1.DiagnoseRequest) (*knxfleetv1.DiagnoseResponse, error) {
	if _, err := s.registry.Get(ctx, request.GetBuilding()); err != nil {
		return nil, err
	}
	timeout, err := given(request.GetTimeout(), "timeout")
	if err != nil {
		return nil, err
	}
	d, err := s.fleet.Diagnose(ctx, request.GetBuilding(), timeout)
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.DiagnoseResponse{
		Verdict:   knxfleetv1.Verdict(knxfleetv1.Verdict_value["VERDICT_"+string(d.Verdict)]),
		Summary:   d.Summary,
		NextStep:  d.NextStep,
		CheckedAt: timestamp(d.At),
	}
	for _, c := range d.Checks {
		response.Checks = append(response.Checks, &knxfleetv1.Check{
			Name:     c.Name,
			Result:   knxfleetv1.Check_Result(knxfleetv1.Check_Result_value["RESULT_"+string(c.Result)]),
			Evidence: c.Evidence,
			Took:     durationpb.New(c.Took),
		})
	}
	return response, nil
}

// given reads a duration that has a default; one that is set to nothing is refused,
// so that it is not taken for the default.
func given(d *durationpb.Duration, field string) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() <= 0 {
		return 0, invalid(field, "%s is no time to wait", d.AsDuration())
	}
	return d.AsDuration(), nil
}

func (s *diagnosticsService) Ping(ctx context.Context, request *knxfleetv1.PingRequest) (*knxfleetv1.PingResponse, error) {
	if _, err := s.registry.Get(ctx, request.GetBuilding()); err != nil {
		return nil, err
	}
	ping := fleet.Ping{Building: request.GetBuilding(), Count: int(request.GetCount()), Size: fleet.DefaultPingSize}
	if request.Size != nil {
		ping.Size = int(request.GetSize())
	}
	var err error
	if ping.Interval, err = given(request.GetInterval(), "interval"); err != nil {
		return nil, err
	}
	if ping.Timeout, err = given(request.GetTimeout(), "timeout"); err != nil {
		return nil, err
	}
	if text := request.GetAddress(); text != "" {
		if ping.Address, err = netip.ParseAddr(text); err != nil {
			return nil, invalid("address", "%s is no IP address; want such as 192.168.1.3", registry.Quote(text))
		}
	}
	pinged, err := s.fleet.Ping(ctx, ping)
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.PingResponse{Address: pinged.Address.String(), Sent: uint32(len(pinged.RoundTrips))}
	var sum, least, most time.Duration
	for _, trip := range pinged.RoundTrips {
		response.RoundTrips = append(response.RoundTrips, durationpb.New(trip))
		if trip < 0 {
			continue
		}
		if response.GetReceived() == 0 {
			least = trip
		}
		response.Received++
		sum, least, most = sum+trip, min(least, trip), max(most, trip)
	}
	if response.GetReceived() > 0 {
		response.Min, response.Max = durationpb.New(least), durationpb.New(most)
		response.Mean = durationpb.New(sum / time.Duration(response.GetReceived()))
	}
	return response, nil
}

func (s *diagnosticsService) DiscoverInterfaces(ctx context.Context, request *knxfleetv1.DiscoverInterfacesRequest) (*knxfleetv1.DiscoverInterfacesResponse, error) {
	if _, err := s.registry.Get(ctx, request.GetBuilding()); err != nil {
		return nil, err
	}
	discovery := fleet.Discovery{Building: request.GetBuilding(), Rate: int(request.GetAddressesPerSecond())}
	var err error
	if discovery.Timeout, err = given(request.GetTimeout(), "timeout"); err != nil {
		return nil, err
	}
	for _, text := range request.GetSubnets() {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, invalid("subnets", "%s is no network; want such as 192.168.1.0/24", registry.Quote(text))
		}
		discovery.Subnets = append(discovery.Subnets, network)
	}
	found, asked, err := s.fleet.Discover(ctx, discovery)
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.DiscoverInterfacesResponse{Asked: uint32(asked)}
	for i := range found {
		response.Interfaces = append(response.Interfaces, interfaceToProto(&found[i]))
	}
	return response, nil
}

func interfaceToProto(i *fleet.Interface) *knxfleetv1.KnxInterface {
	device := &i.Description.Device
	message := &knxfleetv1.KnxInterface{
		Endpoint:          i.Endpoint.String(),
		Name:              device.Name,
		IndividualAddress: device.Address.String(),
		SerialNumber:      fmt.Sprintf("%X", device.Serial[:]),
		MacAddress:        macText(device.MAC),
		Medium:            device.Medium.String(),
		ProgrammingMode:   device.ProgrammingMode,
		RoundTrip:         durationpb.New(i.RoundTrip),
	}
	for _, service := range i.Description.Services {
		message.Services = append(message.Services, &knxfleetv1.KnxService{Name: familyName(service.Family), Version: uint32(service.Version)})
	}
	for _, address := range i.Description.Addresses {
		if address != device.Address {
			message.Slots = append(message.Slots, address.String())
		}
	}
	if free, told := i.FreeSlots(); told {
		n := uint32(free)
		message.FreeSlots = &n
	}
	return message
}

func macText(mac [6]byte) string {
	parts := make([]string, len(mac))
	for i, b := range mac {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}

// familyName is a service family as the contract writes it.
func familyName(f frame.Family) string {
	switch f {
	case frame.FamilyCore:
		return "CORE"
	case frame.FamilyDeviceManagement:
		return "DEVICE_MANAGEMENT"
	case frame.FamilyTunnelling:
		return "TUNNELLING"
	case frame.FamilyRouting:
		return "ROUTING"
	case frame.FamilyRemoteLogging:
		return "REMOTE_LOGGING"
	case frame.FamilyRemoteConfig:
		return "REMOTE_CONFIGURATION"
	case frame.FamilyObjectServer:
		return "OBJECT_SERVER"
	case frame.FamilySecurity:
		return "SECURITY"
	}
	return fmt.Sprintf("%d", uint8(f))
}
