//go:build rig

package rigtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build compiles one of the project's commands.
func build(t *testing.T, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = "../.."
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// gateway is a running `knxfleet serve`.
type gateway struct {
	binary string
	server string // gRPC address
	tunnel string // UDP address
	dir    string
	cmd    *exec.Cmd
	log    *logBuffer
}

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newGateway(t *testing.T, binary string) *gateway {
	g := &gateway{binary: binary, server: freePort(t), tunnel: freePort(t), dir: filepath.Join(t.TempDir(), "data")}
	t.Cleanup(func() {
		if g.cmd != nil {
			g.kill(t)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.log.tail(20_000))
		}
	})
	return g
}

// start runs serve and waits until it answers.
func (g *gateway) start(t *testing.T) {
	t.Helper()
	if g.log == nil {
		g.log = &logBuffer{}
	}
	g.cmd = exec.Command(g.binary, "serve", "--data-dir", g.dir, "--grpc-listen", g.server,
		"--http-listen", freePort(t), "--tunnel-listen", g.tunnel, "--log-level", "debug")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the gateway answers", func() error {
		_, err := g.try(5*time.Second, "buildings", "list")
		return err
	})
}

// stop sends SIGTERM and wants exit status 0 within 10 s.
func (g *gateway) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.cmd.Wait() }()
	select {
	case err := <-done:
		g.cmd = nil
		if err != nil {
			t.Fatalf("serve after SIGTERM: %v, want exit status 0", err)
		}
	case <-time.After(10 * time.Second):
		g.kill(t)
		t.Fatal("serve did not end within 10 s of SIGTERM")
	}
	return time.Since(began)
}

func (g *gateway) kill(t *testing.T) {
	t.Helper()
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, syscall.ECHILD) {
		t.Logf("wait: %v", err)
	}
	g.cmd = nil
}

// run runs a client command that must succeed.
func (g *gateway) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.try(2*time.Minute, args...)
	if err != nil {
		t.Fatalf("knxfleet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (g *gateway) try(patience time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := g.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (g *gateway) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.binary, args...)
	cmd.Env = append(os.Environ(), "KNXFLEET_SERVER="+g.server)
	return cmd
}

// building is what `buildings get -o json` says.
type building struct {
	ID     string
	Status struct{ State, Reason, Message string }
}

func (g *gateway) building(t *testing.T, id string) building {
	t.Helper()
	var b building
	if err := json.Unmarshal([]byte(g.run(t, "buildings", "get", id, "-o", "json")), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// waitState waits until a building is in a state, or in any but it.
func (g *gateway) waitState(t *testing.T, patience time.Duration, id, state string, want bool) time.Duration {
	t.Helper()
	began := time.Now()
	what := id + " is " + state
	if !want {
		what = id + " is not " + state
	}
	eventually(t, patience, what, func() error {
		b := g.building(t, id)
		if (b.Status.State == "STATE_"+state) != want {
			return errors.New(b.Status.State + " " + b.Status.Reason + ": " + b.Status.Message)
		}
		return nil
	})
	return time.Since(began)
}

// telegram is a line of `watch -o json`.
type telegram struct {
	Building, Source, Destination, Kind, Raw string
	SentByGateway                            bool
}

// watcher is a running `knxfleet watch -o json`.
type watcher struct {
	mu        sync.Mutex
	telegrams []telegram
	cmd       *exec.Cmd
	done      chan struct{}
}

// watch starts a watcher; it sees what happens after it has returned.
func (g *gateway) watch(t *testing.T) *watcher {
	t.Helper()
	w := &watcher{done: make(chan struct{})}
	w.cmd = g.command(context.Background(), "watch", "-o", "json")
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	w.cmd.Stderr = &errOut
	subscribed := g.log.count("stream opened")
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		w.read(out)
	}()
	t.Cleanup(func() {
		if err := w.cmd.Process.Kill(); err == nil {
			<-w.done
			_ = w.cmd.Wait() // killed
		}
	})
	eventually(t, 10*time.Second, "the watch is open", func() error {
		if g.log.count("stream opened") == subscribed {
			return errors.New("not yet: " + errOut.String())
		}
		return nil
	})
	return w
}

func (w *watcher) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var tg telegram
		if json.Unmarshal(lines.Bytes(), &tg) == nil && tg.Building != "" {
			w.mu.Lock()
			w.telegrams = append(w.telegrams, tg)
			w.mu.Unlock()
		}
	}
}

func (w *watcher) seen() []telegram {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]telegram(nil), w.telegrams...)
}

// eventually waits until check succeeds, and fails the test with its last error.
func eventually(t *testing.T, patience time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", patience, what, err)
		}
		<-tick.C
	}
}

// logBuffer keeps a process's log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func (l *logBuffer) tail(n int) string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.buf.String()
	return s[max(0, len(s)-n):]
}
