package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what is written to tty is read from screen.
func terminal(t *testing.T) (tty, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine has no pseudo terminals: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty, screen
}

// People see a header and columns.
func TestTableForPeople(t *testing.T) {
	tty, screen := terminal(t)
	if !isTerminal(tty) {
		t.Fatal("a terminal is not taken for one")
	}
	if err := printTable(tty, []string{"ID", "STATE", "NAME"}, [][]string{{"hq", "HANDSHAKING", "Büro"}, {"branch", "ONLINE", ""}}); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(screen)
	for _, want := range []string{
		"ID      STATE        NAME",
		"hq      HANDSHAKING  Büro",
		"branch  ONLINE",
	} {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		if got := strings.TrimRight(lines.Text(), " \r"); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
