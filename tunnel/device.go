package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// closeGrace is how long Close waits for a device to take what was queued, before
// it closes the device in the midst of it.
const closeGrace = time.Second

// Tunnel is one building's WireGuard tunnel. Its methods may be called from
// several goroutines, but those that change it, and Close, not from onHandshake.
type Tunnel struct {
	x         *Exchange
	bind      *bind
	device    *device.Device
	peer      PublicKey
	held      *device.Peer // see start
	keepalive atomic.Int64 // a time.Duration
	log       zerolog.Logger

	allowedMu sync.Mutex
	allowed   []netip.Prefix // masked

	mu       sync.Mutex
	closed   bool
	prodding bool           // a prod is under way
	prods    sync.WaitGroup // added to only while not closed
	done     chan struct{}  // closed when Close has ended
}

// Handshake tells how a tunnel's handshake stands.
type Handshake struct {
	// Last is when the newest handshake completed: when the first message under
	// its keys was sent. Zero: never.
	Last time.Time
	// InitiatingSince is when the first of our initiations was sent that no
	// completed handshake has followed yet. Zero: none is waiting. An answer
	// takes one round trip; the device repeats every 5 s.
	InitiatingSince time.Time
}

// Counters are a tunnel's traffic outside, WireGuard's own messages included.
// What is received is counted when the device takes it, before it is
// authenticated.
type Counters struct {
	RxDatagrams, RxBytes uint64
	TxDatagrams, TxBytes uint64
	// RxDropped were received and not taken: there were too many in a second, or the
	// queue was full.
	RxDropped uint64
}

// ErrKeysInUse means that another open tunnel has the same private key and the
// same peer: two buildings with one router's file. Their sessions would end each
// other for ever.
var ErrKeysInUse = errors.New("another building uses the same private key with the same router; each needs a peer of its own on the router")

// Open starts a tunnel. The device dev belongs to the tunnel from now on and is
// closed with it, also when Open fails; its BatchSize must be 1, its Write must
// not block for long, and it may be closed more than once.
//
// If cfg.Endpoint is an address, the handshake starts at once. If it is a name
// or missing, the tunnel waits for [Tunnel.SetEndpoint] or for the router to
// call; keepalives begin then.
//
// onHandshake may be nil. It is called after each completed handshake, from
// within the device: it must return at once and not change or close the tunnel.
//
// An invalid cfg gives a *ConfigError, keys that another tunnel uses ErrKeysInUse,
// a closed exchange net.ErrClosed. Opening
// one tunnel does not wait for another. log gets the device's messages at debug
// level; they contain no keys but abbreviated public ones.
func (x *Exchange) Open(cfg Config, dev tun.Device, log zerolog.Logger, onHandshake func()) (*Tunnel, error) {
	refuse := func(err error) (*Tunnel, error) { return nil, errors.Join(err, dev.Close()) }
	if err := cfg.Validate(); err != nil {
		return refuse(err)
	}
	if n := dev.BatchSize(); n != 1 {
		return refuse(fmt.Errorf("the tunnel's device has batch size %d; want 1", n))
	}
	t := &Tunnel{x: x, peer: cfg.Peer, log: log, allowed: masked(cfg.AllowedIPs), done: make(chan struct{})}
	t.keepalive.Store(int64(cfg.Keepalive))
	in := newInbox()
	t.bind = &bind{
		x:           x,
		route:       newRoute(cfg.PrivateKey, cfg.Peer, in),
		inbox:       in,
		onHandshake: onHandshake,
		onResponse:  t.prodSoon,
	}
	t.device = device.NewDevice(trimmed{dev, x.trimmer}, t.bind, deviceLogger(log))
	if err := x.enter(t); err != nil {
		t.device.Close() // closes dev
		return nil, fmt.Errorf("open tunnel: %w", err)
	}
	if err := t.start(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open tunnel: %w", err), t.Close())
	}
	return t, nil
}

func (t *Tunnel) start(cfg Config) error {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\npublic_key=%s\n", uapi(cfg.PrivateKey), uapi(cfg.Peer))
	if !cfg.PresharedKey.IsZero() {
		fmt.Fprintf(&b, "preshared_key=%s\n", uapi(cfg.PresharedKey))
	}
	for _, p := range t.allowed {
		fmt.Fprintf(&b, "allowed_ip=%s\n", p)
	}
	if err := t.device.IpcSet(b.String()); err != nil {
		return err
	}
	// The peer's queues have finalizers, which must not run inside a test's
	// synctest bubble or after it. Who keeps the tunnel keeps them.
	t.held = t.device.LookupPeer(device.NoisePublicKey(cfg.Peer))
	if err := t.device.Up(); err != nil {
		return err
	}
	if addr, ok := cfg.Endpoint.AddrPort(); ok {
		// Without a socket of its family there is nothing to do yet; SetEndpoint
		// says so to whoever tries again.
		if err := t.SetEndpoint(addr); !errors.Is(err, ErrNoSocket) {
			return err
		}
		return nil
	}
	if !t.hold() { // the exchange was closed meanwhile
		return net.ErrClosed
	}
	t.prods.Done()
	return nil
}

// enter makes t known. From then on it must be closed.
func (x *Exchange) enter(t *Tunnel) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := t.bind.route
	switch {
	case x.sealed:
		return net.ErrClosed
	case len(x.demux.byPeer[pair{r.identity.public, r.peer}]) > 0:
		return ErrKeysInUse
	}
	x.tunnels[t] = struct{}{}
	x.demux.add(r)
	return nil
}

func (x *Exchange) leave(t *Tunnel) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.tunnels, t)
	x.demux.remove(t.bind.route)
}

// SetEndpoint tells where the router listens and sends to it at once: a
// keepalive when the session holds, an initiation when not. Setting the same
// address again is a way to try at once. A router that calls from elsewhere
// later is followed there. It returns net.ErrClosed after Close, and ErrNoSocket
// when the exchange has no socket of the address's family.
func (t *Tunnel) SetEndpoint(addr netip.AddrPort) error {
	addr = unmap(addr)
	if !reachable(addr.Addr()) || addr.Port() == 0 {
		return fmt.Errorf("endpoint %v: want the address and port of one host", addr)
	}
	if t.x.socket(addr) == nil {
		return fmt.Errorf("endpoint %v: %w", addr, ErrNoSocket)
	}
	if !t.hold() {
		return fmt.Errorf("set endpoint: %w", net.ErrClosed)
	}
	defer t.prods.Done()
	if err := t.prod(fmt.Sprintf("endpoint=%v\n", addr)); err != nil {
		return fmt.Errorf("set endpoint: %w", err)
	}
	t.bind.follow(&endpoint{addr})
	return nil
}

// hold keeps Close from ending before prods.Done.
func (t *Tunnel) hold() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.prods.Add(1)
	return true
}

// prod changes the peer and makes the device send at once. In wireguard-go,
// turning persistent keepalive on does that, and nothing else that may be called
// while the device is being closed.
func (t *Tunnel) prod(change string) error {
	seconds := int(time.Duration(t.keepalive.Load()) / time.Second)
	change = fmt.Sprintf("public_key=%s\nupdate_only=true\n%spersistent_keepalive_interval=0\npersistent_keepalive_interval=%d\n",
		uapi(t.peer), change, max(seconds, 1))
	if err := t.device.IpcSet(change); err != nil {
		return err
	}
	if seconds > 0 {
		return nil
	}
	return t.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\npersistent_keepalive_interval=0\n", uapi(t.peer)))
}

// prodSoon is called when we answered a handshake. The device sends nothing
// under the new keys before it has something to say; a keepalive makes the
// handshake complete and seen after one round trip. It also starts keepalives
// to a router whose endpoint we were not told. It runs inside the device's Send,
// so the device can only be called from elsewhere.
func (t *Tunnel) prodSoon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.prodding {
		return
	}
	t.prodding = true
	t.prods.Go(func() {
		if err := t.prod(""); err != nil {
			// The device is being closed; nothing is left to be said.
			t.log.Debug().Err(err).Msg("keepalive after a handshake")
		}
		t.mu.Lock()
		t.prodding = false
		t.mu.Unlock()
	})
}

// Established reports whether there is a session with the router: a handshake has
// completed, and no newer one of ours waits for its answer.
func (t *Tunnel) Established() bool {
	h := t.Handshake()
	return !h.Last.IsZero() && h.InitiatingSince.IsZero()
}

// DropWaiting drops the packets that wait for a session. Each occupies 64 KiB, and
// a device keeps up to 128 of them for as long as its handshakes go unanswered;
// what was asked of a building minutes ago is not worth that, nor wanted when it
// comes back.
func (t *Tunnel) DropWaiting() { t.held.FlushStagedPackets() }

// Endpoint returns where the tunnel sends to: where it was told to, or where the
// router was last heard from and answered. It is invalid before either.
func (t *Tunnel) Endpoint() netip.AddrPort {
	if to := t.bind.dest.Load(); to != nil {
		return to.AddrPort
	}
	return netip.AddrPort{}
}

// Handshake returns how the handshake stands. It takes no lock of the device.
func (t *Tunnel) Handshake() Handshake {
	t.bind.mu.Lock()
	defer t.bind.mu.Unlock()
	return Handshake{Last: t.bind.last, InitiatingSince: t.bind.initiatingSince}
}

// Counters returns the traffic so far.
func (t *Tunnel) Counters() Counters {
	return Counters{
		RxDatagrams: t.bind.rxDatagrams.Load(),
		RxBytes:     t.bind.rxBytes.Load(),
		TxDatagrams: t.bind.txDatagrams.Load(),
		TxBytes:     t.bind.txBytes.Load(),
		RxDropped:   t.bind.route.wall.dropped.Load(),
	}
}

// Close ends the tunnel and closes its tun.Device. It waits until nothing calls
// that device any more; wireguard-go's idle crypto workers end a moment later.
// It may be called again and always returns nil.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		<-t.done
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	defer close(t.done)

	// The device waits for its reader under a lock that its other goroutines
	// need to make room for the reader's packets. So the reader ends first.
	t.bind.inbox.stop(true)
	if ended := t.bind.inbox.readerEnded(); ended != nil {
		grace := time.NewTimer(closeGrace)
		select {
		case <-ended:
		case <-grace.C:
		}
		grace.Stop()
	}
	t.device.Close()
	t.prods.Wait()
	t.x.leave(t)
	return nil
}

// deviceLogger passes a device's messages on at debug level. Errors are no more
// than that: each is about one datagram or about what Handshake shows.
func deviceLogger(log zerolog.Logger) *device.Logger {
	debugf := func(format string, args ...any) {
		if e := log.Debug(); e.Enabled() {
			e.Msgf(format, args...)
		}
	}
	return &device.Logger{Verbosef: debugf, Errorf: debugf}
}
