package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// settings are what a comparison was asked to do.
type settings struct {
	buildings, names, runs int
	settleFor              time.Duration // at 1 telegram/s before memory is looked at
	longFor                time.Duration // the same with forced GCs
	idleFor                time.Duration
	loadFor                time.Duration // each measurement under load
	rate                   float64       // telegrams a second, all together
	subscribers            int
	binary, mosquitto      string
	profiles               string // folder; empty: none
	example                []byte // a telegram as the gateway encodes it
}

// measurement is one comparison: its plan, and what is found.
type measurement struct {
	*settings

	wanted selection
	found  collection
	scene  *scene // of the run under way
}

// Which figures need what.
var (
	startFigures  = []string{"start_cpu_per_building", "start_wall"}
	memoryFigures = []string{"rss_per_building", "heap_per_building", "goroutines_per_building", "fds_per_building", "threads_per_building"}
	loadFigures   = []string{"latency_p50", "latency_p99", "cpu_per_telegram", "delivery_cpu"}
)

const (
	openTakes  = 3 * time.Second
	emptyMost  = 5 * time.Second  // before an empty process is looked at
	emptyIdles = 30 * time.Second // how long one is looked at
	closeTakes = 3 * time.Second
	gcInterval = 5 * time.Second
	startsEach = 200 // buildings a second, about
	namesEach  = 100 // buildings a second, about
)

// plan is the steps of all runs.
func (m *measurement) plan() []step {
	var steps []step
	for run := 1; run <= m.runs; run++ {
		if m.wanted.any(startFigures...) || m.wanted.any(memoryFigures...) || m.wanted.any(loadFigures...) || m.wanted.any("idle_cpu") {
			steps = append(steps, m.planRun(run)...)
		}
		if m.wanted["rss_per_building_long"] {
			steps = append(steps, m.planLong(run)...)
		}
	}
	return steps
}

// planRun is one run with all but the long measurement. The sides take turns in
// going first.
func (m *measurement) planRun(run int) []step {
	var steps []step
	add := func(what string, takes time.Duration, do func(context.Context) error) {
		steps = append(steps, step{fmt.Sprintf("run %d of %d: %s", run, m.runs, what), takes, do})
	}
	idles := m.wanted["idle_cpu"]
	add("start simulator, knxfleet and naive", openTakes, m.open)
	takes := m.emptyFor() + looks*m.lookEvery()
	if idles {
		takes += emptyIdles
	}
	add("look at both without buildings", takes, func(ctx context.Context) error { return m.measureEmpty(ctx, idles, false) })
	add(fmt.Sprintf("bring %d buildings up in each", m.buildings), m.startTakes(), func(ctx context.Context) error { return m.measureStart(ctx, run, true) })
	if m.names > 0 {
		add(fmt.Sprintf("give each building %d names", m.names), m.namesTake(), m.name)
	}
	if m.wanted.any(memoryFigures...) {
		add("both at 1 telegram/s in each building", m.settleFor+looks*m.lookEvery(), m.measureMemory)
	}
	if idles {
		add("both at rest", m.idleFor+min(warmUpMost, m.idleFor), m.measureIdle)
	}
	if m.wanted.any(loadFigures...) && m.names == 0 {
		add("give each building a type to decode", m.namesTake(), m.name)
	}
	window := m.warmUp() + m.loadFor
	profile := time.Duration(0)
	if m.profiles != "" {
		profile = m.profileFor()
	}
	if m.wanted.any("latency_p50", "latency_p99") {
		add("latency of each", 2*window, m.measureLatency)
	}
	if m.wanted["cpu_per_telegram"] {
		add(fmt.Sprintf("each at %s telegrams/s", short(m.rate)), 2*(window+profile), m.measureTelegram)
	}
	if m.wanted["delivery_cpu"] {
		add(fmt.Sprintf("knxfleet and mosquitto deliver to %d subscribers", m.subscribers), 2*window+profile, m.measureDelivery)
	}
	add("end all processes", closeTakes, m.close)
	return steps
}

// planLong is the measurement with forced GCs, in new processes.
func (m *measurement) planLong(run int) []step {
	var steps []step
	add := func(what string, takes time.Duration, do func(context.Context) error) {
		steps = append(steps, step{fmt.Sprintf("run %d of %d, GC forced: %s", run, m.runs, what), takes, do})
	}
	add("start simulator, knxfleet and naive", openTakes, m.open)
	add("look at both without buildings", m.emptyFor()+looks*m.lookEvery(), func(ctx context.Context) error { return m.measureEmpty(ctx, false, true) })
	add(fmt.Sprintf("bring %d buildings up in each", m.buildings), m.startTakes(), func(ctx context.Context) error { return m.measureStart(ctx, run, false) })
	if m.names > 0 {
		add(fmt.Sprintf("give each building %d names", m.names), m.namesTake(), m.name)
	}
	add("both at 1 telegram/s in each building", m.longFor, m.measureLong)
	add("end all processes", closeTakes, m.close)
	return steps
}

// emptyFor is how long processes without buildings settle.
func (s *settings) emptyFor() time.Duration { return min(emptyMost, s.settleFor) }

func (m *measurement) startTakes() time.Duration {
	return 2*time.Second + 2*time.Duration(m.buildings)*time.Second/startsEach
}

func (m *measurement) namesTake() time.Duration {
	return time.Second + time.Duration(m.buildings)*time.Second/namesEach
}

func (m *measurement) open(ctx context.Context) (err error) {
	m.scene, err = openScene(ctx, m.settings)
	return err
}

// close ends the processes of the run, if there are any.
func (m *measurement) close(context.Context) error {
	if m.scene == nil {
		return nil
	}
	err := m.scene.Close()
	m.scene = nil
	return err
}

// measureEmpty looks at both sides without buildings, as they will be looked at
// with them.
func (m *measurement) measureEmpty(ctx context.Context, idles, collect bool) error {
	stop := func() error { return nil }
	if collect {
		stop = m.collectGarbage(ctx)
	}
	err := m.scene.each(ctx, func(ctx context.Context, s *side) (err error) {
		if err := pause(ctx, m.emptyFor()); err != nil {
			return err
		}
		if idles {
			i, err := m.scene.idle(ctx, s, min(emptyIdles, m.idleFor))
			if err != nil {
				return err
			}
			s.emptyIdle = i.cores
		}
		s.empty, err = m.scene.footprint(ctx, s)
		return err
	})
	return errors.Join(err, stop())
}

// measureStart brings up one side after the other.
func (m *measurement) measureStart(ctx context.Context, run int, counts bool) error {
	order := []*side{m.scene.knxfleet, m.scene.naive}
	if run%2 == 0 {
		order[0], order[1] = order[1], order[0]
	}
	var cpu, wall, simulator pair
	for _, s := range order {
		used, took, played, err := m.scene.bringUp(ctx, s)
		if err != nil {
			return err
		}
		each := float64(time.Millisecond) * float64(m.buildings)
		set := func(p *pair, v float64) {
			if s == m.scene.knxfleet {
				p.Knxfleet = v
			} else {
				p.Naive = v
			}
		}
		set(&cpu, float64(used)/each)
		set(&wall, took.Seconds())
		set(&simulator, float64(played)/each)
	}
	if counts {
		m.found.add("start_cpu_per_building", cpu)
		m.found.explain("start_cpu_per_building", "simulator, ms", simulator)
		m.found.add("start_wall", wall)
	}
	return nil
}

// name gives the buildings of knxfleet their names; one is the least, so that there
// is a type to decode with.
func (m *measurement) name(ctx context.Context) error {
	return m.scene.gateway.name(ctx, m.buildings, nameTable(max(1, m.names)))
}

const kibi = 1024

// perBuilding is what a building adds, in a unit.
func (m *measurement) perBuilding(with, without, unit float64) float64 {
	return (with - without) / unit / float64(m.buildings)
}

// settle lets both sides run at 1 telegram/s in each building, and looks at them at
// the end, while telegrams go on.
func (m *measurement) settle(ctx context.Context, length time.Duration) (k, n footprint, err error) {
	err = m.scene.each(ctx, func(ctx context.Context, s *side) error {
		if err := m.scene.load(ctx, s, float64(m.buildings)); err != nil {
			return err
		}
		if err := pause(ctx, length); err != nil {
			return err
		}
		f, err := m.scene.footprint(ctx, s)
		if s == m.scene.knxfleet {
			k = f
		} else {
			n = f
		}
		return errors.Join(err, m.scene.allUp(ctx, s), m.scene.load(ctx, s, 0))
	})
	return k, n, err
}

// measureMemory compares what the sides hold.
func (m *measurement) measureMemory(ctx context.Context) error {
	k, n, err := m.settle(ctx, m.settleFor)
	if err != nil {
		return err
	}
	emptyK, emptyN := m.scene.knxfleet.empty, m.scene.naive.empty
	for _, f := range []struct {
		name  string
		unit  float64
		round float64 // the least that is a difference
		field func(footprint) float64
	}{
		{"rss_per_building", kibi, 0, func(f footprint) float64 { return f.RSS }},
		{"heap_per_building", kibi, 0, func(f footprint) float64 { return f.Heap }},
		{"goroutines_per_building", 1, 0.01, func(f footprint) float64 { return f.Goroutines }},
		// The Go runtime makes a thread more or less as it likes.
		{"fds_per_building", 1, 0.01, func(f footprint) float64 { return f.Descriptors }},
		{"threads_per_building", 1, 0.01, func(f footprint) float64 { return f.Threads }},
	} {
		per := func(with, without footprint) float64 {
			v := m.perBuilding(f.field(with), f.field(without), f.unit)
			if f.round > 0 {
				v = math.Round(v/f.round) * f.round
			}
			return v
		}
		m.found.add(f.name, pair{per(k, emptyK), per(n, emptyN)})
		m.found.explain(f.name, "in all", pair{f.field(k) / f.unit, f.field(n) / f.unit})
	}
	simulator, err := residentMemory(m.scene.play.pid())
	if err != nil {
		return err
	}
	m.found.explain("rss_per_building", "simulator in all, both sides", pair{simulator / kibi, 0})
	return m.scene.profile(ctx, m.scene.knxfleet, "heap", "/heap")
}

// measureLong compares resident memory after a long time with forced GCs.
func (m *measurement) measureLong(ctx context.Context) error {
	stop := m.collectGarbage(ctx)
	k, n, err := m.settle(ctx, m.longFor)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	m.found.add("rss_per_building_long", pair{
		m.perBuilding(k.RSS, m.scene.knxfleet.empty.RSS, kibi), m.perBuilding(n.RSS, m.scene.naive.empty.RSS, kibi),
	})
	return nil
}

// collectGarbage forces a GC in both now and again until it is stopped.
func (m *measurement) collectGarbage(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var forcing errgroup.Group
	for _, s := range []*side{m.scene.knxfleet, m.scene.naive} {
		forcing.Go(func() error {
			for pause(ctx, gcInterval) == nil {
				if err := forceGC(ctx, s.profiles); err != nil && ctx.Err() == nil {
					return s.explain(fmt.Errorf("force a GC in %s: %w", s.name, err))
				}
			}
			return nil
		})
	}
	return func() error {
		cancel()
		return forcing.Wait()
	}
}

// measureLatency compares how long telegrams are under way, at 1 telegram/s in each
// building.
func (m *measurement) measureLatency(ctx context.Context) error {
	k, n, err := m.receiveEach(ctx, float64(m.buildings), "")
	if err != nil {
		return err
	}
	m.found.add("latency_p50", pair{millis(k.Ages, 0.5), millis(n.Ages, 0.5)})
	m.found.add("latency_p99", pair{millis(k.Ages, 0.99), millis(n.Ages, 0.99)})
	return nil
}

// receiveEach measures one side after the other.
func (m *measurement) receiveEach(ctx context.Context, perSecond float64, profile string) (k, n reception, err error) {
	if k, err = m.scene.receive(ctx, m.scene.knxfleet, perSecond, 1, profile); err != nil {
		return k, n, err
	}
	n, err = m.scene.receive(ctx, m.scene.naive, perSecond, 1, "")
	return k, n, err
}

// measureTelegram compares what a received telegram costs.
func (m *measurement) measureTelegram(ctx context.Context) error {
	k, n, err := m.receiveEach(ctx, m.rate, "cpu_per_telegram")
	if err != nil {
		return err
	}
	const name = "cpu_per_telegram"
	m.found.add(name, pair{micros(k.CPU, k.Received), micros(n.CPU, n.Received)})
	m.found.explain(name, "received by a second", pair{k.Received / k.Took.Seconds(), n.Received / n.Took.Seconds()})
	m.found.explain(name, "simulator, µs", pair{micros(k.Simulator, k.Received), micros(n.Simulator, n.Received)})
	m.found.explain(name, "latency p50, ms", pair{millis(k.Ages, 0.5), millis(n.Ages, 0.5)})
	m.found.explain(name, "latency p99, ms", pair{millis(k.Ages, 0.99), millis(n.Ages, 0.99)})
	m.found.explain(name, "missing", pair{k.Missing, n.Missing})
	m.found.explain(name, "sent a second time", pair{k.repetition, n.repetition})
	return nil
}

// measureDelivery compares what a delivery to many subscribers costs, all that the
// process does included.
func (m *measurement) measureDelivery(ctx context.Context) error {
	const name = "delivery_cpu"
	k, err := m.scene.receive(ctx, m.scene.knxfleet, m.rate, m.subscribers, name)
	if err != nil {
		return err
	}
	mosquitto, err := m.scene.receiveMosquitto(ctx)
	if err != nil {
		return err
	}
	m.found.add(name, pair{micros(k.CPU, k.Delivered), micros(mosquitto.CPU, mosquitto.Delivered)})
	of := func(part string, f func(reception) float64) { m.found.explain(name, part, pair{f(k), f(mosquitto)}) }
	of(partDeliveryP50, func(r reception) float64 { return millis(r.Ages, 0.5) })
	of("latency p99, ms", func(r reception) float64 { return millis(r.Ages, 0.99) })
	of("offered by a second", func(r reception) float64 { return r.Offered / r.Took.Seconds() })
	of("delivered by a second", func(r reception) float64 { return r.Delivered / r.Took.Seconds() })
	of("delivered of what was offered, %", func(r reception) float64 {
		return percent * ratioOf(r.Delivered, r.Offered*float64(m.subscribers))
	})
	of("cores used", func(r reception) float64 { return r.CPU.Seconds() / r.Took.Seconds() })
	return nil
}
