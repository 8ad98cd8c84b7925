package fleet

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/netstack"
)

// MaxDiscovered is how many addresses one search asks at most.
const MaxDiscovered = 4096

// Discovery is where KNXnet/IP interfaces are looked for. The zero values are good.
type Discovery struct {
	Building string
	// Subnets are IPv4 networks within the tunnel's allowed IPs, of MaxDiscovered
	// addresses together at most. None: the allowed IPs, of larger ones the /24 around
	// the KNX interface.
	Subnets []netip.Prefix
	Rate    int           // addresses a second, 1 to 500; 0 is 50
	Timeout time.Duration // for late answers, 500 ms to 10 s; 0 is 2 s
}

// Interface is a KNXnet/IP device as it describes itself.
type Interface struct {
	Endpoint    netip.AddrPort
	Description frame.Description
	RoundTrip   time.Duration
}

// FreeSlots is how many of its tunnelling slots an interface says are free; false if
// it does not tell (KNX 03_08_04 Tunnelling, tunnelling information block).
func (i *Interface) FreeSlots() (free int, told bool) {
	const (
		block  = 0x07
		header = 2 // the longest APDU
		slot   = 4 // an address, and its state
		isFree = 0x01
	)
	for _, d := range i.Description.Other {
		if d.Type != block || len(d.Data) < header {
			continue
		}
		for state := d.Data[header:]; len(state) >= slot; state = state[slot:] {
			if binary.BigEndian.Uint16(state[2:])&isFree != 0 {
				free++
			}
		}
		return free, true
	}
	return 0, false
}

// Discover asks every address of a building's subnets for a description, one after
// the other at a pace, and returns who answered, by address, and how many were
// asked. Errors are as of Ping.
func (f *Fleet) Discover(ctx context.Context, d Discovery) (found []Interface, asked int, err error) {
	if err := errors.Join(
		within("addresses_per_second", &d.Rate, 50, 1, 500),
		within("timeout", &d.Timeout, 2*time.Second, 500*time.Millisecond, 10*time.Second),
	); err != nil {
		return nil, 0, err
	}
	s, done, err := f.inside(d.Building)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	addrs, err := searched(s.desired.Load(), d.Subnets)
	if err != nil {
		return nil, 0, err
	}
	found, err = s.discover(ctx, addrs, d.Rate, d.Timeout)
	if err != nil {
		return nil, 0, fmt.Errorf("building %s: %w", d.Building, err)
	}
	return found, len(addrs), nil
}

const searchedBits = 24 // of the networks that are searched where nobody said which

// searched gives the addresses to ask, in order and each once.
func searched(b *registry.Building, subnets []netip.Prefix) ([]netip.Addr, error) {
	field := func(problem string, args ...any) error {
		return &registry.FieldError{Field: "subnets", Problem: fmt.Sprintf(problem, args...)}
	}
	iface := b.KNX.Interface.Addr()
	if len(subnets) == 0 {
		for _, network := range b.Tunnel.AllowedIPs {
			switch {
			case !network.Addr().Is4():
			case network.Bits() >= searchedBits:
				subnets = append(subnets, network)
			case network.Contains(iface):
				subnets = append(subnets, netip.PrefixFrom(iface, searchedBits))
			}
		}
	} else {
		for _, network := range subnets {
			inside := func(allowed netip.Prefix) bool {
				return allowed.Bits() <= network.Bits() && allowed.Contains(network.Addr())
			}
			switch {
			case !network.IsValid() || !network.Addr().Is4():
				return nil, field("%s is no IPv4 network such as 192.168.1.0/24", network)
			case !slices.ContainsFunc(b.Tunnel.AllowedIPs, inside):
				return nil, field("%s is outside of the building's networks (tunnel.allowed_ips: %s)", network, joined(b.Tunnel.AllowedIPs))
			}
		}
	}
	var addrs []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, network := range subnets {
		size := 1 << (32 - network.Bits())
		if size > MaxDiscovered || len(addrs)+size > MaxDiscovered+len(subnets)*2 {
			return nil, field("have more than %d addresses in all; name smaller networks", MaxDiscovered)
		}
		addr := network.Masked().Addr()
		for i := range size {
			// Of a network of more than two addresses, the first and the last are no host's.
			if edge := size > 2 && (i == 0 || i == size-1); !edge && !seen[addr] {
				seen[addr] = true
				addrs = append(addrs, addr)
			}
			addr = addr.Next()
		}
	}
	return addrs, nil
}

// discover asks for descriptions through one socket.
func (s *site) discover(ctx context.Context, addrs []netip.Addr, rate int, patience time.Duration) ([]Interface, error) {
	q, err := s.newQuestioner()
	if err != nil {
		return nil, err
	}
	defer q.conn.Close()
	pace := time.NewTicker(time.Second / time.Duration(rate))
	defer pace.Stop()
	for i, addr := range addrs {
		if i > 0 {
			if err := q.listen(ctx, pace.C); err != nil {
				return nil, err
			}
		}
		if err := q.ask(netip.AddrPortFrom(addr, registry.DefaultPort)); err != nil {
			return nil, err
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	if err := q.listen(ctx, late.C); err != nil {
		return nil, err
	}
	slices.SortFunc(q.found, func(a, b Interface) int { return cmp.Or(a.Endpoint.Compare(b.Endpoint)) })
	return q.found, nil
}

// questioner asks KNXnet/IP devices who they are (KNX 03_08_02 Core §7.7).
type questioner struct {
	conn    *netstack.UDPConn
	request []byte
	asked   map[netip.AddrPort]time.Time
	found   []Interface
}

func (s *site) newQuestioner() (*questioner, error) {
	conn, err := s.stack.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	if err != nil {
		return nil, closedIsStopped(err)
	}
	var local netip.AddrPort // route-back
	if config := s.sessionConfigOf(s.desired.Load()); config.Local.IsValid() {
		local = netip.AddrPortFrom(config.Local.Addr(), conn.LocalAddr().Port())
	}
	return &questioner{
		conn:    conn,
		request: frame.Append(nil, frame.DescriptionRequest{Control: frame.HPAI{Addr: local}}),
		asked:   make(map[netip.AddrPort]time.Time),
	}, nil
}

func closedIsStopped(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the building was stopped meanwhile: %w", ErrSiteStopped)
	}
	return err
}

func (q *questioner) ask(to netip.AddrPort) error {
	q.asked[to] = time.Now()
	if err := q.conn.WriteTo(q.request, to); errors.Is(err, net.ErrClosed) {
		return closedIsStopped(err)
	}
	return nil // one that cannot be sent is one that nobody answers
}

// listen takes answers until then.
func (q *questioner) listen(ctx context.Context, then <-chan time.Time) error {
	for {
		select {
		case <-q.conn.Readable():
			if err := q.read(); err != nil {
				return err
			}
		case <-then:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read takes what waits. Each of those that were asked may answer once.
func (q *questioner) read() error {
	var buffer [1024]byte
	for {
		n, from, err := q.conn.TryRead(buffer[:])
		if err != nil {
			return closedIsStopped(err)
		}
		if !from.IsValid() {
			return nil
		}
		at, ok := q.asked[from]
		if !ok {
			continue
		}
		f, err := frame.Parse(buffer[:n])
		if err != nil {
			continue
		}
		if r, ok := f.(frame.DescriptionResponse); ok {
			delete(q.asked, from)
			q.found = append(q.found, Interface{Endpoint: from, Description: r.Description, RoundTrip: time.Since(at)})
		}
	}
}
