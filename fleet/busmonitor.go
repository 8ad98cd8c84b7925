package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

const (
	// monitorPort is the UDP port of our end of a busmonitor session, beside that of
	// telegrams.
	monitorPort = localPort + 1
	// monitorQueue is how many frames may wait for a slow client: a minute of a busy
	// TP1 line. When it is full, the newest is dropped and counted.
	monitorQueue = 4096
	// monitorBatch is how many frames go in one response.
	monitorBatch = 500
	// monitorPatience is how long an interface may take to grant the session.
	monitorPatience = 15 * time.Second
)

// Errors of MonitorBus.
var (
	// ErrMonitored: the building is monitored already.
	ErrMonitored = errors.New("the bus is monitored already; one client can do so at a time")
	// ErrNoSlot: the interface has no free slot for a busmonitor session.
	ErrNoSlot = errors.New("the KNX interface has no free slot for a busmonitor")
	// ErrNoBusmonitor: the interface does not offer the busmonitor layer.
	ErrNoBusmonitor = errors.New("the KNX interface offers no busmonitor")
	// ErrMonitorFailed: the interface did not grant the session.
	ErrMonitorFailed = errors.New("the KNX interface did not grant a busmonitor session")
)

// Monitor says what of a building's bus to listen to.
type Monitor struct {
	Building string
	// DataOnly leaves out acknowledgements.
	DataOnly bool
	// Silence is after how long without frames an empty response is sent.
	Silence time.Duration
}

// MonitorBus opens a second session with a building's interface, on the busmonitor
// layer, and calls send with the frames that it hears, and with how many were
// dropped since the call before because send was too slow; until ctx ends, the
// building stops, or send fails. It returns that error, or one of the above, a
// *registry.BuildingError, or an *OfflineError. A session that is lost later is
// opened anew.
func (f *Fleet) MonitorBus(ctx context.Context, m Monitor, send func(frames []*knxfleetv1.BusMonitorFrame, dropped uint64) error) error {
	s, err := f.online(m.Building)
	if err != nil {
		return err
	}
	if err := s.monitorBus(ctx, m, send); err != nil {
		return &registry.BuildingError{ID: m.Building, Cause: err}
	}
	return nil
}

// monitor is a site's place for one busmonitor session.
type monitor struct {
	mu   sync.Mutex
	life context.Context //nolint:containedctx // the site's own, which ends the session
	busy bool
	wg   sync.WaitGroup
}

func (m *monitor) open(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life = ctx
}

// close waits for the session; the site's context has ended.
func (m *monitor) close() {
	m.mu.Lock()
	m.life = nil
	m.mu.Unlock()
	m.wg.Wait()
}

// take takes the place.
func (m *monitor) take() (life context.Context, give func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.life == nil || m.life.Err() != nil:
		return nil, nil, ErrSiteStopped
	case m.busy:
		return nil, nil, ErrMonitored
	}
	m.busy = true
	m.wg.Add(1)
	return m.life, func() {
		m.mu.Lock()
		m.busy = false
		m.mu.Unlock()
		m.wg.Done()
	}, nil
}

func (s *site) monitorBus(ctx context.Context, m Monitor, send func([]*knxfleetv1.BusMonitorFrame, uint64) error) error {
	life, give, err := s.monitor.take()
	if err != nil {
		return err
	}
	defer give()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(life, func() { cancel(ErrSiteStopped) })()

	ears := &ears{dataOnly: m.DataOnly, frames: make(chan heardFrame, monitorQueue), states: make(chan knxbridge.State, 1)}
	config := s.sessionConfig()
	config.Layer, config.FixedAddress = frame.LayerBusmonitor, 0
	if config.Local.IsValid() {
		config.Local = netip.AddrPortFrom(config.Local.Addr(), monitorPort)
	}
	bridge := knxbridge.New(knxbridge.Config{Session: config, BusFrame: ears.hear, Random: s.rnd}, s.listenAt(monitorPort), ears, s.log.With().Str("layer", "busmonitor").Logger())
	ended := make(chan struct{})
	var failure error // before ended is closed
	go func() {
		defer close(ended)
		failure = contain(func() error { return bridge.Run(ctx) })
	}()
	err = ears.pass(ctx, m.Silence, s, send, ended)
	cancel(err)
	<-ended // when the interface has its slot back
	return errors.Join(err, failure)
}

// listenAt opens sockets of the building's stack.
func (s *site) listenAt(port uint16) func() (knxbridge.PacketConn, error) {
	return func() (knxbridge.PacketConn, error) {
		udp, err := s.stack.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
		if err != nil {
			return nil, err
		}
		return freshSocket{udp, s.tunnel}, nil
	}
}

// ears take what a busmonitor session hears.
type ears struct {
	dataOnly bool
	frames   chan heardFrame      // full: see monitorQueue
	states   chan knxbridge.State // capacity 1, the last; an older one gives way

	mu      sync.Mutex
	dropped uint64
}

// heardFrame is a frame, and when it was received.
type heardFrame struct {
	at    time.Time
	frame frame.Busmonitor
}

// Telegram implements [knxbridge.Handler]; there are none on this layer.
func (*ears) Telegram(knxbridge.Telegram) {}

// State implements [knxbridge.Handler].
func (e *ears) State(state knxbridge.State) {
	select {
	case <-e.states:
	default:
	}
	e.states <- state // the session's loop is the only one that sends
}

func (e *ears) hear(at time.Time, heard frame.Busmonitor) {
	if e.dataOnly && isAck(heard.Frame) {
		return
	}
	select {
	case e.frames <- heardFrame{at, heard}:
	default:
		e.mu.Lock()
		e.dropped++
		e.mu.Unlock()
	}
}

func (e *ears) takeDropped() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.dropped
	e.dropped = 0
	return n
}

func isAck(raw []byte) bool {
	tp1, err := frame.ParseTP1(raw)
	return err == nil && tp1.Kind != frame.TP1Data && tp1.Kind != frame.TP1Poll
}

// pass sends what is heard until it cannot go on.
func (e *ears) pass(ctx context.Context, silence time.Duration, s *site, send func([]*knxfleetv1.BusMonitorFrame, uint64) error, ended <-chan struct{}) error {
	granted := false
	patience := time.NewTimer(monitorPatience)
	defer patience.Stop()
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		var first *heardFrame
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return ErrMonitorFailed
		case <-patience.C:
			if !granted {
				return fmt.Errorf("%w within %v", ErrMonitorFailed, monitorPatience)
			}
			continue
		case state := <-e.states:
			if granted {
				continue
			}
			if err := refusal(state); err != nil {
				return err
			}
			if granted = state.State == session.StateOnline; !granted {
				continue
			}
			// The first response says that from now on nothing is missed.
		case heard := <-e.frames:
			first = &heard
		case <-quiet.C:
		}
		if err := send(e.gather(s, first), e.takeDropped()); err != nil {
			return err
		}
		quiet.Reset(silence)
	}
}

// refusal is what the first state of a session means that was not granted.
func refusal(state knxbridge.State) error {
	if state.State != session.StateBackingOff {
		return nil
	}
	switch state.Reason {
	case session.ReasonSlotsFull:
		return fmt.Errorf("%w: %s", ErrNoSlot, state.Message)
	case session.ReasonConfigurationRefused, session.ReasonTunnellingUnsupported:
		return fmt.Errorf("%w: %s", ErrNoBusmonitor, state.Message)
	}
	return fmt.Errorf("%w: %s", ErrMonitorFailed, state.Message)
}

// gather makes messages of a frame and of those that wait behind it.
func (e *ears) gather(s *site, first *heardFrame) []*knxfleetv1.BusMonitorFrame {
	if first == nil {
		return nil
	}
	table := s.tables.Current(s.building.ID)
	frames := []*knxfleetv1.BusMonitorFrame{busFrame(table, first)}
	for len(frames) < monitorBatch {
		select {
		case next := <-e.frames:
			frames = append(frames, busFrame(table, &next))
		default:
			return frames
		}
	}
	return frames
}

// busFrame is a frame as clients see it, with what the building's table knows of it.
func busFrame(table *tables.Table, heard *heardFrame) *knxfleetv1.BusMonitorFrame {
	b := &heard.frame
	m := &knxfleetv1.BusMonitorFrame{
		ReceivedAt: timestamppb.New(heard.at), Raw: b.Frame, Sequence: uint32(b.Sequence), InterfaceTimestamp: b.Timestamp,
		Lost: b.Lost, FrameError: b.FrameError, BitError: b.BitError, ParityError: b.ParityError, Type: "UNKNOWN",
	}
	tp1, err := frame.ParseTP1(b.Frame)
	if err != nil {
		return m
	}
	switch tp1.Kind {
	case frame.TP1Ack:
		m.Type = "ACK"
	case frame.TP1Nack:
		m.Type = "NACK"
	case frame.TP1Busy, frame.TP1NackBusy:
		m.Type = "BUSY" // it counts before NACK
	case frame.TP1Poll:
		m.Type = "POLL"
	case frame.TP1Data:
		m.Type = "DATA"
		busData(m, table, &tp1.LData)
	}
	return m
}

func busData(m *knxfleetv1.BusMonitorFrame, table *tables.Table, l *frame.LData) {
	m.Source, m.Priority = l.Source.String(), priorityOf(l.Priority)
	m.Service = l.APCI.String()
	if l.TPCI.Control() {
		m.Service = l.TPCI.String()
	}
	if !l.Group {
		m.Destination = frame.IndividualAddress(l.Destination).String()
		return
	}
	t := &knxfleetv1.Telegram{Kind: kindOf(l.APCI), Raw: l.Data, SixBit: l.SixBit}
	interpret(t, table, frame.GroupAddress(l.Destination))
	m.Destination, m.Name = t.GetDestination(), t.GetName()
	if l.GroupService() {
		m.Dpt, m.Value, m.Unit = t.GetDpt(), t.GetValue(), t.GetUnit()
	}
}
