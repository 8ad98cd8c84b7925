package pathtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// keptBuildings have the telegrams that are kept.
const keptBuildings = 1000

// TestManyTelegramsKept starts the gateway on a journal with many telegrams (ten
// million with `make kept`), and resumes the stream of one building from the middle.
func TestManyTelegramsKept(t *testing.T) {
	count := 100_000
	if text := os.Getenv("KNXFLEET_KEPT"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 10*keptBuildings {
			t.Fatalf("KNXFLEET_KEPT=%q: want a number, at least %d", text, 10*keptBuildings)
		}
	}
	g := newGateway(t)
	began := time.Now()
	token, middle := fill(t, g.dir, count)
	t.Logf("%d telegrams stored in %v", count, time.Since(began).Round(time.Millisecond))

	conn, err := grpc.NewClient(g.server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began = time.Now()
	g.spawn(t)
	buildings := knxfleetv1.NewBuildingServiceClient(conn)
	eventually(t, time.Minute, "the gateway serves", func() error {
		_, err := buildings.ListBuildings(t.Context(), &knxfleetv1.ListBuildingsRequest{})
		if err != nil {
			conn.ResetConnectBackoff()
		}
		return err
	})
	t.Logf("serving after %v", time.Since(began).Round(time.Millisecond))

	if _, err := buildings.CreateBuilding(t.Context(), &knxfleetv1.CreateBuildingRequest{Building: disabled("b7")}); err != nil {
		t.Fatal(err)
	}
	telegrams := knxfleetv1.NewTelegramServiceClient(conn)
	want := uint64(count / keptBuildings)
	for run := range 5 {
		began = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := telegrams.StreamTelegrams(ctx, &knxfleetv1.StreamTelegramsRequest{Buildings: []string{"b7"}, ResumeToken: token})
		if err != nil {
			t.Fatal(err)
		}
		var first time.Duration
		next := middle + 1
		for next <= want {
			response, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if gap := response.GetGap(); gap != nil {
				t.Fatalf("a gap: %v", gap)
			}
			for _, tg := range response.GetTelegrams() {
				if tg.GetNumber() != next || tg.GetBuilding() != "b7" {
					t.Fatalf("%s:%d, want b7:%d", tg.GetBuilding(), tg.GetNumber(), next)
				}
				next++
			}
			if first == 0 {
				first = time.Since(began)
			}
		}
		cancel()
		t.Logf("resume %d: %d telegrams of one building from the middle: the first after %v, all after %v",
			run+1, want-middle, first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	g.stop(t)
}

// fill stores telegrams as the gateway does, and gives a token of one building's
// stream in their middle, and the number of the telegram that it stands after.
func fill(t *testing.T, dir string, count int) (token string, middle uint64) {
	t.Helper()
	log := zerolog.Nop()
	store, err := engine.Open(t.Context(), engine.Config{
		Dir: dir, Keys: keyset.ForStore(filepath.Join(dir, "keyset.json"), log), Log: log, Journal: engine.Limits{MaxBytes: 20 << 30, MaxRecordsPerBuilding: 1 << 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	kept := journal.New(t.Context(), journal.Config{Store: store.Journal(), Identity: store.Identity(), Epoch: store.LastEpoch()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- kept.Run(ctx) }()
	writers := make([]*journal.Writer, keptBuildings)
	for i := range writers {
		writers[i] = kept.Open(fmt.Sprint("b", i), uint64(i+1), 0, false)
	}
	rounds := count / keptBuildings
	for round := range rounds {
		for i, w := range writers {
			w.Write(journal.Telegram{
				Position: journal.Position{Number: uint64(round + 1)}, ReceivedAt: time.Now(), Source: frame.IndividualAddress(0x1100 + i%256),
				Destination: 0x0A03, Command: frame.GroupValueWrite, Raw: []byte{0x0c, 0x33},
			})
			w.Published()
		}
		if kept.Stats().Queued > 20_000 {
			eventually(t, time.Minute, "the store keeps up", func() error {
				if n := kept.Stats().Queued; n > 5_000 {
					return fmt.Errorf("%d records wait", n)
				}
				return nil
			})
		}
		if round == rounds/2 {
			token, middle = tokenOf(t, kept, "b7"), uint64(round+1)
		}
	}
	for _, w := range writers {
		if err := w.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := errors.Join(<-done, store.Close()); err != nil {
		t.Fatal(err)
	}
	return token, middle
}

// nothingLive is a subscription that never has anything.
type nothingLive struct{}

func (nothingLive) Next(ctx context.Context) ([]journal.Identity, []journal.Missed, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

// tokenOf gives the token of a building's stream that has come to this point.
func tokenOf(t *testing.T, kept *journal.Journal, building string) (token string) {
	t.Helper()
	view := journal.View[journal.Identity]{
		Buildings: []string{building},
		Identify:  func(i journal.Identity) journal.Identity { return i },
		Restore: func(building string, t *journal.Telegram) (journal.Identity, bool) {
			return journal.Identity{Building: building, Position: t.Position, Stamp: t.Stamp}, true
		},
	}
	stream, err := journal.Follow(kept, view, journal.Start{Last: 1}, nothingLive{})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	err = stream.Run(t.Context(), time.Hour, func(r journal.Response[journal.Identity]) error {
		token = r.Token
		return enough
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return token
}
