package netstack

import (
	"encoding/binary"
	"net/netip"
)

const (
	// datagramsLimit bounds a socket's receive queue in bytes, headers included,
	// so that tiny datagrams are bounded too. It holds any one datagram. The
	// memory behind it is at most about twice as much.
	datagramsLimit = 64 << 10
	// datagramsKept is how much an empty queue keeps for the next datagrams.
	datagramsKept = 4 << 10
	// datagramHeader is what stands before each payload: its length (2 bytes),
	// the sender's port (2) and address (16, IPv4 in IPv6 form).
	datagramHeader = 20
)

// datagrams is the receive queue of a socket: whole datagrams one after another
// in one block of memory, which grows up to datagramsLimit and is given back
// when the queue is empty. When it is full the newest datagram is dropped.
//
// gVisor's own receive list does not serve: it bounds payload bytes only, so
// that empty datagrams are not bounded at all and each of the others may carry
// a kilobyte of bookkeeping.
type datagrams struct {
	block []byte // the queue is block[first:]
	first int

	start    int  // where the datagram being received starts in block
	overflow bool // it does not fit
}

// begin starts a datagram. Its payload follows through Write, and then commit
// or abandon.
func (q *datagrams) begin() {
	if q.first > 0 && q.first >= len(q.block)/2 {
		q.block = q.block[:copy(q.block, q.block[q.first:])]
		q.first = 0
	}
	q.start, q.overflow = len(q.block), false
	q.extend(datagramHeader)
}

// Write adds payload to the datagram begun. It implements io.Writer and takes
// everything; what does not fit makes commit drop the datagram.
func (q *datagrams) Write(payload []byte) (int, error) {
	at := len(q.block)
	if q.extend(len(payload)) {
		copy(q.block[at:], payload)
	}
	return len(payload), nil
}

// extend makes the block longer by n bytes if they fit.
func (q *datagrams) extend(n int) bool {
	if q.overflow || len(q.block)-q.first+n > datagramsLimit {
		q.overflow = true
		return false
	}
	q.block = append(q.block, make([]byte, n)...)
	return true
}

// commit completes the datagram begun. It reports false when the datagram did
// not fit and was dropped.
func (q *datagrams) commit(from netip.AddrPort) bool {
	if q.overflow {
		q.abandon()
		return false
	}
	b := q.block[q.start:]
	binary.BigEndian.PutUint16(b, uint16(len(b)-datagramHeader))
	binary.BigEndian.PutUint16(b[2:], from.Port())
	addr := from.Addr().As16()
	copy(b[4:], addr[:])
	return true
}

// abandon takes the datagram begun back.
func (q *datagrams) abandon() {
	q.block = q.block[:q.start]
	q.release()
}

func (q *datagrams) empty() bool { return q.first == len(q.block) }

// pop copies the oldest datagram to b and removes it; what is longer than b is
// lost. The queue must not be empty.
func (q *datagrams) pop(b []byte) (int, netip.AddrPort) {
	head := q.block[q.first:]
	size := int(binary.BigEndian.Uint16(head))
	port := binary.BigEndian.Uint16(head[2:])
	addr := netip.AddrFrom16([16]byte(head[4:datagramHeader])).Unmap()
	n := copy(b, head[datagramHeader:datagramHeader+size])
	q.first += datagramHeader + size
	q.release()
	return n, netip.AddrPortFrom(addr, port)
}

// release starts over when the queue is empty, with little memory.
func (q *datagrams) release() {
	if !q.empty() {
		return
	}
	q.block, q.first = q.block[:0], 0
	if cap(q.block) > datagramsKept {
		q.block = nil
	}
}
