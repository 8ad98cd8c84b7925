package tunnel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a UDP network in memory. It loses what a full socket does not take.
type network struct {
	mu    sync.Mutex
	socks map[netip.AddrPort]*sock
	drop  func(from, to netip.AddrPort, b []byte) bool // may be nil
}

func newNetwork() *network { return &network{socks: map[netip.AddrPort]*sock{}} }

func (n *network) lose(drop func(from, to netip.AddrPort, b []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = drop
}

// sock is one socket on it.
type sock struct {
	n      *network
	addr   netip.AddrPort
	queue  chan received // full: the datagram is lost
	fail   chan error    // errors for the reader
	closed chan struct{}
	once   sync.Once
}

func (n *network) listen(addr string) *sock {
	s := &sock{
		n:      n,
		addr:   netip.MustParseAddrPort(addr),
		queue:  make(chan received, 4096),
		fail:   make(chan error),
		closed: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.socks[s.addr] = s
	return s
}

func (s *sock) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	default:
	}
	select {
	case d := <-s.queue:
		return copy(b, d.data), d.from, nil
	case err := <-s.fail:
		return 0, netip.AddrPort{}, err
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *sock) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	s.n.mu.Lock()
	dest := s.n.socks[to]
	lost := s.n.drop != nil && s.n.drop(s.addr, to, b)
	s.n.mu.Unlock()
	if dest == nil || lost {
		return len(b), nil
	}
	select {
	case dest.queue <- received{bytes.Clone(b), s.addr}:
	default:
	}
	return len(b), nil
}

func (s *sock) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.addr) }

func (s *sock) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		if s.n.socks[s.addr] == s {
			delete(s.n.socks, s.addr)
		}
	})
	return nil
}

// stack is a Device, and for a router a tun.Device, whose packets a test writes and
// reads.
type stack struct {
	connected func(packet []byte) // nil: it is read
	toPeer    chan []byte         // full: the writer waits
	fromPeer  chan []byte         // full: the packet is lost
	events    chan tun.Event
	closed    chan struct{}
	once      sync.Once
}

func newStack() *stack {
	return &stack{
		toPeer:   make(chan []byte),
		fromPeer: make(chan []byte, 64),
		events:   make(chan tun.Event),
		closed:   make(chan struct{}),
	}
}

func (s *stack) File() *os.File           { return nil }
func (s *stack) MTU() (int, error)        { return DefaultMTU, nil }
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
		case <-s.closed:
			return 0, os.ErrClosed
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

func (s *stack) Connect(send func(packet []byte)) { s.connected = send }

func (s *stack) Deliver(packet []byte) {
	select {
	case s.fromPeer <- bytes.Clone(packet):
	default:
	}
}

// send writes one packet towards the peer.
func (s *stack) send(src, dst, payload string) {
	if s.connected != nil {
		s.connected(packet(src, dst, payload))
		return
	}
	select {
	case s.toPeer <- packet(src, dst, payload):
	case <-s.closed:
	}
}

// packet is an IPv4 packet of no particular protocol.
func packet(src, dst, payload string) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0] = 0x45
	p[8] = 64
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	from, to := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	return append(p, payload...)
}

func payload(p []byte) string { return string(p[20:]) }

// kept keeps what synctest bubbles leave behind: wireguard-go's finalizers touch
// channels, which is forbidden outside the bubble that made them.
var kept struct {
	sync.Mutex
	things []any
}

func keep(things ...any) {
	kept.Lock()
	defer kept.Unlock()
	kept.things = append(kept.things, things...)
}

// The addresses inside each building, all alike.
const (
	ourIP  = "192.168.178.201"
	lanIP  = "192.168.178.20"
	lanNet = "192.168.178.0/24"
)

// router is the building's side: a plain wireguard-go device with a bind of its
// own, so that nothing of this package tests itself.
type router struct {
	*stack
	private PrivateKey
	device  *device.Device
	bind    *routerBind
}

// startRouter starts a router on s. endpoint is ours, and empty when the router
// waits for us.
func startRouter(t testing.TB, s PacketConn, private PrivateKey, peer PublicKey, endpoint string) *router {
	t.Helper()
	r := &router{stack: newStack(), private: private, bind: &routerBind{conn: s}}
	r.device = device.NewDevice(r.stack, r.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	config := fmt.Sprintf("private_key=%s\npublic_key=%s\nallowed_ip=%s/32\n", uapi(private), uapi(peer), ourIP)
	if endpoint != "" {
		config += "endpoint=" + endpoint + "\npersistent_keepalive_interval=25\n"
	}
	if err := r.device.IpcSet(config); err != nil {
		t.Fatal(err)
	}
	keep(r.device, r.device.LookupPeer(device.NoisePublicKey(peer)))
	if err := r.device.Up(); err != nil {
		t.Fatal(err)
	}
	return r
}

// echo sends every packet back until the router is closed.
func (r *router) echo() {
	for {
		select {
		case p := <-r.fromPeer:
			r.send(lanIP, ourIP, payload(p))
		case <-r.closed:
			return
		}
	}
}

type routerBind struct {
	conn PacketConn
	mu   sync.Mutex
	sent map[uint32]int // messages by type
}

func (b *routerBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, from, err := b.conn.ReadFromUDPAddrPort(packets[0])
		sizes[0], eps[0] = n, &endpoint{from}
		return 1, err
	}}, 0, nil
}

func (b *routerBind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent == nil {
		b.sent = map[uint32]int{} // the device closes before it opens
		return nil
	}
	return b.conn.Close()
}

func (b *routerBind) Send(bufs [][]byte, ep conn.Endpoint) error {
	for _, p := range bufs {
		b.mu.Lock()
		b.sent[wireguard.MessageType(p)]++
		b.mu.Unlock()
		if _, err := b.conn.WriteToUDPAddrPort(p, netip.MustParseAddrPort(ep.DstToString())); err != nil {
			return err
		}
	}
	return nil
}

// endpoint is where a router's device sends to.
type endpoint struct{ netip.AddrPort }

func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.Addr() }
func (e *endpoint) DstToBytes() []byte  { return []byte(e.String()) }

func (b *routerBind) SetMark(uint32) error { return nil }
func (b *routerBind) BatchSize() int       { return 1 }
func (b *routerBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	return &endpoint{addr}, err
}

// uapi returns a key as wireguard-go's configuration protocol wants it.
func uapi(k [keySize]byte) string { return hex.EncodeToString(k[:]) }
