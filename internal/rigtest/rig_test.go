//go:build rig

package rigtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rig is the emulated machine with its buildings.
type rig struct {
	dir   string // the rig's scripts
	files string // where up wrote building-N.conf
	base  string // RIG_BASE
}

// startRig boots n buildings; they are gone when the test ends.
func startRig(t *testing.T, n int) *rig {
	t.Helper()
	dir := os.Getenv("RIG_DIR")
	if dir == "" {
		t.Fatal("RIG_DIR is not set: want the folder of the rig's scripts, see make rig")
	}
	if _, err := os.Stat(filepath.Join(dir, "up")); err != nil {
		t.Fatalf("RIG_DIR %q has no rig: %v", dir, err)
	}
	r := &rig{dir: dir, files: t.TempDir(), base: "28400"}
	t.Cleanup(func() { r.script(t, time.Minute, "down") })
	t.Log(r.script(t, 5*time.Minute, "up", fmt.Sprint(n), r.files))
	return r
}

// script runs one of the rig's scripts and returns what it printed.
func (r *rig) script(t *testing.T, patience time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.dir, name), args...)
	cmd.Env = append(os.Environ(), "RIG_BASE="+r.base)
	cmd.WaitDelay = time.Second // qemu inherits nothing, but do not wait for it
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// b runs one of the rig's commands for a building.
func (r *rig) b(t *testing.T, args ...string) string {
	t.Helper()
	return r.script(t, 30*time.Second, "ctl", append([]string{"b"}, args...)...)
}

// conf is the wg-quick file of a building.
func (r *rig) conf(building int) string {
	return filepath.Join(r.files, fmt.Sprintf("building-%d.conf", building))
}

// publicKey is the gateway's public key for a building.
func (r *rig) publicKey(t *testing.T, building int) string {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(r.files, "keys", fmt.Sprint(building), "gateway.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(key))
}
