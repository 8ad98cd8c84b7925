//go:build confined && linux

package confinetest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM.
const stopTimeout = 10 * time.Second

func TestServeConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatalf("uid %d: want root, to make namespaces and to become another user; run sudo make confined", os.Geteuid())
	}
	image := readDockerfile(t)
	if want := fmt.Sprintf("%d:%d", nonroot, nonroot); image.user != want {
		t.Fatalf("Dockerfile: USER %s, want %s", image.user, want)
	}
	root := t.TempDir()
	binary := filepath.Join(root, "knxfleet")
	image.build(t, binary)
	checkStatic(t, binary)
	if err := os.Mkdir(filepath.Join(root, "data"), 0o755); err != nil {
		t.Fatal(err)
	}

	// The buildings, played without confinement.
	files := t.TempDir()
	sim := start(t, exec.CommandContext(t.Context(), binary, "sim", "--buildings", "3", "--rate", "2", "--out", files))
	eventually(t, "the simulator plays", func() error { return sim.said("3 buildings at UDP port") })

	// The gateway, as in the image; only its ports are free ones of loopback.
	env := slices.Concat(image.env, []string{"KNXFLEET_GRPC_LISTEN=127.0.0.1:0", "KNXFLEET_HTTP_LISTEN=127.0.0.1:0", "KNXFLEET_TUNNEL_LISTEN=127.0.0.1:0"})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gateway := start(t, confined(ctx, root, env, image.args...))
	var at struct{ Message, GRPC, HTTP string }
	eventually(t, "the gateway serves", func() error {
		for line := range bytes.Lines(gateway.output()) {
			if json.Unmarshal(line, &at) == nil && at.Message == "serving" {
				return ready("http://" + at.HTTP + "/readyz")
			}
		}
		return errors.New("no log line says where it serves")
	})
	checkConfined(t, gateway.cmd.Process.Pid)

	// Its clients, from outside.
	client := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "KNXFLEET_SERVER="+at.GRPC)
		return cmd
	}
	watch := start(t, client("watch", "-o", "json"))
	buildings := []string{"b1", "b2", "b3"}
	for i, id := range buildings {
		file := filepath.Join(files, fmt.Sprintf("building-%d.conf", i+1))
		must(t, client("buildings", "create", id, "--wg-quick", file, "--knx", "192.168.1.3:3671", "--wait", "30s"), "ONLINE")
		must(t, client("write", id, "1/2/1", "on", "--dpt", "1.001"), "CONFIRMED")
	}
	for _, id := range buildings {
		eventually(t, "a telegram from "+id, func() error { return watch.heard(id) })
	}

	checkConfined(t, gateway.cmd.Process.Pid) // nothing has been gained since
	stop()
	began := time.Now()
	// The error is not asked: it would only say that the context has ended.
	_ = gateway.cmd.Wait()
	if code := gateway.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("serve after SIGTERM: %s after %v, want exit status 0 within %v", gateway.cmd.ProcessState, time.Since(began), stopTimeout)
	}
	t.Logf("serve ended %v after SIGTERM", time.Since(began).Round(time.Millisecond))
}

// checkStatic wants an executable that needs neither a loader nor a library.
func checkStatic(t *testing.T, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has a segment %s", binary, p.Type)
		}
	}
}

// checkConfined asks the kernel what a process may do and what it sees.
func checkConfined(t *testing.T, pid int) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	status := map[string]string{}
	for line := range strings.Lines(read("status")) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	const none, four = "0000000000000000", "65532 65532 65532 65532" // real, effective, saved, file system
	for key, want := range map[string]string{
		"Name": "knxfleet", "Uid": four, "Gid": four, "Groups": "65532", "NoNewPrivs": "1",
		"CapBnd": none, "CapPrm": none, "CapEff": none, "CapInh": none, "CapAmb": none,
	} {
		if status[key] != want {
			t.Errorf("/proc/%d/status: %s: %q, want %q", pid, key, status[key], want)
		}
	}

	mounts := map[string]string{}
	for line := range strings.Lines(read("mountinfo")) {
		fields := strings.Fields(line)
		options := strings.Split(fields[5], ",")
		mounts[fields[4]] = options[0]
	}
	if want := map[string]string{"/": "ro", "/data": "rw"}; !maps.Equal(mounts, want) {
		t.Errorf("mounts: %v, want %v", mounts, want)
	}
	seen, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range seen {
		names = append(names, entry.Name())
	}
	if want := []string{"data", "knxfleet"}; !slices.Equal(names, want) {
		t.Errorf("/ holds %v, want %v and so no /dev/net/tun", names, want)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/probe", pid), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a write to /: %v, want %v", err, syscall.EROFS)
	}
}

// ready asks as the kubelet does.
func ready(url string) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
