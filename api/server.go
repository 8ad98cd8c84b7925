package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Bounds on what one client may ask of the server.
const (
	// maxRequest is the largest message that a client may send. Imports come in
	// chunks of 1 MiB.
	maxRequest = 4 << 20
	// maxStreams is how many calls one connection may have open; more wait.
	maxStreams = 1000
	// connectTimeout ends connections that never say what they want; a stop has to
	// wait for them.
	connectTimeout = 5 * time.Second
	// streamKeepalive is how often an idle client's connection is checked.
	streamKeepalive = 30 * time.Second
)

// Config is what a Server serves. Required are all but TunnelEndpoint, Metrics
// and Log.
type Config struct {
	Registry *registry.Registry
	Tables   *tables.Store
	Fleet    *fleet.Fleet
	// TunnelEndpoint is where routers reach the gateway, HOST:PORT; empty if that is
	// not known.
	TunnelEndpoint string
	// Probe tells whether the store takes writes.
	Probe func(context.Context) error
	// Metrics answers /metrics; nil leaves it out.
	Metrics http.Handler
	Log     zerolog.Logger
}

// Server serves the API.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	probe  func(context.Context) error
	metric http.Handler
	gaps   gapCounts
	log    zerolog.Logger

	stopping context.Context //nolint:containedctx // the server's own life, which Stop ends
	stop     context.CancelFunc
}

// New makes a server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{health: health.NewServer(), probe: cfg.Probe, metric: cfg.Metrics, log: cfg.Log}
	s.stopping, s.stop = context.WithCancel(context.Background())
	unary, stream := interceptors(s.stopping, cfg.Log)
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: streamKeepalive}),
		grpc.ChainUnaryInterceptor(unary),
		grpc.ChainStreamInterceptor(stream),
	)
	knxfleetv1.RegisterBuildingServiceServer(s.grpc, &buildingService{
		registry: cfg.Registry, tables: cfg.Tables, fleet: cfg.Fleet, imports: newImports(cfg.Log), log: cfg.Log,
		tunnelEndpoint: cfg.TunnelEndpoint,
	})
	knxfleetv1.RegisterTelegramServiceServer(s.grpc, &telegramService{
		registry: cfg.Registry, fleet: cfg.Fleet, gaps: &s.gaps, replays: newReplays(), batches: make(chan struct{}, maxBatches), log: cfg.Log,
	})
	knxfleetv1.RegisterDiagnosticsServiceServer(s.grpc, &diagnosticsService{registry: cfg.Registry, fleet: cfg.Fleet})
	knxfleetv1.RegisterEnrollmentServiceServer(s.grpc, knxfleetv1.UnimplementedEnrollmentServiceServer{})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s
}

// Serve answers gRPC calls on the listener until Stop. It returns nil after Stop.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gRPC on %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop refuses new calls, ends the streams, and waits for the calls under way,
// until ctx ends; then it cuts them off. Close the Hub before, so that its streams
// end with what was queued for them.
func (s *Server) Stop(ctx context.Context) {
	s.stop()
	s.health.Shutdown()
	graceful := make(chan struct{})
	go func() {
		defer close(graceful)
		s.grpc.GracefulStop()
	}()
	select {
	case <-graceful:
	case <-ctx.Done():
		s.grpc.Stop()
		<-graceful
	}
}

// interceptors turn every error into one of the contract's, and contain panics:
// a fault in one call is that caller's INTERNAL, not everybody's outage. Streams
// end when stopping does.
func interceptors(stopping context.Context, log zerolog.Logger) (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	contain := func(method, building string, call func() error) (err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error().Str("method", method).Interface("panic", p).Bytes("stack", debug.Stack()).Msg("panic in a call")
				err = errInternal
			}
			err = toStatus(err, building)
		}()
		return call()
	}
	unary := func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
		err = contain(info.FullMethod, buildingOf(request), func() error {
			response, err = handler(ctx, request)
			return err
		})
		return response, err
	}
	stream := func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return contain(info.FullMethod, "", func() error { return untilStop(stopping, srv, ss, handler) })
	}
	return unary, stream
}

// untilStop runs a stream's handler with a context that also ends when stopping
// does. Streams would else last as long as their clients, those of health checks
// too, and hold up the stop.
func untilStop(stopping context.Context, srv any, ss grpc.ServerStream, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(stopping, func() { cancel(fleet.ErrStopping) })()
	err := handler(srv, endingStream{ss, ctx})
	cancelled := errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
	if cause := context.Cause(ctx); cancelled && errors.Is(cause, fleet.ErrStopping) {
		return cause
	}
	return err
}

// endingStream is a stream with a context that ends earlier.
type endingStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // as grpc.ServerStream wants it
}

func (s endingStream) Context() context.Context { return s.ctx }
