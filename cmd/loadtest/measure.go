package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used of all processors so far, in user and kernel,
// ended threads included. It comes from the process's own clock, in nanoseconds;
// /proc/PID/stat has the same in steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK and CPUCLOCK_SCHED of Linux, clock_getcpuclockid(3).
	const sched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// footprint is what a process holds at one moment.
type footprint struct {
	RSS         float64 // bytes, /proc/PID/smaps_rollup
	Heap        float64 // bytes in use, go_memstats_heap_inuse_bytes
	Goroutines  float64 // go_goroutines
	Threads     float64 // /proc/PID/stat
	Descriptors float64 // /proc/PID/fd
}

// held measures a process, whose metrics are at the URL. Memory is looked at before
// the metrics are asked for.
func held(ctx context.Context, pid int, metrics string) (footprint, error) {
	var f footprint
	resident, err := residentMemory(pid)
	if err != nil {
		return f, err
	}
	p, err := procfs.NewProc(pid)
	if err != nil {
		return f, err
	}
	stat, err := p.Stat()
	if err != nil {
		return f, err
	}
	descriptors, err := p.FileDescriptorsLen()
	if err != nil {
		return f, err
	}
	families, err := scrape(ctx, metrics)
	if err != nil {
		return f, err
	}
	return footprint{
		RSS:         resident,
		Heap:        gaugeOf(families, "go_memstats_heap_inuse_bytes", ""),
		Goroutines:  gaugeOf(families, "go_goroutines", ""),
		Threads:     float64(stat.NumThreads),
		Descriptors: float64(descriptors),
	}, nil
}

// residentMemory is a process's in bytes. VmRSS of /proc/PID/status may lag behind
// by some pages for each processor; this one is counted.
func residentMemory(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	maps, err := p.ProcSMapsRollup()
	if err != nil {
		return 0, err
	}
	return float64(maps.Rss), nil
}

// scrapeTimeout is long enough for a busy process, also in an emulated machine.
const scrapeTimeout = 3 * time.Minute

// scrape asks for a process's metrics.
func scrape(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	body, err := get(ctx, url)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return families, nil
}

// get opens what is at a URL; the caller closes it.
func get(ctx context.Context, url string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return response.Body, nil
}

// gaugeOf finds a value; label, if not empty, is the value of its one label. What
// is not there is 0.
func gaugeOf(families map[string]*dto.MetricFamily, name, label string) float64 {
	for _, m := range families[name].GetMetric() {
		if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
			return m.GetGauge().GetValue()
		}
	}
	return 0
}

// counterOf is the counter with a label's value.
func counterOf(families map[string]*dto.MetricFamily, name, label string) float64 {
	for _, m := range families[name].GetMetric() {
		if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
			return m.GetCounter().GetValue()
		}
	}
	return 0
}

// forceGC lets a process collect its garbage, as any Go process with profiles does.
func forceGC(ctx context.Context, profiles string) error {
	body, err := get(ctx, profiles+"/heap?gc=1")
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}
