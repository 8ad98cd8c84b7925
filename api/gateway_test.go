package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/internal/engine"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// patience is how long a test waits for what must come. It is never used up, also on a
// machine that is busy with other things.
const patience = time.Minute

// gateway is the whole gateway behind its API, on loopback, with routers that
// never answer.
type gateway struct {
	buildings knxfleetv1.BuildingServiceClient
	telegrams knxfleetv1.TelegramServiceClient
	conn      *grpc.ClientConn
	url       string // of the HTTP side
	router    string // a UDP address that takes everything and answers nothing

	registry *registry.Registry
	tables   *tables.Store
	hub      *fleet.Hub
	journal  *journal.Journal // nil unless setup.journal
	server   *Server
	// stop ends the gateway as serve does; it may be called again.
	stop func()
	seen *secrecy
}

// setup says what differs from the usual gateway.
type setup struct {
	// fleetAsleep leaves the fleet not running, so that it hears of no building.
	fleetAsleep bool
	// desired stands between the registry and the fleet.
	desired func(*registry.Registry) fleet.Desired
	// probe stands for the store's own.
	probe func(context.Context) error
	// journal keeps telegrams.
	journal bool
	// dir is the data directory; empty: a new one.
	dir string
	// tunnelEndpoint is where routers reach the gateway.
	tunnelEndpoint string
}

func start(t *testing.T) *gateway {
	t.Helper()
	return startWith(t, setup{})
}

// startWith also lets the test run beside others: a site that is called off
// while its session opens waits for two seconds.
func startWith(t *testing.T, with setup) *gateway {
	t.Helper()
	if with.dir == "" {
		t.Parallel()
	}
	g := &gateway{seen: &secrecy{}}
	log := zerolog.New(g.seen).Level(zerolog.DebugLevel)
	dir := with.dir
	if dir == "" {
		dir = t.TempDir()
	}
	store, err := engine.Open(t.Context(), engine.Config{Dir: dir, Log: log})
	noError(t, err)
	g.registry, err = registry.Open(t.Context(), registry.Config{Bucket: store.Registry(), Keyset: filepath.Join(dir, "keyset.json"), Log: log})
	noError(t, err)
	g.tables, err = tables.Open(t.Context(), tables.Config{Bucket: store.Tables(), Buildings: g.registry, Log: log})
	noError(t, err)
	claims, err := ownership.Open(t.Context(), store.Fleet(), store.Journal().Loss() != "")
	noError(t, err)
	exchange, err := tunnel.Listen(tunnel.ListenConfig{Address: "127.0.0.1:0", Log: log})
	noError(t, err)
	g.hub = fleet.NewHub()
	if with.journal {
		g.journal = journal.New(t.Context(), journal.Config{Store: store.Journal(), Identity: store.Identity(), Epoch: store.LastEpoch(), Log: log})
	}
	var desired fleet.Desired = g.registry
	if with.desired != nil {
		desired = with.desired(g.registry)
	}
	all := fleet.New(fleet.Config{
		Journal: g.journal,
		Desired: desired, Ownership: claims, Tunnels: exchange, Hub: g.hub, Tables: g.tables,
		Resolver: net.DefaultResolver, Log: log,
	})
	if with.probe == nil {
		with.probe = store.Probe
	}
	g.server = New(Config{Registry: g.registry, Tables: g.tables, Fleet: all, TunnelEndpoint: with.tunnelEndpoint, Probe: with.probe, Metrics: promhttp.Handler(), Log: log})

	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	run := func(what string, part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	grpcListener, httpListener := listen(t), listen(t)
	if !with.fleetAsleep {
		run("fleet", func() error { return all.Run(ctx) })
	}
	run("exchange", func() error { return exchange.Run(ctx) })
	run("gRPC", func() error { return g.server.Serve(grpcListener) })
	run("HTTP", func() error { return g.server.ServeHTTP(httpListener) })

	g.stop = sync.OnceFunc(func() {
		g.hub.Close()
		stopCtx, cancelStop := context.WithTimeout(context.Background(), patience)
		defer cancelStop()
		cancel()
		g.server.Stop(stopCtx)
		parts.Wait()
		noError(t, exchange.Close())
		noError(t, store.Close())
	})
	t.Cleanup(g.stop)

	router, err := net.ListenPacket("udp", "127.0.0.1:0")
	noError(t, err)
	t.Cleanup(func() { noError(t, router.Close()) })
	g.router, g.url = router.LocalAddr().String(), "http://"+httpListener.Addr().String()

	g.conn, err = grpc.NewClient(grpcListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		// As it would begin with, and no more: else the client would take in for a
		// stream that is not read what was to wait at the gateway.
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10),
		grpc.WithUnaryInterceptor(g.seen.unary), grpc.WithStreamInterceptor(g.seen.stream))
	noError(t, err)
	t.Cleanup(func() { noError(t, g.conn.Close()) })
	g.buildings = knxfleetv1.NewBuildingServiceClient(g.conn)
	g.telegrams = knxfleetv1.NewTelegramServiceClient(g.conn)
	return g
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	return l
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// building is one that is all right, by fields.
func (g *gateway) building(id string, labels ...string) *knxfleetv1.Building {
	b := &knxfleetv1.Building{
		Id: id,
		Tunnel: &knxfleetv1.TunnelConfig{
			Addresses: []string{"192.168.1.201/24"}, AllowedIps: []string{"192.168.1.0/24"},
			PeerPublicKey: tunnel.GeneratePrivateKey().Public().String(), Endpoint: g.router,
		},
		Knx: &knxfleetv1.KnxConfig{Endpoint: "192.168.1.3:3671"},
	}
	for _, label := range labels {
		if b.Labels == nil {
			b.Labels = make(map[string]string)
		}
		key, value, _ := strings.Cut(label, "=")
		b.Labels[key] = value
	}
	return b
}

func (g *gateway) create(t *testing.T, b *knxfleetv1.Building) *knxfleetv1.Building {
	t.Helper()
	created, err := g.buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: b})
	noError(t, err)
	return created.GetBuilding()
}

// ids lists the buildings there are.
func (g *gateway) ids(t *testing.T) []string {
	t.Helper()
	list, err := g.buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{})
	noError(t, err)
	return idsOf(list.GetBuildings())
}

func idsOf(buildings []*knxfleetv1.Building) []string {
	ids := make([]string, 0, len(buildings))
	for _, b := range buildings {
		ids = append(ids, b.GetId())
	}
	return ids
}

// eventually waits until a building's status is as wanted.
func (g *gateway) eventually(t *testing.T, id string, want func(*knxfleetv1.BuildingStatus) bool) *knxfleetv1.Building {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := g.buildings.WatchBuildings(ctx, &knxfleetv1.WatchBuildingsRequest{Buildings: []string{id}})
	noError(t, err)
	for {
		response, err := watch.Recv()
		if err != nil {
			t.Fatalf("waiting for %s: %v", id, err)
		}
		for _, change := range response.GetChanges() {
			if want(change.GetBuilding().GetStatus()) {
				return change.GetBuilding()
			}
		}
	}
}

// refused checks an error's code and reason, that its text names what it should,
// and that it carries our domain. It returns the details.
func refused(t *testing.T, err error, code codes.Code, reason, text string) (*errdetails.ErrorInfo, *errdetails.BadRequest) {
	t.Helper()
	s := status.Convert(err)
	var (
		info  *errdetails.ErrorInfo
		field *errdetails.BadRequest
	)
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.BadRequest:
			field = d
		}
	}
	if s.Code() != code || info.GetReason() != reason || info.GetDomain() != "knxfleet" || !strings.Contains(s.Message(), text) {
		t.Fatalf("got %v %q, reason %q of %q\nwant %v with %q, reason %q of knxfleet",
			s.Code(), s.Message(), info.GetReason(), info.GetDomain(), code, text, reason)
	}
	return info, field
}

// wrongField checks that an error is INVALID_ARGUMENT for the field.
func wrongField(t *testing.T, err error, field string) {
	t.Helper()
	_, bad := refused(t, err, codes.InvalidArgument, "INVALID_FIELD", "")
	violations := bad.GetFieldViolations()
	if len(violations) != 1 || violations[0].GetField() != field || violations[0].GetDescription() == "" {
		t.Errorf("violations %v of %v, want one of %s", violations, err, field)
	}
}

// secrecy keeps all that leaves the gateway, so that secrets can be looked for.
type secrecy struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *secrecy) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *secrecy) keep(m any, err error) {
	if err != nil {
		m = status.Convert(err).Proto()
	}
	if p, ok := m.(proto.Message); ok {
		fmt.Fprintf(s, "%s\n", protojson.Format(p))
	}
}

func (s *secrecy) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, request, reply, conn, opts...)
	s.keep(reply, err)
	return err
}

func (s *secrecy) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	return &keptStream{stream, s}, err
}

type keptStream struct {
	grpc.ClientStream

	seen *secrecy
}

func (k *keptStream) RecvMsg(m any) error {
	err := k.ClientStream.RecvMsg(m)
	k.seen.keep(m, err)
	return err
}

// mustNotHold fails if the key came out anywhere, in any form that a log or an
// answer could have.
func (s *secrecy) mustNotHold(t *testing.T, what, inBase64 string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(inBase64)
	if err != nil || len(raw) != 32 {
		t.Fatalf("%s: %v", what, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	forms := []string{inBase64[:40], base64.URLEncoding.EncodeToString(raw)[:40], hex.EncodeToString(raw), fmt.Sprint(raw)}
	if i := slices.IndexFunc(forms, func(form string) bool { return strings.Contains(s.all.String(), form) }); i >= 0 {
		t.Errorf("%s came out, in form %d", what, i)
	}
	if s.all.Len() == 0 {
		t.Error("nothing was kept")
	}
}
