package api

import (
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/internal/simulator"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// simulate plays a building on loopback until the test ends.
func simulate(t *testing.T) *simulator.Building {
	t.Helper()
	conn, port, err := simulator.Listen(0)
	noError(t, err)
	sim, err := simulator.New(simulator.Config{Buildings: 1, Seed: 1}, conn, port)
	noError(t, err)
	var running sync.WaitGroup
	ctx := t.Context() // ends before the cleanups
	running.Go(func() { noError(t, sim.Run(ctx)) })
	t.Cleanup(running.Wait)
	return sim.Buildings()[0]
}

func TestDiagnostics(t *testing.T) {
	g := start(t)
	diagnostics := knxfleetv1.NewDiagnosticsServiceClient(g.conn)
	ctx := t.Context()
	b := simulate(t)
	g.create(t, &knxfleetv1.Building{Id: "well", Tunnel: &knxfleetv1.TunnelConfig{WgQuick: b.WGQuick()}, Knx: &knxfleetv1.KnxConfig{Endpoint: simulator.Interface.String()}})
	g.create(t, g.building("dead"))
	off := g.building("off")
	off.Disabled = true
	g.create(t, off)
	g.eventually(t, "well", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_ONLINE })
	g.eventually(t, "dead", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })

	d, err := diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: "well"})
	noError(t, err)
	if d.GetVerdict() != knxfleetv1.Verdict_VERDICT_HEALTHY || d.GetSummary() == "" || d.GetNextStep() != "" || len(d.GetChecks()) == 0 || d.GetCheckedAt() == nil {
		t.Errorf("a building that is well: %v", d)
	}
	for _, c := range d.GetChecks() {
		if c.GetResult() == knxfleetv1.Check_RESULT_UNSPECIFIED || c.GetName() == "" {
			t.Errorf("check %v", c)
		}
	}
	d, err = diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: "dead", Timeout: durationpb.New(5 * time.Second)})
	noError(t, err)
	if d.GetVerdict() != knxfleetv1.Verdict_VERDICT_UDP_BLOCKED || d.GetNextStep() == "" {
		t.Errorf("a building whose router is silent: %v", d)
	}

	ping, err := diagnostics.Ping(ctx, &knxfleetv1.PingRequest{Building: "well", Count: 2, Interval: durationpb.New(200 * time.Millisecond), Timeout: durationpb.New(10 * time.Second)})
	noError(t, err)
	if ping.GetSent() != 2 || ping.GetReceived() != 2 || len(ping.GetRoundTrips()) != 2 || ping.GetMean().AsDuration() < ping.GetMin().AsDuration() ||
		ping.GetMax().AsDuration() < ping.GetMean().AsDuration() || ping.GetAddress() != simulator.Interface.Addr().String() {
		t.Errorf("ping: %v", ping)
	}
	found, err := diagnostics.DiscoverInterfaces(ctx, &knxfleetv1.DiscoverInterfacesRequest{
		Building: "well", Subnets: []string{"192.168.1.0/28"}, AddressesPerSecond: 500, Timeout: durationpb.New(2 * time.Second),
	})
	noError(t, err)
	if found.GetAsked() != 14 || len(found.GetInterfaces()) != 1 {
		t.Fatalf("discover: %v", found)
	}
	i := found.GetInterfaces()[0]
	if i.GetEndpoint() != simulator.Interface.String() || i.GetName() != "Building 1" || i.GetIndividualAddress() != "1.1.240" || i.GetMedium() != "TP1" ||
		len(i.GetSlots()) != 4 || len(i.GetServices()) != 2 || i.GetServices()[1].GetName() != "TUNNELLING" || len(i.GetSerialNumber()) != 12 || len(i.GetMacAddress()) != 17 {
		t.Errorf("interface: %v", i)
	}

	for name, c := range map[string]struct {
		err    error
		code   codes.Code
		reason string
	}{
		"no building":       {second(diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: "nowhere"})), codes.NotFound, "BUILDING_NOT_FOUND"},
		"a disabled one":    {second(diagnostics.Ping(ctx, &knxfleetv1.PingRequest{Building: "off"})), codes.FailedPrecondition, "BUILDING_DISABLED"},
		"too little time":   {second(diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: "well", Timeout: durationpb.New(time.Second)})), codes.InvalidArgument, "INVALID_FIELD"},
		"no time":           {second(diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: "well", Timeout: durationpb.New(0)})), codes.InvalidArgument, "INVALID_FIELD"},
		"no address":        {second(diagnostics.Ping(ctx, &knxfleetv1.PingRequest{Building: "well", Address: "router"})), codes.InvalidArgument, "INVALID_FIELD"},
		"another network":   {second(diagnostics.Ping(ctx, &knxfleetv1.PingRequest{Building: "well", Address: "8.8.8.8"})), codes.InvalidArgument, "INVALID_FIELD"},
		"a huge count":      {second(diagnostics.Ping(ctx, &knxfleetv1.PingRequest{Building: "well", Count: 1 << 31})), codes.InvalidArgument, "INVALID_FIELD"},
		"no network":        {second(diagnostics.DiscoverInterfaces(ctx, &knxfleetv1.DiscoverInterfacesRequest{Building: "well", Subnets: []string{"192.168.1.3"}})), codes.InvalidArgument, "INVALID_FIELD"},
		"a network outside": {second(diagnostics.DiscoverInterfaces(ctx, &knxfleetv1.DiscoverInterfacesRequest{Building: "well", Subnets: []string{"10.0.0.0/8"}})), codes.InvalidArgument, "INVALID_FIELD"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, c.err, c.code, c.reason, "") })
	}
}

func second[T any](_ T, err error) error { return err }

// Every verdict and result of the fleet has its word in the contract.
func TestDiagnosticsNames(t *testing.T) {
	for _, v := range []fleet.Verdict{
		fleet.VerdictHealthy, fleet.VerdictNameUnresolved, fleet.VerdictAwaitingRouter, fleet.VerdictUDPBlocked, fleet.VerdictWrongKey,
		fleet.VerdictWrongPresharedKey, fleet.VerdictClockBehind, fleet.VerdictAllowedIPs, fleet.VerdictLANDead, fleet.VerdictInterfaceSilent,
		fleet.VerdictSlotsFull, fleet.VerdictInterfaceRefused, fleet.VerdictBusDead, fleet.VerdictLossy, fleet.VerdictUnclear,
	} {
		if knxfleetv1.Verdict_value["VERDICT_"+string(v)] == 0 {
			t.Errorf("the contract has no verdict %s", v)
		}
	}
	for _, r := range []fleet.CheckResult{fleet.CheckPassed, fleet.CheckFailed, fleet.CheckWarning, fleet.CheckSkipped} {
		if knxfleetv1.Check_Result_value["RESULT_"+string(r)] == 0 {
			t.Errorf("the contract has no result %s", r)
		}
	}
	if got := macText([6]byte{0, 0x24, 0x6d, 1, 2, 0xff}); got != "00:24:6d:01:02:ff" {
		t.Errorf("MAC %s", got)
	}
	if got := familyName(0x0A); got != "10" {
		t.Errorf("family %s", got)
	}
}
