package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

type simCmd struct {
	Buildings int           `default:"3" help:"How many buildings."`
	Out       string        `required:"" help:"Folder for the wg-quick files, one for each building." placeholder:"DIR"`
	Port      uint16        `help:"UDP port of all routers; 0 takes a free one." default:"0"`
	Seed      uint64        `default:"1" help:"The same seed gives the same keys and buildings."`
	Rate      float64       `default:"0.2" help:"Telegrams a second that each bus has by itself."`
	Loss      float64       `default:"0" help:"Share of the datagrams that the network loses, 0 to 1."`
	Delay     time.Duration `default:"0s" help:"Delay of the network, in each direction."`
	Faults    string        `help:"What goes wrong and when, in every building: 'at 10s silence 30s; at 1m reboot 5s'." placeholder:"SCRIPT"`
	Gateway   string        `help:"Where the routers call; their files then have no endpoint." placeholder:"IP:PORT"`
	For       time.Duration `default:"0s" help:"End after this long; 0 goes on until interrupted."`
}

// Run plays buildings for another process and writes the files that it needs.
func (c *simCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := lasting(ctx, c.For)
	defer cancel()
	script, err := knxserver.ParseScript(c.Faults)
	if err != nil {
		return usageError{fmt.Errorf("--faults: %w", err)}
	}
	config := simulator.Config{
		Buildings: c.Buildings,
		Seed:      c.Seed,
		KNX:       knxserver.Config{Profile: knxserver.Building(), Rate: c.Rate, Script: script},
		Link:      simulator.Link{Loss: c.Loss, Delay: c.Delay},
	}
	if c.Gateway != "" {
		if config.Gateway, err = netip.ParseAddrPort(c.Gateway); err != nil {
			return usagef("--gateway %q: want an address and a port, such as 127.0.0.1:51820", c.Gateway)
		}
		config.RouterKeepalive = routerKeepalive
	}
	sim, port, err := startSimulator(config, c.Port)
	if err != nil {
		return err
	}
	if err := writeFiles(c.Out, sim.Buildings()); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d buildings at UDP port %d, files in %s; the KNX interface of each is %s\n",
		c.Buildings, port, c.Out, simulator.Interface)
	return sim.Run(ctx)
}

// routerKeepalive keeps a mapping open at the routers that call.
const routerKeepalive = 25 * time.Second

func startSimulator(config simulator.Config, port uint16) (*simulator.Simulator, uint16, error) {
	conn, port, err := simulator.Listen(port)
	if err != nil {
		return nil, 0, err
	}
	sim, err := simulator.New(config, conn, port)
	if err != nil {
		return nil, 0, usageError{errors.Join(err, conn.Close())}
	}
	return sim, port, nil
}

func writeFiles(dir string, buildings []*simulator.Building) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usageError{fmt.Errorf("--out: %w", err)}
	}
	for _, b := range buildings {
		path := filepath.Join(dir, fmt.Sprintf("building-%d.conf", b.Number))
		if err := os.WriteFile(path, []byte(b.WGQuick()), 0o600); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	return nil
}
