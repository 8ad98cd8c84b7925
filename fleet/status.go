package fleet

import (
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
)

// State is where a building stands, in the words that clients see. Exactly one
// writer sets it at a time: the fleet while no site exists, the site while one
// does.
type State uint8

// The states of a building.
const (
	// StateDisabled: the building is kept but not run. Set by the fleet.
	StateDisabled State = iota + 1
	// StateWaiting: the building is to run, but its start is held back: by
	// pacing, by a previous site that still stops, or after a failure. Set by
	// the fleet.
	StateWaiting
	// StateResolving: the router's name is being looked up.
	StateResolving
	// StateHandshaking: there is no WireGuard session with the router; either we
	// call it, or, with reason AWAITING_ROUTER, it has to call us.
	StateHandshaking
	// StateConnecting: the tunnel works, the KNX interface has not confirmed a
	// session, or not lately.
	StateConnecting
	// StateOnline: the session was confirmed by an answer within the last 30 s,
	// and no acknowledgement has failed since.
	StateOnline
	// StateBackingOff: the KNX interface refused or was lost; the next attempt is
	// at Status.RetryAt.
	StateBackingOff
)

// States are all states of a building.
func States() []State {
	return []State{StateDisabled, StateWaiting, StateResolving, StateHandshaking, StateConnecting, StateOnline, StateBackingOff}
}

var stateNames = [...]string{"UNKNOWN", "DISABLED", "WAITING", "RESOLVING", "HANDSHAKING", "CONNECTING", "ONLINE", "BACKING_OFF"}

// String is the short form that people see, such as ONLINE.
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return stateNames[0]
	}
	return stateNames[s]
}

// Reasons that the fleet gives. A site whose tunnel works gives those of
// package session.
const (
	ReasonDisabled            = "DISABLED"
	ReasonStartPaced          = "START_PACED"
	ReasonStopping            = "PREVIOUS_SITE_STOPPING"
	ReasonSiteFailed          = "SITE_FAILED"
	ReasonKeysInUse           = "KEYS_IN_USE"
	ReasonResolving           = "RESOLVING_ENDPOINT"
	ReasonNameNotFound        = "NAME_NOT_FOUND"
	ReasonResolverFailed      = "RESOLVER_FAILED"
	ReasonNoSocket            = "ADDRESS_FAMILY_UNAVAILABLE"
	ReasonHandshakeStarted    = "HANDSHAKE_STARTED"
	ReasonHandshakeUnanswered = "HANDSHAKE_UNANSWERED"
	ReasonAwaitingRouter      = "AWAITING_ROUTER"
)

// Status is what is known of a building's life at one moment. It is comparable.
type Status struct {
	State State
	// Reason is a code in UPPER_SNAKE for programs; empty where the state says it
	// all.
	Reason string
	// Message is a sentence for people: what is wrong and what to do; empty where
	// there is nothing to do.
	Message string
	// Since is when the building entered State.
	Since time.Time
	// RetryAt is when the next attempt is made; zero unless one is scheduled.
	RetryAt time.Time
	// ObservedGeneration is the generation of the building that the site runs.
	ObservedGeneration uint64
	// Epoch numbers the site's life; 0 while no site exists.
	Epoch uint64
	// Endpoint is the router's address in use; empty if none is known.
	Endpoint string
	// Interface is the KNX interface in use; empty without a session.
	Interface string
	// TCP: the session is carried by TCP.
	TCP bool
	// Assigned is the individual address that the interface gave us; empty
	// without a session.
	Assigned string
	// LastTelegramAt is when the bus was last heard; zero: not in this epoch.
	LastTelegramAt time.Time
	// LastHandshakeAt is when WireGuard last agreed on keys; zero: not in this
	// epoch.
	LastHandshakeAt time.Time
	Counters        Counters
}

// Counters count what happened in this epoch.
type Counters struct {
	Handshakes        uint64
	ReceivedDatagrams uint64 // WireGuard datagrams from the router
	SentDatagrams     uint64
	ReceivedBytes     uint64
	SentBytes         uint64
	// DroppedPackets found the building's limit of packets a second or one of its
	// queues full, in either direction.
	DroppedPackets uint64
	// JournalLost are telegrams that could not be written to the journal.
	JournalLost uint64
	// Panics are the failures of the building's parts that were contained and after
	// which they were built anew, since the process started: each ends an epoch.
	Panics  uint64
	Session knxbridge.Stats
}

// NewBuilding is the status of a building that is kept, and of which the fleet
// has not heard yet.
func NewBuilding(b registry.Building) Status {
	if !b.Enabled {
		return Status{State: StateDisabled, Reason: ReasonDisabled, Since: b.UpdatedAt, ObservedGeneration: b.Generation}
	}
	return Status{State: StateWaiting, Reason: ReasonStartPaced, Since: b.UpdatedAt}
}
