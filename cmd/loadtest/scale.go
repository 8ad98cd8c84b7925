package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type scaleCmd struct {
	Buildings int           `default:"10000" help:"How many buildings."`
	For       time.Duration `default:"10m" help:"How long telegrams go on."`
	Every     time.Duration `default:"10s" help:"Between two telegrams of one building."`
	Outage    time.Duration `default:"2m" help:"How long all buildings are lost at once."`
	JSON      string        `name:"json" help:"Write the figures here." placeholder:"FILE"`
	Profiles  string        `help:"Write a heap profile of knxfleet into this folder." placeholder:"DIR"`
	Knxfleet  string        `help:"The binary to measure; it is built unless given." placeholder:"FILE"`
}

// Run holds the buildings and tells what was seen.
func (c *scaleCmd) Run(ctx context.Context, s *streams) (err error) {
	switch {
	case c.Buildings < 1:
		return usagef("--buildings %d: want at least 1", c.Buildings)
	case c.For <= 0 || c.Every <= 0 || c.Outage <= 0:
		return usagef("--for, --every and --outage: want more than 0s")
	}
	w, err := newWorkshop()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	binary, err := gatewayBinary(ctx, w, c.Knxfleet, func(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) })
	if err != nil {
		return err
	}
	h := &holding{
		scaleCmd: c,
		scene:    &scene{workshop: w, settings: &settings{buildings: c.Buildings, binary: binary, profiles: c.Profiles}},
		all:      Range{1, c.Buildings},
	}
	if err := runSteps(ctx, s.err, h.plan()); err != nil {
		return err
	}
	if c.JSON != "" {
		if err := writeJSON(c.JSON, scaleReport{h.seen, c.Buildings, c.For.String(), machine()}); err != nil {
			return err
		}
	}
	return h.show(s.out)
}

// observation is one thing that scale saw.
type observation struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	Mark  string  `json:"mark"`
	Met   *bool   `json:"met,omitempty"`
}

type scaleReport struct {
	Figures   []observation `json:"figures"`
	Buildings int           `json:"buildings"`
	For       string        `json:"for"`
	Machine   string        `json:"machine"`
}

// holding is one run of scale.
type holding struct {
	*scaleCmd

	scene *scene
	all   Range
	data  string // the gateway's folder
	seen  []observation
}

func (h *holding) see(name, unit string, value float64) {
	h.seen = append(h.seen, observation{Name: name, Unit: unit, Value: value})
}

// mark is for a value that has a limit.
func (h *holding) mark(name, unit string, value, most float64) {
	met := value <= most
	h.seen = append(h.seen, observation{Name: name, Unit: unit, Value: value, Mark: strings.TrimSuffix("≤ "+short(most)+" "+unit, " 1"), Met: &met})
}

func (h *holding) plan() []step {
	starts := 2*time.Second + time.Duration(h.Buildings)*time.Second/startsEach
	return []step{
		{"start simulator and knxfleet", openTakes, h.open},
		{fmt.Sprintf("create %d buildings and wait until all are ONLINE", h.Buildings), starts, h.create},
		{fmt.Sprintf("a telegram in each building every %v, one subscriber, ListBuildings", h.Every), h.For + drainFor, h.hold},
		{fmt.Sprintf("strangers send %d datagrams/s while telegrams go on", floodRate), 2*h.floodFor() + drainFor, h.flood},
		{"change one building, and disable and enable all", changesTake + drainFor + 2*starts, h.change},
		{fmt.Sprintf("lose all buildings for %v and wait until all are ONLINE again", h.Outage), h.Outage + openTakes, h.outage},
		{"end knxfleet, start it again and wait until all are ONLINE", openTakes + starts, h.restart},
	}
}

func (h *holding) open(ctx context.Context) (err error) {
	sc := h.scene
	if sc.play, err = sc.startSelf("simulator", "play", fmt.Sprintf("--buildings=%d", h.Buildings)); err != nil {
		return err
	}
	if h.data, err = sc.folder("data"); err != nil {
		return err
	}
	if err := h.serve(ctx); err != nil {
		return err
	}
	if err := sc.play.call(ctx, "Files", h.all, &sc.knxfleet.files); err != nil {
		return err
	}
	if err := pause(ctx, min(emptyMost, h.For)); err != nil {
		return err
	}
	sc.knxfleet.empty.RSS, err = residentMemory(sc.gateway.pid())
	return err
}

// serve starts the gateway, for the first time or again.
func (h *holding) serve(ctx context.Context) error {
	g, err := h.scene.serve(ctx, h.scene.binary, h.data)
	if err != nil {
		return err
	}
	s := &side{process: g.process, name: "knxfleet", buildings: h.all, metrics: g.metrics(), profiles: g.profiles(), up: g.online}
	s.open = func(ctx context.Context) error { return g.create(ctx, s.files) }
	h.scene.gateway, h.scene.knxfleet = g, s
	return nil
}

const giga = 1e9

func (h *holding) create(ctx context.Context) error {
	cpu, wall, _, err := h.scene.bringUp(ctx, h.scene.knxfleet)
	if err != nil {
		return err
	}
	h.see("created and ONLINE after", "s", wall.Seconds())
	h.see("CPU from nothing to ONLINE, by building", "ms", float64(cpu)/float64(time.Millisecond)/float64(h.Buildings))
	return nil
}

// drainFor is how long the last telegrams may take to arrive.
const drainFor = 10 * time.Second

// hold lets telegrams pass and keeps account of them, while the API is used.
func (h *holding) hold(ctx context.Context) error {
	sc := h.scene
	subscriber, err := sc.startSelf("subscriber", "subscribe", "--server="+sc.gateway.GRPC, "--ledger")
	if err != nil {
		return err
	}
	if err := errors.Join(
		subscriber.call(ctx, "Open", control.Nothing{}, &control.Nothing{}),
		subscriber.call(ctx, "MeasureAges", true, &control.Nothing{}),
	); err != nil {
		return err
	}
	began, err := sc.read(ctx, sc.knxfleet, subscriber)
	if err != nil {
		return err
	}
	asked, err := h.askWhile(ctx, func(ctx context.Context) error {
		if err := sc.load(ctx, sc.knxfleet, float64(h.Buildings)/h.Every.Seconds()); err != nil {
			return err
		}
		if err := pause(ctx, h.For); err != nil {
			return err
		}
		return sc.load(ctx, sc.knxfleet, 0)
	})
	if err != nil {
		return err
	}
	ended, err := sc.read(ctx, sc.knxfleet, subscriber)
	if err != nil {
		return err
	}
	if err := h.account(ctx, subscriber); err != nil {
		return err
	}
	r := between(began, ended)
	if err := subscriber.call(ctx, "TakeAges", control.Nothing{}, &r.Ages); err != nil {
		return err
	}
	h.see("latency p50", "ms", millis(r.Ages, 0.5))
	h.see("latency p99", "ms", millis(r.Ages, 0.99))
	h.see("CPU of knxfleet", "cores", r.CPU.Seconds()/r.Took.Seconds())
	h.see("CPU of the simulator", "cores", r.Simulator.Seconds()/r.Took.Seconds())
	h.see("ListBuildings calls", "1", float64(len(asked)))
	h.see("ListBuildings p50, a page of 1,000", "ms", millis(asked, 0.5))
	h.mark("ListBuildings p99, a page of 1,000", "ms", millis(asked, 0.99), 100)
	if err := h.memory(); err != nil {
		return err
	}
	return errors.Join(subscriber.stop(), sc.allUp(ctx, sc.knxfleet), sc.profile(ctx, sc.knxfleet, "scale-heap", "/heap"))
}

// account compares what was on the buses with what the subscriber got.
func (h *holding) account(ctx context.Context, subscriber *process) error {
	var passed []Passed
	var ledger map[string]Account
	lost, unacked := 0.0, 0.0
	compare := func() (bool, error) {
		passed, ledger, lost, unacked = nil, nil, 0, 0
		if err := errors.Join(
			h.scene.play.call(ctx, "Passed", h.all, &passed),
			subscriber.call(ctx, "Ledger", control.Nothing{}, &ledger),
		); err != nil {
			return false, err
		}
		for i, p := range passed {
			if got := ledger[buildingID(i+1)].Telegrams; got < p.Bus {
				lost += float64(p.Bus - got)
			}
			unacked += float64(p.Bus - p.Acked)
		}
		return lost == 0 && unacked == 0, nil
	}
	// What is left when this runs out is lost.
	if _, err := every(ctx, time.Second, drainFor, compare); err != nil {
		return err
	}
	sent, disorder := 0.0, 0.0
	for _, p := range passed {
		sent += float64(p.Bus)
	}
	for _, a := range ledger {
		disorder += float64(a.Disorder)
	}
	counts, err := h.scene.counts(ctx, h.scene.knxfleet)
	if err != nil {
		return err
	}
	var received SubscriberCounts
	if err := subscriber.call(ctx, "Counts", control.Nothing{}, &received); err != nil {
		return err
	}
	h.see("telegrams on the buses", "1", sent)
	h.see("telegrams received by the subscriber", "1", float64(received.Telegrams))
	h.mark("telegrams lost", "1", lost, 0)
	h.mark("telegrams not acknowledged", "1", unacked, 0)
	h.mark("telegrams twice or in disorder", "1", disorder, 0)
	h.see("telegrams sent a second time on the LAN", "1", float64(counts.Repeats))
	return nil
}

// memory is of gateway and simulator.
func (h *holding) memory() error {
	resident, err := residentMemory(h.scene.gateway.pid())
	if err != nil {
		return err
	}
	simulator, err := residentMemory(h.scene.play.pid())
	if err != nil {
		return err
	}
	p, err := procfs.NewProc(h.scene.gateway.pid())
	if err != nil {
		return err
	}
	status, err := p.NewStatus()
	if err != nil {
		return err
	}
	const most = 2.6 // of 10,000 buildings
	h.mark("resident memory", "GB", resident/giga, most)
	h.see("resident memory at most, since the start", "GB", float64(status.VmHWM)/giga)
	h.see("resident memory by building", "KiB", (resident-h.scene.knxfleet.empty.RSS)/kibi/float64(h.Buildings))
	h.see("resident memory of the simulator", "GB", simulator/giga)
	return nil
}

// askWhile asks for a page of buildings each second while something goes on, and
// gives how long the answers took, in nanoseconds.
func (h *holding) askWhile(ctx context.Context, goesOn func(context.Context) error) ([]int64, error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var took []int64
	var parts errgroup.Group
	parts.Go(func() error {
		defer stop()
		return goesOn(ctx)
	})
	parts.Go(func() error {
		request := &knxfleetv1.ListBuildingsRequest{PageSize: 1000}
		for pause(asking, time.Second) == nil {
			began := time.Now()
			page, err := h.scene.gateway.buildings.ListBuildings(ctx, request)
			if err != nil {
				return h.scene.gateway.explain(fmt.Errorf("list buildings: %w", err))
			}
			took = append(took, int64(time.Since(began)))
			request.PageToken = page.GetNextPageToken()
		}
		return nil
	})
	err := parts.Wait()
	return took, err
}

// restart ends the gateway and starts it again with the same data.
func (h *holding) restart(ctx context.Context) error {
	sc := h.scene
	began := time.Now()
	if err := errors.Join(sc.gateway.close(), sc.gateway.stop()); err != nil {
		return err
	}
	h.mark("SIGTERM to exit", "s", time.Since(began).Seconds(), 10)
	began = time.Now()
	if err := h.serve(ctx); err != nil {
		return err
	}
	h.see("serves again after", "s", time.Since(began).Seconds())
	sc.knxfleet.open = func(context.Context) error { return nil }
	asked, err := h.askWhile(ctx, func(ctx context.Context) error {
		_, _, _, err := sc.bringUp(ctx, sc.knxfleet)
		return err
	})
	ended := time.Since(began)
	if err != nil {
		return err
	}
	cpu, err := sc.gateway.cpu()
	if err != nil {
		return err
	}
	h.see("all ONLINE again after", "s", ended.Seconds())
	h.see("CPU from its start until then, by building", "ms", float64(cpu)/float64(time.Millisecond)/float64(h.Buildings))
	h.see("ListBuildings p99 meanwhile", "ms", millis(asked, 0.99))
	return sc.gateway.close()
}

func (h *holding) show(w io.Writer) error {
	f, ok := w.(*os.File)
	people := ok && term.IsTerminal(int(f.Fd()))
	var rows [][]string
	for _, o := range h.seen {
		rows = append(rows, []string{o.Name, short(o.Value), o.Unit, verdict(row{Mark: o.Mark, Met: o.Met})})
	}
	if err := printRows(w, people, []string{"FIGURE", "VALUE", "UNIT", "MARK"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d buildings; %s\n", h.Buildings, machine())
	return err
}
