package frame

import (
	"encoding/binary"
	"fmt"
)

// Connection request and response information (KNX 03_08_04 Tunnelling).
const (
	tunnelConnection  = 0x04 // connection type code TUNNEL_CONNECTION
	criLength         = 4
	criExtendedLength = 6 // with an individual address; tunnelling version 2
	crdLength         = 4
)

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
		return append(dst, criLength, tunnelConnection, byte(r.Layer), 0)
	}
	dst = append(dst, criExtendedLength, tunnelConnection, byte(r.Layer), 0)
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
	if len(cri) < 2 || int(cri[0]) != len(cri) {
		return nil, fmt.Errorf("connection request information: %d bytes left, want as many as its length says", len(cri))
	}
	if cri[1] != tunnelConnection {
		return nil, fmt.Errorf("connection type 0x%02X, want 0x%02X (tunnelling)", cri[1], tunnelConnection)
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
		dst = append(dst, crdLength, tunnelConnection)
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
	if len(crd) != crdLength || crd[0] != crdLength {
		return nil, fmt.Errorf("connection response data: %d bytes left, want %d, as its length must say", len(crd), crdLength)
	}
	if crd[1] != tunnelConnection {
		return nil, fmt.Errorf("connection type 0x%02X, want 0x%02X (tunnelling)", crd[1], tunnelConnection)
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
