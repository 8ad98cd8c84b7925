package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/knxfleet/knxfleet/fleet"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func TestHealth(t *testing.T) {
	g := start(t)
	got, err := healthv1.NewHealthClient(g.conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	noError(t, err)
	if got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("status %v, want SERVING", got.GetStatus())
	}
}

// With reflection, grpcurl needs no proto files.
func TestReflection(t *testing.T) {
	g := start(t)
	stream, err := reflectionv1.NewServerReflectionClient(g.conn).ServerReflectionInfo(t.Context())
	noError(t, err)
	ask := func(request *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		noError(t, stream.Send(request))
		response, err := stream.Recv()
		noError(t, err)
		return response
	}
	var services []string
	for _, s := range ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}).GetListServicesResponse().GetService() {
		services = append(services, s.GetName())
	}
	for _, want := range []string{
		"knxfleet.v1.BuildingService", "knxfleet.v1.TelegramService", "knxfleet.v1.DiagnosticsService", "knxfleet.v1.EnrollmentService",
		"grpc.health.v1.Health",
	} {
		if !slices.Contains(services, want) {
			t.Errorf("%s is not among %v", want, services)
		}
	}
	files := ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "knxfleet.v1.TelegramService.GroupWrite"},
	}).GetFileDescriptorResponse().GetFileDescriptorProto()
	if len(files) == 0 {
		t.Error("no description of GroupWrite")
	}
	noError(t, stream.CloseSend())
}

// A panic in a call is that caller's INTERNAL; the server lives. A server without
// registry is sure to panic.
func TestPanicIsContained(t *testing.T) {
	hub := fleet.NewHub()
	server := New(Config{Fleet: fleet.New(fleet.Config{Hub: hub})})
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	noError(t, err)
	defer func() {
		noError(t, conn.Close())
		server.Stop(t.Context())
		serving.Wait()
	}()
	for range 3 {
		_, err = knxfleetv1.NewBuildingServiceClient(conn).GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
		if info, _ := refused(t, err, codes.Internal, "INTERNAL", "log"); info.GetMetadata()["building"] != "hq" {
			t.Errorf("metadata %v", info.GetMetadata())
		}
		stream, err := knxfleetv1.NewTelegramServiceClient(conn).StreamTelegrams(t.Context(), &knxfleetv1.StreamTelegramsRequest{Buildings: []string{"hq"}})
		noError(t, err)
		_, err = stream.Recv()
		refused(t, err, codes.Internal, "INTERNAL", "log")
	}
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
}

// Stop ends every stream with UNAVAILABLE, what was queued for it first.
func TestStopEndsStreams(t *testing.T) {
	g := start(t)
	telegrams := g.subscribe(t, &knxfleetv1.StreamTelegramsRequest{})
	buildings := g.watch(t, &knxfleetv1.WatchBuildingsRequest{})
	buildings.until("COMPLETE")
	health, err := healthv1.NewHealthClient(g.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	noError(t, err)
	_, err = health.Recv()
	noError(t, err)
	g.hub.Publish(telegram("a", 1, 1, nil))

	began := time.Now()
	g.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("stopping took %v with streams open", took)
	}
	if got := read(t, telegrams, 1); got != "a:1" {
		t.Errorf("before the end: %s", got)
	}
	_, err = telegrams.Recv()
	refused(t, err, codes.Unavailable, "GATEWAY_STOPPING", "stopping")
	_, err = buildings.stream.Recv()
	refused(t, err, codes.Unavailable, "GATEWAY_STOPPING", "stopping")
	for err = nil; err == nil; { // it may tell NOT_SERVING first
		_, err = health.Recv()
	}
	refused(t, err, codes.Unavailable, "GATEWAY_STOPPING", "stopping")
	if _, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call afterwards: %v, want UNAVAILABLE", err)
	}
}

// A client that holds on to a call that we cannot end is cut off.
func TestStopCutsOffWhatStays(t *testing.T) {
	g := start(t)
	stream, err := reflectionv1.NewServerReflectionClient(g.conn).ServerReflectionInfo(t.Context())
	noError(t, err)
	noError(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	_, err = stream.Recv()
	noError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	g.server.Stop(ctx)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("stopping took %v, want 100 ms and a little", took)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the held stream ended with %v, want UNAVAILABLE", err)
	}
	g.server.Stop(t.Context()) // again
}

// A stop that comes before the listeners are served is a stop all the same.
func TestServeAfterStop(t *testing.T) {
	hub := fleet.NewHub()
	server := New(Config{Fleet: fleet.New(fleet.Config{Hub: hub})})
	server.Stop(t.Context())
	if err := server.Serve(listen(t)); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if err := server.ServeHTTP(listen(t)); err != nil {
		t.Errorf("HTTP: %v", err)
	}
}

// An HTTP call that is under way when the server stops still gets its answer.
func TestStopAnswersHTTPCallsUnderWay(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	g := startWith(t, setup{probe: func(context.Context) error {
		close(asked)
		<-release
		return nil
	}})
	answer := make(chan error, 1)
	go func() {
		code, body, err := fetch(t.Context(), http.MethodGet, g.url+"/readyz", "")
		if err == nil && (code != http.StatusServiceUnavailable || body != "stopping\n") {
			err = errors.New(body)
		}
		answer <- err
	}()
	<-asked
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.stop()
	}()
	<-g.server.stopping.Done()
	select {
	case <-stopped:
		t.Error("stopped with a call under way")
	case err := <-answer:
		t.Errorf("cut off: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	<-stopped
}
