package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/knxfleet/knxfleet/cmd/loadtest/control"
)

// workshop is the temporary folder of a run of the program and the processes that
// it started. Close ends those, by their ids, and removes the folder.
type workshop struct {
	dir     string
	started []*process
}

func newWorkshop() (*workshop, error) {
	dir, err := os.MkdirTemp("", "knxfleet-loadtest-")
	if err != nil {
		return nil, err
	}
	return &workshop{dir: dir}, nil
}

// Close is for the end, whatever the reason; the processes started last end first.
func (w *workshop) Close() error {
	var failed error
	for _, p := range slices.Backward(w.started) {
		failed = errors.Join(failed, p.stop(), p.log.Close())
	}
	return errors.Join(failed, os.RemoveAll(w.dir))
}

// folder makes a new folder.
func (w *workshop) folder(name string) (string, error) { return os.MkdirTemp(w.dir, name+"-") }

// process is a child process. Its own group keeps the terminal's Ctrl-C from it:
// whoever started it ends it.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *os.File       // ours until the workshop is closed
	child *control.Child // nil: not from this binary
	ended chan struct{}  // closed when it has ended
	err   error          // then
}

// stopTimeout is how long a process may take to end after SIGTERM; `serve` promises
// 10 s.
const stopTimeout = 15 * time.Second

// start starts a program. What it prints goes to a log in the folder, standard
// output too unless the command has one already.
func (w *workshop) start(name string, cmd *exec.Cmd) (*process, error) {
	log, err := os.CreateTemp(w.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = environment()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	p := &process{name: name, cmd: cmd, log: log, ended: make(chan struct{})}
	w.started = append(w.started, p)
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// environment is ours without what would set the gateway's flags.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KNXFLEET_") })
}

// startSelf starts this binary with a command that package control calls.
func (w *workshop) startSelf(name string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...) //nolint:noctx,gosec // ended by stop, which does not kill at once; this binary itself
	cmd.Args[0] = os.Args[0]
	// Not StdinPipe and StdoutPipe: Wait closes those while the last reply is read.
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	cmd.Stdin, cmd.Stdout = childIn, childOut
	p, err := w.start(name, cmd)
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	p.child = control.Connect(out, in)
	return p, nil
}

// call calls a method of a child of this binary.
func (p *process) call(ctx context.Context, method string, argument, reply any) error {
	if err := p.child.Call(ctx, method, argument, reply); err != nil {
		return p.explain(fmt.Errorf("%s: %s: %w", p.name, method, err))
	}
	return nil
}

// pid is the process's id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// cpu is what it has used so far.
func (p *process) cpu() (time.Duration, error) {
	used, err := cpuTime(p.pid())
	if err != nil {
		return 0, p.explain(fmt.Errorf("%s: %w", p.name, err))
	}
	return used, nil
}

// stop ends the process: it is asked, and killed if it does not. It is idempotent.
// How the process ends is no error here; one that ended earlier has been noticed.
func (p *process) stop() error {
	var failed error
	if p.child != nil {
		failed = p.child.Close()
	}
	select {
	case <-p.ended:
		return failed
	default:
	}
	// It may have ended meanwhile.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
		return failed
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return errors.Join(failed, fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.name, stopTimeout))
}

// tail is how much of a process's log an error shows.
const tail = 1 << 10

// explain adds what a process said last, if it has ended unasked.
func (p *process) explain(err error) error {
	// That its answers fail may be noticed before its end is.
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		return err
	}
	log, readErr := os.ReadFile(p.log.Name())
	if readErr != nil {
		return err
	}
	log = bytes.TrimSpace(log[max(0, len(log)-tail):])
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%w; %s has ended (%s), its last words: %s", err, p.name, how, log)
}

// build compiles the gateway as it is shipped.
func (w *workshop) build(ctx context.Context) (string, error) {
	binary := filepath.Join(w.dir, "knxfleet")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/knxfleet/knxfleet/cmd/knxfleet") //nolint:gosec // the path is ours
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build knxfleet, which needs Go and a folder of the repository (or --knxfleet FILE): %w: %s", err, bytes.TrimSpace(out))
	}
	return binary, nil
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// every runs look now and then until it gives true, for at most patience.
func every(ctx context.Context, interval, patience time.Duration, look func() (bool, error)) (reached bool, err error) {
	deadline := time.Now().Add(patience)
	for {
		if reached, err := look(); reached || err != nil {
			return reached, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := pause(ctx, interval); err != nil {
			return false, err
		}
	}
}

// copyBounded copies at most limit bytes into a file.
func copyBounded(path string, from io.Reader, limit int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(from, limit))
	return errors.Join(err, f.Close())
}
