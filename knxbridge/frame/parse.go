package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Frame is one KNXnet/IP frame. The set is closed: its members are the value types of this package.
type Frame interface {
	// Service tells which service the frame belongs to.
	Service() Service
	// appendBody appends what follows the header.
	appendBody(dst []byte) []byte
}

// ErrUnsupported is the error of Parse for a frame whose header is right, and whose service this package
// does not read.
var ErrUnsupported = errors.New("this service is not supported")

// Parse reads the one frame that a datagram holds. It is the gate: what it returns is whole and within
// the standard, whatever the peer sent. It never panics, works in time linear to the datagram, and
// holds no more memory than a small multiple of it.
//
// The bytes of the fields called CEMI, of Secure.Body and of the feature values alias the
// datagram; all else is copied. Parse never changes the datagram.
//
// An error says what is wrong and what would be right. Frames of services that this package does not
// read are errors too, ErrUnsupported.
func Parse(datagram []byte) (Frame, error) {
	service, body, err := Split(datagram)
	if err != nil {
		return nil, err
	}
	f, err := parseBody(service, body)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", service, err)
	}
	return f, nil
}

// Split checks the header of a frame and returns its service and what follows, which aliases the datagram.
func Split(datagram []byte) (Service, []byte, error) {
	if len(datagram) < headerLength {
		return 0, nil, fmt.Errorf("header: %d bytes, want at least %d", len(datagram), headerLength)
	}
	if datagram[0] != headerLength {
		return 0, nil, fmt.Errorf("header: length %d, want %d", datagram[0], headerLength)
	}
	if datagram[1] != protocolVersion {
		return 0, nil, fmt.Errorf("header: protocol version 0x%02X, want 0x%02X", datagram[1], protocolVersion)
	}
	service := Service(binary.BigEndian.Uint16(datagram[2:]))
	if total := int(binary.BigEndian.Uint16(datagram[4:])); total != len(datagram) {
		return 0, nil, fmt.Errorf("%v: total length %d, but the datagram has %d bytes", service, total, len(datagram))
	}
	return service, datagram[headerLength:len(datagram):len(datagram)], nil
}

// HeaderLength is how many bytes Length wants.
const HeaderLength = headerLength

// Length tells how long the frame is that starts with a header, to take a TCP stream apart
// (KNX 03_08_01 Overview). It is at least HeaderLength.
func Length(header []byte) (int, error) {
	if len(header) < headerLength {
		return 0, fmt.Errorf("header: %d bytes, want at least %d", len(header), headerLength)
	}
	total := int(binary.BigEndian.Uint16(header[4:]))
	if header[0] != headerLength || header[1] != protocolVersion || total < headerLength {
		return 0, fmt.Errorf("header %x is not that of a KNXnet/IP frame, want it to begin with 0610", header[:headerLength])
	}
	return total, nil
}

// parseBody reads what a session exchanges.
func parseBody(service Service, body []byte) (Frame, error) {
	switch service {
	case TunnellingRequestService:
		return parseTunnellingRequest(body)
	case TunnellingAckService:
		return parseTunnellingAck(body)
	case ConnectionStateRequestService:
		return parseConnectionStateRequest(body)
	case ConnectionStateResponseService:
		return parseConnectionStateResponse(body)
	case ConnectRequestService:
		return parseConnectRequest(body)
	case ConnectResponseService:
		return parseConnectResponse(body)
	case DisconnectRequestService:
		return parseDisconnectRequest(body)
	case DisconnectResponseService:
		return parseDisconnectResponse(body)
	case FeatureGetService:
		return parseFeatureGet(body)
	case FeatureResponseService:
		return parseFeatureResponse(body)
	case FeatureSetService:
		return parseFeatureSet(body)
	case FeatureInfoService:
		return parseFeatureInfo(body)
	}
	return parseOther(service, body)
}

// parseOther reads what finds devices, and what belongs to others' connections.
func parseOther(service Service, body []byte) (Frame, error) {
	switch service {
	case DescriptionRequestService:
		return parseDescriptionRequest(body)
	case DescriptionResponseService:
		return parseDescriptionResponse(body)
	case SearchRequestService:
		return parseSearchRequest(body)
	case SearchResponseService:
		return parseSearchResponse(body)
	case SearchRequestExtendedService:
		return parseSearchRequestExtended(body)
	case SearchResponseExtendedService:
		return parseSearchResponseExtended(body)
	case DeviceConfigurationRequestService:
		return parseDeviceConfigurationRequest(body)
	case DeviceConfigurationAckService:
		return parseDeviceConfigurationAck(body)
	case RoutingIndicationService:
		return RoutingIndication{CEMI: body}, nil
	case RoutingSystemBroadcastService:
		return RoutingSystemBroadcast{CEMI: body}, nil
	case RoutingLostService:
		return parseRoutingLost(body)
	case RoutingBusyService:
		return parseRoutingBusy(body)
	case SecureWrapperService, SessionRequestService, SessionResponseService, SessionAuthenticateService,
		SessionStatusService, TimerNotifyService:
		return parseSecure(service, body)
	}
	return nil, ErrUnsupported
}

// Append appends the frame in its wire form to dst and returns the extended slice. A frame that is longer
// than MaxDatagram, which only an oversized CEMI or Value makes, has no wire form: dst is returned as it was.
func Append(dst []byte, f Frame) []byte {
	start := len(dst)
	dst = append(dst, headerLength, protocolVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(f.Service()))
	dst = append(dst, 0, 0)
	dst = f.appendBody(dst)
	total := len(dst) - start
	if total > MaxDatagram {
		return dst[:start]
	}
	binary.BigEndian.PutUint16(dst[start+4:], uint16(total))
	return dst
}

// wantLength reports a body that is not of exactly the wanted length.
func wantLength(body []byte, want int) error {
	if len(body) != want {
		return fmt.Errorf("%d bytes after the header, want %d", len(body), want)
	}
	return nil
}

// packable is a structure of knx-go. Pack writes it into a buffer of at least its Size.
type packable interface {
	Size() uint
	Pack(buffer []byte)
}

func appendPacked(dst []byte, p packable) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, p.Size())...)
	p.Pack(dst[start:])
	return dst
}
