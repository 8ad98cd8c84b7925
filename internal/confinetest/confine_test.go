//go:build confined && linux

package confinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// nonroot is the user and group of the image.
const nonroot = 65532

// confineArg is the name under which the test binary starts itself again, as
// first process in namespaces of its own.
const confineArg = "confine"

func TestMain(m *testing.M) {
	if os.Args[0] == confineArg {
		err := confine(os.Args[1], os.Args[2:])
		fmt.Fprintln(os.Stderr, "confine:", err) // there is no return from a program that has started
		os.Exit(125)
	}
	goleak.VerifyTestMain(m)
}

// confined is a command that runs with root as its root directory, as a
// container does in Kubernetes with runAsNonRoot, readOnlyRootFilesystem,
// allowPrivilegeEscalation: false, and all capabilities dropped. It has less than
// there: neither /proc nor /sys nor /dev. The network is the test's.
func confined(ctx context.Context, root string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{confineArg, root}, args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	return cmd
}

// confine gives up all that confined promises, and becomes the program.
func confine(root string, args []string) error {
	runtime.LockOSThread() // capabilities belong to a thread, and exec takes those of its own
	if err := enter(root); err != nil {
		return err
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", args[0], syscall.Exec(args[0], args, os.Environ()))
}

// enter makes root the root directory, read-only, with a volume at /data as
// fsGroup leaves it; nothing else stays mounted.
func enter(root string) error {
	const detached = syscall.MS_REC | syscall.MS_PRIVATE
	if err := syscall.Mount("", "/", "", detached, ""); err != nil {
		return fmt.Errorf("detach mounts from the host: %w", err)
	}
	if err := syscall.Mount(root, root, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	volume := fmt.Sprintf("uid=0,gid=%d,mode=2775", nonroot)
	if err := syscall.Mount("tmpfs", filepath.Join(root, "data"), "tmpfs", 0, volume); err != nil {
		return fmt.Errorf("mount /data: %w", err)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", root, err)
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root lands above the new one, from where it can be unmounted:
	// pivot_root(2).
	if err := syscall.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	return os.Chdir("/")
}

// dropPrivileges empties the bounding set, takes the image's user and group, and
// sets no_new_privs. Together with exec, no capability is left.
func dropPrivileges() error {
	const setNoNewPrivs = 38 // PR_SET_NO_NEW_PRIVS, which syscall does not have
	for capability := uintptr(0); ; capability++ {
		err := prctl(syscall.PR_CAPBSET_DROP, capability)
		if errors.Is(err, syscall.EINVAL) {
			break // the kernel has no more
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if err := syscall.Setgroups([]int{nonroot}); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(nonroot); err != nil {
		return fmt.Errorf("setgid: %w", err)
	}
	if err := syscall.Setuid(nonroot); err != nil {
		return fmt.Errorf("setuid: %w", err)
	}
	if err := prctl(setNoNewPrivs, 1); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

func prctl(option, argument uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, argument, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
