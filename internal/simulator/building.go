package simulator

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/tunnel/wireguard"
)

// The network of every building, as at most people's homes and offices.
var (
	lanNetwork    = netip.MustParsePrefix("192.168.1.0/24")
	lanRouter     = netip.MustParseAddr("192.168.1.1")
	tunnelNetwork = netip.MustParsePrefix("10.200.0.0/24")
	tunnelRouter  = netip.MustParseAddr("10.200.0.1")
	tunnelGateway = netip.MustParseAddr("10.200.0.2")
	// lanHost is another device in the LAN. It answers echo requests.
	lanHost = netip.MustParseAddr("192.168.1.20")

	// Interface is the control endpoint of every building's KNX interface.
	Interface = netip.MustParseAddrPort("192.168.1.3:3671")
)

// Building is one simulated building. It belongs to the Simulator's loop; others
// reach it through Simulator.Do.
type Building struct {
	// Number counts from 1.
	Number int
	// Outside is where its router listens; Simulator.Move changes it.
	Outside netip.AddrPort
	// KNX is its KNX interface with the bus.
	KNX *knxserver.Server
	// Link is the network to the gateway; change it as the test wants.
	Link Link
	// LANDown cuts the router off from its LAN.
	LANDown bool

	router     *wireguard.End
	gatewayKey [32]byte // the private key that its wg-quick file gives the gateway
	preshared  [32]byte
	routerKey  [32]byte // public
	calls      bool
	offUntil   time.Time
	plain      [][]byte // packets that SendPlain made, or tcp, and drain has not sent yet
	tcp        *tcpHost // nil for an interface without TCP

	deadline time.Time // as the heap knows it; zero is none
	place    int       // in the heap; -1 is none
}

// keyOf derives a key. The simulator's keys protect nothing, and the same seed
// must give the same files.
func keyOf(seed uint64, what string, number int) [32]byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, seed))
	h.Write([]byte(what))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(number)))
	return [32]byte(h.Sum(nil))
}

func newBuilding(cfg *Config, number int, outside netip.AddrPort, random io.Reader, rnd func() float64) *Building {
	b := &Building{
		Number:     number,
		Outside:    outside,
		gatewayKey: keyOf(cfg.Seed, "gateway", number),
		preshared:  keyOf(cfg.Seed, "preshared", number),
		calls:      cfg.Gateway.IsValid(),
		place:      -1,
	}
	gateway := wireguard.New(wireguard.Config{PrivateKey: b.gatewayKey}, random)
	b.router = wireguard.New(wireguard.Config{
		PrivateKey:   keyOf(cfg.Seed, "router", number),
		Peer:         gateway.PublicKey(),
		PresharedKey: b.preshared,
		Endpoint:     cfg.Gateway,
		Keepalive:    cfg.RouterKeepalive,
		Index:        uint32(number) << 8,
	}, random)
	b.routerKey = b.router.PublicKey()
	knx := cfg.KNX
	knx.Address = Interface
	knx.Name = fmt.Sprintf("Building %d", number)
	b.KNX = knxserver.New(knx, rnd)
	return b
}

// WGQuick is the file with which a gateway connects to the building, as its
// router would export it.
func (b *Building) WGQuick() string {
	var s strings.Builder
	line := func(key, value string) { fmt.Fprintf(&s, "%s = %s\n", key, value) }
	key := func(k [32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }
	s.WriteString("[Interface]\n")
	line("PrivateKey", key(b.gatewayKey))
	line("Address", tunnelGateway.String()+"/32")
	s.WriteString("\n[Peer]\n")
	line("PublicKey", key(b.routerKey))
	line("PresharedKey", key(b.preshared))
	line("AllowedIPs", lanNetwork.String()+", "+tunnelNetwork.String())
	if !b.calls {
		line("Endpoint", b.Outside.String())
	}
	line("PersistentKeepalive", "25")
	return s.String()
}

// Router is what happened at the building's WireGuard router.
func (b *Building) Router() wireguard.Stats { return b.router.Stats() }

// ClockAhead makes the router believe that the gateway called it at that time,
// which may be in the future: see wireguard.End.Advance.
func (b *Building) ClockAhead(of time.Time) { b.router.Advance(of) }

// receive takes a datagram from outside and returns what goes back at once.
func (b *Building) receive(now time.Time, from netip.AddrPort, datagram []byte, send func(to netip.AddrPort, datagram []byte)) {
	if now.Before(b.offUntil) {
		return
	}
	result := b.router.Receive(now, from, datagram)
	if result.Reply != nil {
		send(from, result.Reply)
	}
	if result.Packet != nil {
		b.deliver(now, result.Packet, send)
	}
}

// deliver brings an inner packet to where it is meant for.
func (b *Building) deliver(now time.Time, inner []byte, send func(to netip.AddrPort, datagram []byte)) {
	p, ok := parsePacket(inner)
	if !ok || p.source != tunnelGateway { // the router's allowed IPs
		return
	}
	local := p.destination == tunnelRouter || p.destination == lanRouter
	if !local && b.LANDown {
		return
	}
	if local || p.destination == lanHost || p.destination == Interface.Addr() && b.KNX.Reachable(now) {
		if reply := buildEchoReply(p); reply != nil {
			b.sendInner(now, reply, send)
			return
		}
	}
	if p.destination == Interface.Addr() && p.protocol == protocolTCP && b.KNX.Reachable(now) {
		b.deliverTCP(now, inner, p, send)
		return
	}
	if from, to, data, ok := parseUDP(p); ok && to == Interface {
		b.KNX.Receive(now, from, data)
		b.drain(now, send)
	}
}

// deliverTCP brings a TCP packet to the interface, or refuses the connection that it
// would open.
func (b *Building) deliverTCP(now time.Time, inner []byte, p packet, send func(to netip.AddrPort, datagram []byte)) {
	if port, opens := parseSYN(p); opens && (b.tcp == nil || port != Interface.Port() || !b.KNX.TakesTCP()) {
		b.sendInner(now, buildReset(p), send)
		return
	}
	if b.tcp != nil {
		b.tcp.deliver(inner)
	}
}

// sendTCP takes a packet of the interface's TCP for drain.
func (b *Building) sendTCP(now time.Time, inner []byte) {
	if !b.LANDown && b.KNX.Reachable(now) {
		b.plain = append(b.plain, inner)
	}
}

// SendPlain sends a UDP datagram from the KNX interface's address to a port of the
// gateway's tunnel address, without any session: what a load test gives a gateway
// that speaks no KNX. It is lost while the tunnel has no WireGuard session. Call it
// within Simulator.Do, which sends it.
func (b *Building) SendPlain(port uint16, payload []byte) {
	b.plain = append(b.plain, buildUDP(Interface, netip.AddrPortFrom(tunnelGateway, port), payload))
}

// drain sends what the KNX interface has to say, and what else waits.
func (b *Building) drain(now time.Time, send func(to netip.AddrPort, datagram []byte)) {
	for _, inner := range b.plain {
		b.sendInner(now, inner, send)
	}
	b.plain = nil
	for d, ok := b.KNX.Next(); ok; d, ok = b.KNX.Next() {
		switch {
		case d.TCP && b.tcp != nil:
			b.tcp.send(now, d.To, d.Payload)
		case !b.LANDown:
			b.sendInner(now, buildUDP(d.From, d.To, d.Payload), send)
		}
	}
}

func (b *Building) sendInner(now time.Time, inner []byte, send func(to netip.AddrPort, datagram []byte)) {
	if now.Before(b.offUntil) {
		return
	}
	if datagram, to, ok := b.router.Send(now, nil, inner); ok {
		send(to, datagram)
	}
}

// expire does what is due.
func (b *Building) expire(now time.Time, send func(to netip.AddrPort, datagram []byte)) {
	b.KNX.Expire(now)
	b.drain(now, send)
	if now.Before(b.offUntil) {
		return
	}
	for at, ok := b.router.Deadline(); ok && !now.Before(at); at, ok = b.router.Deadline() {
		if datagram, to, ok := b.router.Expire(now); ok {
			send(to, datagram)
		}
	}
}

// next is when expire must be called; zero is never.
func (b *Building) next() time.Time {
	first, _ := b.KNX.Deadline()
	if at, ok := b.router.Deadline(); ok {
		if at.Before(b.offUntil) {
			at = b.offUntil
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// powerCut restarts router and interface, which forget everything; they answer
// again after the given time.
func (b *Building) powerCut(now time.Time, down time.Duration) {
	b.offUntil = now.Add(down)
	b.router.Restart()
	b.KNX.Reboot(now, down)
}

// call lets a router that calls the gateway do so.
func (b *Building) call(now time.Time, send func(to netip.AddrPort, datagram []byte)) {
	if !b.calls {
		return
	}
	if datagram, to, ok := b.router.Initiate(now); ok {
		send(to, datagram)
	}
}
