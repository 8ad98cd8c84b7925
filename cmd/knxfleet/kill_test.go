package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// killed is a gateway in a process of its own that is killed again and again.
type killed struct {
	t       *testing.T
	dir     string
	process *exec.Cmd
	conn    *grpc.ClientConn
	client  knxfleetv1.BuildingServiceClient
}

// start starts the gateway and waits until it answers. Its sites may stay idle:
// their routers do not exist.
func (k *killed) start() {
	k.t.Helper()
	address, err := freeAddress()
	if err != nil {
		k.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(k.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	k.process = exec.Command("knxfleet", "serve", "--data-dir", filepath.Join(k.dir, "data"), "--grpc-listen", address,
		"--http-listen", "127.0.0.1:0", "--tunnel-listen", "127.0.0.1:0", "--log-level", "warn")
	k.process.Stderr = log
	if err := k.process.Start(); err != nil {
		k.t.Fatal(err)
	}
	process := k.process.Process
	k.t.Cleanup(func() { _ = process.Kill() }) // if the test ended early
	if k.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		k.t.Fatal(err)
	}
	k.client = knxfleetv1.NewBuildingServiceClient(k.conn)
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	if _, err := k.client.ListBuildings(ctx, &knxfleetv1.ListBuildingsRequest{}, grpc.WaitForReady(true)); err != nil {
		text, _ := os.ReadFile(filepath.Join(k.dir, "log"))
		k.t.Fatalf("the gateway does not start: %v\n%s", err, text)
	}
}

// end waits for the process, which was killed.
func (k *killed) end() {
	_ = k.process.Wait() // killed, which is an error
	if err := k.conn.Close(); err != nil {
		k.t.Error(err)
	}
}

// stored is what must be there, without what the gateway finds out.
func stored(b *knxfleetv1.Building) *knxfleetv1.Building {
	s := proto.CloneOf(b)
	if s != nil {
		s.Status = nil
	}
	return s
}

// operation draws one change, which returns what the building is after it; nil is
// gone.
func (k *killed) operation(rnd *rand.Rand, id string, before *knxfleetv1.Building) func(context.Context) (*knxfleetv1.Building, error) {
	if before == nil {
		b := &knxfleetv1.Building{
			Id: id, DisplayName: fmt.Sprint(rnd.IntN(1000)), Disabled: rnd.IntN(2) == 0,
			Tunnel: &knxfleetv1.TunnelConfig{
				Addresses: []string{"10.0.0.2/24"}, AllowedIps: []string{"10.0.0.0/24"},
				PeerPublicKey: tunnel.GeneratePrivateKey().Public().String(), PresharedKey: tunnel.GeneratePresharedKey().Base64(),
			},
			Knx: &knxfleetv1.KnxConfig{Endpoint: "10.0.0.3"},
		}
		return func(ctx context.Context) (*knxfleetv1.Building, error) {
			created, err := k.client.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: b})
			return created.GetBuilding(), err
		}
	}
	switch rnd.IntN(5) {
	case 0:
		return func(ctx context.Context) (*knxfleetv1.Building, error) {
			_, err := k.client.DeleteBuilding(ctx, &knxfleetv1.DeleteBuildingRequest{Id: id, Etag: before.GetEtag()})
			return nil, err
		}
	case 1:
		if before.GetDisabled() {
			return func(ctx context.Context) (*knxfleetv1.Building, error) {
				enabled, err := k.client.EnableBuilding(ctx, &knxfleetv1.EnableBuildingRequest{Id: id})
				return enabled.GetBuilding(), err
			}
		}
		return func(ctx context.Context) (*knxfleetv1.Building, error) {
			disabled, err := k.client.DisableBuilding(ctx, &knxfleetv1.DisableBuildingRequest{Id: id})
			return disabled.GetBuilding(), err
		}
	default:
		n := fmt.Sprint(rnd.IntN(1000)) // in both fields, so that a half change shows
		change := &knxfleetv1.Building{Id: id, Etag: before.GetEtag(), DisplayName: n, Labels: map[string]string{"n": n}}
		return func(ctx context.Context) (*knxfleetv1.Building, error) {
			updated, err := k.client.UpdateBuilding(ctx, &knxfleetv1.UpdateBuildingRequest{Building: change})
			return updated.GetBuilding(), err
		}
	}
}

// The gateway is killed at random moments of 200 random changes, and started
// again. What it acknowledged is there; of the change that was under way when it
// was killed, all is there or nothing.
func TestKilledAtAnyMoment(t *testing.T) {
	const operations, kills = 200, 6
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	k := &killed{t: t, dir: t.TempDir()}
	model := make(map[string]*knxfleetv1.Building)
	k.start()
	for done, round := 0, 1; ; round++ {
		until := done + operations/kills + 1
		last := until >= operations
		var doubt string // the building whose change was not answered
		for doubt == "" {
			if done >= until-10 && rnd.IntN(10) == 0 || done >= until {
				// From now on it dies at any moment, mostly within a call.
				pause := time.Duration(rnd.IntN(4000)) * time.Microsecond
				process := k.process.Process
				time.AfterFunc(pause, func() { _ = process.Kill() })
				until = operations * 2
			}
			id := fmt.Sprintf("b%d", rnd.IntN(8))
			do := k.operation(rnd, id, model[id])
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			after, err := do(ctx)
			cancel()
			switch code := status.Code(err); {
			case err == nil && after == nil:
				delete(model, id)
			case err == nil:
				model[id] = stored(after)
			case code == codes.Unavailable:
				doubt = id
			default:
				t.Fatalf("change %d of %s: %v", done, id, err)
			}
			done++
		}
		k.end()
		k.start()
		k.compare(model, doubt)
		if last {
			break
		}
	}
	if err := k.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	k.end()
}

// compare looks at what is there, and takes over what became of the building in
// doubt.
func (k *killed) compare(model map[string]*knxfleetv1.Building, doubt string) {
	k.t.Helper()
	list, err := k.client.ListBuildings(k.t.Context(), &knxfleetv1.ListBuildingsRequest{})
	if err != nil {
		k.t.Fatal(err)
	}
	there := make(map[string]*knxfleetv1.Building)
	for _, b := range list.GetBuildings() {
		there[b.GetId()] = stored(b)
	}
	for _, id := range slices.Sorted(maps.Keys(model)) {
		if got := there[id]; id != doubt && !proto.Equal(got, model[id]) {
			k.t.Errorf("acknowledged as %v\nbut there is %v", model[id], got)
		}
	}
	for id, got := range there {
		if model[id] == nil && id != doubt {
			k.t.Errorf("deleted, and there: %v", got)
		}
	}
	got, before := there[doubt], model[doubt]
	switch {
	case got == nil:
		delete(model, doubt)
	case before != nil && got.GetGeneration() > before.GetGeneration()+1,
		before == nil && got.GetGeneration() != 1,
		got.GetLabels() != nil && got.GetLabels()["n"] != got.GetDisplayName(),
		!got.GetTunnel().GetHasPresharedKey(), got.GetKnx().GetEndpoint() != "10.0.0.3:3671", got.GetTunnel().GetPublicKey() == "":
		k.t.Errorf("half there: %v\nwas %v", got, before)
	default:
		model[doubt] = got
	}
}
