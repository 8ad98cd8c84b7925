package knxbridge

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Our own tuning; the protocol's times are in package session.
const (
	// defaultWriteRate: TP1 carries 20 to 50 telegrams a second, all senders together.
	defaultWriteRate = 20
	// defaultQueueLength is three seconds of writes at the default rate.
	defaultQueueLength = 64
)

// Config is how a Bridge works. Only Session.Control has no default.
type Config struct {
	Session session.Config
	// WriteRate is how many telegrams a second are sent at most, evenly spread.
	// Zero or less means 20.
	WriteRate float64
	// QueueLength is how many writes and reads may wait. Zero or less means 64.
	QueueLength int
	// Dial opens a TCP connection inside the building, for session.TransportAuto and
	// TransportTCP. It must give up when ctx ends; it is called in a goroutine of its
	// own. Nil: there is no TCP.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// BusFrame takes what a session on frame.LayerBusmonitor hears, and when it was
	// taken from the socket. It is called as the Handler is. Nil drops it.
	BusFrame func(at time.Time, heard frame.Busmonitor)
	// Random gives numbers in [0, 1) for jitter, to the goroutine of Run alone. Nil
	// means the runtime's source.
	Random func() float64
}

// Bridge is one KNX session and its writes. Make it with New, run it with Run.
type Bridge struct {
	listen   func() (PacketConn, error)
	dial     func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	handler  Handler
	busFrame func(at time.Time, heard frame.Busmonitor)
	log      zerolog.Logger
	queue    *writeQueue
	kick     chan struct{}

	mu       sync.Mutex // guards the two snapshots, taken once at each wakeup
	stats    Stats
	snapshot State

	// All below belongs to the goroutine of Run.
	machine  *session.Machine
	conn     PacketConn // nil: to be opened by the next send
	tcp      *tcpStream // nil: none
	streams  sync.WaitGroup
	pace     *rate.Limiter
	inFlight *pending
	result   *session.Result // of inFlight, to be given when all outputs are done
	lastWait time.Duration   // of the write that was sent last
	nextID   uint64
	stopped  bool
	buffer   [maxDatagram]byte

	datagramsIn, datagramsOut uint64
	readErrors, sendErrors    uint64
}

// New returns a Bridge that opens its socket with listen, first at the start of
// Run and again after the socket has failed. listen must not block for long; it
// should bind the same local port each time. log should name the building.
func New(cfg Config, listen func() (PacketConn, error), h Handler, log zerolog.Logger) *Bridge {
	if cfg.WriteRate <= 0 {
		cfg.WriteRate = defaultWriteRate
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	return &Bridge{
		listen:   listen,
		dial:     cfg.Dial,
		handler:  h,
		busFrame: cfg.BusFrame,
		log:      log,
		queue:    newWriteQueue(queueLength(cfg.QueueLength)),
		// One kick that waits is as good as many.
		kick:    make(chan struct{}, 1),
		machine: session.New(cfg.Session, cfg.Random),
		pace:    rate.NewLimiter(rate.Limit(cfg.WriteRate), 1),
	}
}

// Run keeps the session until ctx ends. Then it refuses all writes, sends
// DISCONNECT_REQUEST, waits for the answer (session.Config.StopTimeout at most)
// and returns nil. It must be called once.
func (b *Bridge) Run(ctx context.Context) error {
	defer b.streams.Wait()
	defer b.hangup()
	defer b.closeConn()
	defer b.refuseWrites()
	defer b.answerInFlight()
	if ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	b.machine.Start(now)
	b.settle(now)

	timer := time.NewTimer(0)
	defer timer.Stop()
	// Full: a read that was cut short is already noted.
	unread := make(chan struct{}, 1)
	stop := ctx.Done()
	for !b.stopped {
		b.arm(timer, b.sendWrites(time.Now()))
		b.publish()
		select {
		case <-stop:
			stop = nil
			b.refuseWrites()
			now = time.Now()
			b.machine.Stop(now)
		case <-b.readable():
			b.readAll(unread)
			now = time.Now()
		case <-unread:
			b.readAll(unread)
			now = time.Now()
		case e := <-b.streamEvents():
			now = time.Now()
			b.streamEvent(now, e)
		case <-timer.C:
			now = time.Now()
			b.machine.Expire(now)
		case <-b.kick:
			now = time.Now()
			b.machine.Kick(now)
		case <-b.queue.wake:
			continue // sendWrites looks
		}
		b.settle(now)
	}
	b.publish()
	return nil
}

// readAll reads what waits, and makes sure of another turn if it was too much.
func (b *Bridge) readAll(unread chan<- struct{}) {
	if b.read() {
		select {
		case unread <- struct{}{}:
		default:
		}
	}
}

// arm sets the timer to the machine's deadline or the next write's turn.
func (b *Bridge) arm(timer *time.Timer, turn time.Time) {
	at, ok := b.machine.Deadline()
	if !turn.IsZero() && (!ok || turn.Before(at)) {
		at, ok = turn, true
	}
	if ok {
		timer.Reset(time.Until(at))
	} else {
		timer.Stop()
	}
}

// settle does what the machine wants. Sending may make it want more; that is
// bounded, because a machine whose sends fail backs off.
func (b *Bridge) settle(now time.Time) {
	for out, ok := b.machine.Next(); ok; out, ok = b.machine.Next() {
		switch out := out.(type) {
		case session.Send:
			b.send(now, out)
		case session.Dial:
			b.openStream(now, out.To)
		case session.Hangup:
			b.hangup()
		case session.Telegram:
			b.telegram(now, out)
		case session.BusFrame:
			if b.busFrame != nil {
				b.busFrame(now, out.Busmonitor)
			}
		case session.Result:
			b.result = &out
		case session.StateChanged:
			b.stateChanged(out)
		case session.Stopped:
			b.stopped = true
		}
	}
	b.answer()
}

func (b *Bridge) stateChanged(s State) {
	// The counters first: who is told of a new session must find it counted.
	b.publish()
	b.mu.Lock()
	b.snapshot = s
	b.mu.Unlock()
	b.log.Debug().Stringer("state", s.State).Str("reason", string(s.Reason)).Msg(logText(s))
	b.handler.State(s)
}

func logText(s State) string {
	if s.Message == "" {
		return "KNX session is " + s.State.String()
	}
	return s.Message
}

// Kick says that the way to the interface is believed to be back: a session
// that backs off tries again now. It never blocks.
func (b *Bridge) Kick() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// SetQueueLength changes how many writes and reads may wait. Zero or less means 64.
func (b *Bridge) SetQueueLength(n int) { b.queue.limitTo(queueLength(n)) }

func queueLength(n int) int {
	if n <= 0 {
		return defaultQueueLength
	}
	return n
}

// State returns the session's last state; its State field is zero before Run.
func (b *Bridge) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot
}
