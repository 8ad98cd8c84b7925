package frame

import (
	"fmt"

	"github.com/vapourismo/knx-go/knx/knxnet"
)

// Lengths of the bodies that only name a channel: with a status, and with a reserved octet and a HPAI.
const (
	channelStatusLength = 2
	channelHPAILength   = 2 + hpaiLength
)

// ConnectionStateRequest is the heartbeat of a connection (KNX 03_08_02 Core §7.8.3).
type ConnectionStateRequest struct {
	Channel uint8
	Control HPAI // where the server answers to
}

// Service is ConnectionStateRequestService.
func (ConnectionStateRequest) Service() Service { return ConnectionStateRequestService }

func (r ConnectionStateRequest) appendBody(dst []byte) []byte {
	return appendPacked(dst, &knxnet.ConnStateReq{Channel: r.Channel, Control: r.Control.hostInfo()})
}

func parseConnectionStateRequest(body []byte) (Frame, error) {
	control, err := gateChannelHPAI(body)
	if err != nil {
		return nil, err
	}
	var req knxnet.ConnStateReq
	if _, err := req.Unpack(body); err != nil {
		return nil, err
	}
	return ConnectionStateRequest{Channel: req.Channel, Control: control}, nil
}

// ConnectionStateResponse answers a heartbeat (KNX 03_08_02 Core §7.8.4). StatusDataConnection and
// StatusKNXConnection tell that the connection or the bus behind it is dead, StatusConnectionID that the
// server knows no such channel.
type ConnectionStateResponse struct {
	Channel uint8
	Status  Status
}

// Service is ConnectionStateResponseService.
func (ConnectionStateResponse) Service() Service { return ConnectionStateResponseService }

func (r ConnectionStateResponse) appendBody(dst []byte) []byte {
	return appendPacked(dst, &knxnet.ConnStateRes{Channel: r.Channel, Status: knxnet.ErrCode(r.Status)})
}

func parseConnectionStateResponse(body []byte) (Frame, error) {
	if err := wantLength(body, channelStatusLength); err != nil {
		return nil, err
	}
	var res knxnet.ConnStateRes
	if _, err := res.Unpack(body); err != nil {
		return nil, err
	}
	return ConnectionStateResponse{Channel: res.Channel, Status: Status(res.Status)}, nil
}

// DisconnectRequest ends a connection, from either side (KNX 03_08_02 Core §7.8.5).
type DisconnectRequest struct {
	Channel uint8
	Control HPAI // where the peer answers to
}

// Service is DisconnectRequestService.
func (DisconnectRequest) Service() Service { return DisconnectRequestService }

func (r DisconnectRequest) appendBody(dst []byte) []byte {
	return appendPacked(dst, &knxnet.DiscReq{Channel: r.Channel, Control: r.Control.hostInfo()})
}

func parseDisconnectRequest(body []byte) (Frame, error) {
	control, err := gateChannelHPAI(body)
	if err != nil {
		return nil, err
	}
	var req knxnet.DiscReq
	if _, err := req.Unpack(body); err != nil {
		return nil, err
	}
	return DisconnectRequest{Channel: req.Channel, Control: control}, nil
}

// DisconnectResponse answers a disconnect (KNX 03_08_02 Core §7.8.6).
type DisconnectResponse struct {
	Channel uint8
	Status  Status
}

// Service is DisconnectResponseService.
func (DisconnectResponse) Service() Service { return DisconnectResponseService }

func (r DisconnectResponse) appendBody(dst []byte) []byte {
	return appendPacked(dst, &knxnet.DiscRes{Channel: r.Channel, Status: uint8(r.Status)})
}

func parseDisconnectResponse(body []byte) (Frame, error) {
	if err := wantLength(body, channelStatusLength); err != nil {
		return nil, err
	}
	var res knxnet.DiscRes
	if _, err := res.Unpack(body); err != nil {
		return nil, err
	}
	return DisconnectResponse{Channel: res.Channel, Status: Status(res.Status)}, nil
}

// gateChannelHPAI checks a body of channel, reserved octet and control endpoint, before knx-go sees it.
func gateChannelHPAI(body []byte) (HPAI, error) {
	if err := wantLength(body, channelHPAILength); err != nil {
		return HPAI{}, err
	}
	control, _, err := parseHPAI(body[2:])
	if err != nil {
		return HPAI{}, fmt.Errorf("control endpoint: %w", err)
	}
	return control, nil
}
