package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type demoCmd struct {
	For        time.Duration `default:"0s" help:"End after this long; 0 goes on until interrupted."`
	GRPCListen string        `name:"grpc-listen" default:"127.0.0.1:7671" help:"Address of the gRPC API; another port is taken if this one is in use." placeholder:"ADDR"`
	HTTPListen string        `name:"http-listen" default:"127.0.0.1:7680" help:"Address of REST, metrics and health checks; as above." placeholder:"ADDR"`
}

// demoBuildings are the ids and names of the demo's buildings.
var demoBuildings = [...]struct{ id, name string }{
	{"library", "Public library"}, {"school", "Primary school"}, {"townhall", "Town hall"},
}

const (
	demoRate  = 0.7             // telegrams a second on each bus
	demoWrite = 4 * time.Second // between two writes
)

// Run plays three buildings, runs a gateway for them, and uses its API as any
// client would: nothing in it is shown that the API does not say.
func (c *demoCmd) Run(ctx context.Context, s *streams) (err error) {
	dir, err := os.MkdirTemp("", "knxfleet-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	profile := knxserver.Building()
	sim, _, err := startSimulator(simulator.Config{
		Buildings: len(demoBuildings),
		Seed:      uint64(time.Now().UnixNano()),
		KNX:       knxserver.Config{Profile: profile, Rate: demoRate},
	}, 0)
	if err != nil {
		return err
	}
	grpcListener, err := listenNear(ctx, c.GRPCListen)
	if err != nil {
		return err
	}
	defer grpcListener.Close() // closed by the server already, unless a later step failed
	httpListener, err := listenNear(ctx, c.HTTPListen)
	if err != nil {
		return err
	}
	defer httpListener.Close() // as above

	g, err := openGateway(ctx, &serveCmd{DataDir: filepath.Join(dir, "data"), TunnelListen: "127.0.0.1:0"}, zerolog.Nop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()

	ctx, cancel := lasting(ctx, c.For) // of the demo, however long the machine takes to start it
	defer cancel()
	// The buildings outlive the gateway, so that it can say goodbye.
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSim()
	var playing errgroup.Group
	playing.Go(func() error { return sim.Run(simCtx) })
	defer func() {
		stopSim()
		err = errors.Join(err, playing.Wait())
	}()

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return g.run(ctx, grpcListener, httpListener) })
	parts.Go(func() error {
		show := newDemoScreen(s.out, grpcListener.Addr().String(), httpListener.Addr().String())
		return c.use(ctx, grpcListener.Addr().String(), sim.Buildings(), profile, show)
	})
	return parts.Wait()
}

// listenNear listens at an address of this machine, or at any port if that one is
// in use.
func listenNear(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !isLoopback(host) {
		return nil, usagef("address %q: the demo listens on this machine alone, such as 127.0.0.1:7671", address)
	}
	var config net.ListenConfig
	if l, err := config.Listen(ctx, "tcp", address); err == nil {
		return l, nil
	}
	return config.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
}

// use is the demo's client. It returns nil when ctx ends.
func (c *demoCmd) use(ctx context.Context, server string, buildings []*simulator.Building, profile *knxserver.Profile, show *demoScreen) error {
	conn, err := client{Server: server}.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	fleet, telegrams := knxfleetv1.NewBuildingServiceClient(conn), knxfleetv1.NewTelegramServiceClient(conn)
	stream, err := telegrams.StreamTelegrams(ctx, &knxfleetv1.StreamTelegramsRequest{})
	if err != nil {
		return ended(ctx, err)
	}
	if _, err := stream.Header(); err != nil { // from here on nothing is missed
		return ended(ctx, err)
	}
	watch, err := fleet.WatchBuildings(ctx, &knxfleetv1.WatchBuildingsRequest{})
	if err != nil {
		return ended(ctx, err)
	}
	uses, ctx := errgroup.WithContext(ctx)
	uses.Go(func() error { return show.run(ctx) })
	uses.Go(func() error {
		for {
			changes, err := watch.Recv()
			if err != nil {
				return ended(ctx, err)
			}
			show.buildings(changes.GetChanges())
		}
	})
	uses.Go(func() error {
		for {
			response, err := stream.Recv()
			if err != nil {
				return ended(ctx, err)
			}
			show.telegrams(response.GetTelegrams())
		}
	})
	uses.Go(func() error {
		for i, b := range buildings {
			if err := createDemoBuilding(ctx, fleet, demoBuildings[i].id, demoBuildings[i].name, b, profile); err != nil {
				return ended(ctx, err)
			}
		}
		return writeLights(ctx, telegrams, show)
	})
	return uses.Wait()
}

func createDemoBuilding(ctx context.Context, fleet knxfleetv1.BuildingServiceClient, id, name string, b *simulator.Building, profile *knxserver.Profile) error {
	_, err := fleet.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: &knxfleetv1.Building{
		Id: id, DisplayName: name,
		Tunnel: &knxfleetv1.TunnelConfig{WgQuick: b.WGQuick()},
		Knx:    &knxfleetv1.KnxConfig{Endpoint: simulator.Interface.String()},
	}})
	if err != nil {
		return err
	}
	export, err := etsExport(profile)
	if err != nil {
		return err
	}
	upload, err := fleet.ImportGroupAddresses(ctx)
	if err != nil {
		return err
	}
	header := &knxfleetv1.ImportHeader{Building: id}
	if err := upload.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{Header: header}}); err != nil {
		return err
	}
	if err := upload.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Chunk{Chunk: export}}); err != nil {
		return err
	}
	_, err = upload.CloseAndRecv()
	return err
}

// etsExport is the buildings' table as ETS exports it.
func etsExport(profile *knxserver.Profile) ([]byte, error) {
	type groupAddress struct {
		Name    string `xml:"Name,attr"`
		Address string `xml:"Address,attr"`
		DPTs    string `xml:"DPTs,attr"`
	}
	export := struct {
		XMLName   xml.Name       `xml:"http://knx.org/xml/ga-export/01 GroupAddress-Export"`
		Addresses []groupAddress `xml:"GroupRange>GroupRange>GroupAddress"`
	}{}
	for _, o := range profile.Objects() {
		export.Addresses = append(export.Addresses, groupAddress{o.Name, o.Address.String(), fmt.Sprintf("DPST-%d-%d", o.DPT.Main, o.DPT.Sub)})
	}
	return xml.Marshal(export)
}

// writeLights switches the lobby's light in one building after the other.
func writeLights(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, show *demoScreen) error {
	tick := time.NewTicker(demoWrite)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		building := demoBuildings[n%len(demoBuildings)].id
		value := "on"
		if n/len(demoBuildings)%2 == 1 {
			value = "off"
		}
		written, err := telegrams.GroupWrite(ctx, &knxfleetv1.GroupWriteRequest{Building: building, GroupAddress: "1/2/1", Value: value})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			show.write(fmt.Sprintf("write %s 1/2/1 %s: %s", building, value, describe(err)))
		default:
			show.write(fmt.Sprintf("write %s 1/2/1 %s: %s", building, value, shortOutcome(written.GetOutcome())))
		}
	}
}
