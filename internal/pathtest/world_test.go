package pathtest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a number of buildings that a gateway can connect to, counted from 1.
// They all have the same networks. Its methods may be called from several
// goroutines.
type world interface {
	// file is the wg-quick file with which the gateway reaches a building.
	file(building int) (string, error)
	// bus is a building's KNX bus with its interface.
	bus(building int) bus
	// fault says how this world plays a mishap; false if it cannot.
	fault(what mishap) (fault, bool)
}

// bus is what is behind a building's KNX interface.
type bus interface {
	// write lets a device of the bus send a group write.
	write(destination string, value ...byte) error
	// seen is every group telegram that the bus saw, in order, as "1/2/3: 0C 1A".
	// A power cut may make it begin anew.
	seen() ([]string, error)
	// slots is how many of the interface's slots its clients have.
	slots() (int, error)
}

// fault plays a mishap. A building has one at a time.
type fault struct {
	begin func(building int) error
	// end is nil when the mishap is over once it has begun.
	end func(building int) error
	// everywhere: it hits all buildings at once, whichever is named.
	everywhere bool
}

// mishap is what can happen to a building.
type mishap string

const (
	// interfaceStopped: the KNX interface is gone, and with it what it knew of its
	// clients, until it starts again.
	interfaceStopped mishap = "the interface stopped"
	// interfaceEnded: the same, with time for what it does when it is told to end.
	interfaceEnded mishap = "the interface told to end"
	// interfaceRestarted: the same for a moment, so that the next that is heard of
	// the interface is that it knows nobody.
	interfaceRestarted mishap = "the interface restarted"
	// interfaceUnreachable: the interface is off the LAN and does not notice.
	interfaceUnreachable mishap = "the interface unreachable"
	// interfaceFrozen: the interface stands still; what it is sent waits for it.
	interfaceFrozen mishap = "the interface frozen"
	// slotsFull: other clients have every slot of the interface.
	slotsFull mishap = "all slots taken"
	// sessionEnded: the interface disconnects its clients.
	sessionEnded mishap = "the interface ended the session"
	// busDown: the interface says that its bus is dead (0x27).
	busDown mishap = "the bus without power"
	// lanDown: nothing passes between the router and the LAN.
	lanDown mishap = "the LAN down"
	// tunnelDown: nothing passes between the gateway and the router. The rig's
	// router forgets its WireGuard keys in it, the simulated one keeps them.
	tunnelDown mishap = "the tunnel down"
	// portMoved: the router listens elsewhere, and nobody tells the gateway.
	portMoved mishap = "the router's port moved"
	// powerCut: router and interface restart together and know nobody.
	powerCut mishap = "power cut"
	// weakNetwork: a fifth of the datagrams is lost, each way, and the others take
	// 300 ms.
	weakNetwork mishap = "weak network"
	// routerTold: the router learns where the gateway is, and calls it.
	routerTold mishap = "the router told to call"
)
