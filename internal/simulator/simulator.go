package simulator

import (
	"container/heap"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
)

// Conn is the edge of the simulated buildings: one socket with an address for
// each of them. Its methods may be called from two goroutines at once, one that
// reads and one that writes.
type Conn interface {
	// ReadFrom blocks until there is a datagram, and tells whence it came and to
	// which of the addresses. After Close its error is net.ErrClosed.
	ReadFrom(b []byte) (n int, from, to netip.AddrPort, err error)
	// WriteTo sends a datagram from one of the addresses.
	WriteTo(b []byte, from, to netip.AddrPort) error
	Close() error
}

// Config says what is simulated. Buildings is required.
type Config struct {
	// Buildings is how many there are, 1 to MaxBuildings.
	Buildings int
	// Seed makes keys, group objects and network repeatable.
	Seed uint64
	// KNX is what every interface is like; its address and name are set here. One that
	// offers TCP has a stack of its own for it, whose goroutines work in real time only.
	KNX knxserver.Config
	// Link is what the network to every building is like at first.
	Link Link
	// Gateway, when valid, is where the routers call. Their files then have no
	// endpoint, as for buildings that cannot be reached from outside.
	Gateway netip.AddrPort
	// RouterKeepalive is the persistent keepalive of routers that call.
	RouterKeepalive time.Duration
	// Random makes the routers' session keys. Nil is crypto/rand.
	Random io.Reader
}

// MaxBuildings is how many fit into the addresses from FirstAddress on.
const MaxBuildings = 1 << 20

// FirstAddress is before building 1; the others follow. All of 127.0.0.0/8 is
// loopback on Linux.
var FirstAddress = netip.AddrFrom4([4]byte{127, 64, 0, 0})

// inboundLimit is how many datagrams wait for the loop; the newest is dropped, as
// a socket's buffer does.
const inboundLimit = 8192

// Simulator plays buildings. Make it with New, run it with Run.
type Simulator struct {
	conn      Conn
	rnd       *rand.Rand
	buildings []*Building
	byAddress map[netip.Addr]*Building
	random    io.Reader

	inbound  chan inbound
	commands chan command
	ended    chan struct{} // closed when Run has returned

	// Owned by Run's loop.
	due     deadlines
	moving  transits
	order   uint64
	dropped uint64 // datagrams to addresses where no building is
}

type inbound struct {
	from, to netip.AddrPort
	datagram []byte
}

type command struct {
	run  func(now time.Time)
	done chan struct{}
}

// New makes buildings at the address of the socket's port: building n is at
// FirstAddress + n.
func New(cfg Config, conn Conn, port uint16) (*Simulator, error) {
	if cfg.Buildings < 1 || cfg.Buildings > MaxBuildings {
		return nil, fmt.Errorf("simulator: %d buildings; want 1 to %d", cfg.Buildings, MaxBuildings)
	}
	s := &Simulator{
		conn:      conn,
		rnd:       rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)),
		byAddress: make(map[netip.Addr]*Building, cfg.Buildings),
		random:    cfg.Random,
		inbound:   make(chan inbound, inboundLimit), // full: the newest is dropped
		commands:  make(chan command),
		ended:     make(chan struct{}),
	}
	if s.random == nil {
		s.random = crand.Reader
	}
	for n := 1; n <= cfg.Buildings; n++ {
		addr := addressOf(n)
		b := newBuilding(&cfg, n, netip.AddrPortFrom(addr, port), s.random, s.rnd.Float64)
		b.Link = cfg.Link
		s.buildings = append(s.buildings, b)
		s.byAddress[addr] = b
	}
	return s, nil
}

func addressOf(n int) netip.Addr {
	first := FirstAddress.As4()
	return netip.AddrFrom4([4]byte{first[0], first[1] + byte(n>>16), byte(n >> 8), byte(n)})
}

// Buildings are all buildings, in order. Their fields that do not change may be
// read at any time, everything else within Do.
func (s *Simulator) Buildings() []*Building { return s.buildings }

// Do runs f in the simulator's loop, where it may read and change a building, and
// waits for it. It returns net.ErrClosed when the simulator has ended, or ctx's
// error. What an interface has to say after f is sent.
func (s *Simulator) Do(ctx context.Context, b *Building, f func(now time.Time, b *Building)) error {
	c := command{done: make(chan struct{})}
	c.run = func(now time.Time) {
		f(now, b)
		b.drain(now, s.sender(now, b))
		s.schedule(b)
	}
	select {
	case s.commands <- c:
		<-c.done
		return nil
	case <-s.ended:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PowerCut restarts a building's router and interface; they forget everything,
// and answer again after the given time.
func (s *Simulator) PowerCut(ctx context.Context, b *Building, down time.Duration) error {
	return s.Do(ctx, b, func(now time.Time, b *Building) {
		b.powerCut(now, down)
		b.call(now, s.sender(now, b))
	})
}

// Move gives a building's router another address, as its provider does: what is
// sent to the old one is lost. It is an address that no building has. The port
// stays.
func (s *Simulator) Move(ctx context.Context, b *Building, to netip.Addr) error {
	return s.Do(ctx, b, func(_ time.Time, b *Building) {
		delete(s.byAddress, b.Outside.Addr())
		b.Outside = netip.AddrPortFrom(to, b.Outside.Port())
		s.byAddress[to] = b
	})
}

// Run plays the buildings until ctx ends, and returns nil then, with the socket
// closed. It fails when the socket does.
func (s *Simulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tcpErr := s.startTCP()
	if tcpErr != nil {
		cancel()
	}
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer cancel()
		readErr = s.read()
	})
	s.loop(ctx)
	close(s.ended)
	closeErr := s.conn.Close()
	reading.Wait()
	if errors.Is(readErr, net.ErrClosed) {
		readErr = nil
	}
	return errors.Join(tcpErr, readErr, closeErr, s.stopTCP())
}

// startTCP lets the interfaces that offer TCP listen.
func (s *Simulator) startTCP() error {
	for _, b := range s.buildings {
		if !b.KNX.OffersTCP() {
			continue
		}
		var err error
		b.tcp, err = startTCP(b, func(f func(now time.Time)) bool {
			return s.Do(context.Background(), b, func(now time.Time, _ *Building) { f(now) }) == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Simulator) stopTCP() error {
	var errs []error
	for _, b := range s.buildings {
		if b.tcp != nil {
			errs = append(errs, b.tcp.stop())
		}
	}
	return errors.Join(errs...)
}

func (s *Simulator) read() error {
	buffer := make([]byte, 1<<16)
	for {
		n, from, to, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("simulator: %w", err)
		}
		select {
		case s.inbound <- inbound{from, to, append([]byte(nil), buffer[:n]...)}:
		default:
		}
	}
}

func (s *Simulator) loop(ctx context.Context) {
	now := time.Now()
	for _, b := range s.buildings {
		b.KNX.Start(now)
		b.call(now, s.sender(now, b))
		s.schedule(b)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-s.inbound:
			s.arrive(time.Now(), in)
		case c := <-s.commands:
			c.run(time.Now())
			close(c.done)
		case <-timer.C:
		}
		s.expire(time.Now())
		if at, ok := s.next(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
	}
}

// arrive takes a datagram from the socket onto its way to a building.
func (s *Simulator) arrive(now time.Time, in inbound) {
	b := s.byAddress[in.to.Addr().Unmap()]
	if b == nil {
		s.dropped++
		return
	}
	s.move(now, b, true, in.from, in.datagram)
}

// move sends a datagram through a building's link.
func (s *Simulator) move(now time.Time, b *Building, inbound bool, gateway netip.AddrPort, datagram []byte) {
	after := b.Link.passes(s.rnd.Float64)
	for i, delay := range after {
		copied := datagram
		if i < len(after)-1 {
			copied = append([]byte(nil), datagram...) // a router decrypts in place
		}
		t := &transit{at: now.Add(delay), order: s.order, building: b, inbound: inbound, gateway: gateway, datagram: copied}
		s.order++
		if delay == 0 {
			s.land(now, t)
			continue
		}
		heap.Push(&s.moving, t)
	}
}

// land brings a datagram to its end.
func (s *Simulator) land(now time.Time, t *transit) {
	b := t.building
	if t.inbound {
		b.receive(now, t.gateway, t.datagram, s.sender(now, b))
		s.schedule(b)
		return
	}
	// A datagram that the socket does not take is one that the network lost.
	_ = s.conn.WriteTo(t.datagram, b.Outside, t.gateway)
}

// sender sends what a building says to the gateway.
func (s *Simulator) sender(now time.Time, b *Building) func(netip.AddrPort, []byte) {
	return func(to netip.AddrPort, datagram []byte) { s.move(now, b, false, to, datagram) }
}

// expire does all that is due.
func (s *Simulator) expire(now time.Time) {
	for len(s.moving) > 0 && !now.Before(s.moving[0].at) {
		t, ok := heap.Pop(&s.moving).(*transit)
		if ok {
			s.land(now, t)
		}
	}
	for len(s.due) > 0 && !now.Before(s.due[0].deadline) {
		b := s.due[0]
		b.expire(now, s.sender(now, b))
		s.schedule(b)
	}
}

// schedule puts a building where its deadline belongs.
func (s *Simulator) schedule(b *Building) {
	b.deadline = b.next()
	switch {
	case b.deadline.IsZero() && b.place >= 0:
		heap.Remove(&s.due, b.place)
	case b.deadline.IsZero():
	case b.place >= 0:
		heap.Fix(&s.due, b.place)
	default:
		heap.Push(&s.due, b)
	}
}

func (s *Simulator) next() (time.Time, bool) {
	var first time.Time
	if len(s.due) > 0 {
		first = s.due[0].deadline
	}
	if len(s.moving) > 0 && (first.IsZero() || s.moving[0].at.Before(first)) {
		first = s.moving[0].at
	}
	return first, !first.IsZero()
}
