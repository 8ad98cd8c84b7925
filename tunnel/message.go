package tunnel

import "encoding/binary"

// Message types and sizes of the WireGuard paper, §5.4. All numbers in a message
// are little endian.
const (
	typeInitiation = 1 // §5.4.2, from the initiator: sender index at 4
	typeResponse   = 2 // §5.4.3, to the initiator: sender index at 4, receiver index at 8
	typeCookie     = 3 // §5.4.7: receiver index at 4
	typeTransport  = 4 // §5.4.6: receiver index at 4

	sizeInitiation   = 148
	sizeResponse     = 92
	sizeCookie       = 64
	minSizeTransport = 32 // a keepalive: header and authentication tag

	// Times of §6.1 and §6.2.
	rejectAfterSeconds = 180 // a session's keys are refused after this
)

// messageType returns the type of a datagram whose size fits it, and 0 for
// anything that is no WireGuard message. The three bytes after the type are
// reserved and zero.
func messageType(b []byte) uint32 {
	if len(b) < minSizeTransport {
		return 0
	}
	t := binary.LittleEndian.Uint32(b)
	switch {
	case t == typeInitiation && len(b) == sizeInitiation,
		t == typeResponse && len(b) == sizeResponse,
		t == typeCookie && len(b) == sizeCookie,
		t == typeTransport:
		return t
	}
	return 0
}

// senderIndex returns the index that the sender of an initiation gave out for
// answers.
func senderIndex(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:8]) }

// receiverIndex returns the index by which the receiver knows the session.
func receiverIndex(b []byte) uint32 {
	if b[0] == typeResponse {
		return binary.LittleEndian.Uint32(b[8:12])
	}
	return binary.LittleEndian.Uint32(b[4:8])
}
