package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	pauseAtFirst = 5 * time.Millisecond // after a read error, doubled each time
	pauseAtMost  = time.Second
	// readErrorsAtMost is how many read errors in a row make a socket be opened anew.
	readErrorsAtMost = 4
	// reopenInterval is how often a socket is opened anew because sending fails.
	reopenInterval = 5 * time.Second
)

// PacketConn is a UDP socket. *net.UDPConn is one.
type PacketConn interface {
	// ReadFromUDPAddrPort blocks until a datagram is there. After Close it
	// returns an error that is net.ErrClosed.
	ReadFromUDPAddrPort(b []byte) (n int, addr netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// receiveFunc takes a datagram. It may change its memory, and does not keep it.
type receiveFunc func(datagram []byte, from netip.AddrPort, behind bool)

// batchConn is a PacketConn that takes several datagrams in one system call.
type batchConn interface {
	PacketConn
	// readBatch blocks until a datagram is there, and returns all that are, at most
	// batchSize; then more may wait. They are the caller's until the next call. gather is
	// how long to let datagrams come together before that. Only one goroutine calls it.
	readBatch() (got []received, gather time.Duration, err error)
	// writeBatch sends at most batchSize datagrams and returns how many were sent; an
	// error is that of the next one. Only one goroutine calls it at a time.
	writeBatch(datagrams []outgoing) (int, error)
}

// socket is one place of the exchange's in the network: a UDP socket, which is opened
// anew at the same port when it fails. The kernel chooses our address for each datagram,
// so that a change of the network asks for nothing more.
type socket struct {
	addr   netip.AddrPort
	reopen func() (PacketConn, error) // nil: it cannot be opened anew
	out    outbox

	conn   atomic.Pointer[PacketConn]
	mu     sync.Mutex // guards closed, and conn against it
	closed bool

	reopened  atomic.Uint64
	lastReset atomic.Int64 // Unix time in ns
}

func newSocket(c PacketConn, reopen func() (PacketConn, error)) *socket {
	s := &socket{addr: localAddr(c), reopen: reopen}
	s.conn.Store(&c)
	s.out.room.L = &s.out.mu
	s.out.failed = func(error) {}
	return s
}

func localAddr(c PacketConn) netip.AddrPort {
	udp, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmap(udp.AddrPort())
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (s *socket) now() PacketConn { return *s.conn.Load() }

// close ends the socket for good.
func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if err := s.now().Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// renew opens the socket anew. net.ErrClosed means that it was closed for good.
func (s *socket) renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	_ = s.now().Close() // it has failed, and its port is needed
	c, err := s.reopen()
	if err != nil {
		return err
	}
	s.conn.Store(&c)
	s.reopened.Add(1)
	return nil
}

// failedToSend looks at an error of sending: where it says that the socket itself is of
// no use any more, such as when its address was taken from the machine, the reader is
// made to open it anew.
func (s *socket) failedToSend(now time.Time, err error) {
	if s.reopen == nil || !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EBADF) {
		return
	}
	last := s.lastReset.Load()
	if now.UnixNano()-last < int64(reopenInterval) || !s.lastReset.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	_ = s.now().Close() // which ends the reader's wait
}

// read calls receive with what comes until the socket is closed for good; then it
// returns net.ErrClosed. Errors are survived with a pause; note is told of them.
func (s *socket) read(closing <-chan struct{}, receive receiveFunc, note func(err error, pause time.Duration)) error {
	buffer := make([]byte, maxDatagram)
	pause, failures := pauseAtFirst, 0
	gathering := time.NewTimer(never)
	defer gathering.Stop()
	for {
		c := s.now()
		gather, err := s.readOnce(c, buffer, receive)
		if gather > 0 {
			gathering.Reset(gather)
			select {
			case <-gathering.C:
			case <-closing:
				s.sendGathered()
				return net.ErrClosed
			}
			s.sendGathered()
		}
		if err == nil {
			pause, failures = pauseAtFirst, 0
			continue
		}
		failures++
		gone := errors.Is(err, net.ErrClosed)
		if gone && s.reopen == nil {
			return err
		}
		if gone || s.reopen != nil && failures >= readErrorsAtMost {
			switch again := s.renew(); {
			case again == nil:
				if gone {
					continue // somebody asked for it
				}
			case errors.Is(again, net.ErrClosed):
				return again
			default:
				err = errors.Join(err, again)
			}
		}
		note(err, pause)
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-closing:
			wait.Stop()
			return net.ErrClosed
		}
		pause = min(2*pause, pauseAtMost)
	}
}

// readOnce reads what is there. Where the next read is to wait, so does what is sent from
// here on, to answer it.
func (s *socket) readOnce(c PacketConn, buffer []byte, receive receiveFunc) (gather time.Duration, err error) {
	b, ok := c.(batchConn)
	if !ok {
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		if err == nil {
			receive(buffer[:n], unmap(from), false)
		}
		return 0, err
	}
	got, gather, err := b.readBatch()
	if gather > 0 {
		s.out.gather()
	}
	for _, d := range got {
		receive(d.data, d.from, len(got) == batchSize)
	}
	return gather, err
}
