package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// What initiations from unknown senders may cost, in MAC1 computations of
	// about half a microsecond: a fifth of one core, saved up for a quarter of
	// a second.
	hashesPerSecond = 400_000
	hashesBurst     = 100_000
	searchStep      = 256 // keys taken at once
	openingHashes   = 120 // what one curve operation costs

	closingAtOnce = 32 // tunnels
)

// ErrNoSocket means that a datagram could not be sent because the exchange has
// no socket of the address's family, such as IPv6 on a machine without it.
var ErrNoSocket = errors.New("no socket for this address family")

// Exchange is the sockets that all tunnels share. Its methods may be called from
// several goroutines. It receives while [Exchange.Run] runs, and then sends what had to
// wait; all else is sent without Run, too.
type Exchange struct {
	log     zerolog.Logger
	sockets []*socket
	sock4   *socket // sends to IPv4; may be nil
	sock6   *socket // sends to IPv6; may be nil

	// mu guards the fields below. It is held for table work only, never over a
	// tunnel's own work.
	mu      sync.RWMutex
	demux   *demux
	tunnels map[*Tunnel]struct{}
	sealed  bool // no further tunnels
	closed  bool // no sockets

	closing   chan struct{} // closed with closed
	strangers *rate.Limiter // in hashes
	strange   strangers     // who they were
	calls     *calls
	work      work
	unknown   chan received // initiations from unknown sources
	buffers   sync.Pool     // of *[]byte, for datagrams to be sent
	cursor    atomic.Uint32 // where the next search begins
	count     counts
}

// counts are the exchange's counters.
type counts struct {
	rxDatagrams, rxBytes, txDatagrams, txBytes                  atomic.Uint64
	malformed, unknownIndex, unknownInitiator                   atomic.Uint64
	rateLimited, queueFull, flooded, noSocket, sendErr, readErr atomic.Uint64
}

// Stats is a snapshot of an exchange. Counters start at zero with it.
type Stats struct {
	Tunnels int // open now

	RxDatagrams, RxBytes uint64 // received by the sockets, dropped ones included
	TxDatagrams, TxBytes uint64 // sent

	// Datagrams received and dropped:
	Malformed        uint64 // no WireGuard message
	UnknownIndex     uint64 // for a session that is not ours, or not any more
	UnknownInitiator uint64 // a handshake with a key that is not ours, or from no peer of ours
	RateLimited      uint64 // a handshake beyond what strangers may cost
	QueueFull        uint64 // too many of one tunnel waited
	Flooded          uint64 // beyond what one tunnel gets in a second

	// CallsWaited are initiations of ours that the budget of all tunnels did not allow
	// at once.
	CallsWaited uint64

	ReadErrors uint64
	SendErrors uint64
	NoSocket   uint64 // of SendErrors: no socket of the address family
	Reopened   uint64 // sockets that were opened anew, because they failed
}

// NewExchange returns an exchange over given sockets, which it will close. The
// first socket of an address family sends for it.
func NewExchange(log zerolog.Logger, conns ...PacketConn) *Exchange {
	sockets := make([]*socket, len(conns))
	for i, c := range conns {
		sockets[i] = newSocket(c, nil)
	}
	return newExchange(log, sockets)
}

func newExchange(log zerolog.Logger, sockets []*socket) *Exchange {
	x := &Exchange{
		log:       log,
		sockets:   sockets,
		demux:     newDemux(),
		tunnels:   make(map[*Tunnel]struct{}),
		closing:   make(chan struct{}),
		strangers: rate.NewLimiter(hashesPerSecond, hashesBurst),
		calls:     newCalls(),
		unknown:   make(chan received, unknownWaiting),
		buffers:   sync.Pool{New: func() any { b := make([]byte, 0, usualDatagram); return &b }},
	}
	x.work.wake.L = &x.work.mu
	for _, s := range sockets {
		s.out.failed = x.notSent
		switch local := s.addr.Addr(); {
		case local.Is4() && x.sock4 == nil:
			x.sock4 = s
		case local.Is6() && x.sock6 == nil:
			x.sock6 = s
		}
	}
	return x
}

// LocalAddrs returns the sockets' addresses.
func (x *Exchange) LocalAddrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(x.sockets))
	for i, s := range x.sockets {
		addrs[i] = s.addr
	}
	return addrs
}

// Run receives until ctx is cancelled or the exchange is closed, and returns nil
// then, with the sockets closed: cancel it after the tunnels have said goodbye.
// It survives read errors, and opens sockets of Listen anew at the same port when they
// fail; it returns an error only when a socket that it was given was closed by somebody
// else. Call it once.
func (x *Exchange) Run(ctx context.Context) error {
	readers, ctx := errgroup.WithContext(ctx)
	defer x.closeSockets() // done when Run returns, not soon after
	defer context.AfterFunc(ctx, x.closeSockets)()
	for _, s := range x.sockets {
		readers.Go(func() error { return x.read(s) })
	}
	for range runtime.GOMAXPROCS(0) {
		readers.Go(x.work.run)
	}
	readers.Go(x.lookAtUnknown)
	readers.Go(func() error { return x.calls.run(x.closing, (*Tunnel).callNow) })
	return readers.Wait()
}

// Close closes all tunnels and the sockets, and waits for the tunnels. It may be
// called again.
func (x *Exchange) Close() error {
	x.mu.Lock()
	x.sealed = true
	open := make([]*Tunnel, 0, len(x.tunnels))
	for t := range x.tunnels {
		open = append(open, t)
	}
	x.mu.Unlock()
	var closing errgroup.Group
	closing.SetLimit(closingAtOnce)
	for _, t := range open {
		closing.Go(t.Close)
	}
	err := closing.Wait()
	x.closeSockets()
	return err
}

// closeSockets ends the readers and refuses further tunnels.
func (x *Exchange) closeSockets() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	x.sealed, x.closed = true, true
	close(x.closing)
	x.work.close()
	for _, s := range x.sockets {
		if err := s.close(); err != nil {
			x.log.Warn().Err(err).Msg("closing a tunnel socket")
		}
		s.out.close()
	}
}

// Stats returns a snapshot.
func (x *Exchange) Stats() Stats {
	x.mu.RLock()
	tunnels := len(x.tunnels)
	x.mu.RUnlock()
	c := &x.count
	var reopened uint64
	for _, s := range x.sockets {
		reopened += s.reopened.Load()
	}
	return Stats{
		Reopened:         reopened,
		Tunnels:          tunnels,
		RxDatagrams:      c.rxDatagrams.Load(),
		RxBytes:          c.rxBytes.Load(),
		TxDatagrams:      c.txDatagrams.Load(),
		TxBytes:          c.txBytes.Load(),
		Malformed:        c.malformed.Load(),
		UnknownIndex:     c.unknownIndex.Load(),
		UnknownInitiator: c.unknownInitiator.Load(),
		RateLimited:      c.rateLimited.Load(),
		QueueFull:        c.queueFull.Load(),
		Flooded:          c.flooded.Load(),
		CallsWaited:      x.calls.waited.Load(),
		ReadErrors:       c.readErr.Load(),
		SendErrors:       c.sendErr.Load(),
		NoSocket:         c.noSocket.Load(),
	}
}

// read receives from one socket until it is closed.
func (x *Exchange) read(s *socket) error {
	r := receiver{x: x}
	err := s.read(x.closing, r.receive, func(err error, pause time.Duration) {
		x.count.readErr.Add(1)
		x.log.Warn().Err(err).Dur("pause", pause).Msg("reading from a tunnel socket")
	})
	select {
	case <-x.closing:
		return nil
	default:
		return fmt.Errorf("tunnel socket %v was closed: %w", s.addr, err)
	}
}

// socket is the one that sends to addr, nil if there is none.
func (x *Exchange) socket(addr netip.AddrPort) *socket {
	if addr.Addr().Is6() {
		return x.sock6
	}
	return x.sock4
}

// send sends one datagram by the socket of the address's family.
func (x *Exchange) send(datagram []byte, to netip.AddrPort) error {
	s := x.socket(to)
	if s == nil {
		x.count.sendErr.Add(1)
		x.count.noSocket.Add(1)
		return fmt.Errorf("send to %v: %w", to, ErrNoSocket)
	}
	if err := s.send(datagram, to); err != nil {
		x.count.sendErr.Add(1)
		s.failedToSend(time.Now(), err)
		return fmt.Errorf("send to %v: %w", to, err)
	}
	x.count.txDatagrams.Add(1)
	x.count.txBytes.Add(uint64(len(datagram)))
	return nil
}

// notSent counts a datagram that was taken, and then failed.
func (x *Exchange) notSent(error) { x.count.sendErr.Add(1) }

func (x *Exchange) moved(r *route, to netip.AddrPort) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.demux.moved(r, to)
}
