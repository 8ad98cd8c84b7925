package fleet

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet/ownership"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/tunnel"
)

// world is a fleet and simulated buildings with a network between them: in
// memory, for tests in virtual time.
type world struct {
	t       *testing.T
	sim     *simulator.Simulator
	fleet   *Fleet
	hub     *Hub
	desired *desiredBuildings
	tables  *memoryTables
	stop    func()
}

// keptTunnels keeps what wireguard-go would finalize: a finalizer must not run
// inside a bubble, nor touch what was made in one.
var keptTunnels struct {
	sync.Mutex
	all []*tunnel.Tunnel
}

type keepingTunnels struct{ *tunnel.Exchange }

func (k keepingTunnels) Open(cfg tunnel.Config, dev tunnel.Device, log zerolog.Logger, onHandshake func()) (*tunnel.Tunnel, error) {
	t, err := k.Exchange.Open(cfg, dev, log, onHandshake)
	keptTunnels.Lock()
	defer keptTunnels.Unlock()
	keptTunnels.all = append(keptTunnels.all, t)
	return t, err
}

// epochs is the ownership of one process, in memory.
type epochs struct {
	last    atomic.Uint64
	routers sync.Map // id to netip.AddrPort
}

func (e *epochs) Claim(_ context.Context, id string) (ownership.Claimed, error) {
	claimed := ownership.Claimed{Epoch: e.last.Add(1)}
	if router, ok := e.routers.Load(id); ok {
		claimed.Router = router.(netip.AddrPort)
	}
	return claimed, nil
}

func (e *epochs) Found(_ context.Context, id string, router netip.AddrPort) error {
	e.routers.Store(id, router)
	return nil
}

func (e *epochs) Release(context.Context, string) error { return nil }

// desiredBuildings is what is desired, in memory.
type desiredBuildings struct {
	mu      sync.Mutex
	changes []registry.Change
	wake    chan struct{}
}

func (d *desiredBuildings) tell(c registry.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, c)
	signal(d.wake)
}

func (d *desiredBuildings) put(b registry.Building) {
	d.tell(registry.Change{Type: registry.Stored, ID: b.ID, Building: b})
}

func (d *desiredBuildings) remove(id string) {
	d.tell(registry.Change{Type: registry.Deleted, ID: id})
}

func (d *desiredBuildings) Watch(ctx context.Context, fn func(registry.Change) error) error {
	for first := true; ; first = false {
		d.mu.Lock()
		changes := d.changes
		d.changes = nil
		if first {
			changes = append(changes, registry.Change{Type: registry.SnapshotComplete})
		}
		d.mu.Unlock()
		for _, c := range changes {
			if err := fn(c); err != nil {
				return nil //nolint:nilerr // only the end of ctx
			}
		}
		select {
		case <-d.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// memoryTables are group address tables in memory. As in the store, a table is in
// use once it was loaded.
type memoryTables struct {
	stored, loaded sync.Map // id to *tables.Table
	failure        atomic.Pointer[error]
}

func (m *memoryTables) Current(id string) *tables.Table {
	if t, ok := m.loaded.Load(id); ok {
		return t.(*tables.Table)
	}
	return nil
}

func (m *memoryTables) Load(_ context.Context, id string) (*tables.Table, error) {
	if err := m.failure.Load(); err != nil {
		return nil, *err
	}
	t, ok := m.stored.Load(id)
	if !ok {
		t = &tables.Table{}
	}
	m.loaded.Store(id, t)
	return t.(*tables.Table), nil
}

// put imports a table, at any time.
func (m *memoryTables) put(id string, file ets.Table) {
	t := tables.New(file)
	m.stored.Store(id, t)
	if _, ok := m.loaded.Load(id); ok {
		m.loaded.Store(id, t)
	}
}

// buildingOf is a simulated building as a user would create it.
func buildingOf(t *testing.T, id string, b *simulator.Building) registry.Building {
	t.Helper()
	config, _, err := tunnel.ParseWGQuick(b.WGQuick())
	if err != nil {
		t.Fatal(err)
	}
	building := registry.Building{
		ID: id, Enabled: true, Tunnel: config, Generation: 1, KNX: registry.KNX{Interface: simulator.Interface},
	}
	building.SetDefaults()
	if err := building.Validate(); err != nil {
		t.Fatal(err)
	}
	return building
}

// newWorld starts fleet and simulator; both have ended when the test ends.
func newWorld(t *testing.T, buildings int, seed uint64, knx knxserver.Config) *world {
	t.Helper()
	return newWorldOf(t, simulator.Config{Buildings: buildings, Seed: seed, KNX: knx})
}

// gatewayAddress is where the fleet of a world is.
var gatewayAddress = netip.MustParseAddrPort("192.0.2.1:51820")

// newWorldOf is newWorld with all that can be said of the simulator.
func newWorldOf(t *testing.T, cfg simulator.Config) *world {
	t.Helper()
	wire := simulator.NewWire()
	sim, err := simulator.New(cfg, wire.Buildings(), simulator.WirePort)
	if err != nil {
		t.Fatal(err)
	}
	exchange := tunnel.NewExchange(zerolog.Nop(), wire.Gateway(gatewayAddress))
	w := &world{t: t, sim: sim, hub: NewHub(), desired: &desiredBuildings{wake: make(chan struct{}, 1)}, tables: &memoryTables{}}
	w.fleet = New(Config{
		Desired: w.desired, Ownership: &epochs{}, Tunnels: keepingTunnels{exchange}, Hub: w.hub, Tables: w.tables, Log: zerolog.Nop(),
	})
	simCtx, stopSim := context.WithCancel(context.Background())
	socketCtx, closeSocket := context.WithCancel(context.Background())
	fleetCtx, stopFleet := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	run := func(ctx context.Context, what string, run func(context.Context) error) *sync.WaitGroup {
		var part sync.WaitGroup
		part.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		return &part
	}
	simulating := run(simCtx, "simulator", sim.Run)
	exchanging := run(socketCtx, "exchange", exchange.Run)
	managing := run(fleetCtx, "fleet", w.fleet.Run)
	w.stop = sync.OnceFunc(func() {
		stopFleet()
		managing.Wait()
		closeSocket()
		exchanging.Wait()
		if err := exchange.Close(); err != nil {
			t.Errorf("exchange: %v", err)
		}
		stopSim()
		simulating.Wait()
		w.hub.Close()
		parts.Wait()
	})
	t.Cleanup(w.stop)
	return w
}

// add makes a simulated building known to the fleet.
func (w *world) add(ids ...string) {
	w.t.Helper()
	for i, id := range ids {
		w.desired.put(buildingOf(w.t, id, w.sim.Buildings()[i]))
	}
}

// do runs f with a simulated building, by its place in add.
func (w *world) do(i int, f func(now time.Time, b *simulator.Building)) {
	w.t.Helper()
	if err := w.sim.Do(context.Background(), w.sim.Buildings()[i], f); err != nil {
		w.t.Fatal(err)
	}
}

// wait waits until a building's status is as wanted, patience at most.
func (w *world) wait(id string, patience time.Duration, what string, want func(Status) bool) Status {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		v, _ := w.fleet.View(id)
		if want(v.Status) {
			return v.Status
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s after %v: %s, %s: %s; want %s", id, patience, v.Status.State, v.Status.Reason, v.Status.Message, what)
		}
		tick := time.NewTimer(20 * time.Millisecond)
		<-tick.C
	}
}

func (w *world) online(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		w.wait(id, 20*time.Second, "ONLINE", func(s Status) bool { return s.State == StateOnline })
	}
}

// collect gathers all telegrams of a subscription until it ends.
func collect(s *Subscription) (telegrams func() []*Telegram) {
	var mu sync.Mutex
	var all []*Telegram
	go func() {
		for {
			telegrams, _, err := s.Next(context.Background())
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, telegrams...)
			mu.Unlock()
		}
	}()
	return func() []*Telegram {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}
