package frame

import "fmt"

// connectionHeaderLength is the length of the connection header of every tunnelling frame: its length,
// the channel, the sequence counter, and a status in an acknowledgement (KNX 03_08_04 Tunnelling).
const connectionHeaderLength = 4

// TunnellingRequest carries one cEMI message, in either direction (KNX 03_08_04 Tunnelling).
type TunnellingRequest struct {
	Channel  uint8
	Sequence uint8 // counts per direction, modulo 256
	// CEMI is the message; it aliases the datagram. Parse does not look into it, because a request has
	// to be acknowledged even when its cEMI is broken or empty. ParseLData and ParseBusmonitor do.
	CEMI []byte
}

// Service is TunnellingRequestService.
func (TunnellingRequest) Service() Service { return TunnellingRequestService }

func (r TunnellingRequest) appendBody(dst []byte) []byte {
	dst = append(dst, connectionHeaderLength, r.Channel, r.Sequence, 0)
	return append(dst, r.CEMI...)
}

func parseTunnellingRequest(body []byte) (TunnellingRequest, error) {
	if err := gateConnectionHeader(body); err != nil {
		return TunnellingRequest{}, err
	}
	return TunnellingRequest{Channel: body[1], Sequence: body[2], CEMI: body[connectionHeaderLength:]}, nil
}

// TunnellingAck acknowledges a TunnellingRequest or a feature frame (KNX 03_08_04 Tunnelling).
type TunnellingAck struct {
	Channel  uint8
	Sequence uint8 // of the frame that is acknowledged
	Status   Status
}

// Service is TunnellingAckService.
func (TunnellingAck) Service() Service { return TunnellingAckService }

func (a TunnellingAck) appendBody(dst []byte) []byte {
	return append(dst, connectionHeaderLength, a.Channel, a.Sequence, byte(a.Status))
}

func parseTunnellingAck(body []byte) (TunnellingAck, error) {
	if err := gateConnectionHeader(body); err != nil {
		return TunnellingAck{}, err
	}
	if err := wantLength(body, connectionHeaderLength); err != nil {
		return TunnellingAck{}, err
	}
	return TunnellingAck{Channel: body[1], Sequence: body[2], Status: Status(body[3])}, nil
}

func gateConnectionHeader(body []byte) error {
	if len(body) < connectionHeaderLength {
		return fmt.Errorf("%d bytes after the header, want at least %d", len(body), connectionHeaderLength)
	}
	if body[0] != connectionHeaderLength {
		return fmt.Errorf("connection header: length %d, want %d", body[0], connectionHeaderLength)
	}
	return nil
}
