package main

import (
	"fmt"
	"slices"
	"strings"
)

// figure is one thing that is measured on both sides.
type figure struct {
	name, unit, what string
	// mark is what must hold, for people; empty: the figure is only reported.
	mark string
	// met decides it from the medians.
	met func(r row) bool
}

// figures are all of them, in the order in which they are shown. The marks are for
// 1,000 buildings.
var figures = []figure{
	{
		name: "rss_per_building", unit: "KiB", what: "resident memory of an ONLINE building at 1 telegram/s",
		mark: "ratio ≤ 0.38, ≤ 230 KiB", met: func(r row) bool { return r.Ratio <= 0.38 && r.Knxfleet <= 230 },
	},
	{
		name: "rss_per_building_long", unit: "KiB", what: "the same after longer, a GC forced every 5 s in both",
		mark: "ratio ≤ 0.3", met: func(r row) bool { return r.Ratio <= 0.3 },
	},
	{name: "heap_per_building", unit: "KiB", what: "Go heap in use, when resident memory is measured"},
	{
		name: "goroutines_per_building", unit: "1", what: "goroutines, at the same moment",
		mark: "≤ 15", met: func(r row) bool { return r.Knxfleet <= 15 },
	},
	{
		name: "fds_per_building", unit: "1", what: "open descriptors, at the same moment",
		mark: "0", met: func(r row) bool { return r.Knxfleet <= 0 },
	},
	{
		name: "threads_per_building", unit: "1", what: "threads, at the same moment",
		mark: "0", met: func(r row) bool { return r.Knxfleet <= 0 },
	},
	{
		name: "start_cpu_per_building", unit: "ms", what: "CPU from nothing to ONLINE; naive: to a handshake",
		mark: "ratio ≤ 0.45", met: func(r row) bool { return r.Ratio <= 0.45 },
	},
	{name: "start_wall", unit: "s", what: "from the first building's creation until all are ONLINE; naive: until all have a handshake"},
	{
		name: "idle_cpu", unit: "% of a core", what: "CPU of all buildings when nothing happens on their buses",
		mark: "ratio ≤ 0.9", met: func(r row) bool { return r.Ratio <= 0.9 },
	},
	{
		name: "cpu_per_telegram", unit: "µs", what: "CPU of a received telegram, one subscriber; naive: of a datagram",
		mark: "≤ 60 µs", met: func(r row) bool { return r.Knxfleet <= 60 },
	},
	{
		name: "delivery_cpu", unit: "µs", what: "CPU of the whole process by telegrams delivered to many subscribers; against mosquitto",
		mark: "ratio ≤ 0.25 at p50 ≤ 5 ms",
		met:  func(r row) bool { return r.Ratio <= 0.25 && r.Parts[partDeliveryP50].Knxfleet <= 5 },
	},
	{
		name: "latency_p50", unit: "ms", what: "from the bus to a subscriber, 1 telegram/s in each building; naive: to its socket",
		mark: "≤ 1 ms", met: func(r row) bool { return r.Knxfleet <= 1 },
	},
	{
		name: "latency_p99", unit: "ms", what: "the same",
		mark: "≤ 10 ms", met: func(r row) bool { return r.Knxfleet <= 10 },
	},
}

// partDeliveryP50 is the latency that belongs to delivery_cpu.
const partDeliveryP50 = "latency p50, ms"

// selection is which figures are wanted.
type selection map[string]bool

// choose reads --only.
func choose(only []string) (selection, error) {
	wanted := selection{}
	for _, f := range figures {
		wanted[f.name] = len(only) == 0
	}
	for _, name := range only {
		if _, known := wanted[name]; !known {
			return nil, usagef("--only %q: want some of %s", name, strings.Join(figureNames(), ", "))
		}
		wanted[name] = true
	}
	return wanted, nil
}

func figureNames() []string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return names
}

// any reports whether one of the figures is wanted.
func (s selection) any(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return s[name] })
}

// against is what a figure compares with.
func (f figure) against() string {
	if f.name == "delivery_cpu" {
		return "mosquitto"
	}
	return "naive"
}

// pair is one value of each side.
type pair struct {
	Knxfleet float64 `json:"knxfleet"`
	Naive    float64 `json:"naive"`
}

// row is what is known of a figure after all runs.
type row struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Knxfleet, Naive and Ratio are medians of the runs; Ratio is the median of
	// the runs' ratios.
	pair

	Ratio float64 `json:"ratio"`
	// Mark is the limit; empty where there is none.
	Mark string `json:"mark"`
	// Met is whether the medians keep the mark; absent where there is none.
	Met     *bool  `json:"met,omitempty"`
	Against string `json:"against"`
	What    string `json:"what"`
	Runs    []pair `json:"runs"`
	// Parts explain the figure, as medians; those of one side only are 0 on the
	// other.
	Parts map[string]pair `json:"parts,omitempty"`
}

// series collects what the runs give for one figure.
type series struct {
	runs  []pair
	parts map[string][]pair
}

// collection collects for all figures.
type collection map[string]*series

// add takes one run's value of a figure.
func (c collection) add(name string, p pair) { c.of(name).runs = append(c.of(name).runs, p) }

// explain takes one run's value of a part of a figure.
func (c collection) explain(name, part string, p pair) {
	s := c.of(name)
	s.parts[part] = append(s.parts[part], p)
}

func (c collection) of(name string) *series {
	if c[name] == nil {
		c[name] = &series{parts: map[string][]pair{}}
	}
	return c[name]
}

// rows are the wanted figures that were measured, in order.
func (c collection) rows(wanted selection) []row {
	var rows []row
	for _, f := range figures {
		s := c[f.name]
		if !wanted[f.name] || s == nil || len(s.runs) == 0 {
			continue
		}
		r := row{Name: f.name, Unit: f.unit, Mark: f.mark, Against: f.against(), What: f.what, Runs: s.runs, pair: medians(s.runs)}
		var ratios []float64
		for _, p := range s.runs {
			ratios = append(ratios, ratioOf(p.Knxfleet, p.Naive))
		}
		r.Ratio = median(ratios)
		for part, values := range s.parts {
			if r.Parts == nil {
				r.Parts = map[string]pair{}
			}
			r.Parts[part] = medians(values)
		}
		if f.met != nil {
			met := f.met(r)
			r.Met = &met
		}
		rows = append(rows, r)
	}
	return rows
}

func medians(pairs []pair) pair {
	var a, b []float64
	for _, p := range pairs {
		a, b = append(a, p.Knxfleet), append(b, p.Naive)
	}
	return pair{median(a), median(b)}
}

// spread is the least, the median and the most of one value of the runs.
func (r row) spread(value func(pair) float64) string {
	var values []float64
	for _, p := range r.Runs {
		values = append(values, value(p))
	}
	return fmt.Sprintf("%s / %s / %s", short(slices.Min(values)), short(median(values)), short(slices.Max(values)))
}
