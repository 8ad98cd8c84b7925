package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// diskEnv tells the test binary that it runs with a small disk of its own.
const diskEnv = "KNXFLEET_TEST_DISK"

// The disk is real: a small one in memory, mounted in a namespace that ends with the
// process that runs the test.
func TestFullAndReadOnlyDisk(t *testing.T) {
	if os.Getenv(diskEnv) == "" {
		again := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestFullAndReadOnlyDisk$", "-test.v", "-test.timeout=100s")
		again.Env = append(os.Environ(), diskEnv+"="+t.TempDir())
		again.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := again.CombinedOutput()
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
			t.Skipf("this system lets nobody make a user namespace, which a disk to fill needs: %v", err)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	disk := os.Getenv(diskEnv)
	err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=40m")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("this system lets nobody mount in a user namespace, which a disk to fill needs: %v", err)
	}
	noError(t, err)
	t.Run("full", func(t *testing.T) { fullDisk(t, filepath.Join(disk, "full")) })
	t.Run("read-only", func(t *testing.T) { readOnlyDisk(t, disk, filepath.Join(disk, "ro")) })
	for _, stream := range []string{"KV_reg", "KV_fleet", "KV_ga", "TG"} {
		t.Run("start "+stream, func(t *testing.T) { startOnFullDisk(t, filepath.Join(disk, stream), stream) })
	}
}

// fillDisk takes what is left of a disk, until the function that it returns is called.
func fillDisk(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(filepath.Dir(dir), "filler")
	file, err := os.Create(path)
	noError(t, err)
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	noError(t, file.Close())
	return func() { noError(t, os.Remove(path)) }
}

//nolint:thelper // is the test
func fullDisk(t *testing.T, dir string) {
	ctx := t.Context()
	cfg := Config{Dir: dir, Keys: newKeys(t)}
	e := openWith(t, cfg)
	j := e.Journal()
	appendAll(t, j, "hq", numbers(200)...)
	kept := map[string]string{}
	large := strings.Repeat("x", 30<<10)
	empty := fillDisk(t, dir)
	e.guard.look()
	if err := j.Append("hq", "refused", nil, func(error) { t.Error("answered") }); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append on a full disk: %v", err)
	}
	// The registry writes until there really is no space, and then says so.
	var err error
	var began time.Time
	for i := 0; err == nil && i < 100; i++ {
		key, value := fmt.Sprint("b.", i), fmt.Sprint(i, large)
		began = time.Now()
		if _, err = e.Registry().Put(ctx, key, []byte(value)); err == nil {
			kept[key] = value
		}
	}
	for _, within := range []time.Duration{operationTimeout / 2, lookInterval} {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the disk of "+dir+" is full") || time.Since(began) > within {
			t.Errorf("a write without space: after %v, %v", time.Since(began), err)
		}
		began = time.Now()
		_, err = e.Registry().Put(ctx, "b.again", []byte(large))
	}
	if _, err := Open(ctx, Config{Dir: dir, Keys: cfg.Keys}); err == nil {
		t.Fatal("opened twice")
	}
	empty()
	eventually(t, "the registry after there is space again", func() error {
		short, cancel := context.WithTimeout(ctx, operationTimeout/5)
		defer cancel()
		_, err := e.Registry().Put(short, "b.after", nil)
		return err
	})
	eventually(t, "the journal after there is space again", e.guard.refusal)
	appendAll(t, j, "hq", "after")
	for _, when := range []string{"at once", "after reopening"} {
		if when != "at once" {
			noError(t, e.Close())
			e = openWith(t, cfg)
		}
		for key, value := range kept {
			if got, err := e.Registry().Get(ctx, key); err != nil || string(got.Value) != value {
				t.Errorf("%s: %s: %d bytes, %v", when, key, len(got.Value), err)
			}
		}
		got := read(t, e.Journal(), Query{})
		if len(got) != 201 || got[200] != "hq after" {
			t.Errorf("%s: the journal has %d records", when, len(got))
		}
	}
}

// A start that finds no room refuses, and one that finds room afterwards has everything.
//
//nolint:thelper // is the test
func startOnFullDisk(t *testing.T, dir, stream string) {
	ctx := t.Context()
	cfg := Config{Dir: filepath.Join(t.TempDir(), "first"), Keys: newKeys(t)}
	e := openWith(t, cfg)
	// Only the tables are empty, so that the server begins a new file for them.
	put(t, e.Registry(), "b.hq", "x")
	put(t, e.Registry(), "b.last", "x")
	put(t, e.Fleet(), "c.hq", "x")
	put(t, e.Fleet(), "c.last", "x")
	appendAll(t, e.Journal(), "hq", numbers(3)...)
	noError(t, e.Close())
	noError(t, os.CopyFS(dir, os.DirFS(cfg.Dir)))
	cfg.Dir = dir
	msgs := filepath.Join(dir, "jetstream", "$G", "streams", stream, "msgs")
	switch stream {
	case "TG": // as if all that was in it had come of age
		noError(t, os.Remove(filepath.Join(msgs, "index.db")))
		noError(t, os.Remove(filepath.Join(msgs, "1.key")))
		noError(t, os.Truncate(filepath.Join(msgs, "1.blk"), 0))
	case "KV_ga":
		noError(t, os.Remove(filepath.Join(msgs, "index.db"))) // a killed process has not written it
	default:
		// The end of the last record is lost: the server begins a new file for the others too.
		last := filepath.Join(msgs, "1.blk")
		info, err := os.Stat(last)
		noError(t, err)
		noError(t, os.Truncate(last, info.Size()-10))
	}
	empty := fillDisk(t, dir)
	for range 3 {
		if _, err := Open(ctx, cfg); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "KiB are wanted") {
			t.Errorf("open on a full disk: %v", err)
		}
	}
	// A little room is enough.
	filler := filepath.Join(filepath.Dir(dir), "filler")
	info, err := os.Stat(filler)
	noError(t, err)
	noError(t, os.Truncate(filler, info.Size()-40<<10))
	cfg.AcceptLoss = stream == "KV_reg" || stream == "KV_fleet"
	e = openWith(t, cfg)
	for b, key := range map[*Bucket]string{e.Registry(): "b.hq", e.Fleet(): "c.hq"} {
		if got, err := b.Get(ctx, key); err != nil || string(got.Value) != "x" {
			t.Errorf("afterwards: %s is %q, %v", key, got.Value, err)
		}
	}
	put(t, e.Tables(), "hq", "x")
	if got := read(t, e.Journal(), Query{}); len(got) < 3 && stream != "TG" {
		t.Errorf("afterwards the journal has %q", got)
	}
	noError(t, e.Close())
	empty()
}

//nolint:thelper // is the test
func readOnlyDisk(t *testing.T, disk, dir string) {
	ctx := t.Context()
	cfg := Config{Dir: dir, Keys: newKeys(t)}
	e := openWith(t, cfg)
	put(t, e.Registry(), "b.hq", "x")
	noError(t, e.Close())
	remount := func(flags uintptr) error {
		return syscall.Mount("", disk, "", syscall.MS_REMOUNT|flags, "size=40m")
	}
	noError(t, remount(syscall.MS_RDONLY))
	if _, err := Open(ctx, cfg); err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), dir) {
		t.Errorf("open on a read-only disk: %v", err)
	}
	wrong := 0
	for _, f := range Check(ctx, cfg) {
		if !f.OK {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("the check finds nothing wrong with a read-only disk")
	}
	noError(t, remount(0))
	e = openWith(t, cfg)
	if got, err := e.Registry().Get(ctx, "b.hq"); err != nil || string(got.Value) != "x" {
		t.Errorf("afterwards: %q, %v", got.Value, err)
	}
}
