package session

import (
	"fmt"
	"net/netip"
)

// Reason is why the session is in its state, in the stable form that clients
// see and may compare.
type Reason string

// The reasons. Beside each: the states it appears with.
const (
	// ReasonNone: nothing to say; ONLINE.
	ReasonNone Reason = ""
	// ReasonStarting: the first attempt is under way; CONNECTING.
	ReasonStarting Reason = "STARTING"
	// ReasonConnectUnanswered: no CONNECT_RESPONSE within 10 s; BACKING_OFF, CONNECTING.
	ReasonConnectUnanswered Reason = "CONNECT_UNANSWERED"
	// ReasonSlotsFull: the interface has no free slot or address (0x24, 0x25, 0x2E); BACKING_OFF, CONNECTING.
	ReasonSlotsFull Reason = "SLOTS_FULL"
	// ReasonTunnellingUnsupported: no tunnelling there (0x22, 0x23); BACKING_OFF, CONNECTING.
	ReasonTunnellingUnsupported Reason = "TUNNELLING_UNSUPPORTED"
	// ReasonConfigurationRefused: the interface refuses what we are configured to
	// ask for (0x28, 0x29, 0x2D); BACKING_OFF, CONNECTING.
	ReasonConfigurationRefused Reason = "CONFIGURATION_REFUSED"
	// ReasonConnectRefused: any other refusal; BACKING_OFF, CONNECTING.
	ReasonConnectRefused Reason = "CONNECT_REFUSED"
	// ReasonBusDown: the interface says that its bus is down (0x27); CONNECTING, BACKING_OFF.
	ReasonBusDown Reason = "BUS_DOWN"
	// ReasonBusUnacknowledged: none of our telegrams is acknowledged on the bus, and no
	// other is heard; CONNECTING.
	ReasonBusUnacknowledged Reason = "BUS_UNACKNOWLEDGED"
	// ReasonHeartbeatUnanswered: heartbeats get no answer; CONNECTING, BACKING_OFF.
	ReasonHeartbeatUnanswered Reason = "HEARTBEAT_UNANSWERED"
	// ReasonConnectionUnknown: a heartbeat was answered 0x21, the interface has
	// forgotten us; CONNECTING, BACKING_OFF.
	ReasonConnectionUnknown Reason = "CONNECTION_UNKNOWN"
	// ReasonDataConnection: a heartbeat was answered 0x26 or with another error;
	// CONNECTING, BACKING_OFF.
	ReasonDataConnection Reason = "DATA_CONNECTION_ERROR"
	// ReasonAckMissing: a request was not acknowledged; CONNECTING, BACKING_OFF.
	ReasonAckMissing Reason = "ACK_MISSING"
	// ReasonSequenceLost: the interface's sequence counter and ours do not meet
	// any more; CONNECTING, BACKING_OFF.
	ReasonSequenceLost Reason = "SEQUENCE_LOST"
	// ReasonServerDisconnected: the interface ended the session; CONNECTING, BACKING_OFF.
	ReasonServerDisconnected Reason = "SERVER_DISCONNECTED"
	// ReasonTransportFailed: the socket inside the building cannot be opened or
	// does not send; CONNECTING, BACKING_OFF.
	ReasonTransportFailed Reason = "TRANSPORT_FAILED"
	// ReasonAddressNotFixed: the session works, but not with the individual
	// address asked for; ONLINE.
	ReasonAddressNotFixed Reason = "FIXED_ADDRESS_NOT_GRANTED"
)

// what completes "KNX interface A.B.C.D:P …".
func (r Reason) what() string {
	switch r {
	case ReasonStarting:
		return "has been asked for a tunnelling session"
	case ReasonConnectUnanswered:
		return "does not answer CONNECT_REQUEST"
	case ReasonSlotsFull:
		return "has no free tunnelling slot"
	case ReasonTunnellingUnsupported:
		return "does not offer tunnelling"
	case ReasonConfigurationRefused:
		return "refuses the session as configured"
	case ReasonConnectRefused:
		return "refuses the session"
	case ReasonBusDown:
		return "reports that its KNX bus is down"
	case ReasonBusUnacknowledged:
		return "has a bus on which nobody acknowledges our telegrams, and no other is heard"
	case ReasonHeartbeatUnanswered:
		return "does not answer heartbeats"
	case ReasonConnectionUnknown:
		return "no longer knows our session"
	case ReasonDataConnection:
		return "reports an error of our session"
	case ReasonAckMissing:
		return "does not acknowledge our telegrams"
	case ReasonSequenceLost:
		return "sends telegrams out of sequence"
	case ReasonServerDisconnected:
		return "ended the session"
	case ReasonTransportFailed:
		return "cannot be sent to"
	case ReasonAddressNotFixed:
		return "did not grant the individual address"
	default:
		return ""
	}
}

// Sentence says what the reason means for an interface, without a full stop.
func (r Reason) Sentence(iface netip.AddrPort) string {
	return fmt.Sprintf("KNX interface %s %s", iface, r.what())
}

// Advice says what a person should do about the reason, as the second half of a
// sentence without a full stop. It is empty for ReasonNone.
func (r Reason) Advice() string {
	switch r {
	case ReasonStarting:
		return "waiting for its answer"
	case ReasonConnectUnanswered:
		return "check that it has power and network, that its address and port are right, and that the tunnel's AllowedIPs cover it"
	case ReasonSlotsFull:
		return "close another KNX client there (ETS, a visualisation), or use an interface with more slots; a slot that nobody uses frees itself after two minutes"
	case ReasonTunnellingUnsupported:
		return "check that the address is a KNX IP interface or a router with tunnelling, and not another KNXnet/IP device"
	case ReasonConfigurationRefused:
		return "check in ETS that it offers link layer tunnelling, the individual address asked for, and access for us"
	case ReasonConnectRefused:
		return "look at the interface's own diagnosis; it is asked again"
	case ReasonBusDown:
		return "check the bus cable and the KNX power supply in the building"
	case ReasonBusUnacknowledged:
		return "check the bus cable and the KNX power supply in the building, or that devices have the group addresses that were written to; it is tried again in half a minute"
	case ReasonHeartbeatUnanswered:
		return "the network to the building or the interface itself has stopped; it is asked again, then connected anew"
	case ReasonConnectionUnknown:
		return "it has probably restarted; connecting anew"
	case ReasonDataConnection:
		return "connecting anew; if it comes again and again, restart the interface"
	case ReasonAckMissing:
		return "the network loses packets or the interface is overloaded; if it lasts, connecting anew"
	case ReasonSequenceLost:
		return "telegrams were lost on the way; connecting anew"
	case ReasonServerDisconnected:
		return "it may have been reprogrammed or restarted, or have given the slot to another client; connecting anew"
	case ReasonTransportFailed:
		return "check the KNX endpoint address and that the tunnel's addresses and AllowedIPs reach it"
	case ReasonAddressNotFixed:
		return "it needs tunnelling version 2 and the address among its tunnel addresses in ETS; the session works with the address it gave"
	default:
		return ""
	}
}
