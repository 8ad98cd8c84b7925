//go:build confined && linux

package confinetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process runs beside the test and ends with its context: by SIGTERM, and by
// SIGKILL if it does not obey.
type process struct {
	cmd *exec.Cmd
	log string // file with what it prints
	t   *testing.T
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, log: filepath.Join(t.TempDir(), "log"), t: t}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v (root needs CAP_SYS_ADMIN to make namespaces)", strings.Join(cmd.Args, " "), err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // by now the context has ended, and mostly the process too
		if t.Failed() {
			t.Logf("%s: %s\n%s", strings.Join(cmd.Args, " "), cmd.ProcessState, p.output())
		}
	})
	return p
}

// output is what the process has printed so far.
func (p *process) output() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// said reports, as an error, that a text has not been printed yet.
func (p *process) said(text string) error {
	if !bytes.Contains(p.output(), []byte(text)) {
		return fmt.Errorf("it has not said %q", text)
	}
	return nil
}

// heard reports, as an error, that a watch has not yet shown a telegram that a
// building sent by itself.
func (p *process) heard(building string) error {
	for line := range bytes.Lines(p.output()) {
		var telegram struct {
			Building      string
			SentByGateway bool
		}
		if json.Unmarshal(line, &telegram) == nil && telegram.Building == building && !telegram.SentByGateway {
			return nil
		}
	}
	return fmt.Errorf("no telegram of %s", building)
}

// must runs a command that has to succeed and to print want.
func must(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(want)) {
		t.Fatalf("%s: %v, want %q in its output:\n%s", strings.Join(cmd.Args[1:], " "), err, want, out)
	}
}

// eventually waits until check succeeds, and fails the test with its last error.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	const patience = 30 * time.Second
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
	}
}
