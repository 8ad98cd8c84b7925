package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// allCPUs is the command all-cpus: every thread of the background processes may
// run where this test may, and the gateway uses as many processors as the test.
func allCPUs(ts *testscript.TestScript, _ bool, _ []string) {
	allowed := regexp.MustCompile(`(?m)^Cpus_allowed:.*$`)
	of := func(status string) string {
		text, err := os.ReadFile(status)
		ts.Check(err)
		return allowed.FindString(string(text))
	}
	want := of("/proc/thread-self/status")
	for _, cmd := range ts.BackgroundCmds() {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cmd.Process.Pid))
		ts.Check(err)
		if len(threads) == 0 {
			ts.Fatalf("%v has no threads", cmd.Args)
		}
		for _, thread := range threads {
			if got := of(thread); got != want {
				ts.Fatalf("%s has %s, want %s", thread, got, want)
			}
		}
	}
	waitHTTP(ts, false, []string{"/metrics", fmt.Sprintf("^go_sched_gomaxprocs_threads %d$", runtime.GOMAXPROCS(0))})
}

// quit sends SIGQUIT to the background processes, which print their goroutines and end.
func quit(ts *testscript.TestScript, _ bool, _ []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGQUIT))
	}
}

// encryptionWorkers is the command encryption-workers TUNNELS [each CPU]: the
// goroutine dump on standard error has one worker for each tunnel, or one for each
// tunnel and CPU.
func encryptionWorkers(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if len(args) > 1 {
		want *= runtime.NumCPU()
	}
	if got := strings.Count(ts.ReadFile("stderr"), ".RoutineEncryption("); got != want {
		ts.Fatalf("%d encryption workers, want %d", got, want)
	}
}
