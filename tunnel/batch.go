package tunnel

import (
	"net"
	"runtime"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// batchSize is how many datagrams one system call takes at most.
	batchSize = 32
	// usualDatagram has room for what a tunnel with an MTU of up to 1,960 bytes sends.
	usualDatagram = 2048
	// maxDatagram is the largest UDP datagram.
	maxDatagram = 1 << 16
)

// batched is a UDP socket with recvmmsg and sendmmsg, on systems that have them; on
// most others a batch is one datagram. golang.org/x/net has the same calls for both address
// families.
type batched struct {
	*net.UDPConn

	packets *ipv4.PacketConn
	in, out []ipv4.Message
	got     []received    // of in, as they were read last
	to      []net.UDPAddr // of out
	room    int           // of each of in
	gather  gathering     // of the reader
	several bool          // a batch may be more than one datagram
}

func newBatched(c *net.UDPConn) *batched {
	b := &batched{
		UDPConn: c, packets: ipv4.NewPacketConn(c),
		several: runtime.GOOS == "linux", in: make([]ipv4.Message, batchSize), out: make([]ipv4.Message, batchSize), to: make([]net.UDPAddr, batchSize),
	}
	b.makeRoom(usualDatagram)
	for i := range b.out {
		b.out[i].Buffers = make([][]byte, 1)
		b.out[i].Addr = &b.to[i]
	}
	return b
}

func (b *batched) makeRoom(room int) {
	b.room = room
	buffers := make([]byte, batchSize*room)
	for i := range b.in {
		b.in[i].Buffers = [][]byte{buffers[i*room : (i+1)*room]}
	}
}

// readBatch makes more room after a datagram that may have been cut off: that one is
// lost, as on any network, and what its building sends again is not.
func (b *batched) readBatch() (got []received, gather time.Duration, err error) {
	n, err := b.packets.ReadBatch(b.in, 0)
	if err != nil {
		return nil, 0, err
	}
	cut := false
	b.got = b.got[:0]
	for _, m := range b.in[:n] {
		cut = cut || m.N == b.room
		if from, ok := m.Addr.(*net.UDPAddr); ok {
			b.got = append(b.got, received{m.Buffers[0][:m.N], unmap(from.AddrPort())})
		}
	}
	if cut && b.room < maxDatagram {
		b.makeRoom(maxDatagram)
	}
	if b.several {
		gather = b.gather.read(time.Now(), n, n == batchSize)
	}
	return b.got, gather, nil
}

func (b *batched) writeBatch(datagrams []outgoing) (int, error) {
	for i, d := range datagrams {
		b.out[i].Buffers[0] = d.data
		b.to[i] = net.UDPAddr{IP: append(b.to[i].IP[:0], d.to.Addr().AsSlice()...), Port: int(d.to.Port()), Zone: d.to.Addr().Zone()}
	}
	n, err := b.packets.WriteBatch(b.out[:len(datagrams)], 0)
	return max(n, 0), err
}
