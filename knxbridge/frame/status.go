package frame

import "fmt"

// Status is the error code with which a KNXnet/IP server answers.
type Status uint8

// Status codes: the common ones of KNX 03_08_01 Overview, those of a connection from
// KNX 03_08_02 Core §7.8, and those of tunnelling from KNX 03_08_04 Tunnelling.
// 0x2A to 0x2C are not assigned.
const (
	StatusNoError                 Status = 0x00
	StatusHostProtocolType        Status = 0x01
	StatusVersionNotSupported     Status = 0x02
	StatusSequenceNumber          Status = 0x04
	StatusGeneralError            Status = 0x0F
	StatusConnectionID            Status = 0x21
	StatusConnectionType          Status = 0x22
	StatusConnectionOption        Status = 0x23
	StatusNoMoreConnections       Status = 0x24
	StatusNoMoreUniqueConnections Status = 0x25
	StatusDataConnection          Status = 0x26
	StatusKNXConnection           Status = 0x27
	StatusAuthorisationError      Status = 0x28
	StatusTunnellingLayer         Status = 0x29
	StatusNoTunnellingAddress     Status = 0x2D
	StatusConnectionInUse         Status = 0x2E
)

// String gives the standard's name, such as E_NO_MORE_CONNECTIONS, or the number of a code without one.
func (s Status) String() string {
	if name, _ := s.texts(); name != "" {
		return name
	}
	return fmt.Sprintf("status 0x%02X", uint8(s))
}

// Meaning says in a plain sentence what the server means by the code.
func (s Status) Meaning() string {
	if _, meaning := s.texts(); meaning != "" {
		return meaning
	}
	return fmt.Sprintf("The interface answered with code 0x%02X, which the standard does not define.", uint8(s))
}

func (s Status) texts() (name, meaning string) {
	switch s {
	case StatusNoError:
		return "E_NO_ERROR", "The interface agreed."
	case StatusHostProtocolType:
		return "E_HOST_PROTOCOL_TYPE", "The interface does not support the requested transport (UDP or TCP)."
	case StatusVersionNotSupported:
		return "E_VERSION_NOT_SUPPORTED", "The interface does not speak this version of KNXnet/IP."
	case StatusSequenceNumber:
		return "E_SEQUENCE_NUMBER", "The interface expected another sequence number."
	case StatusGeneralError:
		return "E_ERROR", "The interface reported an error without saying which."
	case StatusConnectionID:
		return "E_CONNECTION_ID", "The interface does not know this connection, or no longer."
	case StatusConnectionType:
		return "E_CONNECTION_TYPE", "The interface does not support this type of connection."
	case StatusConnectionOption:
		return "E_CONNECTION_OPTION", "The interface does not support an option of the requested connection."
	case StatusNoMoreConnections:
		return "E_NO_MORE_CONNECTIONS", "All slots of the interface are taken by other clients."
	case StatusNoMoreUniqueConnections:
		return "E_NO_MORE_UNIQUE_CONNECTIONS", "The interface has no individual address left for another connection."
	case StatusDataConnection:
		return "E_DATA_CONNECTION", "The interface found an error in the data connection."
	case StatusKNXConnection:
		return "E_KNX_CONNECTION", "The interface has no connection to the KNX bus."
	case StatusAuthorisationError:
		return "E_AUTHORISATION_ERROR", "This client is not authorised to use the interface or the requested individual address."
	case StatusTunnellingLayer:
		return "E_TUNNELLING_LAYER", "The interface does not support the requested tunnelling layer."
	case StatusNoTunnellingAddress:
		return "E_NO_TUNNELLING_ADDRESS", "The requested individual address is not a tunnelling address of the interface."
	case StatusConnectionInUse:
		return "E_CONNECTION_IN_USE", "The requested individual address is in use by another connection."
	}
	return "", ""
}
