package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestDirectoryOfAnotherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	// Its parent is private to the user of the test.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o555)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{dir, "cannot be written by uid"},
		{filepath.Join(dir, "below"), "cannot be made by uid"},
	} {
		err := openUnprivileged(t.Context(), c.dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v; want %q", c.dir, err, c.want)
		}
	}
}

// openUnprivileged opens dir on a thread that file permissions bind, also when
// the tests run as root: the thread's file system user is nobody.
func openUnprivileged(ctx context.Context, dir string) error {
	const nobody = 65534
	result := make(chan error)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			// setfsuid(2) has no error to return; Open below shows that it worked.
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
		}
		e, err := Open(ctx, Config{Dir: dir})
		if err == nil {
			err = e.Close()
		}
		result <- err
	}()
	return <-result
}
