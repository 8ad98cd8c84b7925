package frame

import "fmt"

// Feature is a property of an interface that tunnelling version 2 lets a client read or set
// (KNX 03_08_04 Tunnelling).
type Feature uint8

// The interface features. Values are big endian.
const (
	FeatureSupportedEMITypes    Feature = 0x01 // 2 bytes, bit set
	FeatureHostDeviceDescriptor Feature = 0x02 // 2 bytes, device descriptor type 0
	FeatureBusStatus            Feature = 0x03 // 1: the interface is connected to the bus
	FeatureManufacturer         Feature = 0x04 // 2 bytes
	FeatureActiveEMIType        Feature = 0x05 // 1 byte
	FeatureIndividualAddress    Feature = 0x06 // 2 bytes, of this tunnel
	FeatureMaxAPDULength        Feature = 0x07 // 2 bytes
	FeatureInfoServiceEnable    Feature = 0x08 // 1: the interface tells changes by FeatureInfo
)

// String names the feature.
func (f Feature) String() string {
	switch f {
	case FeatureSupportedEMITypes:
		return "supported EMI types"
	case FeatureHostDeviceDescriptor:
		return "host device descriptor"
	case FeatureBusStatus:
		return "bus connection status"
	case FeatureManufacturer:
		return "manufacturer code"
	case FeatureActiveEMIType:
		return "active EMI type"
	case FeatureIndividualAddress:
		return "individual address"
	case FeatureMaxAPDULength:
		return "maximum APDU length"
	case FeatureInfoServiceEnable:
		return "info service enable"
	}
	return fmt.Sprintf("feature 0x%02X", uint8(f))
}

// featureHeaderLength counts the connection header, the feature and the return code or reserved octet.
const featureHeaderLength = connectionHeaderLength + 2

// FeatureGet asks for a feature. Like all feature frames it takes its place in the sequence of the tunnel
// and is acknowledged by a TunnellingAck.
type FeatureGet struct {
	Channel  uint8
	Sequence uint8
	Feature  Feature
}

// Service is FeatureGetService.
func (FeatureGet) Service() Service { return FeatureGetService }

func (f FeatureGet) appendBody(dst []byte) []byte {
	return appendFeature(dst, f.Channel, f.Sequence, f.Feature, 0, nil)
}

func parseFeatureGet(body []byte) (Frame, error) {
	if err := gateFeature(body); err != nil {
		return nil, err
	}
	if err := wantLength(body, featureHeaderLength); err != nil {
		return nil, err
	}
	return FeatureGet{Channel: body[1], Sequence: body[2], Feature: Feature(body[4])}, nil
}

// FeatureResponse answers a FeatureGet or a FeatureSet.
type FeatureResponse struct {
	Channel  uint8
	Sequence uint8
	Feature  Feature
	Code     uint8  // return code, KNX 03_03_07 Application Layer: below 0x80 is success
	Value    []byte // aliases the datagram; devices may pad it to an even length
}

// Service is FeatureResponseService.
func (FeatureResponse) Service() Service { return FeatureResponseService }

func (f FeatureResponse) appendBody(dst []byte) []byte {
	return appendFeature(dst, f.Channel, f.Sequence, f.Feature, f.Code, f.Value)
}

func parseFeatureResponse(body []byte) (Frame, error) {
	if err := gateFeature(body); err != nil {
		return nil, err
	}
	return FeatureResponse{
		Channel: body[1], Sequence: body[2], Feature: Feature(body[4]), Code: body[5], Value: body[featureHeaderLength:],
	}, nil
}

// FeatureSet changes a feature.
type FeatureSet struct {
	Channel  uint8
	Sequence uint8
	Feature  Feature
	Value    []byte // aliases the datagram
}

// Service is FeatureSetService.
func (FeatureSet) Service() Service { return FeatureSetService }

func (f FeatureSet) appendBody(dst []byte) []byte {
	return appendFeature(dst, f.Channel, f.Sequence, f.Feature, 0, f.Value)
}

func parseFeatureSet(body []byte) (Frame, error) {
	if err := gateFeature(body); err != nil {
		return nil, err
	}
	return FeatureSet{
		Channel: body[1], Sequence: body[2], Feature: Feature(body[4]), Value: body[featureHeaderLength:],
	}, nil
}

// FeatureInfo tells, unasked, that a feature changed.
type FeatureInfo struct {
	Channel  uint8
	Sequence uint8
	Feature  Feature
	Value    []byte // aliases the datagram
}

// Service is FeatureInfoService.
func (FeatureInfo) Service() Service { return FeatureInfoService }

func (f FeatureInfo) appendBody(dst []byte) []byte {
	return appendFeature(dst, f.Channel, f.Sequence, f.Feature, 0, f.Value)
}

func parseFeatureInfo(body []byte) (Frame, error) {
	if err := gateFeature(body); err != nil {
		return nil, err
	}
	return FeatureInfo{
		Channel: body[1], Sequence: body[2], Feature: Feature(body[4]), Value: body[featureHeaderLength:],
	}, nil
}

func appendFeature(dst []byte, channel, sequence uint8, feature Feature, code uint8, value []byte) []byte {
	dst = append(dst, connectionHeaderLength, channel, sequence, 0, byte(feature), code)
	return append(dst, value...)
}

func gateFeature(body []byte) error {
	if err := gateConnectionHeader(body); err != nil {
		return err
	}
	if len(body) < featureHeaderLength {
		return fmt.Errorf("%d bytes after the header, want at least %d", len(body), featureHeaderLength)
	}
	return nil
}
