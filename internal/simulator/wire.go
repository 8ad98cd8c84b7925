package simulator

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// wireLimit is how many datagrams wait at an end of a Wire; the newest is dropped,
// as a socket's buffer does.
const wireLimit = 8192

// Wire is a network in memory between a gateway and a Simulator, for tests in
// virtual time: nothing in it waits for the operating system.
type Wire struct {
	gateway, buildings *end
}

// end is one end's queue.
type end struct {
	mu     sync.Mutex
	wake   sync.Cond
	queue  []inbound
	closed bool
}

// NewWire makes a network. Its two ends are closed by those who use them.
func NewWire() *Wire {
	w := &Wire{&end{}, &end{}}
	w.gateway.wake.L = &w.gateway.mu
	w.buildings.wake.L = &w.buildings.mu
	return w
}

func (e *end) push(d inbound) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.queue) >= wireLimit {
		return
	}
	d.datagram = slices.Clone(d.datagram)
	e.queue = append(e.queue, d)
	e.wake.Signal()
}

func (e *end) pop() (inbound, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) == 0 && !e.closed {
		e.wake.Wait()
	}
	if e.closed {
		return inbound{}, net.ErrClosed
	}
	d := e.queue[0]
	e.queue = e.queue[1:]
	return d, nil
}

func (e *end) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.queue = nil
	e.wake.Broadcast()
	return nil
}

// WirePort is the port of all buildings on a Wire.
const WirePort = 51820

// Buildings is the simulator's end.
func (w *Wire) Buildings() Conn { return wireBuildings{w} }

// Gateway is the gateway's end at an address: what tunnel.NewExchange takes.
func (w *Wire) Gateway(local netip.AddrPort) *WireGateway { return &WireGateway{w, local} }

type wireBuildings struct{ w *Wire }

func (b wireBuildings) ReadFrom(buffer []byte) (n int, from, to netip.AddrPort, err error) {
	d, err := b.w.buildings.pop()
	return copy(buffer, d.datagram), d.from, d.to, err
}

func (b wireBuildings) WriteTo(datagram []byte, from, to netip.AddrPort) error {
	b.w.gateway.push(inbound{from, to, datagram})
	return nil
}

func (b wireBuildings) Close() error { return b.w.buildings.close() }

// WireGateway is the gateway's UDP socket on a Wire.
type WireGateway struct {
	w     *Wire
	local netip.AddrPort
}

// ReadFromUDPAddrPort blocks until there is a datagram.
func (g *WireGateway) ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error) {
	d, err := g.w.gateway.pop()
	return copy(b, d.datagram), d.from, err
}

// WriteToUDPAddrPort sends a datagram to a building.
func (g *WireGateway) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	g.w.buildings.push(inbound{g.local, to, b})
	return len(b), nil
}

// LocalAddr is the gateway's address.
func (g *WireGateway) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(g.local) }

// Close ends the gateway's reading.
func (g *WireGateway) Close() error { return g.w.gateway.close() }
