package api

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

const (
	// loopbackBuffer is the size of the pipe between the REST gateway and the
	// gRPC server, both in this process.
	loopbackBuffer = 1 << 20
	// maxImportBody is the largest body of an import: the file in base64, and some
	// JSON around each chunk. It is passed on as it comes.
	maxImportBody = maxFile/3*4 + 16<<20
	// readHeaderTimeout ends connections that never send a request.
	readHeaderTimeout = 10 * time.Second
	// probeTimeout bounds the check of the store behind /readyz.
	probeTimeout = 5 * time.Second
	// drainTimeout bounds the wait for HTTP calls under way when the server stops.
	drainTimeout = 5 * time.Second
)

// ServeHTTP answers REST under /v1 (by calling the gRPC handlers), /metrics,
// /livez and /readyz on the listener until Stop. It returns nil after Stop. Call
// it once.
func (s *Server) ServeHTTP(l net.Listener) error {
	pipe := bufconn.Listen(loopbackBuffer)
	served := make(chan struct{})
	go func() {
		defer close(served)
		// Ends with the server or the pipe; what it returns then says nothing new.
		_ = s.grpc.Serve(pipe)
	}()
	defer func() {
		_ = pipe.Close() // never fails
		<-served
	}()
	conn, err := grpc.NewClient("passthrough:///rest", append(queryChecks(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)), // what we answer, we take
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))...)
	if err != nil {
		return fmt.Errorf("REST: %w", err)
	}
	defer conn.Close()
	handler, err := s.handler(conn)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout}
	drained := make(chan struct{})
	serving := context.AfterFunc(s.stopping, func() {
		defer close(drained)
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug().Err(err).Msg("HTTP connections cut off")
			_ = server.Close() // Shutdown has closed the listener
		}
	})
	if err := server.Serve(l); serving() {
		return fmt.Errorf("HTTP on %s: %w", l.Addr(), err)
	}
	<-drained // Serve returns before the calls under way are answered
	return nil
}

func (s *Server) handler(conn *grpc.ClientConn) (http.Handler, error) {
	// As with gRPC, a field that does not exist is an error: it is a slip of the
	// pen, and the call would do something else than was meant.
	rest := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
		Marshaler: &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}},
	}), runtime.WithDisablePathLengthFallback()) // which takes a POSTed form for a query
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		knxfleetv1.RegisterBuildingServiceHandler,
		knxfleetv1.RegisterTelegramServiceHandler,
		knxfleetv1.RegisterDiagnosticsServiceHandler,
		knxfleetv1.RegisterEnrollmentServiceHandler,
	} {
		if err := register(s.stopping, rest, conn); err != nil {
			return nil, fmt.Errorf("REST: %w", err)
		}
	}
	mux := http.NewServeMux()
	calls := atMost(maxRESTCalls, withQuery(rest))
	mux.Handle("/v1/", http.MaxBytesHandler(calls, maxRequest))
	mux.Handle("POST /v1/groupAddresses:import", http.MaxBytesHandler(calls, maxImportBody))
	if s.metric != nil {
		mux.Handle("GET /metrics", s.metric)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", s.ready)
	// A page in somebody's browser must not write to a bus because the gateway
	// listens on the same machine.
	return http.NewCrossOriginProtection().Handler(ownHost(mux)), nil
}

// maxRESTCalls is how many REST calls may be under way, streams included: fewer
// than the one connection behind them carries, so that one more is refused and
// does not hang.
const maxRESTCalls = maxStreams - 100

func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n) // full: refused
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			answerText(w, http.StatusTooManyRequests, "too many calls under way; try again, or end some streams")
		}
	})
}

// ownHost refuses requests that came to a loopback address under another name: a
// web page whose name was made to lead here (DNS rebinding).
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if ok && local.IP.IsLoopback() && !isLoopbackHost(r.Host) {
			answerText(w, http.StatusForbidden, "this address is for this machine alone; call it localhost or 127.0.0.1")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopbackHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	addr, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && addr.IsLoopback()
}

// ready tells whether calls can be answered: the store takes writes, and the
// server is not stopping.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	switch err := s.probe(ctx); {
	case s.stopping.Err() != nil:
		answerText(w, http.StatusServiceUnavailable, "stopping")
	case err != nil:
		answerText(w, http.StatusServiceUnavailable, "the store takes no writes: "+err.Error())
	default:
		answerText(w, http.StatusOK, "ready")
	}
}

func answerText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	// An error means that the client has gone.
	_, _ = fmt.Fprintln(w, text)
}
