//go:build interop && linux

package interoptest

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// inside marks the process that runs in the namespace.
	inside = "KNXFLEET_INTEROP_INSIDE"
	// packages is the folder of the packages for Node.js. Set it to keep them;
	// otherwise each run installs them anew.
	packages = "KNXFLEET_INTEROP_NODE_PATH"

	// host is the machine in the namespace.
	host = "10.77.0.1"
)

var samples = []sample{
	{"1/1/1", "1.001", "01", "on", "true", true, 0},
	{"1/1/2", "9.001", "8012", "-20.3", "-20.3", -20.3, 0.005},
	{"1/1/3", "9.001", "0c33", "21.5 °C", "21.5", 21.5, 0.005},
	{"1/1/4", "5.001", "80", "50 %", "50", 50.0, 0.4},
	{"1/1/5", "14.056", "44fa0000", "2000", "2000", 2000.0, 0.001},
	{"1/1/6", "13.010", "ffffffff", "-1", "-1", -1.0, 0},
}

// TestClientsOfOneBus lets each client write each value, and wants all others to
// see the same bytes, and those that decode the same value.
func TestClientsOfOneBus(t *testing.T) {
	if os.Getenv(inside) == "" {
		enterNamespace(t)
		return
	}
	server := startKNXD(t)
	clients := []*client{
		ours(t, netip.AddrPortFrom(netip.MustParseAddr(host), 3671)),
		knxtool(t, server), javascript(t, "knxultimate"), javascript(t, "knx"),
	}
	warmUp(t, clients)
	for _, sender := range clients {
		for _, s := range samples {
			t.Run(fmt.Sprintf("%s writes %s %s", sender.name, s.dpt, s.js), func(t *testing.T) {
				var from []int
				for _, c := range clients {
					_, n, _ := c.find(math.MaxInt, s)
					from = append(from, n)
				}
				if err := sender.send(s); err != nil {
					t.Fatal(err)
				}
				for i, c := range clients {
					if c == sender {
						continue // it sees its confirmation
					}
					h, ok := c.await(from[i], s)
					if !ok {
						t.Errorf("%s has not seen %s %s", c.name, s.ga, s.raw)
					} else if c.decodes && !same(h.Value, s) {
						t.Errorf("%s reads %s %s as %v, want %v", c.name, s.dpt, s.raw, h.Value, s.value)
					}
				}
			})
		}
	}
}

// warmUp waits until knxtool listens, which it does not tell.
func warmUp(t *testing.T, clients []*client) {
	t.Helper()
	for range 20 {
		if err := clients[0].send(samples[0]); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := clients[1].find(0, samples[0]); ok {
			return
		}
		<-time.After(250 * time.Millisecond)
	}
	t.Fatal("knxtool hears nothing")
}

func same(got any, s sample) bool {
	want, isNumber := s.value.(float64)
	if !isNumber {
		return got == s.value
	}
	switch got := got.(type) {
	case float64:
		return math.Abs(got-want) <= s.resolution
	case int64:
		return float64(got) == want
	}
	return false
}

// enterNamespace runs the test anew in a network namespace of its own, once all
// that it needs is there.
func enterNamespace(t *testing.T) {
	t.Helper()
	for program, from := range map[string]string{
		"knxd": "the Debian package knxd", "knxtool": "the Debian package knxd-tools", "ip": "the Debian package iproute2",
		"node": "Node.js", "npm": "Node.js",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: install %s", program, from)
		}
	}
	folder := os.Getenv(packages)
	if folder == "" {
		prefix := t.TempDir()
		install := exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", prefix, "knxultimate@5.4.0", "knx@2.5.4")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm cannot install the packages knxultimate and knx: %v\n%s", err, out)
		}
		folder = filepath.Join(prefix, "node_modules")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1", packages+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("no network namespace can be made, want root or user namespaces: %v", err)
	}
	t.Logf("\n%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
}

// startKNXD makes the namespace's network and starts knxd in it. It returns the
// socket for knxtool.
func startKNXD(t *testing.T) string {
	t.Helper()
	// knxd wants an interface other than lo, and a way for its multicast.
	for _, command := range []string{
		"link set lo up", "link add knx0 type veth peer name knx1", "addr add " + host + "/24 dev knx0",
		"link set knx0 up", "link set knx1 up", "route add default dev knx0",
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", command, err, out)
		}
	}
	socket := filepath.Join(t.TempDir(), "knxd")
	process(t, nil, func(string) {}, "knxd", "-n", "b1", "-e", "0.0.1", "-E", "0.0.2:8", "-u", socket,
		"-D", "-T", "-I", "lo", "-S", "224.0.23.12:3671", "-b", "dummy:")
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return "local:" + socket
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("knxd does not start")
	return ""
}
