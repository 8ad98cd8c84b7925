package naive_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
	"github.com/knxfleet/knxfleet/cmd/loadtest/naive"
	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	"github.com/knxfleet/knxfleet/internal/simulator"
)

// asNaive makes the test's binary the process that is tested: its tunnels end only
// with it.
const asNaive = "LOADTEST_AS_NAIVE"

func TestMain(m *testing.M) {
	if os.Getenv(asNaive) != "" {
		if err := naive.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Two buildings are connected without anything said to them, and what they send
// arrives.
func TestNaiveReceives(t *testing.T) {
	sim := simulate(t, 2)
	child := start(t)
	var files []string
	for _, b := range sim.Buildings() {
		files = append(files, b.WGQuick())
	}
	if err := child.Call(t.Context(), "Start", files, &control.Nothing{}); err != nil {
		t.Fatal(err)
	}
	if err := child.Call(t.Context(), "MeasureAges", true, &control.Nothing{}); err != nil {
		t.Fatal(err)
	}
	// A datagram from each is lost until its session is there.
	until(t, "datagrams of both buildings", func() bool {
		connected := uint64(0)
		for _, b := range sim.Buildings() {
			if err := sim.Do(t.Context(), b, func(_ time.Time, b *simulator.Building) {
				connected += min(b.Router().Handshakes, 1)
				b.SendPlain(naive.Port, stamp.Append(nil, stamp.Now()))
			}); err != nil {
				t.Fatal(err)
			}
		}
		var received uint64
		if err := child.Call(t.Context(), "Received", control.Nothing{}, &received); err != nil {
			t.Fatal(err)
		}
		return connected == 2 && received >= 4
	})
	var ages []int64
	if err := child.Call(t.Context(), "TakeAges", control.Nothing{}, &ages); err != nil || len(ages) < 4 {
		t.Fatalf("%d ages, %v", len(ages), err)
	}
	for _, age := range ages {
		if age <= 0 || age > int64(time.Minute) {
			t.Errorf("a datagram was under way for %v", time.Duration(age))
		}
	}
	serves(t, child)
}

func TestNaiveRefusesFiles(t *testing.T) {
	child := start(t)
	if err := child.Call(t.Context(), "Start", []string{"[Interface]\n"}, &control.Nothing{}); err == nil {
		t.Error("an empty file gives a tunnel")
	}
}

func simulate(t *testing.T, buildings int) *simulator.Simulator {
	t.Helper()
	socket, port, err := simulator.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	sim, err := simulator.New(simulator.Config{Buildings: buildings, Seed: 1}, socket, port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := sim.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return sim
}

func start(t *testing.T) *control.Child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asNaive+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := control.Connect(out, in)
	t.Cleanup(func() {
		_ = child.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("naive ends with %v", err)
		}
	})
	return child
}

// serves looks for metrics and profiles.
func serves(t *testing.T, child *control.Child) {
	t.Helper()
	var address string
	if err := child.Call(t.Context(), "Address", control.Nothing{}, &address); err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	for _, path := range []string{"/metrics", "/debug/pprof/heap?gc=1"} {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !reached() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(what + ": not within 30 s")
		}
	}
}
