package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// affinityVariable tells the process that was started on one CPU where it may
// run in the end: "PID: CPU,CPU,...". The process id keeps the variable from
// meaning anything to another process that inherits it, and from a loop, since a
// process keeps its id when it executes itself.
const affinityVariable = "KNXFLEET_STARTED_ON_ONE_CPU"

// startOnOneCPU makes wireguard-go start one worker of each kind for a tunnel
// instead of one for each CPU. It takes their number from runtime.NumCPU, which the
// Go runtime reads once, at its start, from the process's affinity. So the process
// narrows its affinity to one CPU, executes itself, and then widens the affinity
// of all its threads to what it was; GOMAXPROCS follows. See
// docs/adr/0020-affinity-start.md.
//
// It needs no privilege. When a step fails, there is a warning, and the tunnels
// cost what they cost without it. The context to go on with ends by the signals
// that ctx ends by.
func startOnOneCPU(ctx context.Context, log zerolog.Logger) context.Context {
	warn := func(err error) {
		log.Warn().Err(err).Msg("affinity start failed: each tunnel costs goroutines and memory for every CPU")
	}
	allowed, narrowed, err := takeAffinity()
	if err != nil {
		warn(err)
		return ctx
	}
	if narrowed {
		if err := widen(&allowed); err != nil {
			warn(err)
		}
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.SetDefaultGOMAXPROCS() // from the affinity and the cgroup's limit, as at any start
		}
		return ctx
	}
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		warn(fmt.Errorf("which CPUs are allowed: %w", err))
		return ctx
	}
	if allowed.Count() < 2 {
		return ctx
	}

	// A signal from here on ends the process as it would have before its first
	// line; one that came before is seen now.
	signal.Reset(stopSignals...)
	if ctx.Err() != nil {
		return ctx
	}
	warn(executeOnOneCPU(&allowed)) // returns only when it failed
	again, _ := signal.NotifyContext(ctx, stopSignals...)
	return again
}

// takeAffinity reads and removes the variable, and reports whether this process
// was started on one CPU and should widen its affinity to allowed.
func takeAffinity() (allowed unix.CPUSet, narrowed bool, err error) {
	value, ok := os.LookupEnv(affinityVariable)
	if !ok {
		return allowed, false, nil
	}
	if err := os.Unsetenv(affinityVariable); err != nil {
		return allowed, false, err
	}
	pid, cpus, _ := strings.Cut(value, ": ")
	if pid != strconv.Itoa(os.Getpid()) {
		return allowed, false, nil
	}
	for cpu := range strings.SplitSeq(cpus, ",") {
		n, err := strconv.Atoi(cpu)
		if err != nil || n < 0 {
			return allowed, false, fmt.Errorf("%s=%q: want process id and CPU numbers", affinityVariable, value)
		}
		allowed.Set(n)
	}
	return allowed, true, nil
}

// executeOnOneCPU replaces the process by itself, on one of the allowed CPUs. It
// returns only with an error, and nothing is changed then.
func executeOnOneCPU(allowed *unix.CPUSet) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := os.ReadDir(threads); err != nil {
		return err // the affinity could not be widened again
	}
	var cpus []string
	for cpu := range len(allowed) * strconv.IntSize {
		if allowed.IsSet(cpu) {
			cpus = append(cpus, strconv.Itoa(cpu))
		}
	}
	first, err := strconv.Atoi(cpus[0])
	if err != nil {
		return err
	}
	var one unix.CPUSet
	one.Set(first)

	// The affinity is the thread's, and the thread that executes is the one that stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("narrow the affinity to CPU %d: %w", first, err)
	}
	environ := append(os.Environ(), fmt.Sprintf("%s=%d: %s", affinityVariable, os.Getpid(), strings.Join(cpus, ",")))
	err = syscall.Exec(program, os.Args, environ) //nolint:gosec // our own program, with the arguments it was given
	return errors.Join(fmt.Errorf("execute %s: %w", program, err), unix.SchedSetaffinity(0, allowed))
}

// threads has an entry for each thread of the process, those of the Go runtime included.
const threads = "/proc/self/task"

// widen lets every thread run on all of the allowed CPUs. A thread inherits its
// affinity from the one that starts it, so it goes on until there are no new ones.
func widen(allowed *unix.CPUSet) error {
	widened := make(map[string]bool)
	for found := true; found; {
		tasks, err := os.ReadDir(threads)
		if err != nil {
			return fmt.Errorf("widen the affinity: %w", err)
		}
		found = false
		for _, task := range tasks {
			if widened[task.Name()] {
				continue
			}
			found, widened[task.Name()] = true, true
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return fmt.Errorf("widen the affinity: %w", err)
			}
			if err := unix.SchedSetaffinity(tid, allowed); err != nil && !errors.Is(err, unix.ESRCH) { // ended meanwhile
				return fmt.Errorf("widen the affinity of thread %d: %w", tid, err)
			}
		}
	}
	return nil
}
