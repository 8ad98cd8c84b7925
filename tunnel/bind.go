package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// bind is a device's network: the exchange's sockets for sending, and its own
// inbox for receiving. The device calls Send from several goroutines and under
// its own lock, so nothing here calls back into the device.
type bind struct {
	x     *Exchange
	route *route
	inbox *inbox

	open atomic.Bool              // Send is let through
	dest atomic.Pointer[endpoint] // where the device last sent to, or was told to
	// others are further addresses that initiations go to until one is answered; see
	// Race. Nil: none.
	others atomic.Pointer[[]netip.AddrPort]
	seen   endpointCache // of the one reader

	preferred atomic.Bool // calls before others
	call      call        // guarded by the exchange's calls

	messages             messageCounts
	rxDatagrams, rxBytes atomic.Uint64
	txDatagrams, txBytes atomic.Uint64

	// remote is the peer's index of the session last used for sending, plus
	// sessionKnown. It changes when a new handshake has completed.
	remote atomic.Uint64

	mu              sync.Mutex
	previous        uint64 // remote before it changed
	last            time.Time
	initiatingSince time.Time

	// onHandshake is called when a handshake has completed, onResponse when we
	// answered one. Neither may block or call the device.
	onHandshake, onResponse func()
}

const sessionKnown = 1 << 32

var _ conn.Bind = (*bind)(nil)

// Open starts receiving. The port is the exchange's and not the device's choice.
func (b *bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	epoch, err := b.inbox.start()
	if err != nil {
		return nil, 0, err
	}
	b.open.Store(true)
	receive := func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		b.x.trimmer.trim(packets[0])
		d, ok := b.inbox.pop(epoch)
		if !ok {
			return 0, net.ErrClosed
		}
		sizes[0] = copy(packets[0], d.data)
		eps[0] = b.seen.of(d.from)
		b.messages.count(&b.messages.received, d.data)
		b.rxDatagrams.Add(1)
		b.rxBytes.Add(uint64(sizes[0]))
		return 1, nil
	}
	return []conn.ReceiveFunc{receive}, 0, nil
}

// Close ends receiving. The device calls it before the first Open, too.
func (b *bind) Close() error {
	b.open.Store(false)
	b.x.calls.cancel(b)
	b.inbox.stop(false)
	return nil
}

// SetMark does nothing: no mark is ever set on a device of ours.
func (b *bind) SetMark(uint32) error { return nil }

// BatchSize is 1: more would cost every building 64 KiB for each buffer.
func (b *bind) BatchSize() int { return 1 }

// ParseEndpoint reads an address and port. Names are resolved before.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	return &endpoint{netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}, nil
}

// Send sends datagrams, and learns from their headers what later datagrams to us
// will carry, and how the handshake stands.
func (b *bind) Send(datagrams [][]byte, ep conn.Endpoint) error {
	if !b.open.Load() {
		return net.ErrClosed
	}
	to, ok := ep.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	var errs error
	for _, datagram := range datagrams {
		b.observe(datagram, to)
		b.messages.count(&b.messages.sent, datagram)
		if messageType(datagram) == typeInitiation {
			errs = errors.Join(errs, b.sendInitiation(datagram, to.AddrPort))
		} else {
			errs = errors.Join(errs, b.send(datagram, to.AddrPort))
		}
	}
	return errs
}

func (b *bind) send(datagram []byte, to netip.AddrPort) error {
	if err := b.x.send(datagram, to); err != nil {
		return err
	}
	b.txDatagrams.Add(1)
	b.txBytes.Add(uint64(len(datagram)))
	return nil
}

func (b *bind) observe(datagram []byte, to *endpoint) {
	switch messageType(datagram) {
	case typeInitiation:
		b.follow(to)
		b.x.learn(time.Now(), b.route, senderIndex(datagram))
	case typeResponse:
		b.follow(to)
		b.x.learn(time.Now(), b.route, senderIndex(datagram))
		b.onResponse()
	case typeTransport:
		b.follow(to)
		b.used(receiverIndex(datagram))
	}
	// A cookie goes to a sender that proved nothing, so it teaches nothing.
}

// follow notes where the peer is now. Initiations, responses and transport go
// only where an authenticated datagram came from, or where we were told to send.
func (b *bind) follow(to *endpoint) {
	if before := b.dest.Load(); before != nil && (before == to || before.AddrPort == to.AddrPort) {
		return
	}
	b.mu.Lock() // so that dest and the exchange's view change in the same order
	defer b.mu.Unlock()
	b.dest.Store(to)
	b.x.moved(b.route, to.AddrPort)
}

func (b *bind) initiated(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.initiatingSince.IsZero() {
		b.initiatingSince = now
	}
}

// used notes the session that a transport message belongs to. Both sides send
// under a session's keys only after the handshake is confirmed, so the first
// message with a new index shows that a handshake has completed.
func (b *bind) used(index uint32) {
	session := uint64(index) | sessionKnown
	if b.remote.Load() == session {
		return
	}
	b.mu.Lock()
	now := b.remote.Load()
	if session == now || session == b.previous {
		b.mu.Unlock() // a message of the session before, overtaken
		return
	}
	b.previous = now
	b.remote.Store(session)
	b.last = time.Now()
	b.initiatingSince = time.Time{}
	b.mu.Unlock()
	b.others.Store(nil)
	b.x.calls.cancel(b)
	if b.onHandshake != nil {
		b.onHandshake()
	}
}

// endpoint is an address and port as the device holds it. It never changes.
type endpoint struct{ netip.AddrPort }

var _ conn.Endpoint = (*endpoint)(nil)

func (e *endpoint) ClearSrc()           {} // the kernel chooses our address for each datagram
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.Addr() }

// DstToBytes is what cookies are bound to.
func (e *endpoint) DstToBytes() []byte {
	b, err := e.MarshalBinary()
	if err != nil {
		return nil // it has no error to give
	}
	return b
}

// endpointCache saves an allocation for each datagram: a router rarely moves.
type endpointCache struct{ last *endpoint }

func (c *endpointCache) of(addr netip.AddrPort) *endpoint {
	if c.last == nil || c.last.AddrPort != addr {
		c.last = &endpoint{addr}
	}
	return c.last
}
