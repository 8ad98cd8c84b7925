package knxbridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

const (
	// streamIn is how many frames may wait for the owner. When it is full, the
	// reader waits, and TCP slows the interface down.
	streamIn = 16
	// streamOut is how many frames may wait to be sent. The session has one request
	// under way, so that a full queue means a peer that takes nothing: the stream is
	// given up.
	streamOut = 32
	// streamWriteTimeout is how long one frame may take to be sent, and
	// streamLastWords all that waits when the stream is hung up.
	streamWriteTimeout = 10 * time.Second
	streamLastWords    = time.Second
)

var (
	errNoTCP      = errors.New("TCP is not available")
	errStreamFull = errors.New("the interface takes no more over TCP")
)

// tcpStream is one TCP connection to the interface. A goroutine opens and reads it,
// another writes; both end soon after hang-up.
type tcpStream struct {
	ctx    context.Context //nolint:containedctx // it ends the two goroutines, as Close ends others
	hangup context.CancelFunc
	events chan streamEvent // full: see streamIn
	out    chan []byte      // full: see streamOut
}

// streamEvent is what the stream's goroutine has to tell: that it is open, a
// frame, or, as the last, why it is not open any more.
type streamEvent struct {
	frame []byte
	err   error
}

// openStream begins to open a stream; its events tell how that went.
func (b *Bridge) openStream(now time.Time, to netip.AddrPort) {
	if b.dial == nil {
		b.machine.StreamLost(now, errNoTCP)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &tcpStream{ctx: ctx, hangup: cancel, events: make(chan streamEvent, streamIn), out: make(chan []byte, streamOut)}
	b.tcp = s
	b.streams.Go(func() { s.run(b.dial, to) })
}

// hangup leaves the stream. What was sent has a second to leave.
func (b *Bridge) hangup() {
	if b.tcp != nil {
		b.tcp.hangup()
		b.tcp = nil
	}
}

// streamEvents is the stream's channel; nil, which never receives, without one.
func (b *Bridge) streamEvents() <-chan streamEvent {
	if b.tcp == nil {
		return nil
	}
	return b.tcp.events
}

func (b *Bridge) streamEvent(now time.Time, e streamEvent) {
	switch {
	case e.err != nil:
		b.hangup()
		b.machine.StreamLost(now, e.err)
	case e.frame == nil:
		b.machine.StreamOpened(now)
	default:
		b.datagramsIn++
		b.machine.ReceiveStream(now, e.frame)
	}
}

// sendStream hands a frame to the stream's writer.
func (b *Bridge) sendStream(now time.Time, datagram []byte) {
	if b.tcp == nil {
		return // lost in this moment; the machine has been told
	}
	select {
	case b.tcp.out <- datagram:
		b.datagramsOut++
	default:
		b.sendErrors++
		b.hangup()
		b.machine.StreamLost(now, errStreamFull)
	}
}

func (s *tcpStream) run(dial func(context.Context, netip.AddrPort) (net.Conn, error), to netip.AddrPort) {
	defer s.hangup()
	conn, err := dial(s.ctx, to)
	if err != nil {
		s.tell(streamEvent{err: err})
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(conn)
	}()
	s.tell(streamEvent{})
	s.tell(streamEvent{err: s.read(conn)})
	s.hangup()
	<-written
}

// tell waits for the owner, unless it has hung up.
func (s *tcpStream) tell(e streamEvent) {
	select {
	case s.events <- e:
	case <-s.ctx.Done():
	}
}

// read takes the stream apart into frames until it ends. What is no frame ends it:
// nobody knows where the next would begin.
func (s *tcpStream) read(conn net.Conn) error {
	var header [frame.HeaderLength]byte
	for {
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return fmt.Errorf("the TCP connection has ended: %w", err)
		}
		length, err := frame.Length(header[:])
		if err != nil {
			return err
		}
		if length > maxDatagram {
			return fmt.Errorf("a frame of %d bytes over TCP, want at most %d", length, maxDatagram)
		}
		datagram := make([]byte, length)
		copy(datagram, header[:])
		if _, err := io.ReadFull(conn, datagram[len(header):]); err != nil {
			return fmt.Errorf("the TCP connection has ended within a frame: %w", err)
		}
		s.tell(streamEvent{frame: datagram})
	}
}

// write sends what comes until the stream is hung up, and then what waits. It
// closes the connection, which ends read.
func (s *tcpStream) write(conn net.Conn) {
	defer conn.Close()
	send := func(datagram []byte, within time.Duration) bool {
		_ = conn.SetWriteDeadline(time.Now().Add(within)) // a connection without deadlines ends by its close
		_, err := conn.Write(datagram)
		return err == nil
	}
	for {
		select {
		case datagram := <-s.out:
			if !send(datagram, streamWriteTimeout) {
				return
			}
			continue
		case <-s.ctx.Done():
		}
		break
	}
	for {
		select {
		case datagram := <-s.out:
			if !send(datagram, streamLastWords) {
				return
			}
		default:
			return
		}
	}
}
