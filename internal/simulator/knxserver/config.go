package knxserver

import (
	"net/netip"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Style is whose habits the interface has where real ones differ.
type Style uint8

// The styles, after the servers that they were seen at.
const (
	// StyleKnxd: tunnelling version 1. A client that does not acknowledge is
	// dropped without a word, an extended CRI is refused with 0x22, and a
	// confirmation repeats the source of the request, which is mostly 0.0.0. The
	// lowest free number becomes the channel.
	StyleKnxd Style = iota
	// StyleCalimero: tunnelling version 2, with interface features and fixed
	// individual addresses. A client that does not acknowledge gets a
	// DISCONNECT_REQUEST, and a confirmation has the tunnel's address as source.
	// Channels are numbered in turn.
	StyleCalimero
)

// String names the style.
func (s Style) String() string {
	if s == StyleCalimero {
		return "calimero"
	}
	return "knxd"
}

// Config says what the interface is like. The zero value is an interface at
// 192.168.1.3:3671 with four slots and an empty bus.
type Config struct {
	// Address is the control endpoint. Zero means 192.168.1.3:3671.
	Address netip.AddrPort
	// DataAddress is the endpoint of the tunnels where it is another one. The
	// owner gives what is sent there to Receive like all else.
	DataAddress netip.AddrPort
	// RouteBack leaves the data endpoint in the CONNECT_RESPONSE zero.
	RouteBack bool
	// Slots is how many clients can be connected, 1 to 8. Zero means four, more
	// than eight means eight.
	Slots int
	// Name is the friendly name, at most 30 characters of ISO 8859-1. Empty means
	// "Virtual KNX interface".
	Name string
	// IndividualAddress is the interface's own; its tunnels have the next ones. Zero
	// means 1.1.240, so that the tunnels have 1.1.241 to 1.1.248. Its devices are
	// from device 1 on the same line.
	IndividualAddress frame.IndividualAddress
	Style             Style
	// TCP offers tunnelling over TCP too, with StyleCalimero: see Accept.
	TCP bool
	// NoBusmonitor refuses the busmonitor layer; else one client can have it, beside
	// those that have telegrams.
	NoBusmonitor bool
	// MaxAPDU is the longest APDU that the bus carries, in octets. A longer one gets
	// a negative confirmation. Zero means 254, less than 15 means 15.
	MaxAPDU int

	// Profile is the group objects of the bus; nil means none. It is not changed
	// and may be shared by many servers.
	Profile *Profile
	// Rate is how many telegrams a second the objects send by themselves, all of
	// them together and on average; what follows from them (a status after its
	// switch) comes on top. Zero means none, more than 1000 means 1000.
	Rate float64

	// Script is what goes wrong and when, counted from Start. It may be shared.
	Script Script

	// RecordLimit is how many telegrams of the bus and how many deliveries are
	// kept until TakeRecord is called; what is beyond is counted only. Zero keeps
	// none.
	RecordLimit int
}

const (
	maxSlots     = 8
	defaultSlots = 4
	maxRate      = 1000

	// queueLimit is how many telegrams wait for one client. When it is full, the
	// newest is dropped, which the record tells.
	queueLimit = 128
	// inboxLimit is how many datagrams wait while the interface is frozen. When
	// it is full, the newest is dropped.
	inboxLimit = 64
	// connLimit is how many TCP connections are open at once; one beyond is closed.
	connLimit = 16
	// lateLimit is how many delayed confirmations wait for one client. One
	// beyond is never sent.
	lateLimit = 16
)

var defaultAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, 3}), 3671)

// withDefaults fills in what was left zero and cuts what is out of range.
func (c Config) withDefaults() Config {
	if !c.Address.IsValid() {
		c.Address = defaultAddress
	}
	if !c.DataAddress.IsValid() {
		c.DataAddress = c.Address
	}
	if c.Slots <= 0 {
		c.Slots = defaultSlots
	}
	c.Slots = min(c.Slots, maxSlots)
	if c.Name == "" {
		c.Name = "Virtual KNX interface"
	}
	if c.IndividualAddress == 0 {
		c.IndividualAddress = 0x11F0
	}
	c.TCP = c.TCP && c.Style == StyleCalimero
	if c.MaxAPDU == 0 {
		c.MaxAPDU = maxAPDU
	}
	c.MaxAPDU = min(max(c.MaxAPDU, minAPDU), maxAPDU)
	if c.Profile == nil {
		c.Profile = &Profile{}
	}
	if !(c.Rate > 0) || len(c.Profile.active) == 0 { // also NaN
		c.Rate = 0
	}
	c.Rate = min(c.Rate, maxRate)
	c.RecordLimit = max(c.RecordLimit, 0)
	return c
}
