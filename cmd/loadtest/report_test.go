package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-rewrite makes it anew); got:\n%s", name, got)
	}
}

// found is what three runs may give.
func found() collection {
	c := collection{}
	for _, run := range []float64{0.9, 1, 1.2} {
		c.add("rss_per_building", pair{201.4 * run, 535})
		c.explain("rss_per_building", "in all", pair{240_000 * run, 580_000})
		c.add("threads_per_building", pair{0, 1})
		c.add("start_wall", pair{5 * run, 2.68})
		c.add("delivery_cpu", pair{2.1 * run, 8.6})
		c.explain("delivery_cpu", partDeliveryP50, pair{6, 40})
		c.add("latency_p99", pair{0, 0})
	}
	return c
}

func example(t *testing.T) report {
	t.Helper()
	wanted, err := choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	return report{Figures: found().rows(wanted), Buildings: 1000, Runs: 3, Machine: "2 processors", Notes: []string{"A note."}}
}

func TestReportForPrograms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	if err := writeJSON(path, example(t)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", text)
	var read struct {
		Figures []struct {
			Name, Unit             string
			Knxfleet, Naive, Ratio *float64
			Mark                   *string
		}
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	for _, f := range read.Figures {
		if f.Knxfleet == nil || f.Naive == nil || f.Ratio == nil || f.Mark == nil || f.Unit == "" {
			t.Errorf("%s lacks a field", f.Name)
		}
	}
}

func TestReportForPeople(t *testing.T) {
	var table bytes.Buffer
	if err := example(t).show(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", table.Bytes())
}

// A plot is well-formed and the same each time; that of zeros too.
func TestPlot(t *testing.T) {
	for _, r := range example(t).Figures {
		var plot bytes.Buffer
		if err := plotRow(&plot, r); err != nil {
			t.Fatal(err)
		}
		if r.Name == "rss_per_building" {
			golden(t, "rss_per_building.svg", plot.Bytes())
		}
		svg := xml.NewDecoder(&plot)
		for {
			_, err := svg.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
		}
	}
}

func TestMarks(t *testing.T) {
	met := map[string]bool{}
	for _, r := range example(t).Figures {
		if r.Met != nil {
			met[r.Name] = *r.Met
		}
	}
	// rss: both halves of the mark hold; delivery_cpu: the ratio does, the latency
	// does not.
	for name, want := range map[string]bool{"rss_per_building": true, "threads_per_building": true, "delivery_cpu": false, "latency_p99": true} {
		if got, ok := met[name]; !ok || got != want {
			t.Errorf("%s: met %v (%v), want %v", name, got, ok, want)
		}
	}
	if _, ok := met["start_wall"]; ok {
		t.Error("start_wall has a mark")
	}
}

func TestChoose(t *testing.T) {
	wanted, err := choose([]string{"start_wall", "latency_p50"})
	if err != nil || !wanted["start_wall"] || !wanted.any("cpu_per_telegram", "latency_p50") || wanted["latency_p99"] {
		t.Errorf("%v, %v", wanted, err)
	}
	if _, err := choose([]string{"speed"}); err == nil || !strings.Contains(err.Error(), "latency_p99") {
		t.Errorf("an unknown figure gives %v", err)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 12: "12", 12.34: "12.3", 0.5: "0.5", 1: "1", 2862.4: "2862", 0.00123: "0.00123", 1e9: "1000000000", -0.0251: "-0.0251", 0.0001: "0", 99.96: "100",
	} {
		if got := short(v); got != want {
			t.Errorf("%v is shown as %s, want %s", v, got, want)
		}
	}
	if got := short(math.NaN()); got != "NaN" {
		t.Errorf("no number is shown as %s", got)
	}
}

// Limits are told before anything starts, with what would do.
func TestLimits(t *testing.T) {
	if err := checkLimits(1000, 6000); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		buildings int
		limit     uint64
		want      string
	}{{9501, 1 << 20, "9500"}, {1000, 4096, "at most 7"}} {
		if err := checkLimits(c.buildings, c.limit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d buildings with %d descriptors: %v", c.buildings, c.limit, err)
		}
	}
}
