//go:build rig

package pathtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRealBuildings is the table on the rig's buildings.
func TestRealBuildings(t *testing.T) {
	g := newGateway(t)
	frozen := time.Minute
	if text := os.Getenv("KNXFLEET_FROZEN"); text != "" {
		var err error
		if frozen, err = time.ParseDuration(text); err != nil {
			t.Fatalf("KNXFLEET_FROZEN: %v", err)
		}
	}
	r := startRig(t, g)
	runTable(t, g, r, pace{
		frozen: frozen,
		// The emulated processor also has to acknowledge for every building within
		// 2 s, or knxd gives a client up.
		traffic: 3 * time.Second,
		patient: true,
	})
}

// rig is an emulated machine with buildings: the kernel's WireGuard, a LAN and
// knxd for each.
type rig struct {
	dir     string // the rig's scripts
	files   string // where up wrote building-N.conf
	base    string // RIG_BASE
	gateway *gateway
	busy    chan struct{}
}

// rigSessions is how many shells the machine runs at once. It has one slow
// processor, and a short queue for those that wait.
const rigSessions = 4

// startRig boots the buildings; they are gone when the test ends.
func startRig(t *testing.T, g *gateway) *rig {
	t.Helper()
	dir := os.Getenv("RIG_DIR")
	if dir == "" {
		t.Fatal("RIG_DIR is not set: want the folder of the rig's scripts, see make rig")
	}
	if _, err := os.Stat(filepath.Join(dir, "up")); err != nil {
		t.Fatalf("RIG_DIR %q has no rig: %v", dir, err)
	}
	_, port, err := net.SplitHostPort(g.tunnel)
	if err != nil {
		t.Fatal(err)
	}
	g.endpoint = net.JoinHostPort(hostAddress, port)
	r := &rig{dir: dir, files: t.TempDir(), base: cmp.Or(os.Getenv("RIG_BASE"), "28400"), gateway: g, busy: make(chan struct{}, rigSessions)}
	t.Cleanup(func() {
		if _, err := r.script(time.Minute, "down"); err != nil {
			t.Error(err)
		}
	})
	out, err := r.script(5*time.Minute, "up", strconv.Itoa(buildings), r.files)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	return r
}

// script runs one of the rig's scripts and returns what it printed.
func (r *rig) script(patience time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.dir, name), args...)
	cmd.Env = append(os.Environ(), "RIG_BASE="+r.base)
	cmd.WaitDelay = time.Second // qemu inherits nothing, but do not wait for it
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// sh runs a shell script in the machine.
func (r *rig) sh(script string) (string, error) {
	r.busy <- struct{}{}
	defer func() { <-r.busy }()
	return r.script(30*time.Second, "ctl", script)
}

func (r *rig) file(building int) (string, error) {
	text, err := os.ReadFile(filepath.Join(r.files, fmt.Sprintf("building-%d.conf", building)))
	return string(text), err
}

func (r *rig) bus(building int) bus { return rigBus{r, building} }

type rigBus struct {
	r        *rig
	building int
}

func (b rigBus) write(destination string, value ...byte) error {
	_, err := b.r.sh(fmt.Sprintf("b write %d %s % x", b.building, destination, value))
	return err
}

// seen takes lines such as "Write from 1.1.11 to 4/1/1: 01 0C FA ".
func (b rigBus) seen() ([]string, error) {
	out, err := b.r.sh(fmt.Sprintf("b bus %d", b.building))
	var seen []string
	for line := range strings.Lines(out) {
		if _, text, ok := strings.Cut(line, " to "); ok {
			seen = append(seen, strings.TrimSpace(text))
		}
	}
	return seen, err
}

// rigSlots is how many of knxd's slots are free before the gateway comes.
const rigSlots = 7

// slots lets other clients take all slots that are free, and counts them when
// one was refused, as one must be, and no other was for two seconds.
func (b rigBus) slots() (int, error) {
	out, err := b.r.sh(guests(b.building, fmt.Sprintf(`
		n=-1 same=0
		while [ $same -lt 10 ] || [ $n -gt %d ]; do
			usleep 200000; now=0
			for p in $guests; do [ -d /proc/$p ] && now=$((now + 1)); done
			if [ $now = $n ]; then same=$((same + 1)); else same=0 n=$now; fi
		done
		kill $guests 2>/dev/null
		while [ -n "$guests" ]; do
			usleep 20000
			for p in $guests; do [ -d /proc/$p ] && continue 2; done
			guests=
		done
		echo $n`, rigSlots)))
	if err != nil {
		return 0, err
	}
	free, err := strconv.Atoi(strings.TrimSpace(out))
	return rigSlots - free, err
}

// guests is a script that lets more clients come than there are slots, with
// their process ids in $guests, and what to do then. They are knxd's local
// clients, which get their addresses from the same eight.
func guests(building int, then string) string {
	return fmt.Sprintf(`guests=
		for k in $(seq %d); do
			knxtool groupsocketlisten local:/run/b/%d/knx </dev/null >/dev/null 2>&1 &
			guests="$guests $!"
		done
		%s`, rigSlots+1, building, then)
}

func (r *rig) fault(what mishap) (fault, bool) {
	// %[1]d is the building's number.
	play := func(begin, end string) fault {
		f := fault{begin: func(building int) error {
			_, err := r.sh(fmt.Sprintf(begin, building))
			return err
		}}
		if end != "" {
			f.end = func(building int) error {
				_, err := r.sh(fmt.Sprintf(end, building))
				return err
			}
		}
		return f
	}
	switch what {
	case interfaceStopped:
		return play("b knxd %[1]d kill", "b knxd %[1]d start"), true
	case interfaceEnded:
		return play("b knxd %[1]d stop", "b knxd %[1]d start"), true
	case interfaceRestarted:
		return play("b knxd %[1]d kill; b knxd %[1]d start", ""), true
	case interfaceUnreachable:
		return play("b knxd %[1]d unplug", "b knxd %[1]d plug"), true
	case interfaceFrozen:
		return play("b knxd %[1]d freeze", "b knxd %[1]d thaw"), true
	case slotsFull:
		// It restarts while the gateway cannot reach it, so that the others come first.
		return fault{
			begin: func(building int) error {
				_, err := r.sh(fmt.Sprintf("b knxd %[1]d unplug; b knxd %[1]d kill; b knxd %[1]d start\n", building) +
					guests(building, fmt.Sprintf("echo $guests >/run/b/%[1]d/guests; usleep 700000; b knxd %[1]d plug", building)))
				return err
			},
			end: func(building int) error {
				_, err := r.sh(fmt.Sprintf("kill $(cat /run/b/%d/guests) 2>/dev/null; true", building)) // those that were refused are gone
				return err
			},
		}, true
	case lanDown:
		return play("b cable %[1]d down", "b cable %[1]d up"), true
	case tunnelDown:
		return play("b wg %[1]d down", "b wg %[1]d up"), true
	case portMoved:
		return play("b wg %[1]d port $((51920+%[1]d))", "b wg %[1]d port $((51820+%[1]d))"), true
	case weakNetwork:
		return play("b netem %[1]d loss 20%% delay 300ms", "b netem %[1]d off"), true
	case powerCut:
		return fault{
			begin: func(int) error {
				_, err := r.script(5*time.Minute, "ctl", "reboot")
				return err
			},
			everywhere: true,
		}, true
	case routerTold:
		return fault{begin: r.tellRouter}, true
	case sessionEnded, busDown: // knxd does neither
	}
	return fault{}, false
}

// hostAddress is the host's loopback, as the emulated machine sees it.
const hostAddress = "10.0.2.2"

// tellRouter makes a router call the gateway: it is given the file that the gateway has
// for it, as its people would. Its port it keeps: setconf takes another otherwise, and the
// machine's network lets only the first through.
func (r *rig) tellRouter(building int) error {
	keys := filepath.Join(r.files, "keys", strconv.Itoa(building))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	file, err := r.gateway.command(ctx, "buildings", "peer-config", idOf(building),
		"--router-private-key", filepath.Join(keys, "server.key"), "--preshared-key", filepath.Join(keys, "psk")).Output()
	if err != nil {
		return fmt.Errorf("peer-config: %w", err)
	}
	file = bytes.Replace(file, []byte("[Interface]\n"), fmt.Appendf(nil, "[Interface]\nListenPort = %d\n", 51820+building), 1)
	out, err := r.sh(fmt.Sprintf("echo %[2]s | base64 -d >/tmp/peer-%[1]d.conf && b router %[1]d wg setconf wg0 /tmp/peer-%[1]d.conf",
		building, base64.StdEncoding.EncodeToString(file)))
	if err == nil && out != "" {
		err = errors.New(out)
	}
	return err
}
