package pathtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gateway is a `knxfleet serve` and two clients that note what it says from its
// start to its end.
type gateway struct {
	binary string
	server string // gRPC address
	http   string
	tunnel string // UDP address
	// endpoint is where routers reach the tunnels' address; empty: not said.
	endpoint string
	dir      string
	cmd      *exec.Cmd
	log      *logBuffer

	statuses  *statuses
	telegrams *telegrams
}

// root is the module's folder.
const root = "../.."

// build compiles the binary.
func build(t *testing.T) string {
	t.Helper()
	lookAtSource(t)
	out := filepath.Join(t.TempDir(), "knxfleet")
	cmd := exec.Command("go", "build", "-o", out, "./cmd/knxfleet")
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

// lookAtSource reads the folders of the module. So go test, which notes what a
// test opens, knows that a result is out of date when the gateway's source has
// changed; this package does not import it.
func lookAtSource(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name := d.Name(); err == nil && d.IsDir() && path != root && (name == "bin" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// freePort finds a port that nobody listens on, below those that the system
// hands out by itself, so that it stays free while the gateway restarts.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(8_000))
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		tcp.Close()
		if err != nil {
			continue
		}
		udp.Close()
		return address
	}
	t.Fatal("no free port from 20000 to 27999")
	return ""
}

// newGateway makes a gateway that does not run yet; it has ended when the test
// ends.
func newGateway(t *testing.T) *gateway {
	g := &gateway{
		binary: build(t), server: freePort(t), http: freePort(t), tunnel: freePort(t),
		dir: filepath.Join(t.TempDir(), "data"), log: &logBuffer{},
	}
	t.Cleanup(func() {
		if g.cmd != nil {
			g.kill(t)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.log.tail(30_000))
		}
	})
	return g
}

// start runs serve, waits until it answers, and begins to note.
func (g *gateway) start(t *testing.T) {
	t.Helper()
	g.cmd = exec.Command(g.binary, "serve", "--data-dir", g.dir, "--grpc-listen", g.server,
		"--http-listen", g.http, "--tunnel-listen", g.tunnel, "--log-level", "debug")
	if g.endpoint != "" {
		g.cmd.Args = append(g.cmd.Args, "--tunnel-endpoint", g.endpoint)
	}
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the gateway answers", func() error {
		out, err := g.try(5*time.Second, "buildings", "list")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	g.telegrams = g.watch(t)
	g.statuses = g.watchBuildings(t)
}

// stop sends SIGTERM and wants exit status 0 within 10 s.
func (g *gateway) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	process := g.cmd.Process
	late := time.AfterFunc(10*time.Second, func() { _ = process.Kill() }) // it may end in this moment
	err := g.cmd.Wait()
	took := time.Since(began)
	g.cmd = nil
	if !late.Stop() {
		t.Fatal("serve did not end within 10 s of SIGTERM")
	}
	if err != nil {
		t.Fatalf("serve after SIGTERM: %v, want exit status 0", err)
	}
	return took
}

// kill ends the gateway as a crash does.
func (g *gateway) kill(t *testing.T) {
	t.Helper()
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := g.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Errorf("wait: %v", err)
	}
	g.cmd = nil
}

// run runs a client command that must succeed.
func (g *gateway) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.try(time.Minute, args...)
	if err != nil {
		t.Fatalf("knxfleet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// reconnects is how often the gateway has made a building's session anew.
func (g *gateway) reconnects(t *testing.T, id string) uint64 {
	t.Helper()
	var b struct {
		Status struct {
			Counters struct {
				Reconnects uint64 `json:",string"`
			}
		}
	}
	if err := json.Unmarshal([]byte(g.run(t, "buildings", "get", id, "-o", "json")), &b); err != nil {
		t.Fatal(err)
	}
	return b.Status.Counters.Reconnects
}

// try runs a client command and returns what it printed.
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

// eventually waits until check succeeds, and fails the test with its last error.
func eventually(t *testing.T, patience time.Duration, what string, check func() error) {
	t.Helper()
	if err := within(patience, check); err != nil {
		t.Fatalf("not within %v: %s: %v", patience, what, err)
	}
}

// within tries check until it succeeds, and returns its last error if it does
// not in time.
func within(patience time.Duration, check func() error) error {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}
