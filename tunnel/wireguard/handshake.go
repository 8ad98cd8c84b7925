package wireguard

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/flynn/noise"
)

// call is an initiation of ours that waits for its response.
type call struct {
	noise *noise.HandshakeState
	index uint32
}

// handshake begins one run of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (§5.4).
func (r *End) handshake(initiator bool) (*noise.HandshakeState, error) {
	cfg := noise.Config{
		CipherSuite:           noise.NewCipherSuite(&curve{end: r}, noise.CipherChaChaPoly, noise.HashBLAKE2s),
		Random:                r.random,
		Pattern:               noise.HandshakeIK,
		Initiator:             initiator,
		Prologue:              []byte(identifier),
		PresharedKey:          r.cfg.PresharedKey[:], // without one: 32 zero bytes
		PresharedKeyPlacement: 2,
		StaticKeypair:         keypairOf(r.private),
	}
	if initiator {
		cfg.PeerStatic = r.cfg.Peer[:]
	}
	return noise.NewHandshakeState(cfg)
}

// answer takes an initiation and gives the response. The new session is not
// used for sending before the peer has used it (§5.4.6).
func (r *End) answer(now time.Time, from netip.AddrPort, initiation []byte) ([]byte, bool) {
	if !ValidMAC1(MAC1Key(r.public), initiation) {
		return nil, false
	}
	state, err := r.handshake(false)
	if err != nil {
		return nil, false
	}
	stamp, _, _, err := state.ReadMessage(nil, initiation[atInitiation:sizeInitiation-sizeMACs])
	if err != nil || !bytes.Equal(state.PeerStatic(), r.cfg.Peer[:]) {
		return nil, false
	}
	if bytes.Compare(stamp, r.newest[:]) <= 0 {
		r.stats.Replayed++
		return nil, true
	}

	index := r.newIndex()
	response := make([]byte, atResponse, sizeResponse)
	binary.LittleEndian.PutUint32(response, Response)
	binary.LittleEndian.PutUint32(response[atSender:], index)
	copy(response[atAnswered:], initiation[atSender:][:sizeIndex])
	response, receive, send, err := state.WriteMessage(response, nil)
	if err != nil {
		return nil, false // the random source failed, or the peer's point is of low order
	}
	copy(r.newest[:], stamp)

	k := newKeypair(now, send, receive)
	k.local, k.remote = index, binary.LittleEndian.Uint32(initiation[atSender:])
	r.next, r.previous = k, nil
	r.arm(timerErase, now.Add(eraseAfter))
	r.called = now // an answer is as good as a call, §6.1: none of ours soon after
	r.heard(now, from, false)
	r.sent(now, false)
	return r.sign(now, response), true
}

// initiate makes an initiation. It replaces one that is still unanswered.
func (r *End) initiate(now time.Time) ([]byte, bool) {
	state, err := r.handshake(true)
	if err != nil {
		return nil, false
	}
	index := r.newIndex()
	initiation := make([]byte, atInitiation, sizeInitiation)
	binary.LittleEndian.PutUint32(initiation, Initiation)
	binary.LittleEndian.PutUint32(initiation[atSender:], index)
	stamp := timestampOf(now)
	initiation, _, _, err = state.WriteMessage(initiation, stamp[:])
	if err != nil {
		return nil, false // the random source failed, or the peer's key is of low order
	}
	r.call = &call{state, index}
	r.called = now
	r.stats.Calls++
	r.sent(now, false)
	return r.sign(now, initiation), true
}

// agree takes the response to our initiation and gives the empty message that
// confirms the session to the peer.
func (r *End) agree(now time.Time, from netip.AddrPort, response []byte) ([]byte, bool) {
	if r.call == nil || r.call.index != binary.LittleEndian.Uint32(response[atAnswered:]) || !ValidMAC1(MAC1Key(r.public), response) {
		return nil, false
	}
	// A response that does not fit leaves the call waiting for one that does.
	_, send, receive, err := r.call.noise.ReadMessage(nil, response[atResponse:sizeResponse-sizeMACs])
	if err != nil {
		return nil, false
	}
	k := newKeypair(now, send, receive)
	k.local, k.remote, k.initiator = r.call.index, binary.LittleEndian.Uint32(response[atSender:]), true
	r.previous, r.current = r.current, k
	if r.next != nil {
		// The peer may be using what we offered meanwhile; that is newer than
		// what we sent with.
		r.previous, r.next = r.next, nil
	}
	r.established(now)
	r.heard(now, from, false)
	r.sent(now, false)
	r.stats.Keepalives++
	return k.seal(nil, nil, 0), true
}

// established ends what was under way to get a session.
func (r *End) established(now time.Time) {
	r.stats.Handshakes++
	r.call, r.held = nil, false
	r.disarm(timerCall)
	r.arm(timerErase, now.Add(eraseAfter))
}

// newIndex gives the next receiver index. 256 of them suffice: at most three
// sessions and one call are alive.
func (r *End) newIndex() uint32 {
	r.indices++
	return r.cfg.Index&^0xff | uint32(r.indices)
}
