package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/api"
	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
	"github.com/knxfleet/knxfleet/tunnel"
)

// stopTimeout is how long the whole stop may take: 10 s less a margin.
const stopTimeout = 9 * time.Second

// gateway is the parts of `serve`, put together.
type gateway struct {
	log      zerolog.Logger
	store    *engine.Engine
	exchange *tunnel.Exchange
	hub      *fleet.Hub
	fleet    *fleet.Fleet
	cleaner  *fleet.Cleaner
	server   *api.Server
	// beside runs beside the parts until its context ends; nil: nothing.
	beside       func(context.Context) error
	followKeyset func(context.Context) error
}

// openGateway opens what the gateway holds: the data directory and the tunnels'
// sockets.
func openGateway(ctx context.Context, c *serveCmd, log zerolog.Logger) (*gateway, error) {
	config := engineConfig(c.DataDir, c.keysetFlags, log)
	config.NoJournal, config.Journal = c.Journal == "off", c.limits()
	store, err := engine.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	buildings, err := registry.Open(ctx, registry.Config{
		Bucket: store.Registry(), Keyset: c.keysetFlags.source(c.DataDir), Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	groupAddresses, err := tables.Open(ctx, tables.Config{Bucket: store.Tables(), Buildings: buildings, Log: log})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	claims, err := ownership.Open(ctx, store.Fleet(), store.Journal().Loss() != "")
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	exchange, err := tunnel.Listen(tunnel.ListenConfig{Address: c.TunnelListen, Log: log})
	if err != nil {
		return nil, errors.Join(usageError{fmt.Errorf("--tunnel-listen: %w", err)}, store.Close())
	}
	telegrams := c.openJournal(ctx, store, log)
	hub := fleet.NewHub()
	all := fleet.New(fleet.Config{
		Desired: buildings, Ownership: claims, Tunnels: exchange, Hub: hub, Journal: telegrams,
		Tables: groupAddresses, Resolver: net.DefaultResolver, Log: log,
	})
	g := &gateway{
		log: log, store: store, exchange: exchange, hub: hub, fleet: all,
		cleaner: fleet.NewCleaner(fleet.CleanerConfig{
			Claims: claims, Buildings: buildings, Journal: telegrams, Grace: c.JournalGrace, Log: log,
		}),
	}
	g.followKeyset = func(ctx context.Context) error {
		return buildings.FollowKeyset(ctx, keyset.StoreKeyFile(engine.StoreKeyPath(c.DataDir)))
	}
	measured := &metrics{fleet: all, hub: hub, exchange: exchange, journal: telegrams}
	g.server = api.New(api.Config{
		Registry: buildings, Tables: groupAddresses, Fleet: all, TunnelEndpoint: c.TunnelEndpoint, Probe: store.Probe, Metrics: measured.handler(), Log: log,
	})
	measured.server = g.server
	return g, nil
}

// run runs the parts until ctx ends or one of them fails. Streams end first,
// then the sites say goodbye to their interfaces, and the sockets close last.
func (g *gateway) run(ctx context.Context, grpcListener, httpListener net.Listener) error {
	socketCtx, closeSockets := context.WithCancel(context.WithoutCancel(ctx))
	defer closeSockets()
	var sockets errgroup.Group
	sockets.Go(func() error { return g.exchange.Run(socketCtx) })

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return g.fleet.Run(ctx) })
	parts.Go(func() error { return g.cleaner.Run(ctx) })
	if g.beside != nil {
		parts.Go(func() error { return g.beside(ctx) })
	}
	parts.Go(func() error { return g.followKeyset(ctx) })
	parts.Go(func() error { return g.server.Serve(grpcListener) })
	parts.Go(func() error { return g.server.ServeHTTP(httpListener) })
	parts.Go(func() error {
		<-ctx.Done()
		g.log.Info().Msg("stopping")
		g.hub.Close()
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		g.server.Stop(stopCtx)
		return nil
	})
	err := parts.Wait()
	closeSockets()
	return errors.Join(err, sockets.Wait())
}

// close gives back what openGateway opened.
func (g *gateway) close() error {
	return errors.Join(g.exchange.Close(), g.store.Close())
}
