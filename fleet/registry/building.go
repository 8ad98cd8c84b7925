package registry

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/tunnel"
)

// DefaultPort is the UDP port of a KNXnet/IP interface's control endpoint
// (KNX 03_08_02 Core: registered with IANA as efcp).
const DefaultPort = 3671

// Building is a site as desired. It is a value, but its map and slices are
// shared by copies: use [Building.Clone] before changing them.
type Building struct {
	// ID names the building for good: 1 to 63 of a-z, 0-9 and '-', with a
	// letter or digit at both ends.
	ID string
	// DisplayName is for people: at most 200 characters, may be empty.
	DisplayName string
	// Labels group buildings: at most 64. Keys have 1 to 63, values at most 63
	// characters of a-z, A-Z, 0-9, '.', '_', '-' and '/', with a letter or
	// digit at both ends.
	Labels map[string]string
	// Enabled says whether the building is to run.
	Enabled bool
	// Tunnel is our side of the WireGuard tunnel, keys included: at most 16
	// addresses and 64 allowed IPs.
	Tunnel tunnel.Config
	// KNX says where the building's interface is and how it is spoken to.
	KNX KNX
	// ReadOnStart is what is read whenever the building comes online.
	ReadOnStart ReadOnStart
	// Limits bound what the building may use.
	Limits Limits

	// What follows is the registry's own and ignored where it is given.

	// CreatedAt and UpdatedAt are in UTC.
	CreatedAt, UpdatedAt time.Time
	// Generation counts the changes of the fields above, from 1.
	Generation uint64
	// Revision is the version of the fields above in the store; 0 is none. It rises
	// with every change, also across deletion and new creation, but not by one.
	Revision uint64
}

// KNX says where a building's KNX IP interface is and how it is spoken to.
type KNX struct {
	// Interface is the interface's control endpoint, an IPv4 address inside
	// Tunnel.AllowedIPs. Port 0 means DefaultPort.
	Interface netip.AddrPort
	// Fallback, when valid, is another interface on the same bus, which is used while
	// the first one does not answer; in the form of Interface.
	Fallback netip.AddrPort
	// Transport carries the session.
	Transport Transport
	// NAT is what the interface is told about the address to answer to.
	NAT NAT
	// IndividualAddress, when not zero, is asked of the interface (extended CRI
	// of tunnelling v2).
	IndividualAddress frame.IndividualAddress
	// WritesPerSecond is how many group telegrams we send at most, 1 to 50; 0 is 20.
	WritesPerSecond int
	// Probe, when not zero, is a group address that is read while the bus is quiet, so
	// that a dead bus is noticed. A device must answer.
	Probe frame.GroupAddress
	// ProbeInterval is how long the bus is quiet before that, 10 s to 1 h; 0 is 20 s.
	ProbeInterval time.Duration
}

// ReadOnStart is what is read whenever a building comes online. The zero value is
// nothing.
type ReadOnStart struct {
	// Addresses are group addresses, or patterns of those in the building's table: at
	// most 100.
	Addresses []string
	// PerSecond is the pace, 1 to 10; 0 is 2.
	PerSecond int
}

// Limits bound what one building may use of the process. Zero is the default, which
// is generous.
type Limits struct {
	// PacketsPerSecond and BytesPerSecond are what the building may send: 10 to
	// 1,000,000, and 10,000 or more.
	PacketsPerSecond int
	BytesPerSecond   int64
	// WriteQueue is how many writes and reads may wait for the bus, 1 to 10,000.
	WriteQueue int
}

// Transport carries a KNX session. The zero value suits all.
type Transport uint8

// The transports.
const (
	// TransportAuto is TCP where the interface's description offers it, else UDP.
	TransportAuto Transport = iota
	// TransportUDP is what every interface speaks.
	TransportUDP
	// TransportTCP is for interfaces with tunnelling v2 only.
	TransportTCP
)

// NAT is what a KNX interface is told about the address to answer to. The zero
// value suits most.
type NAT uint8

const (
	// NATRouteBack tells 0.0.0.0:0: it answers to where the datagram came from.
	NATRouteBack NAT = iota
	// NATExplicit tells our address and port in the tunnel, for interfaces
	// that refuse route-back.
	NATExplicit
)

// Etag is the revision as text, for clients.
func (b Building) Etag() string { return strconv.FormatUint(b.Revision, 10) }

// ParseEtag returns the revision that an etag stands for, and 0, which means
// any revision, for an empty one. The error is a *FieldError for etag.
func ParseEtag(etag string) (revision uint64, err error) {
	if etag == "" {
		return 0, nil
	}
	revision, err = strconv.ParseUint(etag, 10, 64)
	if err != nil || revision == 0 {
		return 0, &FieldError{"etag", "this is not an etag; send back the one that the building came with, or none"}
	}
	return revision, nil
}

// Clone returns a copy that shares nothing with b.
func (b Building) Clone() Building {
	b.Labels = maps.Clone(b.Labels)
	b.Tunnel.Addresses = slices.Clone(b.Tunnel.Addresses)
	b.Tunnel.AllowedIPs = slices.Clone(b.Tunnel.AllowedIPs)
	b.ReadOnStart.Addresses = slices.Clone(b.ReadOnStart.Addresses)
	return b
}

// SetDefaults fills in what was left out, so that what is stored says what it
// means. Create and Update do so themselves.
func (b *Building) SetDefaults() {
	if b.KNX.Interface.IsValid() && b.KNX.Interface.Port() == 0 {
		b.KNX.Interface = netip.AddrPortFrom(b.KNX.Interface.Addr(), DefaultPort)
	}
	if b.KNX.Fallback.IsValid() && b.KNX.Fallback.Port() == 0 {
		b.KNX.Fallback = netip.AddrPortFrom(b.KNX.Fallback.Addr(), DefaultPort)
	}
	if b.Tunnel.MTU == 0 {
		b.Tunnel.MTU = tunnel.DefaultMTU
	}
	// One form of none, so that equal buildings compare equal.
	if len(b.Labels) == 0 {
		b.Labels = nil
	}
	if len(b.Tunnel.Addresses) == 0 {
		b.Tunnel.Addresses = nil
	}
	if len(b.ReadOnStart.Addresses) == 0 {
		b.ReadOnStart.Addresses = nil
	}
	if len(b.Tunnel.AllowedIPs) == 0 {
		b.Tunnel.AllowedIPs = nil
	}
}
