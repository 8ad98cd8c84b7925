package frame

// DeviceConfigurationRequest carries one cEMI message of device management, in either direction
// (KNX 03_08_03), in the form of a TunnellingRequest. A tunnelling client gets none; it is read so that captured frames can be looked at.
type DeviceConfigurationRequest struct {
	Channel  uint8
	Sequence uint8  // counts per direction, modulo 256
	CEMI     []byte // the message; it aliases the datagram, and Parse does not look into it
}

// Service is DeviceConfigurationRequestService.
func (DeviceConfigurationRequest) Service() Service { return DeviceConfigurationRequestService }

func (r DeviceConfigurationRequest) appendBody(dst []byte) []byte {
	return TunnellingRequest(r).appendBody(dst)
}

func parseDeviceConfigurationRequest(body []byte) (Frame, error) {
	r, err := parseTunnellingRequest(body)
	return DeviceConfigurationRequest(r), err
}

// DeviceConfigurationAck acknowledges a DeviceConfigurationRequest (KNX 03_08_03).
type DeviceConfigurationAck struct {
	Channel  uint8
	Sequence uint8 // of the frame that is acknowledged
	Status   Status
}

// Service is DeviceConfigurationAckService.
func (DeviceConfigurationAck) Service() Service { return DeviceConfigurationAckService }

func (a DeviceConfigurationAck) appendBody(dst []byte) []byte {
	return TunnellingAck(a).appendBody(dst)
}

func parseDeviceConfigurationAck(body []byte) (Frame, error) {
	a, err := parseTunnellingAck(body)
	return DeviceConfigurationAck(a), err
}
