package simulator

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/netstack"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gVisor, which is the gateway's stack, takes our packets, and we take its: over
// real sockets and wireguard-go, to one of several buildings that share a socket.
func TestPacketsMeetARealStack(t *testing.T) {
	socket, port, err := Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	sim, err := New(Config{Buildings: 3, Seed: 1}, socket, port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := sim.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	for _, b := range sim.Buildings() {
		stack, err := netstack.New(netstack.Config{Addresses: []netip.Prefix{netip.PrefixFrom(tunnelGateway, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		dial(t, b, stack)
		for _, to := range []netip.Addr{Interface.Addr(), lanRouter, tunnelRouter} {
			pingCtx, done := context.WithTimeout(ctx, patience)
			if _, err := stack.Ping(pingCtx, to); err != nil {
				t.Errorf("building %d: ping %v: %v", b.Number, to, err)
			}
			done()
		}
		describe(t, stack, b.Number)
		receivePlain(t, sim, b, stack)
		dialCtx, done := context.WithTimeout(ctx, patience)
		if _, err := stack.DialTCP(dialCtx, Interface); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("building %d, which has no TCP: %v, want a refusal", b.Number, err)
		}
		done()
	}
}

// dial connects a stack to a building with an ordinary wireguard-go.
func dial(t *testing.T, b *Building, stack *netstack.Stack) {
	t.Helper()
	d := device.NewDevice(tunOf(stack), conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(d.Close)
	config := "private_key=" + hexKey(b.gatewayKey) + "\npublic_key=" + hexKey(b.routerKey) + "\npreshared_key=" + hexKey(b.preshared) +
		"\nendpoint=" + b.Outside.String() + "\nallowed_ip=192.168.1.0/24\nallowed_ip=10.200.0.0/24\n"
	if err := d.IpcSet(config); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(); err != nil {
		t.Fatal(err)
	}
}

// stackTUN is a stack as wireguard-go wants it.
type stackTUN struct {
	*netstack.Stack
	packets chan []byte // full: the packet is lost
	events  chan tun.Event
	closed  chan struct{}
	once    sync.Once
}

func tunOf(stack *netstack.Stack) *stackTUN {
	s := &stackTUN{Stack: stack, packets: make(chan []byte, 64), events: make(chan tun.Event), closed: make(chan struct{})}
	stack.Connect(func(packet []byte) {
		select {
		case s.packets <- bytes.Clone(packet):
		default:
		}
	})
	return s
}

func (s *stackTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-s.packets:
		sizes[0] = copy(bufs[0][offset:], p)
		return 1, nil
	case <-s.closed:
		return 0, os.ErrClosed
	}
}

func (s *stackTUN) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		s.Deliver(b[offset:])
	}
	return len(bufs), nil
}

func (s *stackTUN) Close() error {
	s.once.Do(func() {
		close(s.closed)
		close(s.events)
	})
	return s.Stack.Close()
}

func (s *stackTUN) File() *os.File           { return nil }
func (s *stackTUN) MTU() (int, error)        { return 1420, nil }
func (s *stackTUN) Name() (string, error)    { return "test", nil }
func (s *stackTUN) Events() <-chan tun.Event { return s.events }
func (s *stackTUN) BatchSize() int           { return 1 }

// describe asks the building's interface for its name.
func describe(t *testing.T, stack *netstack.Stack, number int) {
	t.Helper()
	udp, err := stack.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if err := udp.WriteTo(frame.Append(nil, frame.DescriptionRequest{}), Interface); err != nil {
		t.Fatal(err)
	}
	select {
	case <-udp.Readable():
	case <-time.After(patience):
		t.Fatal("the interface does not describe itself")
	}
	var buffer [1024]byte
	n, from, err := udp.TryRead(buffer[:])
	if err != nil || from != Interface {
		t.Fatalf("from %v: %v", from, err)
	}
	f, err := frame.Parse(buffer[:n])
	if d, ok := f.(frame.DescriptionResponse); err != nil || !ok || d.Description.Device.Name != "Building "+string(rune('0'+number)) {
		t.Errorf("building %d answers %+v, %v", number, f, err)
	}
}

// receivePlain lets a building send a datagram that nobody asked for.
func receivePlain(t *testing.T, sim *Simulator, b *Building, stack *netstack.Stack) {
	t.Helper()
	udp, err := stack.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	port := udp.LocalAddr().Port()
	if err := sim.Do(t.Context(), b, func(_ time.Time, b *Building) { b.SendPlain(port, []byte("plain")) }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-udp.Readable():
	case <-time.After(patience):
		t.Fatal("the plain datagram does not come")
	}
	var buffer [64]byte
	n, from, err := udp.TryRead(buffer[:])
	if err != nil || from != Interface || string(buffer[:n]) != "plain" {
		t.Errorf("got %q from %v: %v", buffer[:n], from, err)
	}
}

func hexKey(k [32]byte) string {
	const digits = "0123456789abcdef"
	var text []byte
	for _, b := range k {
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}

func TestUDPRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data")
		from := netip.AddrPortFrom(tunnelGateway, rapid.Uint16().Draw(t, "port"))
		p, ok := parsePacket(buildUDP(from, Interface, data))
		if !ok {
			t.Fatal("the packet is refused")
		}
		f, to, got, ok := parseUDP(p)
		if !ok || f != from || to != Interface || !bytes.Equal(got, data) {
			t.Fatalf("%v to %v: %x (%v)", f, to, got, ok)
		}
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add(buildUDP(netip.AddrPortFrom(tunnelGateway, 1), Interface, []byte("hello")))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		p, ok := parsePacket(b)
		if !ok {
			return
		}
		_, _, _, _ = parseUDP(p)
		_ = buildEchoReply(p)
		if _, ok := parseSYN(p); ok {
			_ = buildReset(p)
		}
	})
}

// The same seed gives the same buildings; another gives others.
func TestSeed(t *testing.T) {
	file := func(seed uint64) string {
		s, err := New(Config{Buildings: 2, Seed: seed}, NewWire().Buildings(), WirePort)
		if err != nil {
			t.Fatal(err)
		}
		if s.Buildings()[0].WGQuick() == s.Buildings()[1].WGQuick() {
			t.Error("two buildings have the same file")
		}
		return s.Buildings()[0].WGQuick()
	}
	if file(1) != file(1) || file(1) == file(2) {
		t.Error("files do not follow the seed")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, n := range []int{0, -1, MaxBuildings + 1} {
		if _, err := New(Config{Buildings: n, KNX: knxserver.Config{}}, NewWire().Buildings(), WirePort); err == nil {
			t.Errorf("%d buildings are taken", n)
		}
	}
}

func TestLink(t *testing.T) {
	const ms = time.Millisecond
	sequence := func(values ...float64) func() float64 {
		return func() float64 {
			v := values[0]
			values = values[1:]
			return v
		}
	}
	for name, c := range map[string]struct {
		link Link
		rnd  func() float64
		want []time.Duration
	}{
		"perfect":   {Link{}, nil, []time.Duration{0}},
		"down":      {Link{Down: true, Delay: ms}, nil, nil},
		"lost":      {Link{Loss: 0.5}, sequence(0.49), nil},
		"not lost":  {Link{Loss: 0.5, Delay: ms}, sequence(0.5), []time.Duration{ms}},
		"twice":     {Link{Duplicate: 0.1, Delay: 2 * ms, Jitter: 10 * ms}, sequence(0, 0.1, 0.5), []time.Duration{3 * ms, 7 * ms}},
		"reordered": {Link{Reorder: 1, ReorderBy: 5 * ms}, sequence(0.3), []time.Duration{5 * ms}},
	} {
		got := c.link.passes(c.rnd)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}
