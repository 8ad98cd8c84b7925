package knxbridge

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

var (
	interfaceAddr = netip.MustParseAddrPort("192.168.1.3:3671")
	ourAddr       = netip.MustParseAddrPort("10.9.0.2:40444")
)

const delay = 5 * time.Millisecond // one way between the two ends

type packet struct {
	from netip.AddrPort
	data []byte
}

// end is one end of a pair of sockets in memory.
type end struct {
	addr     netip.AddrPort
	peer     *end
	readable chan struct{}

	mu       sync.Mutex
	waiting  []packet
	closed   bool
	cut      bool  // what is sent is lost
	writeErr error // of the next WriteTo
	readErr  error // of the next TryRead
	onTheWay []packet
}

func newPair() (client, server *end) {
	client = &end{addr: ourAddr, readable: make(chan struct{}, 1)}
	server = &end{addr: interfaceAddr, readable: make(chan struct{}, 1)}
	client.peer, server.peer = server, client
	return client, server
}

func (e *end) Readable() <-chan struct{} { return e.readable }

func (e *end) TryRead(b []byte) (int, netip.AddrPort, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.readErr; err != nil {
		e.readErr = nil
		return 0, netip.AddrPort{}, err
	}
	if e.closed {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	if len(e.waiting) == 0 {
		return 0, netip.AddrPort{}, nil
	}
	p := e.waiting[0]
	e.waiting = slices.Delete(e.waiting, 0, 1)
	return copy(b, p.data), p.from, nil
}

func (e *end) WriteTo(b []byte, to netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	if err := e.writeErr; err != nil {
		e.writeErr = nil
		return err
	}
	if e.cut || to != e.peer.addr {
		return nil
	}
	e.onTheWay = append(e.onTheWay, packet{from: e.addr, data: slices.Clone(b)})
	time.AfterFunc(delay, e.arrive)
	return nil
}

// arrive delivers the oldest datagram that is on the way: all take the same time.
func (e *end) arrive() {
	e.mu.Lock()
	p := e.onTheWay[0]
	e.onTheWay = slices.Delete(e.onTheWay, 0, 1)
	// Under the lock, so that the next does not overtake it.
	e.peer.deliver(p)
	e.mu.Unlock()
}

func (e *end) deliver(p packet) {
	e.mu.Lock()
	e.waiting = append(e.waiting, p)
	e.mu.Unlock()
	e.signal()
}

func (e *end) signal() {
	select {
	case e.readable <- struct{}{}:
	default:
	}
}

func (e *end) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// set changes an end under its lock.
func (e *end) set(change func(e *end)) {
	e.mu.Lock()
	change(e)
	e.mu.Unlock()
	e.signal()
}

// confirmation is what the interface does after the ACK of a request.
type confirmation int

const (
	positive confirmation = iota
	negative
	none
)

// knxInterface is a small tunnelling server with one slot.
type knxInterface struct {
	conn *end
	quit chan struct{}
	done chan struct{}

	mu       sync.Mutex
	silent   bool // frozen: reads nothing
	confirm  confirmation
	deaf     bool // does not acknowledge
	channel  uint8
	open     bool
	expect   uint8
	sequence uint8
	grants   int
	received []frame.Service
	at       []time.Time // when the group writes came
	writes   []frame.LData
	acks     int
}

func newKNXInterface(conn *end) *knxInterface {
	k := &knxInterface{conn: conn, quit: make(chan struct{}), done: make(chan struct{})}
	go k.run()
	return k
}

func (k *knxInterface) run() {
	defer close(k.done)
	for {
		select {
		case <-k.quit:
			return
		case <-k.conn.Readable():
		}
		k.mu.Lock()
		for !k.silent {
			buffer := make([]byte, 1024)
			n, from, err := k.conn.TryRead(buffer)
			if err != nil || !from.IsValid() {
				break
			}
			if f, err := frame.Parse(buffer[:n]); err == nil {
				k.handle(f)
			}
		}
		k.mu.Unlock()
	}
}

// set changes the interface's behaviour.
func (k *knxInterface) set(change func(k *knxInterface)) {
	k.mu.Lock()
	change(k)
	k.mu.Unlock()
	k.conn.signal()
}

// reboot forgets the session.
func (k *knxInterface) reboot() { k.set(func(k *knxInterface) { k.open = false }) }

func (k *knxInterface) handle(f frame.Frame) {
	k.received = append(k.received, f.Service())
	switch f := f.(type) {
	case frame.ConnectRequest:
		if k.open {
			k.send(frame.ConnectResponse{Status: frame.StatusNoMoreConnections})
			return
		}
		k.channel++
		k.open, k.expect, k.sequence = true, 0, 0
		k.grants++
		k.send(frame.ConnectResponse{Channel: k.channel, Data: frame.HPAI{Addr: interfaceAddr}, Assigned: 0x11FA})
	case frame.ConnectionStateRequest:
		k.send(frame.ConnectionStateResponse{Channel: f.Channel, Status: k.known(f.Channel)})
	case frame.DisconnectRequest:
		status := k.known(f.Channel)
		if status == frame.StatusNoError {
			k.open = false
		}
		k.send(frame.DisconnectResponse{Channel: f.Channel, Status: status})
	case frame.TunnellingAck:
		k.acks++
	case frame.TunnellingRequest:
		k.request(f)
	}
}

func (k *knxInterface) known(channel uint8) frame.Status {
	if k.open && channel == k.channel {
		return frame.StatusNoError
	}
	return frame.StatusConnectionID
}

func (k *knxInterface) request(f frame.TunnellingRequest) {
	if k.deaf || k.known(f.Channel) != frame.StatusNoError || f.Sequence != k.expect {
		return
	}
	k.expect++
	k.send(frame.TunnellingAck{Channel: f.Channel, Sequence: f.Sequence})
	l, err := frame.ParseLData(f.CEMI)
	if err != nil {
		return
	}
	k.writes = append(k.writes, l.Clone())
	k.at = append(k.at, time.Now())
	if k.confirm == none {
		return
	}
	l.Message, l.Failed = frame.LDataCon, k.confirm == negative
	k.tell(l)
}

// tell sends a cEMI message through the tunnel.
func (k *knxInterface) tell(l frame.LData) {
	k.send(frame.TunnellingRequest{Channel: k.channel, Sequence: k.sequence, CEMI: l.Append(nil)})
	k.sequence++
}

func (k *knxInterface) send(f frame.Frame) {
	// The other end's socket may be closed: then nobody hears it, as on a network.
	_ = k.conn.WriteTo(frame.Append(nil, f), ourAddr)
}

// bus puts a telegram on the bus.
func (k *knxInterface) bus(source frame.IndividualAddress, destination frame.GroupAddress, data ...byte) {
	k.set(func(k *knxInterface) {
		k.tell(frame.LData{
			Message: frame.LDataInd, Priority: frame.PriorityLow, HopCount: 6, Source: source,
			Destination: uint16(destination), Group: true, APCI: frame.GroupValueWrite, Data: data,
		})
	})
}

func (k *knxInterface) count(s frame.Service) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, r := range k.received {
		if r == s {
			n++
		}
	}
	return n
}

func (k *knxInterface) stop() {
	close(k.quit)
	<-k.done
}
