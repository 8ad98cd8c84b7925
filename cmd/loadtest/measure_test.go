package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The processor time of another process is what it would say itself.
func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var began, itself time.Duration
	for itself-began < 50*time.Millisecond { // by the clock a busy machine may give it nothing
		var used unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
			t.Fatal(err)
		}
		itself = time.Duration(used.Utime.Nano() + used.Stime.Nano())
		if began == 0 {
			began = itself
		}
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before || after < itself || after-itself > time.Second {
		t.Errorf("%v, then %v; the process says %v", before, after, itself)
	}
	if _, err := cpuTime(1<<22 + 1); err == nil {
		t.Error("a process that is not there has used processor time")
	}
}

func TestHeld(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("# TYPE go_goroutines gauge\ngo_goroutines 7\n" +
			"# TYPE go_memstats_heap_inuse_bytes gauge\ngo_memstats_heap_inuse_bytes 2.5e+06\n" +
			"# TYPE knxfleet_buildings gauge\nknxfleet_buildings{state=\"online\"} 3\nknxfleet_buildings{state=\"waiting\"} 4\n"))
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	f, err := held(t.Context(), os.Getpid(), server.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if f.Goroutines != 7 || f.Heap != 2.5e6 {
		t.Errorf("metrics: %+v", f)
	}
	if f.RSS < 1<<20 || f.Threads < 2 || f.Descriptors < 3 {
		t.Errorf("/proc: %+v", f)
	}
	ballast := make([]byte, 32<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	more, err := residentMemory(os.Getpid())
	runtime.KeepAlive(ballast)
	if grown := more - f.RSS; err != nil || grown < 24<<20 || grown > 96<<20 {
		t.Errorf("32 MiB more are %.0f bytes more: %v", grown, err)
	}
	families, err := scrape(t.Context(), server.URL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if got := gaugeOf(families, "knxfleet_buildings", "online"); got != 3 {
		t.Errorf("%v buildings are online", got)
	}
	if got := gaugeOf(families, "nothing", ""); got != 0 {
		t.Errorf("what is not there is %v", got)
	}
	if _, err := scrape(t.Context(), server.URL+"/other"); err == nil {
		t.Error("a page that is not there has metrics")
	}
}

// What idle buildings do is taken apart by what the seconds differ in.
func TestIdleParts(t *testing.T) {
	i := idling{took: 100 * time.Second}
	for second := range 100 {
		row := make([]float64, eventKinds)
		if second%25 == 3 {
			row[eventKeepalive] = 10
		}
		if second == 50 {
			row[eventRekey] = 10
		}
		row[eventHeartbeat] = float64(second % 3)
		row[eventSecond] = 1
		i.events = append(i.events, row)
		i.cpu = append(i.cpu, 20e-6*row[eventKeepalive]+500e-6*row[eventRekey]+60e-6*row[eventHeartbeat]+1e-3)
	}
	cores, count := i.parts()
	if count[eventKeepalive] != 40 || count[eventRekey] != 10 || count[eventHeartbeat] != 99 {
		t.Errorf("counted %v", count)
	}
	for kind, want := range [eventKinds]float64{20e-6 * 40 / 100, 500e-6 * 10 / 100, 60e-6 * 99 / 100, 1e-3} {
		if got := cores[kind]; got < 0.999*want || got > 1.001*want {
			t.Errorf("%s: %v cores, want %v", eventNames[kind], got, want)
		}
	}
}
