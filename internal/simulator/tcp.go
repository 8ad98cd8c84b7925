package simulator

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/netstack"
)

const (
	// tcpPackets is how many packets wait for the loop. When there are more, the LAN
	// loses the newest.
	tcpPackets = 512
	// tcpQueue is how many frames wait to be sent to one client. When it is full, its
	// connection is closed.
	tcpQueue = 256
	// tcpWriteTimeout is how long one frame may take to be sent.
	tcpWriteTimeout = 10 * time.Second
)

// tcpHost is the TCP of a KNX interface that offers it: a stack of its own, and the
// connections to the interface's control endpoint. A goroutine reads each connection
// and another writes it; what they read is handled in the simulator's loop, which
// owns clients.
type tcpHost struct {
	building *Building
	// do runs f in the simulator's loop, and reports if it did: not after its end.
	do      func(f func(now time.Time)) bool
	stack   *netstack.Stack
	packets chan []byte // to the gateway; see tcpPackets
	stopped chan struct{}
	running sync.WaitGroup
	clients map[netip.AddrPort]chan []byte // what is to be sent; see tcpQueue
}

// startTCP makes the interface listen; stop ends all of it.
func startTCP(b *Building, do func(f func(now time.Time)) bool) (*tcpHost, error) {
	stack, err := netstack.New(netstack.Config{Addresses: []netip.Prefix{netip.PrefixFrom(Interface.Addr(), Interface.Addr().BitLen())}})
	if err != nil {
		return nil, fmt.Errorf("building %d: TCP: %w", b.Number, err)
	}
	listener, err := stack.ListenTCP(Interface)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building %d: TCP: %w", b.Number, err), stack.Close())
	}
	h := &tcpHost{
		building: b, do: do, stack: stack, clients: map[netip.AddrPort]chan []byte{},
		packets: make(chan []byte, tcpPackets), stopped: make(chan struct{}),
	}
	stack.Connect(func(packet []byte) {
		select {
		case h.packets <- slices.Clone(packet):
		default:
		}
	})
	h.running.Go(h.forward)
	h.running.Go(func() { h.accept(listener) })
	return h, nil
}

// stop closes the stack and with it all connections. The loop has ended.
func (h *tcpHost) stop() error {
	err := h.stack.Close()
	close(h.stopped)
	for _, out := range h.clients {
		close(out)
	}
	h.running.Wait()
	return err
}

// deliver gives the stack a packet from the gateway.
func (h *tcpHost) deliver(inner []byte) {
	h.stack.Deliver(inner)
}

// forward sends the stack's packets to the gateway until stop.
func (h *tcpHost) forward() {
	for {
		select {
		case packet := <-h.packets:
			if !h.do(func(now time.Time) { h.building.sendTCP(now, packet) }) {
				return
			}
		case <-h.stopped:
			return
		}
	}
}

func (h *tcpHost) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // the stack was closed
		}
		client := netip.AddrPort{}
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			client = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
		}
		taken := false
		h.do(func(now time.Time) {
			if taken = h.building.KNX.Accept(now, client); taken {
				h.serve(client, conn)
			}
		})
		if !taken {
			_ = conn.Close() // nothing was written
		}
	}
}

// serve begins to read and write a connection.
func (h *tcpHost) serve(client netip.AddrPort, conn net.Conn) {
	out := make(chan []byte, tcpQueue) // full: the connection is closed
	h.clients[client] = out
	h.running.Go(func() {
		defer conn.Close()
		for payload := range out {
			// After an error the reader's end closes out.
			_ = conn.SetWriteDeadline(time.Now().Add(tcpWriteTimeout))
			_, _ = conn.Write(payload)
		}
	})
	h.running.Go(func() {
		h.read(client, conn)
		h.do(func(now time.Time) {
			h.building.KNX.Closed(now, client)
			h.hangUp(client, out)
		})
	})
}

// read takes the connection apart into frames until it ends, or sends what is none.
func (h *tcpHost) read(client netip.AddrPort, conn net.Conn) {
	var header [frame.HeaderLength]byte
	for {
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return
		}
		length, err := frame.Length(header[:])
		if err != nil {
			return
		}
		datagram := make([]byte, length)
		copy(datagram, header[:])
		if _, err := io.ReadFull(conn, datagram[len(header):]); err != nil {
			return
		}
		if !h.do(func(now time.Time) { h.building.KNX.ReceiveTCP(now, client, datagram) }) {
			return
		}
	}
}

// send hands a frame to a client's writer; without one, the connection is closed.
func (h *tcpHost) send(now time.Time, client netip.AddrPort, payload []byte) {
	out, ok := h.clients[client]
	switch {
	case !ok: // it has hung up
	case payload == nil:
		h.hangUp(client, out)
	default:
		select {
		case out <- payload:
		default:
			h.building.KNX.Closed(now, client)
			h.hangUp(client, out)
		}
	}
}

// hangUp lets the writer close a connection once it has sent what waits. Another
// connection may have the same client since.
func (h *tcpHost) hangUp(client netip.AddrPort, out chan []byte) {
	if h.clients[client] == out {
		delete(h.clients, client)
		close(out)
	}
}
