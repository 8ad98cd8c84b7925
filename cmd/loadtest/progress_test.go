package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown strings.Builder
		steps := []step{
			{"begin", time.Second, func(context.Context) error { return nil }},
			{"go on", 2 * time.Minute, func(ctx context.Context) error { return pause(ctx, 90*time.Second) }},
		}
		if err := runSteps(t.Context(), &shown, steps); err != nil {
			t.Fatal(err)
		}
		want := "2 steps, about 2m1s\n[1/2, 2m1s left] begin\n[2/2, 2m0s left] go on\n  1m0s of about 2m0s\n"
		if shown.String() != want {
			t.Errorf("shown:\n%swant:\n%s", shown.String(), want)
		}
	})
}

// The first step that fails is the last, and an interruption says where it came.
func TestStepsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := step{"never", time.Second, func(context.Context) error { t.Error("a step after the end"); return nil }}
		failing := step{"fail", time.Second, func(context.Context) error { return errors.New("it is broken") }}
		err := runSteps(t.Context(), &strings.Builder{}, []step{failing, never})
		if err == nil || err.Error() != "fail: it is broken" {
			t.Errorf("the error is %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		waiting := step{"wait", time.Hour, func(ctx context.Context) error { return pause(ctx, time.Hour) }}
		err = runSteps(ctx, &strings.Builder{}, []step{waiting, never})
		if err == nil || err.Error() != "interrupted during: wait" {
			t.Errorf("the error is %v", err)
		}
	})
}

// The plan takes what is wanted, and tells about how long it takes.
func TestPlan(t *testing.T) {
	plan := func(only ...string) (names string, takes time.Duration) {
		wanted, err := choose(only)
		if err != nil {
			t.Fatal(err)
		}
		m := &measurement{wanted: wanted, settings: &settings{
			buildings: 500, runs: 3, settleFor: time.Minute, longFor: 10 * time.Minute, idleFor: 250 * time.Second, loadFor: 20 * time.Second, rate: 5000, subscribers: 100,
		}}
		for _, s := range m.plan() {
			names += s.what + "\n"
			takes += s.takes
		}
		return names, takes
	}
	quick, takes := plan("rss_per_building", "goroutines_per_building", "fds_per_building", "threads_per_building", "start_cpu_per_building")
	if takes > 6*time.Minute || strings.Contains(quick, "at rest") || strings.Contains(quick, "subscribers") || strings.Contains(quick, "GC") {
		t.Errorf("memory and start at 500 buildings take %v:\n%s", takes, quick)
	}
	all, _ := plan()
	for _, want := range []string{"run 3 of 3: both at rest", "run 2 of 3: knxfleet and mosquitto", "run 1 of 3, GC forced: both at 1 telegram/s"} {
		if !strings.Contains(all, want) {
			t.Errorf("the whole plan lacks %q:\n%s", want, all)
		}
	}
	if long, _ := plan("rss_per_building_long"); strings.Contains(long, "run 1 of 3: ") {
		t.Errorf("more than is wanted:\n%s", long)
	}
}
