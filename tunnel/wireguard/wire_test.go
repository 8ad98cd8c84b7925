package wireguard

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The two ends of every test. The keys are any 32 bytes.
var (
	routerKey  = Secret{1, 2, 3}
	gatewayKey = Secret{4, 5, 6}
	stranger   = Secret{7, 8, 9}
	psk        = Secret{10, 11, 12}

	routerAddr  = netip.MustParseAddrPort("203.0.113.1:51820")
	gatewayAddr = netip.MustParseAddrPort("198.51.100.1:7000")
	movedAddr   = netip.MustParseAddrPort("198.51.100.9:7999")
)

func publicOf(s Secret) [keySize]byte {
	k, err := ecdh.X25519().NewPrivateKey(s[:])
	if err != nil {
		panic(err)
	}
	return [keySize]byte(k.PublicKey().Bytes())
}

// setup is what a test varies.
type setup struct {
	router  Config
	gateway Config // the same words for wireguard-go; Index does not apply
}

// gatewayCalls is the usual case: the router waits.
func gatewayCalls(psk Secret) setup {
	return setup{
		router:  Config{PrivateKey: routerKey, Peer: publicOf(gatewayKey), PresharedKey: psk, Index: 0xabcdef00},
		gateway: Config{PrivateKey: gatewayKey, Peer: publicOf(routerKey), PresharedKey: psk, Endpoint: routerAddr},
	}
}

// routerCalls is a router behind CGNAT: the gateway does not know where it is.
func routerCalls(psk Secret) setup {
	s := gatewayCalls(psk)
	s.router.Endpoint, s.router.Keepalive = gatewayAddr, 25*time.Second
	s.gateway.Endpoint = netip.AddrPort{}
	return s
}

// wire joins a wireguard-go device and an End in memory. It runs the
// End as a simulator does: from one goroutine and with one timer.
type wire struct {
	t        *testing.T
	router   *End
	do       chan func() // for the goroutine that owns router
	toRouter chan datagram
	stop     chan struct{}
	done     chan struct{}

	mu       sync.Mutex
	gw       *gateway
	at       netip.AddrPort // where the gateway is now
	filter   func(toRouter bool, b []byte) (arrives [][]byte)
	messages map[bool]map[uint32]int // sent, by direction (true: to the router) and type
	received []string                // payloads at the router
}

type datagram struct {
	at   time.Time // when it arrives
	from netip.AddrPort
	data []byte
}

// latency is how long a datagram to the router takes. Without any, wireguard-go
// may see the answer to an initiation before it has noted that it called, and
// calls again.
const latency = time.Millisecond

// connect starts both ends; the wire is taken down with the test's bubble.
func connect(t *testing.T, s setup) *wire {
	t.Helper()
	w := &wire{
		t: t, router: New(s.router, nil), at: gatewayAddr,
		do:       make(chan func()),
		toRouter: make(chan datagram, 8192), // full: the test fails
		stop:     make(chan struct{}), done: make(chan struct{}),
		messages: map[bool]map[uint32]int{true: {}, false: {}},
	}
	w.startGateway(s.gateway)
	go w.run()
	t.Cleanup(func() {
		w.gw.device.Close()
		close(w.stop)
		<-w.done
	})
	return w
}

func (w *wire) run() {
	defer close(w.done)
	for {
		timer := time.NewTimer(time.Hour)
		if at, ok := w.router.Deadline(); ok {
			timer.Reset(time.Until(at))
		}
		select {
		case <-w.stop:
			return
		case f := <-w.do:
			f()
		case d := <-w.toRouter:
			time.Sleep(time.Until(d.at))
			result := w.router.Receive(time.Now(), d.from, d.data)
			if result.Packet != nil {
				w.mu.Lock()
				w.received = append(w.received, payload(result.Packet))
				w.mu.Unlock()
			}
			if result.Reply != nil {
				w.toGateway(d.from, result.Reply)
			}
		case <-timer.C:
			if b, to, ok := w.router.Expire(time.Now()); ok {
				w.toGateway(to, b)
			}
		}
		timer.Stop()
	}
}

// ask runs f where the router may be touched.
func (w *wire) ask(f func(r *End)) {
	finished := make(chan struct{})
	w.do <- func() { f(w.router); close(finished) }
	<-finished
}

func (w *wire) stats() (s Stats) {
	w.ask(func(r *End) { s = r.Stats() })
	return s
}

// initiate makes the router call.
func (w *wire) initiate() (ok bool) {
	w.ask(func(r *End) {
		var b []byte
		var to netip.AddrPort
		if b, to, ok = r.Initiate(time.Now()); ok {
			w.toGateway(to, b)
		}
	})
	return ok
}

// sendFromRouter reports whether there was a session to send with.
func (w *wire) sendFromRouter(payload string) (ok bool) {
	w.ask(func(r *End) {
		var b []byte
		var to netip.AddrPort
		if b, to, ok = r.Send(time.Now(), nil, packet(lanIP, tunnelIP, payload)); ok {
			w.toGateway(to, b)
		}
	})
	return ok
}

func (w *wire) sendFromGateway(payload string) { w.gw.toPeer <- packet(tunnelIP, lanIP, payload) }

// pass is called for each datagram in flight.
func (w *wire) pass(toRouter bool, b []byte) (arrives [][]byte, gw *gateway, at netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages[toRouter][MessageType(b)]++
	arrives = [][]byte{bytes.Clone(b)}
	if w.filter != nil {
		arrives = w.filter(toRouter, arrives[0])
	}
	return arrives, w.gw, w.at
}

func (w *wire) toGateway(to netip.AddrPort, b []byte) {
	arrives, gw, at := w.pass(false, b)
	if to != at {
		return // nobody is there
	}
	for _, a := range arrives {
		gw.bind.deliver(a)
	}
}

func (w *wire) fromGateway(b []byte) {
	arrives, _, at := w.pass(true, b)
	for _, a := range arrives {
		w.inject(at, a)
	}
}

// inject delivers a datagram to the router past the filter.
func (w *wire) inject(from netip.AddrPort, b []byte) {
	select {
	case w.toRouter <- datagram{time.Now().Add(latency), from, bytes.Clone(b)}:
	default:
		w.t.Error("the wire is full")
	}
}

// tamper sets the filter. It says what arrives in place of a datagram.
func (w *wire) tamper(filter func(toRouter bool, b []byte) [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.filter = filter
}

func (w *wire) moveGateway(to netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = to
}

// sent counts messages of a type sent to the router or to the gateway.
func (w *wire) sent(toRouter bool, kind uint32) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.messages[toRouter][kind]
}

// settle waits for what is in flight, and for a handshake that it causes.
func (w *wire) settle() {
	time.Sleep(4 * latency)
	synctest.Wait()
}

// atRouter takes what the router has received.
func (w *wire) atRouter() []string {
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.received
	w.received = nil
	return got
}

// atGateway takes what the gateway has received.
func (w *wire) atGateway() (got []string) {
	w.settle()
	for {
		select {
		case p := <-w.gw.fromPeer:
			got = append(got, payload(p))
		default:
			return got
		}
	}
}

// exchange sends one packet each way and demands that both arrive.
func (w *wire) exchange(text string) {
	w.t.Helper()
	w.sendFromGateway(text)
	if got := w.atRouter(); len(got) != 1 || got[0] != text {
		w.t.Fatalf("%s: the router received %q", text, got)
	}
	if !w.sendFromRouter(text) {
		w.t.Fatalf("%s: the router has no session", text)
	}
	if got := w.atGateway(); len(got) != 1 || got[0] != text {
		w.t.Fatalf("%s: the gateway received %q", text, got)
	}
}

// gateway is a plain wireguard-go device.
type gateway struct {
	*stack
	device *device.Device
	bind   *bind
}

// startGateway starts a device in place of the one before, which is closed.
func (w *wire) startGateway(c Config) {
	w.t.Helper()
	g := &gateway{stack: newStack(), bind: &bind{send: w.fromGateway, inbound: make(chan []byte, 8192)}}
	g.device = device.NewDevice(g.stack, g.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	text := fmt.Sprintf("private_key=%s\npublic_key=%s\npreshared_key=%s\nallowed_ip=192.168.1.0/24\nallowed_ip=2001:db8::/64\n",
		hex.EncodeToString(c.PrivateKey[:]), hex.EncodeToString(c.Peer[:]), hex.EncodeToString(c.PresharedKey[:]))
	if c.Endpoint.IsValid() {
		text += "endpoint=" + c.Endpoint.String() + "\n"
	}
	text += fmt.Sprintf("persistent_keepalive_interval=%d\n", int(c.Keepalive.Seconds()))
	if err := g.device.IpcSet(text); err != nil {
		w.t.Fatal(err)
	}
	keep(g.device, g.device.LookupPeer(c.Peer))
	if err := g.device.Up(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gw = g
}

// kept keeps what bubbles leave behind: wireguard-go's finalizers touch channels,
// which is forbidden outside the bubble that made them.
var kept struct {
	sync.Mutex
	things []any
}

func keep(things ...any) {
	kept.Lock()
	defer kept.Unlock()
	kept.things = append(kept.things, things...)
}

// bind is wireguard-go's network.
type bind struct {
	send    func([]byte)
	inbound chan []byte   // full: lost
	closed  chan struct{} // nil before the first Open
	once    sync.Once
}

func (b *bind) deliver(data []byte) {
	select {
	case b.inbound <- data:
	default:
	}
}

func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.closed = make(chan struct{})
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case d := <-b.inbound:
			sizes[0], eps[0] = copy(packets[0], d), endpoint{routerAddr}
			return 1, nil
		case <-b.closed:
			return 0, net.ErrClosed
		}
	}}, 0, nil
}

func (b *bind) Close() error {
	if b.closed != nil {
		b.once.Do(func() { close(b.closed) })
	}
	return nil
}

func (b *bind) Send(bufs [][]byte, _ conn.Endpoint) error {
	for _, p := range bufs {
		b.send(p)
	}
	return nil
}

func (b *bind) SetMark(uint32) error { return nil }
func (b *bind) BatchSize() int       { return 1 }
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	return endpoint{addr}, err
}

type endpoint struct{ netip.AddrPort }

func (endpoint) ClearSrc()             {}
func (endpoint) SrcToString() string   { return "" }
func (e endpoint) DstToString() string { return e.String() }
func (e endpoint) DstToBytes() []byte  { return e.Addr().AsSlice() }
func (e endpoint) DstIP() netip.Addr   { return e.Addr() }
func (endpoint) SrcIP() netip.Addr     { return netip.Addr{} }

// stack is a tun.Device whose packets a test writes and reads.
type stack struct {
	toPeer   chan []byte // full: the writer waits
	fromPeer chan []byte // full: the packet is lost
	events   chan tun.Event
	closed   chan struct{}
	once     sync.Once
}

func newStack() *stack {
	return &stack{
		toPeer: make(chan []byte), fromPeer: make(chan []byte, 8192),
		events: make(chan tun.Event), closed: make(chan struct{}),
	}
}

func (s *stack) File() *os.File           { return nil }
func (s *stack) MTU() (int, error)        { return 1420, nil }
func (s *stack) Name() (string, error)    { return "test", nil }
func (s *stack) Events() <-chan tun.Event { return s.events }
func (s *stack) BatchSize() int           { return 1 }

func (s *stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-s.toPeer:
		sizes[0] = copy(bufs[0][offset:], p)
		return 1, nil
	case <-s.closed:
		return 0, os.ErrClosed
	}
}

func (s *stack) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		select {
		case s.fromPeer <- bytes.Clone(b[offset:]):
		default:
		}
	}
	return len(bufs), nil
}

func (s *stack) Close() error {
	s.once.Do(func() { close(s.closed); close(s.events) })
	return nil
}

// The addresses inside.
const (
	tunnelIP = "192.168.1.201"
	lanIP    = "192.168.1.3"
)

// packet is an IPv4 packet of no particular protocol.
func packet(src, dst, payload string) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	from, to := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	return append(p, payload...)
}

// packet6 is the same for IPv6.
func packet6(src, dst, payload string) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0] = 0x60
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	from, to := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(p[8:], from[:])
	copy(p[24:], to[:])
	return append(p, payload...)
}

func payload(p []byte) string {
	if p[0]>>4 == 6 {
		return string(p[40:])
	}
	return string(p[20:])
}
