package netstack

import (
	"fmt"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// tcpIdle is how long the TCP half is kept after its last connection and listener
// were closed. By then what a closed connection still had to send has been sent or
// given up, and its TIME-WAIT is over (60 s in gVisor).
const tcpIdle = 2 * time.Minute

// tcpHalf is the part of a building's stack that speaks TCP: a host that is made
// when somebody needs it, and destroyed when nobody has for a while. Its fields are
// protected by Stack.mu.
type tcpHalf struct {
	host  *host       // nil while there is none
	users int         // open connections and listeners
	since time.Time   // when users became 0
	timer *time.Timer // for giving the host back; nil before the first time
	idle  time.Duration
	ended sync.WaitGroup // hosts on their way out
}

// openTCP makes a TCP endpoint and starts it, in the TCP host, which is made if
// there is none. Because mu is held throughout, Close either comes first or
// knows the endpoint. After an endpoint without error, releaseTCP is due once.
func (s *Stack) openTCP(network tcpip.NetworkProtocolNumber, events *waiter.Queue, start func(tcpip.Endpoint) tcpip.Error) (*host, tcpip.Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, nil, net.ErrClosed
	}
	if s.tcp.host == nil {
		h, err := newTCPHost(s)
		if err != nil {
			return nil, nil, fmt.Errorf("make the TCP half: %w", err)
		}
		s.tcp.host = h
		s.tcpLink.Store(h.link)
	}
	s.tcp.users++
	endpoint, terr := s.tcp.host.stack.NewEndpoint(tcp.ProtocolNumber, network, events)
	if terr != nil {
		s.leaveTCP()
		return nil, nil, asError(terr)
	}
	if terr := start(endpoint); terr != nil {
		endpoint.Close()
		s.leaveTCP()
		return nil, nil, asError(terr)
	}
	return s.tcp.host, endpoint, nil
}

// holdTCP is for a connection that came in by itself.
func (s *Stack) holdTCP() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tcp.users++
}

// releaseTCP tells that a connection or listener has been closed.
func (s *Stack) releaseTCP() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveTCP()
}

func (s *Stack) leaveTCP() {
	s.tcp.users--
	if s.tcp.users > 0 || s.closed.Load() {
		return
	}
	s.tcp.since = time.Now()
	if s.tcp.timer == nil {
		s.tcp.timer = time.AfterFunc(s.tcp.idle, s.giveBackTCP)
	} else {
		s.tcp.timer.Reset(s.tcp.idle)
	}
}

// giveBackTCP destroys the TCP host if nobody has used it long enough.
func (s *Stack) giveBackTCP() {
	s.mu.Lock()
	h := s.tcp.host
	if s.closed.Load() || h == nil || s.tcp.users > 0 || time.Since(s.tcp.since) < s.tcp.idle {
		s.mu.Unlock()
		return // Close destroys it, or it is in use, or the timer was set again meanwhile
	}
	s.tcp.host = nil
	s.tcpLink.Store(nil)
	s.tcp.ended.Add(1)
	s.mu.Unlock()
	defer s.tcp.ended.Done()
	h.destroy()
}

// newTCPHost makes the stack's TCP half.
func newTCPHost(s *Stack) (*host, error) {
	h, err := newHost(s, tcp.NewProtocol)
	if err != nil {
		return nil, err
	}
	sack := tcpip.TCPSACKEnabled(true) // gVisor's default is off
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack,
		&moderate,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBuffer, Max: tcpBufferLimit},
		&tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: tcpBuffer, Max: tcpBufferLimit},
	} {
		if terr := h.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); terr != nil {
			h.destroy()
			return nil, asError(terr)
		}
	}
	return h, nil
}
