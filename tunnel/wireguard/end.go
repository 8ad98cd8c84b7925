package wireguard

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Config is a WireGuard interface with its one peer.
type Config struct {
	// PrivateKey is this end's.
	PrivateKey Secret
	// Peer is the other end's public key.
	Peer [32]byte
	// PresharedKey is mixed into the handshake (§5.2). Zero: none.
	PresharedKey Secret
	// Endpoint is where the peer is called. Zero: this end waits to be called, and
	// learns the address from that.
	Endpoint netip.AddrPort
	// Calls makes an End that has no Endpoint call by itself, too, once it was told or
	// has learnt where the peer is. One with an Endpoint always does.
	Calls bool
	// Keepalive is the greatest silence towards the peer, wg-quick's
	// PersistentKeepalive. Zero: only the keepalives of §6.5.
	Keepalive time.Duration
	// Queue is how many packets wait for a session, in bytes of at most 64 KiB
	// altogether; when there are more, the oldest is dropped. Zero: Send loses what it
	// has no session for.
	Queue int
	// MTU is the largest inner packet in bytes: padding goes no further (§5.4.6). Zero: no
	// limit.
	MTU int
	// Index is the upper 24 bits of all receiver indices that this end gives
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
	Cookies    uint64 // taken from a peer that was under load, §5.4.7
}

// End is one end of a tunnel. It must not be used from several goroutines at once.
type End struct {
	cfg     Config
	private *ecdh.PrivateKey
	public  [keySize]byte
	shared  []byte // the secret of both static keys, once it was needed
	random  io.Reader

	endpoint netip.AddrPort // where the peer was last authenticated, or is said to be
	newest   timestamp      // of the peer's initiations
	call     *call          // ours, unanswered; or nil
	called   time.Time      // when it was sent
	giveUp   time.Time      // when to stop calling
	held     bool           // a call waits for ReleaseCall
	indices  uint8
	cookie   cookie
	waiting  queue // for a session

	// Sessions, §5.4.6: current is used for sending, previous only receives, next
	// is one that we answered and the peer has not used yet. Dead ones are
	// replaced by the next handshake.
	previous, current, next *keypair

	timers [timerCount]time.Time // zero: not armed
	stats  Stats
}

// New returns an End that has just been switched on. Random makes its keys; a
// seeded source makes a run repeatable, nil stands for crypto/rand. Several
// Ends may share one if it allows that.
func New(cfg Config, random io.Reader) *End {
	private, err := ecdh.X25519().NewPrivateKey(cfg.PrivateKey[:])
	if err != nil {
		panic(err) // only a key of another size is refused
	}
	return NewWithKey(cfg, private, random)
}

// NewWithKey is New with the private key as crypto/ecdh has read it, which is a curve
// operation. Config.PrivateKey is not looked at.
func NewWithKey(cfg Config, private *ecdh.PrivateKey, random io.Reader) *End {
	cfg.PrivateKey = Secret{}
	if random == nil {
		random = rand.Reader
	}
	r := &End{cfg: cfg, private: private, random: random, endpoint: cfg.Endpoint}
	r.waiting.limit = cfg.Queue
	copy(r.public[:], private.PublicKey().Bytes())
	return r
}

// PublicKey returns this end's public key, which the peer must know.
func (r *End) PublicKey() [32]byte { return r.public }

// Handshakes returns Stats().Handshakes.
func (r *End) Handshakes() uint64 { return r.stats.Handshakes }

// Live reports whether there is a session to send with.
func (r *End) Live(now time.Time) bool { return r.current.live(now) }

// Endpoint returns where the peer was last authenticated, or is said to be. Invalid:
// nobody knows.
func (r *End) Endpoint() netip.AddrPort { return r.endpoint }

// SetEndpoint tells where the peer is, until it is heard from elsewhere.
func (r *End) SetEndpoint(at netip.AddrPort) { r.endpoint = at }

// SetIndex sets Config.Index, before the first handshake.
func (r *End) SetIndex(index uint32) { r.cfg.Index = index }

// SetPresharedKey changes the key for handshakes to come; zero is none.
func (r *End) SetPresharedKey(key Secret) { r.cfg.PresharedKey = key }

// SetKeepalive changes Config.Keepalive.
func (r *End) SetKeepalive(now time.Time, interval time.Duration) {
	r.cfg.Keepalive = interval
	r.disarm(timerPersistent)
	if r.current.live(now) {
		r.keepPersistent(now)
	}
}

// Stats returns what happened so far.
func (r *End) Stats() Stats { return r.stats }

// Format prints the public key only, whatever the verb.
func (r End) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "WireGuard end %x", r.public) // fmt has no place for an error
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
func (r *End) Receive(now time.Time, from netip.AddrPort, datagram []byte) Result {
	var result Result
	var ok bool
	switch MessageType(datagram) {
	case Initiation:
		result.Reply, ok = r.answer(now, from, datagram)
	case Response:
		result.Reply, ok = r.agree(now, from, datagram)
	case Cookie:
		ok = r.takeCookie(now, datagram)
	case Transport:
		result.Packet, ok = r.open(now, from, datagram)
	}
	if !ok {
		r.stats.Refused++
	}
	return result
}

// open takes a transport message.
func (r *End) open(now time.Time, from netip.AddrPort, message []byte) (packet []byte, ok bool) {
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
		r.established(now)
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
func (r *End) session(index uint32) *keypair {
	for _, k := range [...]*keypair{r.current, r.previous, r.next} {
		if k != nil && k.local == index {
			return k
		}
	}
	return nil
}

// Send encrypts an inner IP packet and says where to send it. The datagram is
// appended to dst, which may be nil. ok is false while there is no session: the packet
// waits as Config.Queue allows, or is lost, and an End that calls does so, which
// Deadline tells.
func (r *End) Send(now time.Time, dst, packet []byte) (datagram []byte, to netip.AddrPort, ok bool) {
	if !r.current.live(now) {
		if r.calls() {
			r.wantSession(now)
		}
		r.waiting.push(packet)
		return nil, netip.AddrPort{}, false
	}
	datagram = r.current.seal(dst, packet, r.cfg.MTU)
	r.stats.Sent++
	r.sent(now, true)
	r.renewAfter(now, rekeyAfter)
	return datagram, r.endpoint, true
}

// Waiting encrypts the next of the packets that waited for the session which there is
// now. It is called after Receive, until ok is false.
func (r *End) Waiting(now time.Time) (datagram []byte, to netip.AddrPort, ok bool) {
	if r.waiting.empty() || !r.current.live(now) {
		return nil, netip.AddrPort{}, false
	}
	return r.Send(now, nil, r.waiting.pop())
}

// DropWaiting drops the packets that wait for a session.
func (r *End) DropWaiting() { r.waiting.drop() }

// Advance makes the end believe that it has seen an initiation of the peer that
// was made at that time: until then it refuses all of them as replays, as it does
// when the peer's clock has gone back (§5.1).
func (r *End) Advance(to time.Time) { r.newest = timestampOf(to) }

// Restart is a power cut: the end forgets its sessions, where the peer
// was, and which initiations it has seen. What it does next is up to the caller;
// one that calls in is started with Initiate.
func (r *End) Restart() {
	r.endpoint, r.newest = r.cfg.Endpoint, timestamp{}
	r.called, r.cookie = time.Time{}, cookie{}
	r.Reset()
}

// Reset gives up sessions, calls, timers and what waits. Unlike after a power cut, the
// end still knows where the peer is and which initiations it has seen.
func (r *End) Reset() {
	r.call, r.called, r.giveUp, r.held = nil, time.Time{}, time.Time{}, false
	r.previous, r.current, r.next = nil, nil, nil
	r.waiting.drop()
	clear(r.timers[:])
}
