package pathtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

// TestPowerCut keeps the data directory in a file system of its own, in an image.
// A copy of the image, taken while the gateway writes, is what a power cut leaves:
// what was not flushed is not there. The gateway goes on with the copy; the registry
// must be whole, and what the journal lost must be told.
func TestPowerCut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, which mounts an image")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skipf("needs e2fsprogs: %v", err)
	}
	g := newGateway(t)
	folder := t.TempDir()
	first, second := filepath.Join(folder, "first.img"), filepath.Join(folder, "second.img")
	command(t, "truncate", "-s", "256M", first)
	command(t, "mkfs.ext4", "-q", "-F", "-m", "0", first)
	disk := mount(t, first, filepath.Join(folder, "first"))
	g.dir = filepath.Join(disk, "data")

	sim, run := newSimulator(t, simulator.Config{Buildings: 10, Seed: 4, KNX: knxserver.Config{RecordLimit: 1 << 20}})
	run()
	conn, err := grpc.NewClient(g.server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g.spawn(t)
	t.Cleanup(func() { // before the file systems are unmounted
		if g.cmd != nil {
			g.kill(t)
		}
	})
	books := newBookkeeper(conn)
	ids := books.createAll(t, sim)
	eventually(t, time.Minute, "all buildings are online", func() error { return books.allOnline(ids) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	follower := newFollower(conn, ids)
	buses := &talkers{sim: sim, rate: 200}
	talking, hush := context.WithCancel(ctx)
	var parts, bus sync.WaitGroup
	parts.Go(func() { follower.run(ctx) })
	parts.Go(func() { books.change(ctx) })
	bus.Go(func() { buses.talk(talking, t) })
	follower.more(t, 800)

	// The process stands still while the image is copied, as all does at a power cut.
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "--sparse=always", first, second)
	g.kill(t)
	g.dir = filepath.Join(mount(t, second, filepath.Join(folder, "second")), "data")
	g.spawn(t)

	eventually(t, time.Minute, "all buildings are online again", func() error { return books.allOnline(ids) })
	follower.more(t, 300)
	hush()
	bus.Wait()
	buses.settle(t)
	judge := judgeOf(t, sim, follower)
	eventually(t, 30*time.Second, "the client has read everything", judge.complete)
	cancel()
	parts.Wait()
	judge.verdict(t)
	books.check(t)
	g.stop(t)
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// mount mounts an image until the test ends.
func mount(t *testing.T, image, at string) string {
	t.Helper()
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("this machine mounts no images: %v: %s", err, out)
	}
	t.Cleanup(func() { command(t, "umount", at) })
	return at
}
