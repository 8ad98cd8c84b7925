package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/knxfleet/knxfleet/internal/simulator"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// gateway is `knxfleet serve` with its defaults, in a process of its own, used by
// its API alone.
type gateway struct {
	*process
	addresses

	conn      *grpc.ClientConn
	buildings knxfleetv1.BuildingServiceClient
}

// addresses are those that it says in its log.
type addresses struct {
	GRPC, HTTP, Debug string
	Tunnels           []string
}

// buildingID is the id of the n-th building, from 1.
func buildingID(n int) string { return "b" + strconv.Itoa(n) }

const (
	servingTimeout = 60 * time.Second
	// maxPage is a page of 1,000 buildings with room to spare.
	maxPage = 64 << 20
)

// serve starts the gateway and waits until it serves.
func (w *workshop) serve(ctx context.Context, binary, data string) (*gateway, error) {
	cmd := exec.Command(binary, "serve", "--data-dir", data, "--log-format", "json", //nolint:noctx,gosec // ended by stop, which does not kill at once; the binary is the user's
		"--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0", "--tunnel-listen", "127.0.0.1:0")
	p, err := w.start("knxfleet", cmd)
	if err != nil {
		return nil, err
	}
	g := &gateway{process: p}
	serving, err := every(ctx, 50*time.Millisecond, servingTimeout, func() (bool, error) {
		select {
		case <-p.ended:
			return false, p.explain(errors.New("knxfleet does not serve"))
		default:
			return g.findAddresses()
		}
	})
	if err == nil && !serving {
		err = fmt.Errorf("knxfleet does not serve after %v", servingTimeout)
	}
	if err != nil {
		return nil, err
	}
	g.conn, err = grpc.NewClient(g.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxPage)))
	if err != nil {
		return nil, err
	}
	g.buildings = knxfleetv1.NewBuildingServiceClient(g.conn)
	// The connection stands before anything is measured.
	_, err = g.buildings.ListBuildings(ctx, &knxfleetv1.ListBuildingsRequest{PageSize: 1})
	return g, err
}

// findAddresses looks for the line that says where it serves.
func (g *gateway) findAddresses() (bool, error) {
	log := bufio.NewScanner(io.NewSectionReader(g.log, 0, 1<<20))
	for log.Scan() {
		var line struct {
			Message string
			addresses
		}
		if json.Unmarshal(log.Bytes(), &line) == nil && line.Message == "serving" {
			g.addresses = line.addresses
			return true, nil
		}
	}
	return false, log.Err()
}

func (g *gateway) metrics() string  { return "http://" + g.HTTP + "/metrics" }
func (g *gateway) profiles() string { return "http://" + g.Debug + "/debug/pprof" }

// close ends the connection; the process goes on.
func (g *gateway) close() error { return g.conn.Close() }

// creators is how many buildings are created at once.
const creators = 16

// create creates buildings from their wg-quick files, named from 1 on.
func (g *gateway) create(ctx context.Context, files []string) error {
	creating, ctx := errgroup.WithContext(ctx)
	creating.SetLimit(creators)
	for i, file := range files {
		creating.Go(func() error {
			_, err := g.buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: &knxfleetv1.Building{
				Id:     buildingID(i + 1),
				Tunnel: &knxfleetv1.TunnelConfig{WgQuick: file},
				Knx:    &knxfleetv1.KnxConfig{Endpoint: simulator.Interface.String()},
			}})
			return err
		})
	}
	if err := creating.Wait(); err != nil {
		return g.explain(fmt.Errorf("create buildings: %w", err))
	}
	return nil
}

// online counts the buildings that are ONLINE.
func (g *gateway) online(ctx context.Context) (int, error) {
	families, err := scrape(ctx, g.metrics())
	if err != nil {
		return 0, g.explain(err)
	}
	return int(gaugeOf(families, "knxfleet_buildings", "online")), nil
}

// nameTable is a group address export of ETS (CSV, 1/1) with names for the first n
// addresses of a load, all of the type that a stamp has.
func nameTable(n int) []byte {
	var b strings.Builder
	b.WriteString("\"Group name\"\t\"Address\"\t\"Central\"\t\"Unfiltered\"\t\"Description\"\t\"DatapointType\"\t\"Security\"\r\n")
	row := func(name, address, dpt string) {
		fmt.Fprintf(&b, "%q\t%q\t\"\"\t\"\"\t\"\"\t%q\t\"Auto\"\r\n", name, address, dpt)
	}
	row("Meters", "1/-/-", "")
	row("Ground floor", "1/0/-", "")
	for i := range n {
		row(fmt.Sprintf("Meter %d active energy", i+1), addressAt(i).String(), "DPST-29-10")
	}
	return []byte(b.String())
}

// name gives all buildings their names and types.
func (g *gateway) name(ctx context.Context, buildings int, table []byte) error {
	importing, ctx := errgroup.WithContext(ctx)
	importing.SetLimit(creators)
	for n := 1; n <= buildings; n++ {
		importing.Go(func() error { return g.nameOne(ctx, buildingID(n), table) })
	}
	return importing.Wait()
}

func (g *gateway) nameOne(ctx context.Context, id string, table []byte) error {
	upload, err := g.buildings.ImportGroupAddresses(ctx)
	if err != nil {
		return err
	}
	// A failed Send means that there is an answer already.
	err = upload.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{
		Header: &knxfleetv1.ImportHeader{Building: id, Prune: true},
	}})
	if err == nil {
		err = upload.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Chunk{Chunk: table}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := upload.CloseAndRecv(); err != nil {
		return g.explain(fmt.Errorf("names of %s: %w", id, err))
	}
	return nil
}
