package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/tunnel"
)

type serveCmd struct {
	DataDir      string          `required:"" help:"Folder for everything that must outlive the process." placeholder:"DIR"`
	Config       kong.ConfigFlag `help:"YAML or JSON file with the flags of this command." placeholder:"FILE"`
	GRPCListen   string          `name:"grpc-listen" default:"127.0.0.1:7671" help:"Address of the gRPC API." placeholder:"ADDR"`
	HTTPListen   string          `name:"http-listen" default:"127.0.0.1:7680" help:"Address of REST, metrics and health checks." placeholder:"ADDR"`
	TunnelListen string          `default:"0.0.0.0:0" help:"UDP address of all WireGuard tunnels." placeholder:"ADDR"`

	TunnelEndpoint string `help:"Where routers reach the tunnels' address from outside, for the configurations that they are given." placeholder:"HOST:PORT"`

	journalFlags

	keysetFlags

	DebugListen string `help:"Loopback address of Go's profiles (net/http/pprof); none unless given." placeholder:"ADDR"`

	Insecure  bool   `help:"Serve the API beyond this machine without TLS and authentication."`
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
}

// Run is the gateway.
func (c *serveCmd) Run(ctx context.Context, s *streams, args arguments) (err error) {
	log := c.logger(s)
	if err := c.journalFlags.validate(); err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1) // full: the limits are about to be read anyway
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	if c.TunnelEndpoint != "" {
		if _, err := tunnel.ParseEndpoint(c.TunnelEndpoint); err != nil {
			return usagef("--tunnel-endpoint: %w", err)
		}
	}
	grpcListener, err := c.listen(ctx, "--grpc-listen", c.GRPCListen, log)
	if err != nil {
		return err
	}
	defer grpcListener.Close() // closed by the server already, unless a later step failed
	httpListener, err := c.listen(ctx, "--http-listen", c.HTTPListen, log)
	if err != nil {
		return err
	}
	defer httpListener.Close() // as above
	debugListener, err := listenDebug(ctx, c.DebugListen)
	if err != nil {
		return err
	}
	if debugListener != nil {
		defer debugListener.Close() // as above
	}
	g, err := openGateway(ctx, c, log)
	if err != nil {
		return err
	}
	g.beside = func(ctx context.Context) error { return followLimits(ctx, args, hangups, g.store, log) }
	defer func() { err = errors.Join(err, g.close()) }()
	serving := log.Info().Stringer("grpc", grpcListener.Addr()).Stringer("http", httpListener.Addr()).
		Stringers("tunnels", stringers(g.exchange.LocalAddrs()))
	if debugListener != nil {
		serving = serving.Stringer("debug", debugListener.Addr())
	}
	serving.Msg("serving")
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return serveDebug(ctx, debugListener) })
	parts.Go(func() error { return g.run(ctx, grpcListener, httpListener) })
	return parts.Wait()
}

func (c *serveCmd) logger(s *streams) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // not reached: the flag is an enumeration
	}
	if c.LogFormat == "json" {
		return zerolog.New(s.err).Level(level).With().Timestamp().Logger()
	}
	out := zerolog.ConsoleWriter{Out: s.err, TimeFormat: time.DateTime, NoColor: !isTerminal(s.err)}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// listen opens a listener of the API. Beyond this machine it needs --insecure as
// long as there is neither TLS nor authentication.
func (c *serveCmd) listen(ctx context.Context, flag, address string, log zerolog.Logger) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usagef("%s %q: want ADDRESS:PORT, such as 127.0.0.1:7671", flag, address)
	}
	if !isLoopback(host) {
		if !c.Insecure {
			return nil, usagef("%s %q is reachable from other machines, and there is neither TLS nor authentication: "+
				"listen on 127.0.0.1, or add --insecure if the network around it is trusted", flag, address)
		}
		log.Warn().Str("flag", flag).Str("address", address).
			Msg("INSECURE: everybody who reaches this address can read and write every building")
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return l, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func stringers(addrs []netip.AddrPort) []fmt.Stringer {
	s := make([]fmt.Stringer, len(addrs))
	for i, a := range addrs {
		s[i] = a
	}
	return s
}
