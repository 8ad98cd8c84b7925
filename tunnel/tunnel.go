package tunnel

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// Device is the inner side of a tunnel: a building's TCP/IP stack.
type Device interface {
	// Connect tells the device where its packets to the building go. It is called once,
	// before anything else. send does not keep the packet, may be called from several
	// goroutines, and drops what comes after the tunnel's Close.
	Connect(send func(packet []byte))
	// Deliver takes an IP packet from the building. It copies what it keeps and does not
	// block: other buildings wait for it. It may be called during and after Close.
	Deliver(packet []byte)
	// Close may be called more than once.
	Close() error
}

// waitingPackets is how many packets of a building wait for its session; when there are
// more, the oldest is dropped. TCP and KNX send again what matters.
const waitingPackets = 32

// never is how long a timer that is stopped at once would take.
const never = time.Hour

// Tunnel is one building's WireGuard tunnel: the state of one peer, and memory only. No
// goroutine belongs to it. Its methods may be called from several goroutines, but those
// that change it, and Close, not from onHandshake.
type Tunnel struct {
	x           *Exchange
	dev         Device
	route       *route
	log         zerolog.Logger
	onHandshake func() // may be nil

	preferred            atomic.Bool // calls before others
	rxDatagrams, rxBytes atomic.Uint64
	txDatagrams, txBytes atomic.Uint64
	messages             messageCounts

	call place // guarded by the exchange's calls
	in   inbox // what the socket's reader leaves to the workers

	// mu guards all below. It is held for the state machine's work, a handshake's curve
	// operations included, and never over sending, the device or onHandshake.
	mu         sync.Mutex
	closed     bool
	end        *wireguard.End
	allowed    []netip.Prefix // masked; replaced, never changed
	timer      *time.Timer
	alarm      time.Time        // when timer goes off; zero: it does not
	mayCall    bool             // it is its turn
	others     []netip.AddrPort // initiations go there, too, until one is answered; see Race
	endpoint   netip.AddrPort   // as the demultiplexer knows it
	handshakes uint64           // that the end has told of
	handshake  Handshake

	busy   sync.WaitGroup // what uses dev or onHandshake; added to under mu, while not closed
	closes sync.Once
}

// Handshake tells how a tunnel's handshake stands.
type Handshake struct {
	// Last is when the newest handshake completed: when the first message under
	// its keys was sent or received. Zero: never.
	Last time.Time
	// InitiatingSince is when the first of our initiations was sent that no
	// completed handshake has followed yet. Zero: none is waiting. An answer
	// takes one round trip; the initiation is repeated every 5 s.
	InitiatingSince time.Time
}

// Counters are a tunnel's traffic outside, WireGuard's own messages included.
// What is received is counted before it is authenticated.
type Counters struct {
	RxDatagrams, RxBytes uint64
	TxDatagrams, TxBytes uint64
	// RxDropped were received and not taken: there were too many in a second,
	// or too many waited.
	RxDropped uint64
}

// ErrKeysInUse means that another open tunnel has the same private key and the
// same peer: two buildings with one router's file. Their sessions would end each
// other for ever.
var ErrKeysInUse = errors.New("another building uses the same private key with the same router; each needs a peer of its own on the router")

// Open starts a tunnel. The device dev belongs to the tunnel from now on and is
// closed with it, also when Open fails.
//
// If cfg.Endpoint is an address, the handshake starts at once. If it is a name
// or missing, the tunnel waits for [Tunnel.SetEndpoint] or for the router to
// call; keepalives begin then.
//
// onHandshake may be nil. It is called after each completed handshake, from
// within the exchange: it must return at once and not change or close the tunnel.
//
// An invalid cfg gives a *ConfigError, keys that another tunnel uses ErrKeysInUse,
// a closed exchange net.ErrClosed. Opening one tunnel does not wait for another. log
// gets what happens to the handshake at debug level, without keys.
func (x *Exchange) Open(cfg Config, dev Device, log zerolog.Logger, onHandshake func()) (*Tunnel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	t := &Tunnel{x: x, dev: dev, log: log, onHandshake: onHandshake, allowed: masked(cfg.AllowedIPs)}
	t.end = wireguard.NewWithKey(wireguard.Config{
		Peer:         cfg.Peer,
		PresharedKey: wireguard.Secret(cfg.PresharedKey),
		Calls:        true,
		Keepalive:    cfg.Keepalive,
		Queue:        waitingPackets,
		MTU:          cmp.Or(cfg.MTU, DefaultMTU),
	}, cfg.PrivateKey.read(), rand.Reader)
	t.timer = time.AfterFunc(never, t.expire)
	t.timer.Stop()
	t.route = newRoute(t, cfg.PrivateKey, t.end.PublicKey(), cfg.Peer)
	dev.Connect(t.outward)
	if err := x.enter(t); err != nil {
		return nil, errors.Join(fmt.Errorf("open tunnel: %w", err), dev.Close())
	}
	if addr, ok := cfg.Endpoint.AddrPort(); ok {
		// Without a socket of its family there is nothing to do yet; SetEndpoint
		// says so to whoever tries again.
		if err := t.SetEndpoint(addr); err != nil && !errors.Is(err, ErrNoSocket) {
			return nil, errors.Join(fmt.Errorf("open tunnel: %w", err), t.Close())
		}
	}
	return t, nil
}

// enter makes t known. From then on it must be closed.
func (x *Exchange) enter(t *Tunnel) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.sealed:
		return net.ErrClosed
	case len(x.demux.byPeer[t.route.ends()]) > 0:
		return ErrKeysInUse
	}
	x.tunnels[t] = struct{}{}
	x.demux.add(t.route)
	t.end.SetIndex(t.route.index)
	return nil
}

func (x *Exchange) leave(t *Tunnel) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.tunnels, t)
	x.demux.remove(t.route)
}

// outputs is room for what one event makes a tunnel send, besides packets that waited.
type outputs [2]outgoing

// receive takes a datagram that may be for the tunnel, and decrypts it in place.
func (t *Tunnel) receive(now time.Time, datagram []byte, from netip.AddrPort) {
	var space outputs
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.busy.Add(1)
	defer t.busy.Done()
	t.rxDatagrams.Add(1)
	t.rxBytes.Add(uint64(len(datagram)))
	t.messages.count(&t.messages.received, datagram)
	result := t.end.Receive(now, from, datagram)
	out := space[:0]
	if result.Reply != nil {
		out = t.put(out, now, result.Reply, from)
	}
	out, completed := t.settle(now, out)
	allowed := t.allowed
	t.mu.Unlock()

	t.transmit(out)
	if completed && t.onHandshake != nil {
		t.onHandshake()
	}
	if source, _, ok := addresses(result.Packet); ok && within(allowed, source) {
		t.dev.Deliver(result.Packet)
	}
}

// outward encrypts a packet of the device, as far as the router may get it.
func (t *Tunnel) outward(packet []byte) {
	var space outputs
	_, destination, ok := addresses(packet)
	if !ok {
		return
	}
	buffer, ok := t.x.buffers.Get().(*[]byte)
	if !ok {
		return // the pool holds nothing else
	}
	defer t.x.buffers.Put(buffer)
	t.mu.Lock()
	if t.closed || !within(t.allowed, destination) {
		t.mu.Unlock()
		return
	}
	now, out := time.Now(), space[:0]
	datagram, to, ok := t.end.Send(now, (*buffer)[:0], packet)
	if ok {
		out = t.put(out, now, datagram, to)
	}
	out, _ = t.settle(now, out) // sending completes no handshake
	t.mu.Unlock()
	t.transmit(out)
	if cap(datagram) > cap(*buffer) {
		*buffer = datagram
	}
}

// expire is called by the timer.
func (t *Tunnel) expire() {
	_ = t.change("", func(time.Time) bool { // after Close nothing is due
		t.alarm = time.Time{}
		return false
	})
}

// change calls f with the lock held, and sends what follows from it; if f asks for that
// and it is known where the router is, something at once: a keepalive when the session
// holds, an initiation when not. What could not be sent is counted, and is as if the network
// had lost it. After Close, f is not called, and the error says what could not be done.
func (t *Tunnel) change(what string, f func(now time.Time) (prod bool)) error {
	var space outputs
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return fmt.Errorf("%s: %w", what, net.ErrClosed)
	}
	t.busy.Add(1)
	defer t.busy.Done()
	now, out := time.Now(), space[:0]
	if f(now) && t.end.Endpoint().IsValid() {
		if datagram, to, ok := t.end.Prod(now); ok {
			out = t.put(out, now, datagram, to)
		}
	}
	out, completed := t.settle(now, out)
	t.mu.Unlock()
	t.transmit(out)
	if completed && t.onHandshake != nil {
		t.onHandshake()
	}
	return nil
}

// settle does what has become due, follows what has changed, and sets the timer. It
// appends to out what is to be sent, and reports whether a handshake has completed. It is
// called with the lock held.
func (t *Tunnel) settle(now time.Time, out []outgoing) (_ []outgoing, completed bool) {
	deadline, due := t.end.Deadline()
	for ; due && !now.Before(deadline); deadline, due = t.end.Deadline() {
		if t.end.CallDue(now) {
			if !t.mayCall && !t.x.calls.atOnce(now) {
				t.end.HoldCall()
				t.x.calls.wait(t)
				continue
			}
			t.mayCall = false
		}
		if datagram, to, ok := t.end.Expire(now); ok {
			out = t.put(out, now, datagram, to)
		}
	}
	if n := t.end.Handshakes(); n != t.handshakes {
		t.handshakes, completed = n, true
		t.handshake = Handshake{Last: now}
		t.others = nil
		for datagram, to, ok := t.end.Waiting(now); ok; datagram, to, ok = t.end.Waiting(now) {
			out = t.put(out, now, datagram, to)
		}
		deadline, due = t.end.Deadline()
		t.log.Debug().Msg("handshake completed")
	}
	if at := t.end.Endpoint(); at != t.endpoint {
		t.endpoint = at
		t.x.moved(t.route, at)
	}
	if due && !t.end.CallDue(deadline) {
		deadline = onGrid(deadline)
	}
	// A deadline that moves away is met by the timer that goes off early, and looks
	// again: that is rarer than packets.
	if due && (t.alarm.IsZero() || deadline.Before(t.alarm)) {
		t.alarm = deadline
		t.timer.Reset(deadline.Sub(now))
	}
	return out, completed
}

// timerGrid is how late a keepalive may be, so that those of many buildings go out together:
// to wake an idle process costs ten times what a keepalive does. The peer waits 5 s longer
// for one (WireGuard paper §6.5), and calls keep their jitter.
const timerGrid = 250 * time.Millisecond

func onGrid(at time.Time) time.Time {
	// Unlike at.Truncate this keeps the monotonic time.
	if late := time.Duration(at.UnixNano() % int64(timerGrid)); late > 0 {
		return at.Add(timerGrid - late)
	}
	return at
}

// put notes a datagram to be sent. It is called with the lock held.
func (t *Tunnel) put(out []outgoing, now time.Time, datagram []byte, to netip.AddrPort) []outgoing {
	t.messages.count(&t.messages.sent, datagram)
	out = append(out, outgoing{datagram, to})
	if wireguard.MessageType(datagram) != wireguard.Initiation {
		return out
	}
	if t.handshake.InitiatingSince.IsZero() {
		t.handshake.InitiatingSince = now
	}
	for _, other := range t.others {
		out = append(out, outgoing{datagram, other})
	}
	return out
}

// transmit sends. Errors are counted by the exchange: to a tunnel it is as if the network
// had lost the datagram.
func (t *Tunnel) transmit(out []outgoing) {
	for _, d := range out {
		if t.x.send(d.data, d.to) == nil {
			t.txDatagrams.Add(1)
			t.txBytes.Add(uint64(len(d.data)))
		}
	}
}

// Established reports whether there is a session with the router, and no initiation of
// ours waits for its answer.
func (t *Tunnel) Established() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end.Live(time.Now()) && t.handshake.InitiatingSince.IsZero()
}

// DropWaiting drops the packets that wait for a session, 32 at most: what was asked of a
// building minutes ago is not wanted when it comes back.
func (t *Tunnel) DropWaiting() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end.DropWaiting()
}

// Endpoint returns where the tunnel sends to: where it was told to, or where the
// router was last heard from. It is invalid before either.
func (t *Tunnel) Endpoint() netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endpoint
}

// Handshake returns how the handshake stands.
func (t *Tunnel) Handshake() Handshake {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handshake
}

// Counters returns the traffic so far.
func (t *Tunnel) Counters() Counters {
	return Counters{
		RxDatagrams: t.rxDatagrams.Load(),
		RxBytes:     t.rxBytes.Load(),
		TxDatagrams: t.txDatagrams.Load(),
		TxBytes:     t.txBytes.Load(),
		RxDropped:   t.route.wall.dropped.Load(),
	}
}

// Close ends the tunnel and closes its device. It waits until nothing calls
// that device or onHandshake any more. It may be called again and always returns nil.
func (t *Tunnel) Close() error {
	t.closes.Do(func() {
		t.mu.Lock()
		t.closed = true
		t.timer.Stop()
		t.end.Reset() // keys are forgotten now
		t.mu.Unlock()
		t.x.leave(t)
		t.busy.Wait()
		if err := t.dev.Close(); err != nil {
			t.log.Debug().Err(err).Msg("closing the tunnel's device")
		}
	})
	return nil
}
