package pathtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// judge compares what a client saw with what the interfaces noted.
type judge struct {
	follower *follower
	// sent are the values of each building's bus in order, and whether the gateway
	// acknowledged them.
	sent  map[string][]sentTelegram
	acked int
}

type sentTelegram struct {
	value uint32
	acked bool
}

func judgeOf(t *testing.T, sim *simulator.Simulator, f *follower) *judge {
	t.Helper()
	j := &judge{follower: f, sent: make(map[string][]sentTelegram)}
	for _, b := range sim.Buildings() {
		id := crashID(b)
		err := sim.Do(t.Context(), b, func(_ time.Time, b *simulator.Building) {
			record := b.KNX.TakeRecord()
			if record.BusMissed+record.DeliveriesMissed > 0 {
				t.Fatal("the referee's record is too short")
			}
			acked := make(map[uint64]bool)
			for _, d := range record.Deliveries {
				if d.Content == knxserver.ContentIndication && d.Outcome == knxserver.Acked {
					acked[d.Number] = true
				}
			}
			for _, bus := range record.Bus {
				j.sent[id] = append(j.sent[id], sentTelegram{binary.BigEndian.Uint32(bus.LData.Data), acked[bus.Number]})
			}
			j.acked += len(acked)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// complete reports whether the client has everything that it will get: the last
// telegram of each building that was acknowledged.
func (j *judge) complete() error {
	j.follower.mu.Lock()
	defer j.follower.mu.Unlock()
	for id, sent := range j.sent {
		var last uint32
		for _, s := range sent {
			if s.acked {
				last = s.value
			}
		}
		events := j.follower.events[id]
		found := last == 0
		for i := len(events) - 1; i >= 0 && !found; i-- {
			found = events[i].value == last
		}
		if !found {
			return fmt.Errorf("building %s: the last telegram has not come", id)
		}
	}
	return nil
}

// verdict fails the test for each telegram that came twice, out of order, or not at
// all without a gap in its place.
func (j *judge) verdict(t *testing.T) {
	t.Helper()
	f := j.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, what := range f.strange {
		t.Error(what)
	}
	marked, seen, gaps := 0, 0, 0
	for id, sent := range j.sent {
		place := make(map[uint32]int, len(sent)) // in sent
		for i, s := range sent {
			place[s.value] = i
		}
		next, excused := 0, false // place of the next value, and whether a gap came before it
		var before event
		for _, e := range f.events[id] {
			if e.gap != nil {
				gaps++
				excused = true
				continue
			}
			seen++
			at, ok := place[e.value]
			switch {
			case !ok:
				t.Errorf("%s: value %d was never on its bus", id, e.value)
				continue
			case at < next:
				t.Errorf("%s: value %d came again or late (%d-%d after %d-%d)", id, e.value, e.epoch, e.number, before.epoch, before.number)
				continue
			case e.epoch < before.epoch || e.epoch == before.epoch && e.number <= before.number:
				t.Errorf("%s: %d-%d after %d-%d", id, e.epoch, e.number, before.epoch, before.number)
			}
			for _, missing := range sent[next:at] {
				switch {
				case !missing.acked:
				case excused:
					marked++
				default:
					t.Errorf("%s: value %d was acknowledged and is missing before %d-%d, without a gap", id, missing.value, e.epoch, e.number)
				}
			}
			next, excused, before = at+1, false, e
		}
		for _, missing := range sent[min(next, len(sent)):] {
			if missing.acked && !excused {
				t.Errorf("%s: value %d was acknowledged and is missing at the end", id, missing.value)
			}
		}
	}
	t.Logf("%d telegrams acknowledged, %d seen in %d streams, %d lost and marked by %d gaps; the longest token has %d bytes",
		j.acked, seen, f.streams, marked, gaps, f.tokens)
	if seen == 0 {
		t.Error("nothing was seen")
	}
}

func crashID(b *simulator.Building) string { return fmt.Sprintf("b%d", b.Number) }

// bookkeeper creates and deletes buildings, and knows which there must be.
type bookkeeper struct {
	client knxfleetv1.BuildingServiceClient
	must   map[string]bool // acknowledged; true: created, false: deleted
	// labelled is the last label of a building that was acknowledged, tried the last that
	// was asked for.
	labelled, tried map[string]int
	maybe           map[string]bool // the call was cut off
}

func newBookkeeper(conn *grpc.ClientConn) *bookkeeper {
	return &bookkeeper{client: knxfleetv1.NewBuildingServiceClient(conn), must: make(map[string]bool), maybe: make(map[string]bool),
		labelled: make(map[string]int), tried: make(map[string]int)}
}

// createAll creates the simulator's buildings.
func (k *bookkeeper) createAll(t *testing.T, sim *simulator.Simulator) (ids []string) {
	t.Helper()
	for _, b := range sim.Buildings() {
		id := crashID(b)
		_, err := k.client.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: buildingOf(id, b.WGQuick())}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		k.must[id] = true
		ids = append(ids, id)
	}
	return ids
}

func buildingOf(id, wgQuick string) *knxfleetv1.Building {
	return &knxfleetv1.Building{
		Id:     id,
		Tunnel: &knxfleetv1.TunnelConfig{WgQuick: wgQuick},
		Knx:    &knxfleetv1.KnxConfig{Endpoint: simulator.Interface.String()},
	}
}

// disabled is a building that is kept and not run.
func disabled(id string) *knxfleetv1.Building {
	b := buildingOf(id, fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.9.9.9/32\n[Peer]\nPublicKey = %s\nAllowedIPs = 192.168.1.0/24\n",
		tunnel.GeneratePrivateKey().Base64(), tunnel.GeneratePrivateKey().Public()))
	b.Disabled = true
	return b
}

// change creates and deletes buildings that are disabled, until ctx ends.
func (k *bookkeeper) change(ctx context.Context) {
	var extra []string
	for n := 0; ctx.Err() == nil; n++ {
		if len(extra) > 5 || len(extra) > 0 && rand.IntN(3) == 0 {
			id := extra[0]
			extra = extra[1:]
			_, err := k.client.DeleteBuilding(ctx, &knxfleetv1.DeleteBuildingRequest{Id: id}, grpc.WaitForReady(true))
			k.note(id, false, err)
			continue
		}
		if len(extra) > 0 && rand.IntN(2) == 0 {
			k.label(ctx, extra[rand.IntN(len(extra))], n)
			continue
		}
		id := fmt.Sprintf("extra-%d", n)
		_, err := k.client.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: disabled(id)}, grpc.WaitForReady(true))
		k.note(id, true, err)
		if err == nil {
			extra = append(extra, id)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// label gives a building another label.
func (k *bookkeeper) label(ctx context.Context, id string, n int) {
	k.tried[id] = n
	_, err := k.client.UpdateBuilding(ctx, &knxfleetv1.UpdateBuildingRequest{
		Building:   &knxfleetv1.Building{Id: id, Labels: map[string]string{"n": strconv.Itoa(n)}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	}, grpc.WaitForReady(true))
	if err == nil {
		k.labelled[id] = n
	}
}

// note keeps what became of a call.
func (k *bookkeeper) note(id string, created bool, err error) {
	switch grpcstatus.Code(err) {
	case codes.OK:
		k.must[id] = created
		delete(k.maybe, id)
	case codes.InvalidArgument, codes.AlreadyExists, codes.NotFound:
		// Refused, which these calls never are; check finds what is wrong.
	default:
		delete(k.must, id)
		k.maybe[id] = true
	}
}

func (k *bookkeeper) list() (map[string]*knxfleetv1.Building, error) {
	all := make(map[string]*knxfleetv1.Building)
	request := &knxfleetv1.ListBuildingsRequest{PageSize: 1000}
	// A gateway that does not come back is an error with its log, and not a test that hangs.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		page, err := k.client.ListBuildings(ctx, request, grpc.WaitForReady(true))
		if err != nil {
			return nil, err
		}
		for _, b := range page.GetBuildings() {
			all[b.GetId()] = b
		}
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			return all, nil
		}
	}
}

func (k *bookkeeper) allOnline(ids []string) error {
	all, err := k.list()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if s := all[id].GetStatus(); s.GetState() != knxfleetv1.State_STATE_ONLINE {
			return fmt.Errorf("building %s is %v: %s", id, s.GetState(), s.GetReason())
		}
	}
	return nil
}

// check compares the registry with what was acknowledged.
func (k *bookkeeper) check(t *testing.T) {
	t.Helper()
	all, err := k.list()
	if err != nil {
		t.Fatal(err)
	}
	for id, there := range k.must {
		if _, found := all[id]; found != there {
			t.Errorf("building %s: there %v, acknowledged %v", id, found, there)
		}
	}
	for id, least := range k.labelled {
		b, there := all[id]
		if n, err := strconv.Atoi(b.GetLabels()["n"]); there && (err != nil || n < least || n > k.tried[id]) {
			t.Errorf("building %s has label %v; acknowledged %d, asked for %d", id, b.GetLabels(), least, k.tried[id])
		}
	}
	for id, b := range all {
		if _, known := k.must[id]; !known && !k.maybe[id] {
			t.Errorf("building %s was never created", id)
		}
		if b.GetTunnel().GetPeerPublicKey() == "" || b.GetKnx().GetEndpoint() == "" {
			t.Errorf("building %s is half there: %v", id, b)
		}
	}
	t.Logf("%d creations and deletions acknowledged, %d cut off; %d buildings relabelled", len(k.must), len(k.maybe), len(k.labelled))
}
