package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	"github.com/knxfleet/knxfleet/cmd/loadtest/naive"
	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// playCmd is the simulator as a process of its own. Its buses are silent until the
// parent asks for telegrams.
type playCmd struct {
	Buildings int    `required:""`
	Seed      uint64 `default:"1"`
}

// Run plays the buildings until the parent is gone.
func (c *playCmd) Run(ctx context.Context, s *streams) error {
	socket, port, err := simulator.Listen(0)
	if err != nil {
		return err
	}
	sim, err := simulator.New(simulator.Config{Buildings: c.Buildings, Seed: c.Seed}, socket, port)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	play := &Play{sim: sim, loads: map[Range]*load{}}
	var parts errgroup.Group
	parts.Go(func() error { return sim.Run(ctx) })
	parts.Go(func() error {
		defer cancel()
		err := control.Serve(ctx, s.in, s.out, play)
		play.stop()
		return err
	})
	return parts.Wait()
}

// Range is consecutive buildings, both included, counted from 1.
type Range struct{ First, Last int }

func (r Range) size() int { return r.Last - r.First + 1 }

// Play is the simulator's end of package control.
type Play struct {
	sim *simulator.Simulator

	mu    sync.Mutex
	loads map[Range]*load // under way
}

// Load is what the buses of some buildings do.
type Load struct {
	Buildings Range
	// PerSecond is how many telegrams there are in a second, all buildings
	// together, one building after the other. 0 ends them.
	PerSecond float64
	// Addresses is how many group addresses they go to in turn, from the first of
	// addressAt on; at least 1.
	Addresses int
	// Plain sends the same datagrams, but without a session and to naive.Port.
	Plain bool
}

// load is a Load that is under way.
type load struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func (l *load) stop() {
	l.cancel()
	l.ended.Wait()
}

// Files gives the wg-quick files of some buildings.
func (p *Play) Files(r Range, files *[]string) error {
	all, err := p.buildings(r)
	for _, b := range all {
		*files = append(*files, b.WGQuick())
	}
	return err
}

func (p *Play) buildings(r Range) ([]*simulator.Building, error) {
	all := p.sim.Buildings()
	if r.First < 1 || r.Last > len(all) || r.size() < 1 {
		return nil, fmt.Errorf("buildings %d to %d: want some of 1 to %d", r.First, r.Last, len(all))
	}
	return all[r.First-1 : r.Last], nil
}

// SetLoad replaces the load of the same buildings.
func (p *Play) SetLoad(l Load, _ *control.Nothing) error {
	buildings, err := p.buildings(l.Buildings)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.loads[l.Buildings]; before != nil {
		before.stop()
		delete(p.loads, l.Buildings)
	}
	if l.PerSecond <= 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	started := &load{cancel: cancel}
	started.ended.Go(func() { p.run(ctx, l, buildings) })
	p.loads[l.Buildings] = started
	return nil
}

func (p *Play) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.loads {
		l.stop()
	}
}

// run sends telegrams at an even pace. What is late is made up for, so that the
// total is right.
func (p *Play) run(ctx context.Context, l Load, buildings []*simulator.Building) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for i := 0; ; i++ {
		due := began.Add(time.Duration(float64(i) / l.PerSecond * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		// Each building goes through all addresses, whatever their numbers are.
		address := addressAt(i / len(buildings) % max(l.Addresses, 1))
		err := p.sim.Do(ctx, buildings[i%len(buildings)], func(now time.Time, b *simulator.Building) {
			send(now, b, address, l.Plain)
		})
		if err != nil {
			return // ctx has ended, or the simulator
		}
	}
}

// addressAt is the n-th group address of a load, from 0: 1/0/1 and so on.
func addressAt(n int) frame.GroupAddress { return frame.GroupAddress(1<<11 + 1 + n) }

// send puts a telegram on a building's bus, whose value is the time.
func send(now time.Time, b *simulator.Building, address frame.GroupAddress, plain bool) {
	value := stamp.Append(nil, stamp.Now())
	if plain {
		// What its interface would send.
		telegram := frame.LData{
			Message: frame.LDataInd, Priority: frame.PriorityLow, HopCount: frame.DefaultHopCount, Source: 0x1101,
			Destination: uint16(address), Group: true, APCI: frame.GroupValueWrite, Data: value,
		}
		b.SendPlain(naive.Port, frame.Append(nil, frame.TunnellingRequest{CEMI: telegram.Append(nil)}))
		return
	}
	if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: address, Command: frame.GroupValueWrite, Data: value}); err != nil {
		panic(err) // only of a telegram that is wrong
	}
}

// PlayCounts is what happened at some buildings since the start.
type PlayCounts struct {
	Connected  int    // buildings that had a WireGuard session at least once
	Handshakes uint64 // WireGuard sessions that both ends have confirmed
	Keepalives uint64 // empty messages received: keepalives, and confirmations of sessions
	Heartbeats uint64 // CONNECTIONSTATE_REQUESTs answered
	Bus        uint64 // telegrams on the buses
	Acked      uint64 // telegrams that the gateway acknowledged
	Missed     uint64 // telegrams that it did not, or that were not sent since there was no session
	Repeats    uint64 // telegrams sent a second time
}

// Counts counts for some buildings.
func (p *Play) Counts(r Range, counts *PlayCounts) error {
	return p.each(r, func(b *simulator.Building) {
		router, knx := b.Router(), b.KNX.Counts()
		if router.Handshakes > 0 {
			counts.Connected++
		}
		counts.Handshakes += router.Handshakes
		counts.Keepalives += router.Heard
		counts.Heartbeats += knx.Heartbeats
		counts.Bus += knx.Bus
		counts.Acked += knx.Acked
		counts.Missed += knx.Unacked + knx.Unsent
		counts.Repeats += knx.Repeats
	})
}

// Passed is what happened on one building's bus since the start.
type Passed struct {
	Bus   uint64 // telegrams
	Acked uint64 // telegrams that the gateway acknowledged
}

// Passed tells it of each building.
func (p *Play) Passed(r Range, passed *[]Passed) error {
	return p.each(r, func(b *simulator.Building) {
		counts := b.KNX.Counts()
		*passed = append(*passed, Passed{counts.Bus, counts.Acked})
	})
}

// each looks at buildings all at one moment, within the simulator's loop.
func (p *Play) each(r Range, look func(*simulator.Building)) error {
	buildings, err := p.buildings(r)
	if err != nil {
		return err
	}
	err = p.sim.Do(context.Background(), buildings[0], func(time.Time, *simulator.Building) {
		for _, b := range buildings {
			look(b)
		}
	})
	if errors.Is(err, net.ErrClosed) {
		return errors.New("the simulator has ended")
	}
	return err
}
