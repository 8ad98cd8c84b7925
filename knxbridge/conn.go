package knxbridge

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// PacketConn is an unconnected UDP socket inside the building. The bridge uses
// it from one goroutine. After Close, TryRead and WriteTo return an error that
// wraps net.ErrClosed; any other error concerns one datagram.
type PacketConn interface {
	// Readable receives (capacity 1) when datagrams may wait. It may be spurious.
	Readable() <-chan struct{}
	// TryRead reads one datagram and never blocks. An invalid from without an error
	// means that nothing waits. A datagram longer than b is cut.
	TryRead(b []byte) (n int, from netip.AddrPort, err error)
	// WriteTo sends one datagram and does not keep b.
	WriteTo(b []byte, to netip.AddrPort) error
	Close() error
}

const (
	// maxDatagram is longer than any frame of the session: an extended L_Data frame
	// with additional information is below 600 bytes. Longer datagrams are cut and
	// then refused by their length.
	maxDatagram = 1024

	// maxReads is how many datagrams are read at one wakeup before timers and
	// writes get their turn.
	maxReads = 64
)

// read takes what waits in the socket, and reports if there may be more.
func (b *Bridge) read() (more bool) {
	for range maxReads {
		if b.conn == nil {
			return false
		}
		n, from, err := b.conn.TryRead(b.buffer[:])
		now := time.Now()
		switch {
		case errors.Is(err, net.ErrClosed):
			b.connLost(now, err)
			return false
		case err != nil:
			// The answer of the network to a datagram of ours, such as "port
			// unreachable". The session's timers find out what it means.
			b.readErrors++
		case !from.IsValid():
			return false
		default:
			b.datagramsIn++
			b.machine.Receive(now, from, b.buffer[:n])
			// Before the next datagram is read: the ACK comes first.
			b.settle(now)
		}
	}
	return true
}

// send sends one datagram, on the socket that there is or on a new one. The
// socket, and with it the local port, is kept across attempts to connect.
func (b *Bridge) send(now time.Time, s session.Send) {
	if s.Stream {
		b.sendStream(now, s.Datagram)
		return
	}
	if b.conn == nil {
		conn, err := b.listen()
		if err != nil {
			b.sendErrors++
			b.machine.TransportLost(now, err)
			return
		}
		b.conn = conn
	}
	err := b.conn.WriteTo(s.Datagram, s.To)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		// A socket reports what an earlier datagram met, such as an ICMP error, at the
		// next send, and does not send that. So it is sent again.
		err = b.conn.WriteTo(s.Datagram, s.To)
	}
	switch {
	case err == nil:
		b.datagramsOut++
	case errors.Is(err, net.ErrClosed):
		b.sendErrors++
		b.connLost(now, err)
	default:
		b.sendErrors++
		b.machine.SendFailed(now, err)
	}
}

// connLost gives up the socket; the next send opens another.
func (b *Bridge) connLost(now time.Time, err error) {
	b.closeConn()
	b.machine.TransportLost(now, err)
}

func (b *Bridge) closeConn() {
	if b.conn == nil {
		return
	}
	if err := b.conn.Close(); err != nil {
		b.log.Debug().Err(err).Msg("closing the KNX socket")
	}
	b.conn = nil
}

// readable is the socket's signal; nil, which never receives, without a socket.
func (b *Bridge) readable() <-chan struct{} {
	if b.conn == nil {
		return nil
	}
	return b.conn.Readable()
}
