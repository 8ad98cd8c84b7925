package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts of testdata/script. They measure the binary that
// BINARY names, for a few seconds each.
func TestScripts(t *testing.T) {
	w, err := newWorkshop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	binary, err := w.build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BINARY", binary)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // which is 1 s for each process
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "tmp"))
			return os.MkdirAll(env.Getenv("TMPDIR"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       exits,
			"interrupt":   interrupt,
			"wait-step":   waitStep,
			"left-behind": leftBehind,
		},
	})
}

// exits CODE PROGRAM [ARGUMENT...] runs a program that must end with the code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// interrupt sends the commands in the background what Ctrl-C sends.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGINT))
	}
}

// wait-step FILE TEXT waits until a command has written the text.
func waitStep(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: wait-step FILE TEXT")
	}
	reached, err := every(context.Background(), 50*time.Millisecond, 60*time.Second, func() (bool, error) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return strings.Contains(string(text), args[1]), err
	})
	ts.Check(err)
	if !reached {
		ts.Fatalf("%s does not say %q", args[0], args[1])
	}
}

// left-behind finds temporary files, and processes that have some of them open or
// in their command line.
func leftBehind(ts *testscript.TestScript, neg bool, _ []string) {
	dir := ts.Getenv("TMPDIR")
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	ts.Check(err)
	for _, p := range processes {
		// A process that ends meanwhile has neither.
		command, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		out, _ := os.Readlink(filepath.Join(p, "fd", "2"))
		if strings.Contains(string(command), dir) || strings.HasPrefix(out, dir) {
			found = append(found, fmt.Sprintf("process %s: %s", filepath.Base(p), strings.ReplaceAll(string(command), "\x00", " ")))
		}
	}
	if neg && len(found) > 0 {
		ts.Fatalf("left behind: %s", strings.Join(found, "; "))
	}
	if !neg && len(found) == 0 {
		ts.Fatalf("nothing is there")
	}
}
