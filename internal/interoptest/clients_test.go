//go:build interop && linux

package interoptest

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// heard is a write that a client has seen on the bus. Value is what the client
// itself makes of the bytes; nil where it does not decode.
type heard struct {
	GA, Raw string
	Value   any
}

// client is one of the clients of the bus.
type client struct {
	name    string
	decodes bool
	send    func(s sample) error

	mu    sync.Mutex
	all   []heard
	fresh chan struct{} // capacity 1: more was heard
}

func newClient(name string) *client { return &client{name: name, fresh: make(chan struct{}, 1)} }

func (c *client) hear(h heard) {
	c.mu.Lock()
	c.all = append(c.all, h)
	c.mu.Unlock()
	select {
	case c.fresh <- struct{}{}:
	default:
	}
}

// find looks for a write from the given place on, and returns what there is.
func (c *client) find(from int, s sample) (heard, int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.all[min(from, len(c.all)):] {
		if h.GA == s.ga && h.Raw == s.raw {
			return h, len(c.all), true
		}
	}
	return heard{}, len(c.all), false
}

// await waits for a write.
func (c *client) await(from int, s sample) (heard, bool) {
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	for {
		if h, _, ok := c.find(from, s); ok {
			return h, true
		}
		select {
		case <-c.fresh:
		case <-timeout.C:
			return heard{}, false
		}
	}
}

// ours is the bridge of this repository.
func ours(t *testing.T, to netip.AddrPort) *client {
	t.Helper()
	c := newClient("knxfleet")
	c.decodes = true
	h := &handler{client: c, online: make(chan struct{})}
	b := knxbridge.New(knxbridge.Config{Session: session.Config{Control: to, Transport: session.TransportAuto}}, listen, h, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one answer of Run
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c.send = func(s sample) error {
		ga, err := frame.ParseGroupAddress(s.ga)
		if err != nil {
			return err
		}
		typ := s.lookup()
		raw, err := typ.Encode(s.typed)
		if err != nil {
			return err
		}
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		written, err := b.Write(within, knxbridge.Write{Command: frame.GroupValueWrite, Destination: ga, Data: raw, SixBit: typ.SixBit()})
		if err == nil && written.Outcome != session.Confirmed {
			err = fmt.Errorf("the write is %v", written.Outcome)
		}
		return err
	}
	select {
	case <-h.online:
	case <-time.After(15 * time.Second):
		t.Fatalf("not online: %+v", b.State())
	}
	return c
}

// handler decodes with the table of this repository.
type handler struct {
	client *client
	once   sync.Once
	online chan struct{}
}

func (h *handler) State(s knxbridge.State) {
	if s.State == session.StateOnline {
		h.once.Do(func() { close(h.online) })
	}
}

func (h *handler) Telegram(t knxbridge.Telegram) {
	if t.Own || t.Command != frame.GroupValueWrite {
		return
	}
	e := heard{GA: t.Destination.String(), Raw: hex.EncodeToString(t.Data)}
	for _, s := range samples {
		if s.ga == e.GA {
			if v, err := s.lookup().Decode(t.Data); err == nil {
				e.Value = v.JSON()
			}
		}
	}
	h.client.hear(e)
}

// socket is a UDP socket of this machine for the bridge.
type socket struct {
	conn     *net.UDPConn
	readable chan struct{}

	mu      sync.Mutex
	waiting []datagram // at most 256; the newest is dropped
	closed  bool
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

func listen() (knxbridge.PacketConn, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, readable: make(chan struct{}, 1)}
	go s.read()
	return s, nil
}

func (s *socket) read() {
	b := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.mu.Lock()
		if err == nil && len(s.waiting) < 256 {
			s.waiting = append(s.waiting, datagram{from, append([]byte(nil), b[:n]...)})
		}
		s.mu.Unlock()
		select {
		case s.readable <- struct{}{}:
		default:
		}
	}
}

func (s *socket) Readable() <-chan struct{} { return s.readable }

func (s *socket) TryRead(b []byte) (int, netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	if len(s.waiting) == 0 {
		return 0, netip.AddrPort{}, nil
	}
	d := s.waiting[0]
	s.waiting = s.waiting[1:]
	return copy(b, d.data), d.from, nil
}

func (s *socket) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.conn.Close()
}

// process starts a program that lives until its input ends, and reads its output
// line by line.
func process(t *testing.T, env []string, line func(string), name string, args ...string) io.WriteCloser {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line(lines.Text())
		}
		_ = cmd.Wait() // it may have been ended
	}()
	t.Cleanup(func() {
		_ = in.Close() // or again
		select {
		case <-ended:
			return
		case <-time.After(4 * time.Second):
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // or it has ended in this moment
		<-ended
	})
	return in
}

// javascript is a client in Node.js.
func javascript(t *testing.T, library string) *client {
	t.Helper()
	c := newClient(library)
	c.decodes = true
	types := map[string]string{}
	for _, s := range samples {
		types[s.ga] = "DPT" + s.dpt
	}
	env, err := json.Marshal(types)
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan struct{})
	var once sync.Once
	in := process(t, []string{"TYPES=" + string(env), "NODE_PATH=" + os.Getenv(packages)}, func(line string) {
		var said struct {
			heard
			Connected bool
			Error     string
		}
		switch err := json.Unmarshal([]byte(line), &said); {
		case err != nil: // a log line
		case said.Connected:
			once.Do(func() { close(connected) })
		case said.Error != "":
			fmt.Fprintln(os.Stderr, library, said.Error)
		case said.GA != "":
			c.hear(said.heard)
		}
	}, "node", filepath.Join("testdata", library+".js"), host, "3671")
	c.send = func(s sample) error {
		_, err := fmt.Fprintf(in, "%s DPT%s %s\n", s.ga, s.dpt, s.js)
		return err
	}
	select {
	case <-connected:
	case <-time.After(15 * time.Second):
		t.Fatal(library, " does not connect")
	}
	return c
}

var knxtoolLine = regexp.MustCompile(`^Write from \S+ to (\S+): ([0-9A-F ]+)`)

// knxtool is knxd's own client, by its socket. It does not decode.
func knxtool(t *testing.T, server string) *client {
	t.Helper()
	c := newClient("knxtool")
	process(t, nil, func(line string) {
		if m := knxtoolLine.FindStringSubmatch(line); m != nil {
			c.hear(heard{GA: m[1], Raw: strings.ToLower(strings.ReplaceAll(m[2], " ", ""))})
		}
	}, "knxtool", "groupsocketlisten", server)
	c.send = func(s sample) error {
		args := []string{"groupwrite", server, s.ga}
		if s.lookup().SixBit() {
			args[0] = "groupswrite"
		}
		for i := 0; i < len(s.raw); i += 2 {
			args = append(args, s.raw[i:i+2])
		}
		out, err := exec.Command("knxtool", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	return c
}

// sample is a value that is written and seen.
type sample struct {
	ga, dpt, raw string
	typed        string // as people type it
	js           string // as JavaScript writes it
	value        any
	resolution   float64 // what rounding may change
}

func (s sample) lookup() dpt.Type {
	id, err := dpt.ParseID(s.dpt)
	if err != nil {
		panic(err)
	}
	t, ok := dpt.Lookup(id)
	if !ok {
		panic(s.dpt + " is not known")
	}
	return t
}
