package frame

import (
	"encoding/binary"
	"fmt"
)

// Connection request and response information (KNX 03_08_04 Tunnelling).
const (
	crMinLength       = 2 // its length and the connection type: all that other connections have
	criLength         = 4
	criExtendedLength = 6 // with an individual address; tunnelling version 2
	crdLength         = 4
)

// ConnectionType is what a connection is for (KNX 03_08_02 Core §7.8.1).
type ConnectionType uint8

// The types of connections.
const (
	DeviceManagementConnection ConnectionType = 0x03
	TunnelConnection           ConnectionType = 0x04
	RemoteLoggingConnection    ConnectionType = 0x06
	RemoteConfigConnection     ConnectionType = 0x07
	ObjectServerConnection     ConnectionType = 0x08
)

// String gives the standard's name of the type.
func (c ConnectionType) String() string {
	switch c {
	case DeviceManagementConnection:
		return "DEVICE_MGMT_CONNECTION"
	case TunnelConnection:
		return "TUNNEL_CONNECTION"
	case RemoteLoggingConnection:
		return "REMLOG_CONNECTION"
	case RemoteConfigConnection:
		return "REMCONF_CONNECTION"
	case ObjectServerConnection:
		return "OBJSVR_CONNECTION"
	}
	return fmt.Sprintf("connection type 0x%02X", uint8(c))
}

// other reads the information of a connection that is no tunnel.
func (c ConnectionType) other(information []byte) error {
	switch c {
	case DeviceManagementConnection, RemoteLoggingConnection, RemoteConfigConnection, ObjectServerConnection:
	default:
		return fmt.Errorf("connection type 0x%02X, want 0x%02X (tunnelling) or another of the standard's", uint8(c), uint8(TunnelConnection))
	}
	if len(information) != crMinLength {
		return fmt.Errorf("%v: information of length %d, want %d", c, len(information), crMinLength)
	}
	return nil
}

// Layer is the KNX layer on which a tunnel works (KNX 03_08_04 Tunnelling).
type Layer uint8

// The layers of a tunnel. A busmonitor tunnel often takes the whole interface.
const (
	LayerLink       Layer = 0x02
	LayerRaw        Layer = 0x04
	LayerBusmonitor Layer = 0x80
)

// String gives the standard's name of the layer.
func (l Layer) String() string {
	switch l {
	case LayerLink:
		return "TUNNEL_LINKLAYER"
	case LayerRaw:
		return "TUNNEL_RAW"
	case LayerBusmonitor:
		return "TUNNEL_BUSMONITOR"
	}
	return fmt.Sprintf("layer 0x%02X", uint8(l))
}

// ConnectRequest asks for a tunnel (KNX 03_08_02 Core §7.8.1).
type ConnectRequest struct {
	Control HPAI  // where the server answers to
	Data    HPAI  // where the server sends telegrams to
	Layer   Layer // any value; a server refuses what it does not know with StatusTunnellingLayer
	// Fixed is the individual address that the client wants. It needs tunnelling version 2 and is sent
	// as an extended connection request information. Zero leaves the choice to the server.
	Fixed IndividualAddress
}

// Service is ConnectRequestService.
func (ConnectRequest) Service() Service { return ConnectRequestService }

func (r ConnectRequest) appendBody(dst []byte) []byte {
	dst = r.Control.append(dst)
	dst = r.Data.append(dst)
	if r.Fixed == 0 {
		return append(dst, criLength, byte(TunnelConnection), byte(r.Layer), 0)
	}
	dst = append(dst, criExtendedLength, byte(TunnelConnection), byte(r.Layer), 0)
	return binary.BigEndian.AppendUint16(dst, uint16(r.Fixed))
}

func parseConnectRequest(body []byte) (Frame, error) {
	control, rest, err := parseHPAI(body)
	if err != nil {
		return nil, fmt.Errorf("control endpoint: %w", err)
	}
	data, cri, err := parseHPAI(rest)
	if err != nil {
		return nil, fmt.Errorf("data endpoint: %w", err)
	}
	if len(cri) < crMinLength || int(cri[0]) != len(cri) {
		return nil, fmt.Errorf("connection request information: %d bytes left, want as many as its length says", len(cri))
	}
	if kind := ConnectionType(cri[1]); kind != TunnelConnection {
		return OtherConnectRequest{Control: control, Data: data, Type: kind}, kind.other(cri)
	}
	r := ConnectRequest{Control: control, Data: data}
	switch len(cri) {
	case criLength:
	case criExtendedLength:
		r.Fixed = IndividualAddress(binary.BigEndian.Uint16(cri[4:]))
	default:
		return nil, fmt.Errorf("connection request information: length %d, want %d or %d", len(cri), criLength, criExtendedLength)
	}
	r.Layer = Layer(cri[2])
	return r, nil
}

// ConnectResponse grants or refuses a tunnel (KNX 03_08_02 Core §7.8.2).
type ConnectResponse struct {
	Channel uint8
	Status  Status // StatusNoError grants; anything else refuses
	// Data is where the server wants to get telegrams. A refusal has none in its short form (8 bytes) and
	// may have one in its long form (20 bytes), in which some devices send it; Append writes a refusal in
	// the long form when Data is set.
	Data HPAI
	// Assigned is the individual address that the server gave to the tunnel. A refusal has none.
	Assigned IndividualAddress
}

// Service is ConnectResponseService.
func (ConnectResponse) Service() Service { return ConnectResponseService }

func (r ConnectResponse) appendBody(dst []byte) []byte {
	dst = append(dst, r.Channel, byte(r.Status))
	if r.Status == StatusNoError {
		dst = r.Data.append(dst)
		dst = append(dst, crdLength, byte(TunnelConnection))
		return binary.BigEndian.AppendUint16(dst, uint16(r.Assigned))
	}
	if r.Data != (HPAI{}) {
		dst = r.Data.append(dst)
		dst = append(dst, 0, 0, 0, 0) // devices that use the long form leave the CRD zero
	}
	return dst
}

func parseConnectResponse(body []byte) (Frame, error) {
	if len(body) < 2 {
		return nil, fmt.Errorf("%d bytes after the header, want at least 2", len(body))
	}
	r := ConnectResponse{Channel: body[0], Status: Status(body[1])}
	if r.Status != StatusNoError {
		return parseRefusal(r, body[2:])
	}
	data, crd, err := parseHPAI(body[2:])
	if err != nil {
		return nil, fmt.Errorf("data endpoint: %w", err)
	}
	if len(crd) < crMinLength || int(crd[0]) != len(crd) {
		return nil, fmt.Errorf("connection response data: %d bytes left, want as many as its length says", len(crd))
	}
	if kind := ConnectionType(crd[1]); kind != TunnelConnection {
		return OtherConnectResponse{Channel: r.Channel, Data: data, Type: kind}, kind.other(crd)
	}
	if len(crd) != crdLength {
		return nil, fmt.Errorf("connection response data: length %d, want %d", len(crd), crdLength)
	}
	r.Data = data
	r.Assigned = IndividualAddress(binary.BigEndian.Uint16(crd[2:]))
	return r, nil
}

// parseRefusal takes what follows the status of a refusal. Only the status matters to a client, and real
// devices leave parts of the long form zero against the standard: so the CRD is not looked at, and a
// data endpoint that cannot be read counts as none.
func parseRefusal(r ConnectResponse, rest []byte) (Frame, error) {
	switch len(rest) {
	case 0:
		return r, nil
	case hpaiLength + crdLength:
		if data, _, err := parseHPAI(rest); err == nil {
			r.Data = data
		}
		return r, nil
	}
	return nil, fmt.Errorf("%d bytes after the status of a refusal, want none or %d", len(rest), hpaiLength+crdLength)
}

// OtherConnectRequest asks for a connection that is no tunnel, such as that of ETS for device management
// (KNX 03_08_03). It is read so that captured frames can be looked at, and refused by name.
type OtherConnectRequest struct {
	Control HPAI
	Data    HPAI
	Type    ConnectionType
}

// Service is ConnectRequestService.
func (OtherConnectRequest) Service() Service { return ConnectRequestService }

func (r OtherConnectRequest) appendBody(dst []byte) []byte {
	return append(r.Data.append(r.Control.append(dst)), crMinLength, byte(r.Type))
}

// OtherConnectResponse grants a connection that is no tunnel. A refusal does not tell what was asked for
// and is a ConnectResponse.
type OtherConnectResponse struct {
	Channel uint8
	Data    HPAI
	Type    ConnectionType
}

// Service is ConnectResponseService.
func (OtherConnectResponse) Service() Service { return ConnectResponseService }

func (r OtherConnectResponse) appendBody(dst []byte) []byte {
	return append(r.Data.append(append(dst, r.Channel, byte(StatusNoError))), crMinLength, byte(r.Type))
}
