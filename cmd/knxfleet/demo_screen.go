package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// demoScreen shows what the demo's client hears: a screen that is drawn anew on a
// terminal, and one line for each event elsewhere.
type demoScreen struct {
	out        io.Writer
	grpc, rest string
	terminal   bool

	mu     sync.Mutex
	states map[string]string
	counts map[string]int
	lines  []string // newest last
	wrote  string
	dirty  bool
}

const (
	// screenLines is how many telegrams are kept to be shown.
	screenLines = 40
	// fixedLines is what the screen shows beside telegrams.
	fixedLines = 18
	// redrawEvery keeps a busy bus from making the screen flicker.
	redrawEvery = 200 * time.Millisecond

	// Control sequences of terminals (ECMA-48). Lines are overwritten in place,
	// because a cleared screen flickers.
	home       = "\x1b[H"
	endOfLine  = "\x1b[K\r\n"
	restClear  = "\x1b[J"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
)

func newDemoScreen(out io.Writer, grpcAddr, restAddr string) *demoScreen {
	return &demoScreen{
		out: out, grpc: grpcAddr, rest: restAddr, terminal: isTerminal(out),
		states: make(map[string]string), counts: make(map[string]int),
	}
}

// run draws until ctx ends.
func (d *demoScreen) run(ctx context.Context) error {
	if !d.terminal {
		d.mu.Lock()
		d.linef("%s", strings.Join(d.hints(), "\n"))
		d.mu.Unlock()
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	defer fmt.Fprint(d.out, showCursor)
	fmt.Fprint(d.out, hideCursor)
	for {
		if err := d.draw(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *demoScreen) buildings(changes []*knxfleetv1.BuildingChange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range changes {
		b := c.GetBuilding()
		state := shortState(b.GetStatus().GetState())
		if d.states[b.GetId()] == state {
			continue
		}
		d.states[b.GetId()] = state
		d.dirty = true
		d.linef("state     %-9s %s", b.GetId(), state)
	}
}

func (d *demoScreen) telegrams(telegrams []*knxfleetv1.Telegram) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range telegrams {
		d.counts[t.GetBuilding()]++
		line := fmt.Sprintf("%s  %-9s %-9s → %-7s %-8s %s", t.GetReceivedAt().AsTime().Local().Format(clockFormat),
			t.GetBuilding(), t.GetSource(), t.GetDestination(), shortKind(t.GetKind()), telegramValue(t))
		d.lines = append(d.lines, line)
		d.linef("telegram  %s", line)
	}
	d.lines = d.lines[max(0, len(d.lines)-screenLines):]
	d.dirty = true
}

func (d *demoScreen) write(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrote = text
	d.dirty = true
	d.linef("%s", text)
}

// linef prints a line where there is no terminal; the lock is held.
func (d *demoScreen) linef(format string, args ...any) {
	if !d.terminal {
		fmt.Fprintf(d.out, format+"\n", args...)
	}
}

// hints are what to try in another terminal.
func (d *demoScreen) hints() []string {
	return []string{
		"Three simulated buildings, all 192.168.1.0/24, each behind its own WireGuard tunnel. Try in another terminal:",
		"  go run ./cmd/knxfleet watch --server " + d.grpc,
		"  go run ./cmd/knxfleet write --server " + d.grpc + " school 1/2/1 on",
		"  grpcurl -plaintext " + d.grpc + " list",
		"  grpcurl -plaintext -d '{\"buildings\":[\"library\"]}' " + d.grpc + " knxfleet.v1.TelegramService/StreamTelegrams",
		"  curl http://" + d.rest + "/v1/buildings",
	}
}

func (d *demoScreen) draw() error {
	width, height := 100, 40
	if f, ok := d.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil {
			width, height = w, h
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.dirty {
		return nil
	}
	d.dirty = false
	lines := []string{"knxfleet demo                                    Ctrl-C ends it", ""}
	lines = append(lines, d.hints()...)
	lines = append(lines, "", fmt.Sprintf("%-10s %-16s %-12s %s", "BUILDING", "NAME", "STATE", "TELEGRAMS"))
	for _, b := range demoBuildings {
		lines = append(lines, fmt.Sprintf("%-10s %-16s %-12s %d", b.id, b.name, d.states[b.id], d.counts[b.id]))
	}
	lines = append(lines, "", d.wrote, "")
	room := max(height-fixedLines, 1)
	lines = append(lines, d.lines[max(0, len(d.lines)-room):]...)
	for i, line := range lines {
		if r := []rune(line); len(r) > width {
			lines[i] = string(r[:width])
		}
	}
	_, err := fmt.Fprint(d.out, home+strings.Join(lines, endOfLine)+endOfLine+restClear)
	return err
}
