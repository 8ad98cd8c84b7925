//go:build rig

package rigtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// back is how long a building may take to come back after its fault has ended.
// WireGuard itself needs up to 20 s to notice that a router forgot its keys.
const back = 60 * time.Second

// TestRealBuildings is the product's promise on real peers: three buildings with
// the same subnet and the same tunnel address, in one unprivileged process.
func TestRealBuildings(t *testing.T) {
	binary := build(t, "./cmd/knxfleet")
	r := startRig(t, 3)
	g := newGateway(t, binary)
	g.start(t)

	t.Run("three buildings reach ONLINE", func(t *testing.T) {
		for i := 1; i <= 3; i++ {
			id := fmt.Sprintf("b%d", i)
			t.Log(g.run(t, "buildings", "create", id, "--wg-quick", r.conf(i), "--knx", "192.168.1.3:3671", "--wait", "60s"))
		}
	})
	t.Run("a telegram reaches its building's subscribers alone", func(t *testing.T) { testBusToStream(t, r, g) })
	t.Run("a write reaches its building's bus alone", func(t *testing.T) { testWrite(t, r, g) })
	t.Run("grpcurl needs nothing but reflection", func(t *testing.T) { testGrpcurl(t, r, g) })
	t.Run("bad input", func(t *testing.T) { testBadInput(t, r, g) })
	t.Run("comes back", func(t *testing.T) { testRecovery(t, r, g) })
	t.Run("the router calls", func(t *testing.T) { testRouterCalls(t, r, g) })
	t.Run("SIGTERM frees the slots", func(t *testing.T) { testStop(t, g) })
	t.Run("buildings survive kill -9", func(t *testing.T) {
		g.kill(t)
		g.start(t)
		for _, id := range []string{"b1", "b2", "b3"} {
			patience := back
			if id == "b1" {
				// Its router calls, and does so only when it renews its keys, every 120 s.
				patience = 3 * time.Minute
			}
			t.Logf("%s is ONLINE %v after the start", id, g.waitState(t, patience, id, "ONLINE", true))
		}
	})
}

func testBusToStream(t *testing.T, r *rig, g *gateway) {
	w := g.watch(t)
	for i := 1; i <= 3; i++ {
		r.b(t, "swrite", fmt.Sprint(i), fmt.Sprintf("1/2/%d", i), "1")
		sent := time.Now()
		eventually(t, time.Second, "the telegram is seen", func() error {
			if n := len(w.seen()); n < i {
				return fmt.Errorf("%d telegrams", n)
			}
			return nil
		})
		t.Logf("building %d: seen %v after knxtool had ended", i, time.Since(sent).Round(time.Millisecond))
	}
	r.b(t, "write", "2", "1/2/9", "0c", "1a")
	eventually(t, time.Second, "the fourth telegram is seen", func() error {
		if n := len(w.seen()); n < 4 {
			return fmt.Errorf("%d telegrams", n)
		}
		return nil
	})
	want := []telegram{
		{Building: "b1", Destination: "1/2/1", Kind: "KIND_WRITE", Raw: "AQ=="},
		{Building: "b2", Destination: "1/2/2", Kind: "KIND_WRITE", Raw: "AQ=="},
		{Building: "b3", Destination: "1/2/3", Kind: "KIND_WRITE", Raw: "AQ=="},
		{Building: "b2", Destination: "1/2/9", Kind: "KIND_WRITE", Raw: "DBo="},
	}
	for i, got := range w.seen() {
		got.Source = ""
		if i >= len(want) || got != want[i] {
			t.Errorf("telegram %d: %+v, want %+v", i, got, want[min(i, len(want)-1)])
		}
	}
}

func testWrite(t *testing.T, r *rig, g *gateway) {
	w := g.watch(t)
	for i := 1; i <= 3; i++ {
		r.b(t, "bus", fmt.Sprint(i), "clear")
	}
	if out := g.run(t, "write", "b2", "1/2/3", "on", "--dpt", "1.001"); out != "CONFIRMED\n" {
		t.Errorf("write: %q, want CONFIRMED", out)
	}
	if out := g.run(t, "write", "b2", "1/2/4", "-20.3", "--dpt", "9.001"); out != "CONFIRMED\n" {
		t.Errorf("write: %q, want CONFIRMED", out)
	}
	eventually(t, 5*time.Second, "the bus of building 2 has both writes", func() error {
		bus := r.b(t, "bus", "2")
		if !strings.Contains(bus, "1/2/3: 01") || !strings.Contains(bus, "1/2/4: 80 12") {
			return errors.New(bus)
		}
		return nil
	})
	for _, other := range []string{"1", "3"} {
		if bus := r.b(t, "bus", other); strings.Contains(bus, "1/2/") {
			t.Errorf("the bus of building %s has a write for building 2: %s", other, bus)
		}
	}
	// Our own confirmed writes are telegrams for the other clients.
	eventually(t, time.Second, "both writes are on the stream", func() error {
		if n := len(w.seen()); n != 2 {
			return fmt.Errorf("%d telegrams", n)
		}
		return nil
	})
	for _, got := range w.seen() {
		if got.Building != "b2" || !got.SentByGateway {
			t.Errorf("telegram %+v, want one of b2, sent by the gateway", got)
		}
	}
}

func testGrpcurl(t *testing.T, r *rig, g *gateway) {
	binary := os.Getenv("GRPCURL")
	if binary == "" {
		t.Fatal("GRPCURL is not set: want the path of grpcurl, see make rig")
	}
	call := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, append([]string{"-plaintext"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("grpcurl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	services := call(g.server, "list")
	for _, want := range []string{
		"grpc.health.v1.Health", "knxfleet.v1.BuildingService", "knxfleet.v1.TelegramService",
		"knxfleet.v1.DiagnosticsService", "knxfleet.v1.EnrollmentService",
	} {
		if !strings.Contains(services, want) {
			t.Errorf("grpcurl list lacks %s:\n%s", want, services)
		}
	}
	if out := call(g.server, "grpc.health.v1.Health/Check"); !strings.Contains(out, "SERVING") {
		t.Errorf("health: %s", out)
	}
	conf, err := os.ReadFile(r.conf(1))
	if err != nil {
		t.Fatal(err)
	}
	// The same building once more, under another name: its interface has slots enough.
	call("-d", fmt.Sprintf(`{"building":{"id":"by-hand","tunnel":{"wgQuick":%q},"knx":{"endpoint":"192.168.1.3"},"disabled":true}}`, conf),
		g.server, "knxfleet.v1.BuildingService/CreateBuilding")
	if out := call("-d", `{"id":"by-hand"}`, g.server, "knxfleet.v1.BuildingService/GetBuilding"); !strings.Contains(out, "STATE_DISABLED") ||
		strings.Contains(out, "privateKey") || strings.Contains(out, "presharedKey\"") {
		t.Errorf("GetBuilding: %s", out)
	}
	if out := call("-d", `{}`, g.server, "knxfleet.v1.BuildingService/ListBuildings"); strings.Count(out, "STATE_ONLINE") != 3 {
		t.Errorf("ListBuildings: want three ONLINE:\n%s", out)
	}
	call("-d", `{"id":"by-hand"}`, g.server, "knxfleet.v1.BuildingService/DeleteBuilding")

	var stream strings.Builder
	cmd := exec.Command(binary, "-plaintext", "-max-time", "8", "-d", `{"buildings":["b3"]}`, g.server, "knxfleet.v1.TelegramService/StreamTelegrams")
	cmd.Stdout = &stream
	opened := g.log.count("stream opened")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stream is open", func() error {
		if g.log.count("stream opened") == opened {
			return errors.New("not yet")
		}
		return nil
	})
	if out := call("-d", `{"building":"b3","groupAddress":"1/2/3","dpt":"1.001","value":"on"}`, g.server, "knxfleet.v1.TelegramService/GroupWrite"); !strings.Contains(out, "OUTCOME_CONFIRMED") {
		t.Errorf("GroupWrite: %s", out)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(stream.String(), `"destination": "1/2/3"`) {
		t.Errorf("StreamTelegrams: %v, want the write and then the end by -max-time:\n%s", err, stream.String())
	}
}

func testBadInput(t *testing.T, r *rig, g *gateway) {
	conf, err := os.ReadFile(r.conf(1))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, old, replacement string) string {
		text := strings.Replace(string(conf), old, replacement, 1)
		if text == string(conf) {
			t.Fatalf("%s: nothing replaced", name)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	before := g.run(t, "buildings", "list", "-o", "json")
	for name, c := range map[string]struct {
		args []string
		want []string // parts of the one line
		code int
	}{
		"broken file":       {[]string{"buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", file("broken", "[Peer]", "[Peer")}, []string{"wg_quick", "line 5"}, 2},
		"wrong key":         {[]string{"buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", file("key", "PublicKey = ", "PublicKey = AAA")}, []string{"PublicKey", "32 bytes"}, 2},
		"id in use":         {[]string{"buildings", "create", "b1", "--knx", "192.168.1.3", "--wg-quick", r.conf(1)}, []string{"b1", "exists"}, 2},
		"bad id":            {[]string{"buildings", "create", "Haus 1", "--knx", "192.168.1.3", "--wg-quick", r.conf(1)}, []string{"id", "a-z"}, 2},
		"bad endpoint":      {[]string{"buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", file("endpoint", "Endpoint = 127.0.0.1", "Endpoint = 300.0.0.1")}, []string{"Endpoint", "300.0.0.1"}, 2},
		"interface outside": {[]string{"buildings", "create", "x", "--knx", "192.168.7.3", "--wg-quick", r.conf(1)}, []string{"knx.endpoint", "192.168.7.3", "192.168.1.0/24"}, 2},
		"no such file":      {[]string{"buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", "/nonexistent"}, []string{"--wg-quick"}, 2},
		"group address":     {[]string{"write", "b1", "32/0/0", "on", "--dpt", "1.001"}, []string{"group_address", "31"}, 2},
		"value":             {[]string{"write", "b1", "1/2/3", "maybe", "--dpt", "1.001"}, []string{"value", "on"}, 2},
		"value range":       {[]string{"write", "b1", "1/2/3", "101", "--dpt", "5.001"}, []string{"value", "100"}, 2},
		"type":              {[]string{"write", "b1", "1/2/3", "on", "--dpt", "999.1"}, []string{"dpt"}, 2},
		"no building":       {[]string{"write", "nowhere", "1/2/3", "on", "--dpt", "1.001"}, []string{"nowhere"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := g.try(30*time.Second, c.args...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code {
				t.Errorf("%v, want exit status %d", err, c.code)
			}
			if strings.Count(strings.TrimSpace(out), "\n") != 0 {
				t.Errorf("more than one line:\n%s", out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q does not name %q", out, want)
				}
			}
			t.Log(strings.TrimSpace(out))
		})
	}
	t.Run("an endpoint that nobody answers at", func(t *testing.T) {
		silent := file("silent", fmt.Sprintf("Endpoint = 127.0.0.1:%s", endpointPort(t, string(conf))), "Endpoint = 127.0.0.1:9")
		out, err := g.try(time.Minute, "buildings", "create", "x", "--knx", "192.168.1.3", "--wg-quick", silent, "--wait", "20s")
		if err == nil || !strings.Contains(out, "HANDSHAKE_UNANSWERED") || !strings.Contains(out, "127.0.0.1:9") || !strings.Contains(out, "tunnel.endpoint") {
			t.Errorf("%v: %s", err, out)
		}
		t.Log(strings.TrimSpace(out))
		g.run(t, "buildings", "delete", "x")
	})
	t.Run("nothing is half created", func(t *testing.T) {
		eventually(t, 10*time.Second, "the list is as before", func() error {
			if after := g.run(t, "buildings", "list", "-o", "json"); strings.Count(after, "\n") != strings.Count(before, "\n") {
				return errors.New(after)
			}
			return nil
		})
	})
}

func endpointPort(t *testing.T, conf string) string {
	t.Helper()
	_, rest, ok := strings.Cut(conf, "Endpoint = ")
	if !ok {
		t.Fatal("no endpoint in the rig's file")
	}
	_, port, err := net.SplitHostPort(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func testRecovery(t *testing.T, r *rig, g *gateway) {
	for name, fault := range map[string]struct {
		building int
		begin    func()
		end      func()
	}{
		"knxd killed and started":     {1, func() { r.b(t, "knxd", "1", "kill") }, func() { r.b(t, "knxd", "1", "start") }},
		"router's WireGuard down, up": {2, func() { r.b(t, "wg", "2", "down") }, func() { r.b(t, "wg", "2", "up") }},
		"the interface off the LAN":   {3, func() { r.b(t, "knxd", "3", "unplug") }, func() { r.b(t, "knxd", "3", "plug") }},
	} {
		t.Run(name, func(t *testing.T) {
			id := fmt.Sprintf("b%d", fault.building)
			fault.begin()
			noticed := g.waitState(t, back, id, "ONLINE", false)
			b := g.building(t, id)
			fault.end()
			t.Logf("left ONLINE after %v (%s: %s), ONLINE again %v after the end", noticed, b.Status.Reason, b.Status.Message,
				g.waitState(t, back, id, "ONLINE", true))
			w := g.watch(t)
			r.b(t, "swrite", fmt.Sprint(fault.building), "1/2/7", "1")
			eventually(t, 5*time.Second, "telegrams flow again", func() error {
				if n := len(w.seen()); n != 1 {
					return fmt.Errorf("%d telegrams", n)
				}
				return nil
			})
		})
	}
	t.Run("power cut", func(t *testing.T) {
		r.script(t, 5*time.Minute, "ctl", "reboot")
		booted := time.Now()
		// The machine boots faster than an interface is missed, so a state says
		// little; that the bus takes a write says all.
		for i := 1; i <= 3; i++ {
			id := fmt.Sprintf("b%d", i)
			eventually(t, back, "the bus of "+id+" takes a write", func() error {
				out, err := g.try(time.Minute, "write", id, "1/2/3", "on", "--dpt", "1.001")
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			t.Logf("%s takes writes %v after the boot", id, time.Since(booted).Round(time.Millisecond))
			g.waitState(t, back, id, "ONLINE", true)
		}
	})
}

func testRouterCalls(t *testing.T, r *rig, g *gateway) {
	conf, err := os.ReadFile(r.conf(1))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(conf)) {
		if !strings.HasPrefix(line, "Endpoint") {
			lines = append(lines, line)
		}
	}
	path := filepath.Join(t.TempDir(), "no-endpoint.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run(t, "buildings", "delete", "b1")
	// The router still has the keys of the session that was deleted; an interface that goes down forgets them.
	r.b(t, "wg", "1", "down")
	r.b(t, "wg", "1", "up")
	g.run(t, "buildings", "create", "b1", "--wg-quick", path, "--knx", "192.168.1.3")
	eventually(t, 10*time.Second, "the building waits for its router", func() error {
		if b := g.building(t, "b1"); b.Status.State != "STATE_HANDSHAKING" || b.Status.Reason != "AWAITING_ROUTER" {
			return fmt.Errorf("%+v", b.Status)
		}
		return nil
	})
	_, port, err := net.SplitHostPort(g.tunnel)
	if err != nil {
		t.Fatal(err)
	}
	// The host's loopback, as the emulated machine sees it, is 10.0.2.2.
	r.b(t, "router", "1", "wg", "set", "wg0", "peer", r.publicKey(t, 1), "endpoint", "10.0.2.2:"+port, "persistent-keepalive", "5")
	t.Logf("ONLINE %v after the router was told to call", g.waitState(t, back, "b1", "ONLINE", true))
	r.b(t, "bus", "1", "clear")
	if out := g.run(t, "write", "b1", "1/2/3", "on", "--dpt", "1.001"); out != "CONFIRMED\n" {
		t.Errorf("write: %q", out)
	}
	if bus := r.b(t, "bus", "1"); !strings.Contains(bus, "1/2/3: 01") {
		t.Errorf("bus of building 1: %s", bus)
	}
}

// testStop restarts the gateway more often than the interface has slots: knxd
// keeps a slot that was not given back for 120 s.
func testStop(t *testing.T, g *gateway) {
	began := time.Now()
	for range 9 {
		g.watch(t)
		t.Logf("SIGTERM with an open stream: exit status 0 after %v", g.stop(t).Round(time.Millisecond))
		g.start(t)
		for _, id := range []string{"b2", "b3"} {
			g.waitState(t, 30*time.Second, id, "ONLINE", true)
		}
	}
	if took := time.Since(began); took > 110*time.Second {
		t.Errorf("nine restarts took %v: too slow to tell a slot given back from one that expired", took)
	}
}
