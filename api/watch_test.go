package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// watching is a client's view of a watch: what it was told, in order.
type watching struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[knxfleetv1.WatchBuildingsResponse]
	queue  []string
	last   *knxfleetv1.Building
	token  string // of the last response that had one
	went   bool   // the watch is a resumed one, as the last response says
}

func (g *gateway) watch(t *testing.T, request *knxfleetv1.WatchBuildingsRequest) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := g.buildings.WatchBuildings(ctx, request)
	noError(t, err)
	return &watching{t: t, stream: stream}
}

// next is the next change as "KIND id", or "COMPLETE" for the end of the
// snapshot.
func (w *watching) next() string {
	w.t.Helper()
	for len(w.queue) == 0 {
		response, err := w.stream.Recv()
		if err != nil {
			w.t.Fatal(err)
		}
		w.went = response.GetResumed()
		if token := response.GetResumeToken(); token != "" {
			w.token = token
		}
		for _, c := range response.GetChanges() {
			w.queue = append(w.queue, strings.TrimPrefix(c.GetKind().String(), "KIND_")+" "+c.GetBuilding().GetId())
			w.last = c.GetBuilding()
		}
		if response.GetSnapshotComplete() && len(response.GetChanges()) == 0 {
			w.queue = append(w.queue, "COMPLETE")
		}
	}
	first := w.queue[0]
	w.queue = w.queue[1:]
	return first
}

// until skips updates of statuses until the wanted change comes; anything else is
// wrong.
func (w *watching) until(want string) {
	w.t.Helper()
	for {
		got := w.next()
		if got == want {
			return
		}
		if !strings.HasPrefix(got, "UPDATED ") {
			w.t.Fatalf("got %q while waiting for %q", got, want)
		}
	}
}

func TestWatchTellsEveryChange(t *testing.T) {
	g := start(t)
	empty := g.watch(t, &knxfleetv1.WatchBuildingsRequest{})
	empty.until("COMPLETE")

	g.create(t, g.building("a"))
	empty.until("CREATED a")
	g.eventually(t, "a", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	full := g.watch(t, &knxfleetv1.WatchBuildingsRequest{})
	if response, err := full.stream.Recv(); err != nil || len(response.GetChanges()) != 1 || !response.GetSnapshotComplete() ||
		response.GetChanges()[0].GetKind() != knxfleetv1.BuildingChange_KIND_SNAPSHOT || response.GetChanges()[0].GetBuilding().GetTunnel().GetPublicKey() == "" {
		t.Errorf("snapshot %v, %v; want one building as a whole, and complete", response, err)
	}

	_, err := g.buildings.DisableBuilding(t.Context(), &knxfleetv1.DisableBuildingRequest{Id: "a"})
	noError(t, err)
	for full.last == nil || full.last.GetStatus().GetState() != knxfleetv1.State_STATE_DISABLED {
		full.until("UPDATED a")
	}
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "a"})
	noError(t, err)
	full.until("DELETED a")
	if !proto.Equal(full.last, &knxfleetv1.Building{Id: "a"}) {
		t.Errorf("deleted with %v, want the id alone", full.last)
	}
	empty.until("DELETED a")
	g.create(t, g.building("a"))
	full.until("CREATED a")
}

// A building enters and leaves a watch as it comes to match and ceases to.
func TestWatchFilters(t *testing.T) {
	g := start(t)
	for _, id := range []string{"a", "b"} {
		b := g.building(id, "region=south")
		b.Disabled = true
		g.create(t, b)
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	}
	relabel := func(id, region string) {
		_, err := g.registry.Update(t.Context(), id, 0, func(b *registry.Building) error {
			b.Labels["region"] = region
			return nil
		})
		noError(t, err)
	}
	south := g.watch(t, &knxfleetv1.WatchBuildingsRequest{LabelSelector: "region=south"})
	north := g.watch(t, &knxfleetv1.WatchBuildingsRequest{LabelSelector: "region=north"})
	onlyB := g.watch(t, &knxfleetv1.WatchBuildingsRequest{Buildings: []string{"b"}})
	running := g.watch(t, &knxfleetv1.WatchBuildingsRequest{States: []knxfleetv1.State{knxfleetv1.State_STATE_HANDSHAKING}})
	if a, b := south.next(), south.next(); a != "SNAPSHOT a" || b != "SNAPSHOT b" {
		t.Errorf("snapshot of the south: %s, %s", a, b)
	}
	if first := north.next(); first != "COMPLETE" {
		t.Errorf("snapshot of the north: %s", first)
	}
	if first := onlyB.next(); first != "SNAPSHOT b" {
		t.Errorf("snapshot of b: %s", first)
	}
	running.until("COMPLETE")

	relabel("a", "north")
	south.until("DELETED a")
	north.until("CREATED a")
	relabel("a", "south")
	north.until("DELETED a")
	south.until("CREATED a")

	_, err := g.buildings.EnableBuilding(t.Context(), &knxfleetv1.EnableBuildingRequest{Id: "b"})
	noError(t, err)
	running.until("CREATED b")
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "a"})
	noError(t, err)
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "b"})
	noError(t, err)
	running.until("DELETED b")
	onlyB.until("DELETED b")
}

// late is a registry whose changes after the snapshot come when they are let go.
type late struct {
	*registry.Registry

	letGo <-chan struct{}
}

func (l late) Watch(ctx context.Context, tell func(registry.Change) error) error {
	return l.Registry.Watch(ctx, func(c registry.Change) error {
		err := tell(c)
		if c.Type == registry.SnapshotComplete {
			select {
			case <-l.letGo:
			case <-ctx.Done():
			}
		}
		return err
	})
}

// Who creates a building and watches then has it in the snapshot, also when the fleet
// hears of it late.
func TestWatchBeginsWithWhatWasAcknowledged(t *testing.T) {
	letGo := make(chan struct{})
	g := startWith(t, setup{desired: func(r *registry.Registry) fleet.Desired { return late{r, letGo} }})
	g.watch(t, &knxfleetv1.WatchBuildingsRequest{}).until("COMPLETE")
	g.create(t, g.building("a"))
	time.AfterFunc(100*time.Millisecond, func() { close(letGo) })
	if first := g.watch(t, &knxfleetv1.WatchBuildingsRequest{}).next(); first != "SNAPSHOT a" {
		t.Errorf("first told %s, want the building that was created before", first)
	}
}

func TestWatchRefusals(t *testing.T) {
	g := start(t)
	refusal := func(request *knxfleetv1.WatchBuildingsRequest) error {
		stream, err := g.buildings.WatchBuildings(t.Context(), request)
		noError(t, err)
		_, err = stream.Recv()
		return err
	}
	wrongField(t, refusal(&knxfleetv1.WatchBuildingsRequest{ResumeToken: "x!"}), "resume_token")
	wrongField(t, refusal(&knxfleetv1.WatchBuildingsRequest{ResumeToken: "AQID"}), "resume_token")
	wrongField(t, refusal(&knxfleetv1.WatchBuildingsRequest{LabelSelector: "==="}), "label_selector")
	wrongField(t, refusal(&knxfleetv1.WatchBuildingsRequest{Buildings: make([]string, maxFilterBuildings+1)}), "buildings")
}

// desired is a registry of buildings that do not run.
type desired []registry.Building

func (d desired) Watch(ctx context.Context, tell func(registry.Change) error) error {
	for _, b := range d {
		if err := tell(registry.Change{Type: registry.Stored, ID: b.ID, Building: b}); err != nil {
			return err
		}
	}
	if err := tell(registry.Change{Type: registry.SnapshotComplete}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// sink is the server's side of a watch whose client keeps what it gets.
type sink struct {
	grpc.ServerStream

	ctx  context.Context //nolint:containedctx // as grpc.ServerStream has it
	sent []*knxfleetv1.WatchBuildingsResponse
}

func (s *sink) Context() context.Context { return s.ctx }

func (s *sink) Send(r *knxfleetv1.WatchBuildingsResponse) error {
	s.sent = append(s.sent, r)
	return nil
}

// watchFor runs a watch over the buildings for a while of virtual time.
func watchFor(t *testing.T, buildings desired, d time.Duration) []*knxfleetv1.WatchBuildingsResponse {
	t.Helper()
	var sent []*knxfleetv1.WatchBuildingsResponse
	synctest.Test(t, func(t *testing.T) {
		all := fleet.New(fleet.Config{Desired: buildings, Hub: fleet.NewHub()})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- all.Run(ctx) }()
		synctest.Wait()
		clientCtx, leave := context.WithTimeout(ctx, d)
		defer leave()
		client := &sink{ctx: clientCtx}
		service := buildingService{fleet: all, registry: &registry.Registry{}}
		if err := service.WatchBuildings(&knxfleetv1.WatchBuildingsRequest{}, client); clientCtx.Err() == nil {
			t.Errorf("the watch ended early: %v", err)
		}
		sent = client.sent
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return sent
}

func TestWatchGivesSignsOfLife(t *testing.T) {
	sent := watchFor(t, desired{{ID: "a"}}, 5*time.Minute)
	if len(sent) < 10 || len(sent) > 12 {
		t.Errorf("%d responses in 5 min, want one every 30 s", len(sent))
	}
	for _, r := range sent[1:] {
		if len(r.GetChanges()) != 0 || !r.GetSnapshotComplete() {
			t.Errorf("a sign of life with %v", r)
		}
	}
}

// A snapshot of thousands of buildings comes in pieces that every client takes.
func TestWatchSplitsLargeSnapshots(t *testing.T) {
	buildings := make(desired, 1500)
	for i := range buildings {
		buildings[i] = registry.Building{ID: fmt.Sprintf("b%04d", i), DisplayName: strings.Repeat("ü", 1500)}
	}
	told := 0
	sent := watchFor(t, buildings, time.Second)
	for i, r := range sent {
		if size := proto.Size(r); size > 4<<20 {
			t.Errorf("a response of %d bytes; clients take 4 MiB", size)
		}
		if last := i == len(sent)-1; r.GetSnapshotComplete() != last {
			t.Errorf("response %d of %d says complete: %v", i+1, len(sent), r.GetSnapshotComplete())
		}
		told += len(r.GetChanges())
	}
	if told != len(buildings) {
		t.Errorf("told %d buildings of %d", told, len(buildings))
	}
}
