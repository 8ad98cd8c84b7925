package pathtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// TestSimulatedBuildings is the table on the simulator's buildings, on loopback.
func TestSimulatedBuildings(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("simulated buildings have addresses of their own in 127.0.0.0/8, which only Linux gives out unasked")
	}
	g := newGateway(t)
	runTable(t, g, startSimulated(t, g.tunnel), pace{
		quick: testing.Short(),
		// Long enough for two CONNECT_REQUESTs to wait in the frozen interface.
		frozen:  30 * time.Second,
		traffic: 200 * time.Millisecond,
	})
}

// simulated are the simulator's buildings. Those before the last have an
// endpoint; the last has a router that calls, in a simulator of its own that
// begins when it is told to.
type simulated struct {
	answering, calling *simulator.Simulator
	runCalling         func()
	recorded           []recording // by building
}

// recording is what was taken from a bus's referee so far.
type recording struct {
	mu   sync.Mutex
	seen []string
}

// startSimulated plays buildings for a gateway at a UDP address, until the test
// ends.
func startSimulated(t *testing.T, gateway string) *simulated {
	t.Helper()
	knx := knxserver.Config{RecordLimit: 10_000}
	w := &simulated{recorded: make([]recording, buildings+1)}
	var run func()
	w.answering, run = newSimulator(t, simulator.Config{Buildings: buildings - 1, Seed: 1, KNX: knx})
	run()
	w.calling, w.runCalling = newSimulator(t, simulator.Config{
		Buildings: 1, Seed: 2, KNX: knx, Gateway: netip.MustParseAddrPort(gateway), RouterKeepalive: 5 * time.Second,
	})
	return w
}

// newSimulator makes a simulator and what starts it.
func newSimulator(t *testing.T, cfg simulator.Config) (sim *simulator.Simulator, run func()) {
	t.Helper()
	conn, port, err := simulator.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	sim, err = simulator.New(cfg, conn, port)
	if err != nil {
		t.Fatal(errors.Join(err, conn.Close()))
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run = sync.OnceFunc(func() {
		running.Go(func() {
			if err := sim.Run(ctx); err != nil {
				t.Errorf("simulator: %v", err)
			}
		})
	})
	t.Cleanup(func() {
		stop()
		run() // closes the socket also if it has not begun
		running.Wait()
	})
	return sim, run
}

func (w *simulated) find(building int) (*simulator.Simulator, *simulator.Building) {
	if building == caller {
		return w.calling, w.calling.Buildings()[0]
	}
	return w.answering, w.answering.Buildings()[building-1]
}

// do runs f with a building in the simulator's loop.
func (w *simulated) do(building int, f func(now time.Time, b *simulator.Building)) error {
	sim, b := w.find(building)
	if err := sim.Do(context.Background(), b, f); err != nil {
		return fmt.Errorf("building %d: %w", building, err)
	}
	return nil
}

func (w *simulated) file(building int) (string, error) {
	_, b := w.find(building)
	return b.WGQuick(), nil
}

func (w *simulated) bus(building int) bus { return simulatedBus{w, building} }

type simulatedBus struct {
	w        *simulated
	building int
}

func (b simulatedBus) write(destination string, value ...byte) error {
	address, err := frame.ParseGroupAddress(destination)
	if err != nil {
		return err
	}
	telegram := knxserver.Telegram{Destination: address, Command: frame.GroupValueWrite, Data: value}
	doErr := b.w.do(b.building, func(now time.Time, building *simulator.Building) {
		_, err = building.KNX.Inject(now, telegram)
	})
	return errors.Join(doErr, err)
}

func (b simulatedBus) seen() ([]string, error) {
	r := &b.w.recorded[b.building]
	r.mu.Lock()
	defer r.mu.Unlock()
	err := b.w.do(b.building, func(_ time.Time, building *simulator.Building) {
		for _, tg := range building.KNX.TakeRecord().Bus {
			if tg.LData.GroupService() {
				r.seen = append(r.seen, telegramText(frame.GroupAddress(tg.LData.Destination).String(), tg.LData.Data))
			}
		}
	})
	return r.seen, err
}

func (b simulatedBus) slots() (n int, err error) {
	err = b.w.do(b.building, func(_ time.Time, building *simulator.Building) { n = len(building.KNX.Channels()) })
	return n, err
}

// Durations of mishaps that end by themselves.
const (
	restartTime = 500 * time.Millisecond
	bootTime    = 2 * time.Second
	// forEver is longer than any test.
	forEver = time.Hour
)

func (w *simulated) fault(what mishap) (fault, bool) {
	type change = func(now time.Time, b *simulator.Building)
	play := func(begin, end change) fault {
		f := fault{begin: func(building int) error { return w.do(building, begin) }}
		if end != nil {
			f.end = func(building int) error { return w.do(building, end) }
		}
		return f
	}
	broken := func(set func(*knxserver.Faults)) change {
		return func(now time.Time, b *simulator.Building) {
			var f knxserver.Faults
			set(&f)
			b.KNX.SetFaults(now, f)
		}
	}
	mended := broken(func(*knxserver.Faults) {})
	switch what {
	case interfaceStopped:
		return play(
			func(now time.Time, b *simulator.Building) { b.KNX.Reboot(now, forEver) },
			func(now time.Time, b *simulator.Building) { b.KNX.Reboot(now, 0) }), true
	case interfaceRestarted:
		return play(func(now time.Time, b *simulator.Building) { b.KNX.Reboot(now, restartTime) }, nil), true
	case interfaceUnreachable:
		return play(broken(func(f *knxserver.Faults) { f.Silent = true }), mended), true
	case interfaceFrozen:
		return play(broken(func(f *knxserver.Faults) { f.Frozen = true }), mended), true
	case slotsFull:
		return play(func(now time.Time, b *simulator.Building) {
			b.KNX.Reboot(now, 0) // ours is taken as well
			b.KNX.SetFaults(now, knxserver.Faults{Full: true})
		}, mended), true
	case sessionEnded:
		return play(func(now time.Time, b *simulator.Building) { b.KNX.Disconnect(now) }, nil), true
	case busDown:
		return play(broken(func(f *knxserver.Faults) { f.Heartbeat = frame.StatusKNXConnection }), mended), true
	case lanDown:
		return play(
			func(_ time.Time, b *simulator.Building) { b.LANDown = true },
			func(_ time.Time, b *simulator.Building) { b.LANDown = false }), true
	case tunnelDown:
		return play(
			func(_ time.Time, b *simulator.Building) { b.Link = simulator.Link{Down: true} },
			func(_ time.Time, b *simulator.Building) { b.Link = simulator.Link{} }), true
	case weakNetwork:
		return play(
			func(_ time.Time, b *simulator.Building) {
				b.Link = simulator.Link{Loss: 0.2, Delay: 300 * time.Millisecond}
			},
			func(_ time.Time, b *simulator.Building) { b.Link = simulator.Link{} }), true
	case powerCut:
		return fault{begin: func(building int) error {
			sim, b := w.find(building)
			return sim.PowerCut(context.Background(), b, bootTime)
		}}, true
	case routerTold:
		return fault{begin: func(int) error { w.runCalling(); return nil }}, true
	}
	return fault{}, false
}
