package frame

import (
	"encoding/binary"
	"fmt"
	"time"
)

const (
	routingLostLength = 4
	routingBusyLength = 6
)

// RoutingIndication carries a cEMI message by multicast (KNX 03_08_05 Routing). A tunnelling client
// gets none; it is read so that captured frames can be looked at.
type RoutingIndication struct {
	CEMI []byte // aliases the datagram
}

// Service is RoutingIndicationService.
func (RoutingIndication) Service() Service { return RoutingIndicationService }

func (r RoutingIndication) appendBody(dst []byte) []byte { return append(dst, r.CEMI...) }

// RoutingSystemBroadcast carries a cEMI message of a system broadcast by multicast (KNX 03_08_05 Routing).
type RoutingSystemBroadcast struct {
	CEMI []byte // aliases the datagram
}

// Service is RoutingSystemBroadcastService.
func (RoutingSystemBroadcast) Service() Service { return RoutingSystemBroadcastService }

func (r RoutingSystemBroadcast) appendBody(dst []byte) []byte { return append(dst, r.CEMI...) }

// RoutingLost tells that a router lost messages (KNX 03_08_05 Routing).
type RoutingLost struct {
	DeviceState uint8 // bit 0: no bus, bit 1: no IP network
	Lost        uint16
}

// Service is RoutingLostService.
func (RoutingLost) Service() Service { return RoutingLostService }

func (r RoutingLost) appendBody(dst []byte) []byte {
	dst = append(dst, routingLostLength, r.DeviceState)
	return binary.BigEndian.AppendUint16(dst, r.Lost)
}

func parseRoutingLost(body []byte) (Frame, error) {
	if err := gateInfoBlock(body, routingLostLength); err != nil {
		return nil, err
	}
	return RoutingLost{DeviceState: body[1], Lost: binary.BigEndian.Uint16(body[2:])}, nil
}

// RoutingBusy asks senders to pause (KNX 03_08_05 Routing).
type RoutingBusy struct {
	DeviceState uint8         // bit 0: no bus, bit 1: no IP network
	Wait        time.Duration // whole milliseconds, up to 65,535
	Control     uint16        // 0 asks every sender
}

// Service is RoutingBusyService.
func (RoutingBusy) Service() Service { return RoutingBusyService }

func (r RoutingBusy) appendBody(dst []byte) []byte {
	dst = append(dst, routingBusyLength, r.DeviceState)
	dst = binary.BigEndian.AppendUint16(dst, uint16(min(r.Wait.Milliseconds(), 0xFFFF)))
	return binary.BigEndian.AppendUint16(dst, r.Control)
}

func parseRoutingBusy(body []byte) (Frame, error) {
	if err := gateInfoBlock(body, routingBusyLength); err != nil {
		return nil, err
	}
	wait := time.Duration(binary.BigEndian.Uint16(body[2:])) * time.Millisecond
	return RoutingBusy{DeviceState: body[1], Wait: wait, Control: binary.BigEndian.Uint16(body[4:])}, nil
}

// gateInfoBlock checks a body that is one block which starts with its own length.
func gateInfoBlock(body []byte, want int) error {
	if err := wantLength(body, want); err != nil {
		return err
	}
	if int(body[0]) != want {
		return fmt.Errorf("block length %d, want %d", body[0], want)
	}
	return nil
}
