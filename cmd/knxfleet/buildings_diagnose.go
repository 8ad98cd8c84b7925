package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// withDiagnostics calls f with a client of the DiagnosticsService, and shows on
// standard error what is waited for.
func (c client) withDiagnostics(s *streams, what string, f func(knxfleetv1.DiagnosticsServiceClient) error) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer waiting(s.err, what)()
	return f(knxfleetv1.NewDiagnosticsServiceClient(conn))
}

// waiting shows on a terminal what is waited for and since when, until end is
// called; elsewhere it says so once.
func waiting(w io.Writer, what string) (end func()) {
	if !isTerminal(w) {
		fmt.Fprintf(w, "knxfleet: %s\n", what)
		return func() {}
	}
	line := progress{w: w}
	began, stop, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			line.line(fmt.Sprintf("%s: %ds", what, int(time.Since(began).Seconds())))
			select {
			case <-tick.C:
			case <-stop:
				line.line("")
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// durationFlag leaves a flag that was not given to the gateway.
func durationFlag(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

type buildingsDiagnoseCmd struct {
	client

	ID      string        `arg:"" help:"Id of the building."`
	Timeout time.Duration `help:"How long it may take, 5s to 2m; 30s unless given." default:"0s"`
}

// Run says what is wrong with a building.
func (c *buildingsDiagnoseCmd) Run(ctx context.Context, s *streams) error {
	var d *knxfleetv1.DiagnoseResponse
	err := c.withDiagnostics(s, "looking into "+c.ID, func(diagnostics knxfleetv1.DiagnosticsServiceClient) (err error) {
		d, err = diagnostics.Diagnose(ctx, &knxfleetv1.DiagnoseRequest{Building: c.ID, Timeout: durationFlag(c.Timeout)})
		return err
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s.out, d)
	}
	rows := make([][]string, 0, len(d.GetChecks()))
	for _, check := range d.GetChecks() {
		rows = append(rows, []string{
			check.GetName(), strings.TrimPrefix(check.GetResult().String(), "RESULT_"),
			check.GetTook().AsDuration().Round(time.Millisecond).String(), check.GetEvidence(),
		})
	}
	if err := printTable(s.out, []string{"CHECK", "RESULT", "TOOK", "EVIDENCE"}, rows); err != nil {
		return err
	}
	verdict := strings.TrimPrefix(d.GetVerdict().String(), "VERDICT_")
	if _, err := fmt.Fprintf(s.out, "\n%s: %s\n", verdict, d.GetSummary()); err != nil || d.GetNextStep() == "" {
		return err
	}
	_, err = fmt.Fprintf(s.out, "next: %s\n", d.GetNextStep())
	return err
}

type buildingsPingCmd struct {
	client

	ID       string        `arg:"" help:"Id of the building."`
	Address  string        `arg:"" optional:"" help:"IP address in the building's LAN; the KNX interface unless given."`
	Count    uint32        `short:"c" help:"Requests to send, 1 to 100." default:"3"`
	Interval time.Duration `short:"i" help:"Time between two of them, 200ms to 10s." default:"1s"`
	Timeout  time.Duration `help:"How long to wait for each answer, 100ms to 10s." default:"2s"`
	Size     uint32        `help:"Bytes of data in each, 0 to 1400." default:"56"`
}

// Run pings into a building's LAN. Without any answer it fails.
func (c *buildingsPingCmd) Run(ctx context.Context, s *streams) error {
	var p *knxfleetv1.PingResponse
	err := c.withDiagnostics(s, "pinging into "+c.ID, func(diagnostics knxfleetv1.DiagnosticsServiceClient) (err error) {
		p, err = diagnostics.Ping(ctx, &knxfleetv1.PingRequest{
			Building: c.ID, Address: c.Address, Count: c.Count, Size: &c.Size,
			Interval: durationpb.New(c.Interval), Timeout: durationpb.New(c.Timeout),
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := c.print(s.out, p); err != nil {
		return err
	}
	if p.GetReceived() == 0 {
		return fmt.Errorf("%s did not answer", p.GetAddress())
	}
	return nil
}

func (c *buildingsPingCmd) print(w io.Writer, p *knxfleetv1.PingResponse) error {
	if c.json() {
		return printJSON(w, p)
	}
	rows := make([][]string, 0, len(p.GetRoundTrips()))
	for i, trip := range p.GetRoundTrips() {
		text := "no answer"
		if d := trip.AsDuration(); d >= 0 {
			text = d.Round(10 * time.Microsecond).String()
		}
		rows = append(rows, []string{fmt.Sprintf("%d", i+1), p.GetAddress(), text})
	}
	if err := printTable(w, []string{"REQUEST", "ADDRESS", "ROUND TRIP"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d sent, %d answered\n", p.GetSent(), p.GetReceived())
	return err
}

type buildingsDiscoverCmd struct {
	client

	ID      string        `arg:"" help:"Id of the building."`
	Subnets []string      `arg:"" optional:"" name:"subnet" help:"Networks to search, such as 192.168.1.0/24; the building's own unless given."`
	Rate    uint32        `help:"Addresses to ask in a second, 1 to 500." default:"50"`
	Timeout time.Duration `help:"How long to wait for late answers, 500ms to 10s." default:"2s"`
}

// Run lists the KNXnet/IP interfaces in a building's networks.
func (c *buildingsDiscoverCmd) Run(ctx context.Context, s *streams) error {
	var found *knxfleetv1.DiscoverInterfacesResponse
	what := fmt.Sprintf("asking the addresses of %s, %d a second", c.ID, c.Rate)
	err := c.withDiagnostics(s, what, func(diagnostics knxfleetv1.DiagnosticsServiceClient) (err error) {
		found, err = diagnostics.DiscoverInterfaces(ctx, &knxfleetv1.DiscoverInterfacesRequest{
			Building: c.ID, Subnets: c.Subnets, AddressesPerSecond: c.Rate, Timeout: durationpb.New(c.Timeout),
		})
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "knxfleet: %d addresses asked, %d answered\n", found.GetAsked(), len(found.GetInterfaces()))
	if c.json() {
		return printJSON(s.out, found)
	}
	rows := make([][]string, 0, len(found.GetInterfaces()))
	for _, i := range found.GetInterfaces() {
		free := "not told"
		if i.FreeSlots != nil {
			free = fmt.Sprintf("%d", i.GetFreeSlots())
		}
		rows = append(rows, []string{
			i.GetEndpoint(), printable(i.GetName()), i.GetIndividualAddress(), i.GetMedium(), i.GetSerialNumber(), services(i.GetServices()),
			fmt.Sprintf("%d", len(i.GetSlots())), free,
		})
	}
	return printTable(s.out, []string{"ENDPOINT", "NAME", "ADDRESS", "MEDIUM", "SERIAL", "SERVICES", "SLOTS", "FREE"}, rows)
}

// printable is a device's own text, without what a terminal would act on.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return '?'
		}
		return r
	}, name)
}

func services(all []*knxfleetv1.KnxService) string {
	texts := make([]string, 0, len(all))
	for _, service := range all {
		texts = append(texts, fmt.Sprintf("%s v%d", strings.ToLower(service.GetName()), service.GetVersion()))
	}
	return strings.Join(texts, ", ")
}
