package pathtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is a client command that prints JSON lines until the gateway ends.
type client struct {
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	errOut bytes.Buffer  // to be read then
}

// follow starts a client command; it ends with the test at the latest.
func (g *gateway) follow(t *testing.T, line func([]byte), args ...string) *client {
	t.Helper()
	c := &client{cmd: g.command(context.Background(), args...), done: make(chan struct{})}
	c.cmd.Stderr = &c.errOut
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line(lines.Bytes())
		}
		_ = c.cmd.Wait() // ends by SIGKILL or, with the gateway, by an error that it prints
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // mostly it has ended
		<-c.done
	})
	return c
}

// status is how a building was at some time.
type status struct {
	at             time.Time // when the client was told
	State, Reason  string
	Message, Since string
}

func (s status) String() string {
	return strings.TrimRight(fmt.Sprintf("%s %s", s.State, s.Reason), " ")
}

const online = "ONLINE"

// statuses are all that a client of WatchBuildings was told.
type statuses struct {
	mu         sync.Mutex
	byBuilding map[string][]status
}

// watchBuildings begins to note statuses. Its snapshot is as good as having been
// there before.
func (g *gateway) watchBuildings(t *testing.T) *statuses {
	t.Helper()
	s := &statuses{byBuilding: make(map[string][]status)}
	g.follow(t, s.note, "buildings", "watch", "-o", "json")
	return s
}

func (s *statuses) note(line []byte) {
	var change struct {
		Kind     string
		Building struct {
			ID     string
			Status status
		}
	}
	if err := json.Unmarshal(line, &change); err != nil || change.Building.ID == "" {
		return // the end of the snapshot
	}
	now := change.Building.Status
	now.at = time.Now()
	now.State = strings.TrimPrefix(now.State, "STATE_")
	if change.Kind == "KIND_DELETED" {
		now = status{at: now.at, State: "DELETED"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byBuilding[change.Building.ID] = append(s.byBuilding[change.Building.ID], now)
}

// from returns what was told of a building, without the first so many.
func (s *statuses) from(id string, first int) []status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.byBuilding[id]
	return slices.Clone(all[min(first, len(all)):])
}

func (s *statuses) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byBuilding[id])
}

// last is how a building is now.
func (s *statuses) last(id string) status {
	all := s.from(id, 0)
	if len(all) == 0 {
		return status{State: "unknown"}
	}
	return all[len(all)-1]
}

// online waits until a building is ONLINE and returns since when the client knew.
func (s *statuses) online(t *testing.T, patience time.Duration, id string) time.Time {
	t.Helper()
	var now status
	eventually(t, patience, id+" is ONLINE", func() error {
		if now = s.last(id); now.State != online {
			return errors.New(now.String() + ": " + now.Message)
		}
		return nil
	})
	return now.at
}

// telegram is what a client of StreamTelegrams gets.
type telegram struct {
	Building, Destination, Kind string
	Raw                         []byte
	SentByGateway               bool
}

// text is the telegram as bus.seen gives it.
func (tg telegram) text() string { return telegramText(tg.Destination, tg.Raw) }

func telegramText(destination string, value []byte) string {
	return fmt.Sprintf("%s: % X", destination, value)
}

// telegrams are all that a client of StreamTelegrams got.
type telegrams struct {
	mu     sync.Mutex
	all    []telegram
	others []string // lines that are no telegram, such as gaps
}

// watch begins to note telegrams; it notes what happens after it has returned.
func (g *gateway) watch(t *testing.T, buildings ...string) *telegrams {
	t.Helper()
	w := &telegrams{}
	opened := g.log.count("stream opened")
	g.follow(t, w.note, append([]string{"watch", "-o", "json"}, buildings...)...)
	eventually(t, 10*time.Second, "the stream is open", func() error {
		if g.log.count("stream opened") == opened {
			return errors.New("not yet")
		}
		return nil
	})
	return w
}

func (w *telegrams) note(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tg telegram
	if err := json.Unmarshal(line, &tg); err != nil || tg.Destination == "" {
		w.others = append(w.others, string(line))
		return
	}
	w.all = append(w.all, tg)
}

func (w *telegrams) list() []telegram {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// noted lists what else was on the stream.
func (w *telegrams) noted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.others)
}

// from lists the telegrams that a building's devices sent.
func (w *telegrams) from(building string) []string {
	var texts []string
	for _, tg := range w.list() {
		if tg.Building == building && !tg.SentByGateway {
			texts = append(texts, tg.text())
		}
	}
	return texts
}

// logBuffer keeps a process's log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// about is what the log has of a building, without its device's own life.
func (l *logBuffer) about(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, "building="+id+" ") || strings.HasSuffix(line, "building="+id+"\n") {
			if !strings.Contains(line, "Routine: ") && !strings.Contains(line, "UAPI: ") {
				text.WriteString(line)
			}
		}
	}
	return text.String()
}

func (l *logBuffer) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.buf.String()
	return s[max(0, len(s)-n):]
}
