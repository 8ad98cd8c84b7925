package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
)

// side is one of the two that are compared.
type side struct {
	*process

	name              string
	metrics, profiles string // URLs
	buildings         Range  // those of the simulator that are this side's
	plain             bool   // it gets datagrams without a session
	files             []string
	// open brings all buildings up from nothing, and up counts those that are.
	open func(ctx context.Context) error
	up   func(ctx context.Context) (int, error)

	empty     footprint // without buildings
	emptyIdle float64   // cores used without buildings
}

// scene is the processes of one run: a simulator with the buildings of both sides,
// and the two sides beside it, of which one rests while the other is measured.
type scene struct {
	*settings
	*workshop

	play            *process
	gateway         *gateway
	knxfleet, naive *side
}

// openScene starts all processes, without buildings.
func openScene(ctx context.Context, s *settings) (sc *scene, err error) {
	w, err := newWorkshop()
	if err != nil {
		return nil, err
	}
	sc = &scene{settings: s, workshop: w}
	defer func() {
		if err != nil {
			err = errors.Join(err, sc.Close())
			sc = nil
		}
	}()
	if sc.play, err = w.startSelf("simulator", "play", fmt.Sprintf("--buildings=%d", 2*s.buildings)); err != nil {
		return sc, err
	}
	if err = sc.openKnxfleet(ctx, Range{1, s.buildings}); err != nil {
		return sc, err
	}
	err = sc.openNaive(ctx, Range{s.buildings + 1, 2 * s.buildings})
	return sc, err
}

// Close ends the connections and all processes.
func (sc *scene) Close() error {
	var err error
	if sc.gateway != nil {
		err = sc.gateway.close()
	}
	return errors.Join(err, sc.workshop.Close())
}

func (sc *scene) openKnxfleet(ctx context.Context, r Range) error {
	s := &side{name: "knxfleet", buildings: r}
	if err := sc.play.call(ctx, "Files", r, &s.files); err != nil {
		return err
	}
	data, err := sc.folder("data")
	if err != nil {
		return err
	}
	if sc.gateway, err = sc.serve(ctx, sc.binary, data); err != nil {
		return err
	}
	s.process, s.metrics, s.profiles = sc.gateway.process, sc.gateway.metrics(), sc.gateway.profiles()
	s.open = func(ctx context.Context) error { return sc.gateway.create(ctx, s.files) }
	s.up = sc.gateway.online
	sc.knxfleet = s
	return nil
}

func (sc *scene) openNaive(ctx context.Context, r Range) error {
	s := &side{name: "naive", buildings: r, plain: true}
	if err := sc.play.call(ctx, "Files", r, &s.files); err != nil {
		return err
	}
	var err error
	if s.process, err = sc.startSelf("naive", "naive"); err != nil {
		return err
	}
	var address string
	if err := s.call(ctx, "Address", control.Nothing{}, &address); err != nil {
		return err
	}
	s.metrics, s.profiles = "http://"+address+"/metrics", "http://"+address+"/debug/pprof"
	s.open = func(ctx context.Context) error { return s.call(ctx, "Start", s.files, &control.Nothing{}) }
	// The simulator knows, so that nothing has to be asked of what is measured.
	s.up = func(ctx context.Context) (int, error) {
		counts, err := sc.counts(ctx, s)
		return counts.Connected, err
	}
	sc.naive = s
	return nil
}

// counts is what the simulator saw at a side's buildings.
func (sc *scene) counts(ctx context.Context, s *side) (c PlayCounts, err error) {
	err = sc.play.call(ctx, "Counts", s.buildings, &c)
	return c, err
}

// load sets how many telegrams a second a side's buildings have, all together.
func (sc *scene) load(ctx context.Context, s *side, perSecond float64) error {
	return sc.play.call(ctx, "SetLoad", Load{
		Buildings: s.buildings, PerSecond: perSecond, Addresses: max(1, sc.names), Plain: s.plain,
	}, &control.Nothing{})
}

// each does something for both sides at the same time.
func (sc *scene) each(ctx context.Context, do func(context.Context, *side) error) error {
	both, ctx := errgroup.WithContext(ctx)
	for _, s := range []*side{sc.knxfleet, sc.naive} {
		both.Go(func() error { return do(ctx, s) })
	}
	return both.Wait()
}

// openPatience is how long opening may take: minutes, in which a router that missed
// several calls on a slow machine gets another, and time for each building at a pace that
// nobody would call fast.
func (sc *scene) openPatience() time.Duration {
	return 3*time.Minute + time.Duration(sc.buildings)*20*time.Millisecond
}

// openPoll is how often it is looked whether all are up.
const openPoll = 250 * time.Millisecond

// bringUp brings a side's buildings up and tells what that took.
func (sc *scene) bringUp(ctx context.Context, s *side) (cpu, wall, simulator time.Duration, err error) {
	simulatorBefore, err := sc.play.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	before, err := s.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if err := s.open(ctx); err != nil {
		return 0, 0, 0, err
	}
	up := 0
	reached, err := every(ctx, openPoll, sc.openPatience(), func() (bool, error) {
		up, err = s.up(ctx)
		return up == sc.buildings, err
	})
	if err != nil {
		return 0, 0, 0, err
	}
	if !reached {
		return 0, 0, 0, fmt.Errorf("%s: %d of %d buildings are up after %v", s.name, up, sc.buildings, sc.openPatience())
	}
	wall = time.Since(began)
	after, err := s.cpu()
	if err != nil {
		return 0, 0, 0, err
	}
	simulatorAfter, err := sc.play.cpu()
	return after - before, wall, simulatorAfter - simulatorBefore, err
}

// allUp fails when a side has lost buildings.
func (sc *scene) allUp(ctx context.Context, s *side) error {
	up, err := s.up(ctx)
	if err == nil && up != sc.buildings {
		err = fmt.Errorf("%s: only %d of %d buildings are up", s.name, up, sc.buildings)
	}
	return err
}

// looks is how often memory is looked at; the median counts.
const looks = 5

// lookEvery is the time from one look to the next.
func (s *settings) lookEvery() time.Duration { return min(time.Second, s.settleFor/looks) }

// footprint is what a side holds, as the median of some looks.
func (sc *scene) footprint(ctx context.Context, s *side) (footprint, error) {
	var all [looks]footprint
	for i := range all {
		var err error
		if all[i], err = held(ctx, s.pid(), s.metrics); err != nil {
			return footprint{}, s.explain(fmt.Errorf("%s: %w", s.name, err))
		}
		if err := pause(ctx, sc.lookEvery()); err != nil {
			return footprint{}, err
		}
	}
	of := func(field func(footprint) float64) float64 {
		var values []float64
		for _, f := range all {
			values = append(values, field(f))
		}
		return median(values)
	}
	return footprint{
		RSS:         of(func(f footprint) float64 { return f.RSS }),
		Heap:        of(func(f footprint) float64 { return f.Heap }),
		Goroutines:  of(func(f footprint) float64 { return f.Goroutines }),
		Threads:     of(func(f footprint) float64 { return f.Threads }),
		Descriptors: of(func(f footprint) float64 { return f.Descriptors }),
	}, nil
}

// profile keeps a profile of a side, if profiles are wanted. It is taken after a
// measurement, not during it.
func (sc *scene) profile(ctx context.Context, s *side, name, query string) error {
	if sc.profiles == "" {
		return nil
	}
	if err := os.MkdirAll(sc.profiles, 0o755); err != nil { //nolint:gosec // profiles are no secret
		return err
	}
	body, err := get(ctx, s.profiles+query)
	if err != nil {
		return err
	}
	defer body.Close()
	const largest = 256 << 20
	return copyBounded(filepath.Join(sc.profiles, s.name+"-"+name+".pprof"), body, largest)
}

// descriptors is how many the naive process needs for a building.
const descriptors = 5

// checkLimits finds out early whether this machine allows what is asked for.
func checkLimits(buildings int, limit uint64) error {
	// Its default bind has a thread in a netlink socket for each building, and Go
	// gives up at 10,000 threads.
	const most = 9_500
	if buildings > most {
		return usagef("--buildings %d: naive needs a thread for each, and Go ends a process at 10,000; want at most %d (scale runs knxfleet alone)", buildings, most)
	}
	if need := uint64(descriptors*buildings + 100 + runtime.NumCPU()); need > limit {
		return usagef("--buildings %d: naive needs %d descriptors and the limit is %d; raise it (ulimit -Hn), or want at most %d buildings",
			buildings, need, limit, (limit-100-uint64(runtime.NumCPU()))/descriptors)
	}
	return nil
}
