package tunnel

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// Messages counts the handshake messages of a tunnel (WireGuard paper §5.4). What
// is received is counted before it is authenticated:
// that a message came which did not complete a handshake tells what is wrong.
type Messages struct {
	InitiationsSent, ResponsesSent uint64
	// Initiations are received ones that call us by our key.
	Initiations uint64
	// Responses and Cookies answer an initiation of ours.
	Responses, Cookies uint64
}

// messageCounts are a tunnel's, of the types up to wireguard.Cookie.
type messageCounts struct {
	sent, received [wireguard.Cookie + 1]atomic.Uint64
}

func (c *messageCounts) count(counts *[wireguard.Cookie + 1]atomic.Uint64, datagram []byte) {
	if t := wireguard.MessageType(datagram); t != 0 && t <= wireguard.Cookie {
		counts[t].Add(1)
	}
}

// Messages returns the handshake messages so far.
func (t *Tunnel) Messages() Messages {
	c := &t.messages
	return Messages{
		InitiationsSent: c.sent[wireguard.Initiation].Load(),
		ResponsesSent:   c.sent[wireguard.Response].Load(),
		Initiations:     c.received[wireguard.Initiation].Load(),
		Responses:       c.received[wireguard.Response].Load(),
		Cookies:         c.received[wireguard.Cookie].Load(),
	}
}

// strangersKept is how many senders of unknown initiations are remembered; the one
// that was heard longest ago makes room.
const strangersKept = 64

// strangers remembers who called with a key, or for a key, that no tunnel has.
type strangers struct {
	mu    sync.Mutex
	heard map[netip.Addr]time.Time
}

func (s *strangers) note(now time.Time, from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = make(map[netip.Addr]time.Time)
	}
	if _, known := s.heard[from]; !known && len(s.heard) >= strangersKept {
		var oldest netip.Addr
		for addr, at := range s.heard {
			if !oldest.IsValid() || at.Before(s.heard[oldest]) {
				oldest = addr
			}
		}
		delete(s.heard, oldest)
	}
	s.heard[from] = now
}

// StrangerAt returns when somebody at the router's address last called with a key,
// or for a key, that no tunnel of the gateway has. Zero: not lately, as far as is
// remembered. Where the router is must be known.
func (t *Tunnel) StrangerAt() time.Time {
	at := t.Endpoint()
	s := &t.x.strange
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[at.Addr()]
}
