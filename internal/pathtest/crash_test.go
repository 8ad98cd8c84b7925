package pathtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// crashPlan is how large the test is: small for every run of the tests, as the
// environment says for `make crash`.
type crashPlan struct {
	kills, buildings int
	rate             int // telegrams a second, of all buildings
}

func planOf(t *testing.T) crashPlan {
	t.Helper()
	p := crashPlan{kills: 3, buildings: 20, rate: 200}
	for name, to := range map[string]*int{"KNXFLEET_KILLS": &p.kills, "KNXFLEET_BUILDINGS": &p.buildings, "KNXFLEET_RATE": &p.rate} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: want a number above 0", name, text)
		}
		*to = n
	}
	return p
}

// TestNothingLostInCrashes kills the gateway at random moments under telegrams while
// a client follows and resumes. What the interfaces sent and got acknowledged must
// have reached the client once and in order, or a gap stands in its place; and the
// registry has every building that was acknowledged.
func TestNothingLostInCrashes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("simulated buildings have addresses of their own in 127.0.0.0/8, which only Linux gives out unasked")
	}
	plan := planOf(t)
	g := newGateway(t)
	sim, run := newSimulator(t, simulator.Config{
		Buildings: plan.buildings, Seed: 3, KNX: knxserver.Config{RecordLimit: 1 << 20},
	})
	run()
	conn, err := grpc.NewClient(g.server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	g.spawn(t)
	books := newBookkeeper(conn)
	ids := books.createAll(t, sim)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	follower := newFollower(conn, ids)
	var parts sync.WaitGroup
	parts.Go(func() { follower.run(ctx) })
	parts.Go(func() { books.change(ctx) })
	buses := &talkers{sim: sim, rate: plan.rate}
	talking, hush := context.WithCancel(ctx)
	var bus sync.WaitGroup
	bus.Go(func() { buses.talk(talking, t) })

	for kill := range plan.kills {
		<-time.After(time.Duration(rand.Int64N(int64(4 * time.Second))))
		g.kill(t)
		g.spawn(t)
		if (kill+1)%10 == 0 {
			t.Logf("%d kills, %d telegrams seen", kill+1, follower.count())
		}
	}
	eventually(t, time.Minute, "all buildings are online", func() error { return books.allOnline(ids) })
	follower.more(t, 10*plan.buildings) // of the last run
	hush()
	bus.Wait()
	buses.settle(t)
	judge := judgeOf(t, sim, follower)
	eventually(t, 30*time.Second, "the client has read everything", judge.complete)
	cancel()
	parts.Wait()
	judge.verdict(t)
	books.check(t)
	g.stop(t)
}

// spawn runs serve without the clients that start has.
func (g *gateway) spawn(t *testing.T) {
	t.Helper()
	g.cmd = exec.Command(g.binary, "serve", "--data-dir", g.dir, "--grpc-listen", g.server, "--http-listen", g.http, "--tunnel-listen", g.tunnel)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// talkers put telegrams on the buses, each with a value that never comes again.
type talkers struct {
	sim     *simulator.Simulator
	rate    int
	counter uint32
}

func (b *talkers) talk(ctx context.Context, t *testing.T) {
	const slice = 10 * time.Millisecond
	tick := time.NewTicker(slice)
	defer tick.Stop()
	owed := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for owed += float64(b.rate) * slice.Seconds(); owed >= 1; owed-- {
			b.counter++
			building := b.sim.Buildings()[int(b.counter)%len(b.sim.Buildings())]
			value := binary.BigEndian.AppendUint32(nil, b.counter)
			err := b.sim.Do(ctx, building, func(now time.Time, building *simulator.Building) {
				_, err := building.KNX.Inject(now, knxserver.Telegram{
					Destination: frame.GroupAddress(0x0800 + b.counter%0x700), Command: frame.GroupValueWrite, Data: value,
				})
				if err != nil {
					t.Errorf("building %d: %v", building.Number, err)
				}
			})
			if err != nil && ctx.Err() == nil {
				t.Errorf("simulator: %v", err)
			}
		}
	}
}

// settle waits until the interfaces have nothing left to send.
func (b *talkers) settle(t *testing.T) {
	t.Helper()
	before, since := uint64(0), time.Now()
	eventually(t, 30*time.Second, "the interfaces come to rest", func() error {
		var now uint64
		for _, building := range b.sim.Buildings() {
			err := b.sim.Do(t.Context(), building, func(_ time.Time, building *simulator.Building) {
				c := building.KNX.Counts()
				now += c.Acked + c.Unacked + c.Unsent
			})
			if err != nil {
				return err
			}
		}
		if now != before {
			before, since = now, time.Now()
		}
		if time.Since(since) < time.Second {
			return errors.New("deliveries still end")
		}
		return nil
	})
}

// follower is a client that resumes where it was, however often it is cut off.
type follower struct {
	client knxfleetv1.TelegramServiceClient

	mu      sync.Mutex
	events  map[string][]event // by building
	strange []string
	tokens  int // the longest
	streams int
}

// event is a telegram with its value, or a gap (value 0).
type event struct {
	value         uint32
	epoch, number uint64
	gap           *knxfleetv1.Gap
}

func newFollower(conn *grpc.ClientConn, ids []string) *follower {
	f := &follower{client: knxfleetv1.NewTelegramServiceClient(conn), events: make(map[string][]event)}
	for _, id := range ids {
		f.events[id] = nil
	}
	return f
}

func (f *follower) run(ctx context.Context) {
	// From the beginning of all, wherever the first stream succeeds.
	request := &knxfleetv1.StreamTelegramsRequest{Last: 10_000}
	for ctx.Err() == nil {
		stream, err := f.client.StreamTelegrams(ctx, request, grpc.WaitForReady(true))
		if err != nil {
			continue
		}
		f.mu.Lock()
		f.streams++
		f.mu.Unlock()
		for {
			response, err := stream.Recv()
			if err != nil {
				break
			}
			f.take(response)
			if token := response.GetResumeToken(); token != "" {
				request = &knxfleetv1.StreamTelegramsRequest{ResumeToken: token}
			}
		}
	}
}

func (f *follower) take(response *knxfleetv1.StreamTelegramsResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = max(f.tokens, len(response.GetResumeToken()))
	for _, tg := range response.GetTelegrams() {
		events, known := f.events[tg.GetBuilding()]
		if !known || len(tg.GetRaw()) != 4 {
			f.strange = append(f.strange, fmt.Sprintf("a strange telegram: %v", tg))
			continue
		}
		f.events[tg.GetBuilding()] = append(events, event{value: binary.BigEndian.Uint32(tg.GetRaw()), epoch: tg.GetEpoch(), number: tg.GetNumber()})
	}
	if gap := response.GetGap(); gap != nil {
		for id, events := range f.events {
			if gap.GetBuilding() == id || gap.GetBuilding() == "" {
				f.events[id] = append(events, event{gap: gap})
			}
		}
	}
}

func (f *follower) count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, events := range f.events {
		n += len(events)
	}
	return n
}

// more waits until so many more events have come.
func (f *follower) more(t *testing.T, n int) {
	t.Helper()
	want := f.count() + n
	eventually(t, time.Minute, "telegrams come", func() error {
		if got := f.count(); got < want {
			return fmt.Errorf("%d events, want %d", got, want)
		}
		return nil
	})
}
