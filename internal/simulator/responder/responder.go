package responder

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Config is a router's WireGuard interface with its one peer, the gateway.
type Config struct {
	// PrivateKey is the router's.
	PrivateKey Secret
	// Peer is the gateway's public key.
	Peer [32]byte
	// PresharedKey is mixed into the handshake (§5.2). Zero: none.
	PresharedKey Secret
	// Endpoint is where the router calls the gateway. Zero: it waits to be
	// called, and learns the address from that.
	Endpoint netip.AddrPort
	// Keepalive is the greatest silence towards the gateway, wg-quick's
	// PersistentKeepalive. Zero: only the keepalives of §6.5.
	Keepalive time.Duration
	// Index is the upper 24 bits of all receiver indices that the router gives
	// out; the lower 8 are its own and ignored here. See ReceiverIndex.
	Index uint32
}

// Stats counts since New; Restart does not reset it, because it counts for the
// simulation's user and not for the router.
type Stats struct {
	Handshakes uint64 // sessions that both ends have confirmed
	Calls      uint64 // initiations sent
	Received   uint64 // inner packets received
	Sent       uint64 // inner packets sent
	Keepalives uint64 // empty messages sent
	Heard      uint64 // empty messages received: keepalives, and confirmations of a session
	Replayed   uint64 // authentic datagrams that were seen before or are too old
	Refused    uint64 // datagrams that are no message for us, not the peer's, or hold no IP packet
}

// Responder is the router's end of one tunnel. It must not be used from several
// goroutines at once.
type Responder struct {
	cfg     Config
	private *ecdh.PrivateKey
	public  [keySize]byte
	random  io.Reader

	endpoint netip.AddrPort // where the peer was last authenticated
	newest   timestamp      // of the peer's initiations
	call     *call          // ours, unanswered; or nil
	called   time.Time      // when it was sent
	giveUp   time.Time      // when to stop calling
	indices  uint8

	// Sessions, §5.4.6: current is used for sending, previous only receives, next
	// is one that we answered and the peer has not used yet. Dead ones are
	// replaced by the next handshake.
	previous, current, next *keypair

	timers [timerCount]time.Time // zero: not armed
	stats  Stats
}

// New returns a router that has just been switched on. Random makes its keys; a
// seeded source makes a run repeatable, nil stands for crypto/rand. Several
// Responders may share one if it allows that.
func New(cfg Config, random io.Reader) *Responder {
	private, err := ecdh.X25519().NewPrivateKey(cfg.PrivateKey[:])
	if err != nil {
		panic(err) // only a key of another size is refused
	}
	if random == nil {
		random = rand.Reader
	}
	r := &Responder{cfg: cfg, private: private, random: random, endpoint: cfg.Endpoint}
	copy(r.public[:], private.PublicKey().Bytes())
	return r
}

// PublicKey returns the router's public key, which the gateway must know.
func (r *Responder) PublicKey() [32]byte { return r.public }

// Stats returns what happened so far.
func (r *Responder) Stats() Stats { return r.stats }

// Format prints the public key only, whatever the verb.
func (r Responder) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "responder %x", r.public) // fmt has no place for an error
}

// Result is what a datagram gave. The zero Result: nothing.
type Result struct {
	// Packet is an inner IP packet without its padding, or nil. It lies in the
	// datagram's memory. Its addresses are not checked.
	Packet []byte
	// Reply is a datagram to send back to where this one came from, or nil.
	Reply []byte
}

// Receive takes a datagram from the network. It decrypts in place: the
// datagram's content is lost, and the caller may use its memory again once it is
// done with the packet. Nothing that a datagram holds has an effect unless it
// proves to be the peer's, and new.
func (r *Responder) Receive(now time.Time, from netip.AddrPort, datagram []byte) Result {
	var result Result
	var ok bool
	switch messageType(datagram) {
	case typeInitiation:
		result.Reply, ok = r.answer(now, from, datagram)
	case typeResponse:
		result.Reply, ok = r.agree(now, from, datagram)
	case typeTransport:
		result.Packet, ok = r.open(now, from, datagram)
	}
	if !ok {
		r.stats.Refused++
	}
	return result
}

// open takes a transport message.
func (r *Responder) open(now time.Time, from netip.AddrPort, message []byte) (packet []byte, ok bool) {
	k := r.session(binary.LittleEndian.Uint32(message[atReceiver:]))
	if !k.live(now) {
		return nil, false
	}
	content, counter, ok := k.open(message)
	if !ok {
		return nil, false
	}
	if !k.seen.take(counter) {
		r.stats.Replayed++
		return nil, true
	}
	if k == r.next {
		r.previous, r.current, r.next = r.current, k, nil
		r.established()
	}
	r.heard(now, from, len(content) > 0)
	// The last moment to renew a session on which only the peer sends, §6.2.
	r.renewAfter(now, rejectAfter-keepaliveTimeout-rekeyTimeout)
	if len(content) == 0 {
		r.stats.Heard++
		return nil, true // a keepalive
	}
	packet = trim(content)
	if packet == nil {
		return nil, false
	}
	r.stats.Received++
	return packet, true
}

// session finds a session by our index, or gives nil.
func (r *Responder) session(index uint32) *keypair {
	for _, k := range [...]*keypair{r.current, r.previous, r.next} {
		if k != nil && k.local == index {
			return k
		}
	}
	return nil
}

// Send encrypts an inner IP packet and says where the gateway was last
// authenticated. ok is false, and the packet lost, while there is no session; a
// router with an Endpoint then calls, which Deadline tells.
func (r *Responder) Send(now time.Time, packet []byte) (datagram []byte, to netip.AddrPort, ok bool) {
	if !r.current.live(now) {
		if r.calls() {
			r.wantSession(now)
		}
		return nil, netip.AddrPort{}, false
	}
	datagram = r.current.seal(packet)
	r.stats.Sent++
	r.sent(now, true)
	r.renewAfter(now, rekeyAfter)
	return datagram, r.endpoint, true
}

// Restart is a power cut: the router forgets its sessions, where the gateway
// was, and which initiations it has seen. What it does next is up to the caller;
// a router that calls in is started with Initiate.
func (r *Responder) Restart() {
	r.endpoint, r.newest = r.cfg.Endpoint, timestamp{}
	r.call, r.called, r.giveUp = nil, time.Time{}, time.Time{}
	r.previous, r.current, r.next = nil, nil, nil
	clear(r.timers[:])
}
