package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type compareCmd struct {
	Buildings   int           `default:"1000" help:"How many buildings each side has."`
	JSON        string        `name:"json" help:"Write the figures here." placeholder:"FILE"`
	Plots       string        `help:"Write a plot of each figure into this folder." placeholder:"DIR"`
	Profiles    string        `help:"Write profiles of knxfleet into this folder, each taken after its measurement." placeholder:"DIR"`
	Only        []string      `help:"Only these figures." placeholder:"NAME,…"`
	Runs        int           `default:"3" help:"How often everything is measured."`
	Names       int           `default:"0" help:"Group address names and types of each building of knxfleet, before memory is measured."`
	Settle      time.Duration `default:"60s" help:"How long 1 telegram/s goes on before memory is looked at."`
	Long        time.Duration `default:"10m" help:"The same for rss_per_building_long."`
	Idle        time.Duration `default:"250s" help:"How long both rest for idle_cpu; WireGuard makes new keys every two minutes."`
	Load        time.Duration `default:"20s" help:"How long each measurement under load takes."`
	Rate        float64       `default:"5000" help:"Telegrams a second of all buildings together, for cpu_per_telegram and delivery_cpu."`
	Subscribers int           `default:"100" help:"Subscribers of everything, for delivery_cpu."`
	Install     bool          `default:"true" negatable:"" help:"Install mosquitto with apt-get if it is missing and this is root."`
	Knxfleet    string        `help:"The binary to measure; it is built unless given." placeholder:"FILE"`
}

// maxNames is what a block of group addresses from 1/0/1 on has, with room to the
// next main group.
const maxNames = 2000

// Run measures and tells.
func (c *compareCmd) Run(ctx context.Context, s *streams) (err error) {
	wanted, err := c.check()
	if err != nil {
		return err
	}
	m := &measurement{
		settings: &settings{
			buildings: c.Buildings, names: c.Names, runs: c.Runs, settleFor: c.Settle, longFor: c.Long, idleFor: c.Idle, loadFor: c.Load,
			rate: c.Rate, subscribers: c.Subscribers, profiles: c.Profiles,
		},
		wanted: wanted, found: collection{},
	}
	say := func(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }
	w, err := newWorkshop()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if m.binary, err = c.binary(ctx, w, say); err != nil {
		return err
	}
	var notes []string
	if wanted["delivery_cpu"] {
		var missing string
		if m.mosquitto, missing = findMosquitto(ctx, c.Install, say); missing != "" {
			wanted["delivery_cpu"] = false
			notes = append(notes, "delivery_cpu is left out: "+missing)
			say("%s", notes[0])
		}
	}
	if err := errors.Join(runSteps(ctx, s.err, m.plan()), m.close(ctx)); err != nil {
		return err
	}
	r := report{Figures: m.found.rows(wanted), Buildings: c.Buildings, Runs: c.Runs, Names: c.Names, Machine: machine(), Notes: notes}
	if c.JSON != "" {
		if err := writeJSON(c.JSON, r); err != nil {
			return err
		}
	}
	if c.Plots != "" {
		if err := plotAll(c.Plots, r.Figures); err != nil {
			return err
		}
	}
	return r.show(s.out)
}

// check refuses what cannot be, before anything is started.
func (c *compareCmd) check() (selection, error) {
	switch {
	case c.Buildings < 1:
		return nil, usagef("--buildings %d: want at least 1", c.Buildings)
	case c.Runs < 1:
		return nil, usagef("--runs %d: want at least 1", c.Runs)
	case c.Names < 0 || c.Names > maxNames:
		return nil, usagef("--names %d: want 0 to %d", c.Names, maxNames)
	case !(c.Rate > 0):
		return nil, usagef("--rate %v: want more than 0", c.Rate)
	case c.Subscribers < 1:
		return nil, usagef("--subscribers %d: want at least 1", c.Subscribers)
	case min(c.Settle, c.Long, c.Idle, c.Load) <= 0:
		return nil, usagef("--settle, --long, --idle and --load: want more than 0s")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	if err := checkLimits(c.Buildings, limit.Max); err != nil {
		return nil, err
	}
	return choose(c.Only)
}

// binary is the gateway to measure.
func (c *compareCmd) binary(ctx context.Context, w *workshop, say func(string, ...any)) (string, error) {
	return gatewayBinary(ctx, w, c.Knxfleet, say)
}

// gatewayBinary is the one given, or else one that is built.
func gatewayBinary(ctx context.Context, w *workshop, given string, say func(string, ...any)) (string, error) {
	if given == "" {
		say("building knxfleet; the first time takes minutes")
		return w.build(ctx)
	}
	path, err := filepath.Abs(strings.TrimSpace(given))
	if err != nil {
		return "", usagef("--knxfleet: %w", err)
	}
	return path, nil
}
