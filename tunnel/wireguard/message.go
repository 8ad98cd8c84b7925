package wireguard

import (
	"encoding/binary"
	"time"
)

// Messages, WireGuard paper §5.4. Numbers are little endian. The message type is
// one byte and three zero bytes, read here as one number.
const (
	Initiation = 1 // §5.4.2: type, sender, Noise message, MAC1, MAC2
	Response   = 2 // §5.4.3: type, sender, receiver, Noise message, MAC1, MAC2
	Cookie     = 3 // §5.4.7: type, receiver, nonce, cookie
	Transport  = 4 // §5.4.6: type, receiver, counter, sealed packet

	sizeIndex      = 4
	sizeMAC        = 16
	sizeInitiation = 148
	sizeResponse   = 92
	sizeCookie     = 64
	sizeHeader     = 16              // of a transport message
	sizeTag        = 16              // of the AEAD
	sizeKeepalive  = 16 + sizeTag    // a transport message without a packet
	sizeMACs       = 2 * sizeMAC     // MAC1, then MAC2
	atSender       = 4               // in types 1 and 2
	atReceiver     = 4               // in types 3 and 4
	atCounter      = 8               // in type 4
	atInitiation   = 4 + sizeIndex   // the Noise message in type 1
	atAnswered     = 4 + sizeIndex   // the receiver in type 2
	atResponse     = 4 + 2*sizeIndex // the Noise message in type 2

	padding = 16 // inner packets are filled up to a multiple of this, §5.4.6
)

// Times and limits, §6.1.
const (
	rekeyAfter          = 120 * time.Second // the initiator renews what it sends with
	rejectAfter         = 180 * time.Second // nobody uses older keys
	rekeyAttempts       = 90 * time.Second  // then an unanswered call is given up
	rekeyTimeout        = 5 * time.Second   // between two initiations
	keepaliveTimeout    = 10 * time.Second
	eraseAfter          = 3 * rejectAfter   // keys are forgotten, §6.3
	rejectAfterMessages = 1<<64 - 1<<13 - 1 // counters reach no further
)

// Labels of the handshake, §5.4. The construction's name is flynn/noise's own.
const (
	identifier = "WireGuard v1 zx2c4 Jason@zx2c4.com"
)

// ReceiverIndex returns the index by which the receiver of a datagram knows it:
// [Config.Index] with the lowest 8 bits its own. A socket that plays several
// buildings on one address tells them apart by it. ok is false for an initiation,
// which has no such index, and for what is no WireGuard message.
func ReceiverIndex(datagram []byte) (index uint32, ok bool) {
	switch MessageType(datagram) {
	case Response:
		return binary.LittleEndian.Uint32(datagram[atAnswered:]), true
	case Cookie, Transport:
		return binary.LittleEndian.Uint32(datagram[atReceiver:]), true
	}
	return 0, false
}

// MessageType returns the type of a datagram whose size fits it, else 0.
func MessageType(b []byte) uint32 {
	if len(b) < sizeKeepalive {
		return 0
	}
	switch t := binary.LittleEndian.Uint32(b); {
	case t == Initiation && len(b) == sizeInitiation,
		t == Response && len(b) == sizeResponse,
		t == Cookie && len(b) == sizeCookie,
		t == Transport:
		return t
	}
	return 0
}

// timestamp is a TAI64N label (https://cr.yp.to/libtai/tai64.html): two of them
// compare as bytes.
type timestamp [12]byte

// timestampOf rounds down, so that nobody learns from initiations how this end's clock
// runs to the nanosecond.
func timestampOf(now time.Time) (t timestamp) {
	const epoch = 1<<62 + 10 // TAI at 1970-01-01, as WireGuard counts: without leap seconds
	binary.BigEndian.PutUint64(t[:], epoch+uint64(now.Unix()))
	binary.BigEndian.PutUint32(t[8:], uint32(now.Nanosecond())&^(1<<24-1))
	return t
}
