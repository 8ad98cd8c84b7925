package frame

import (
	"fmt"
	"slices"
)

// InfoType is the type of an item of additional information (KNX 03_06_03 EMI_IMI §4.1.4).
type InfoType uint8

// The types of the standard.
const (
	InfoPLDomain          InfoType = 0x01 // 2 bytes: domain address of powerline
	InfoRF                InfoType = 0x02 // 8 bytes: RF control, serial number or domain address, frame number
	InfoBusmonitorStatus  InfoType = 0x03 // 1 byte
	InfoTimestamp         InfoType = 0x04 // 2 bytes
	InfoTimeDelay         InfoType = 0x05 // 4 bytes
	InfoExtendedTimestamp InfoType = 0x06 // 4 bytes
	InfoBiBat             InfoType = 0x07 // 2 bytes
	InfoRFMulti           InfoType = 0x08 // 4 bytes
	InfoPreamble          InfoType = 0x09 // 3 bytes: preamble and postamble
	InfoRFFastAck         InfoType = 0x0A // 2 bytes for each acknowledgement
	InfoManufacturer      InfoType = 0xFE // at least 3 bytes: manufacturer and its own type
)

// String names the type.
func (t InfoType) String() string {
	switch t {
	case InfoPLDomain:
		return "PL domain address"
	case InfoRF:
		return "RF medium information"
	case InfoBusmonitorStatus:
		return "busmonitor status"
	case InfoTimestamp:
		return "relative timestamp"
	case InfoTimeDelay:
		return "time delay until sending"
	case InfoExtendedTimestamp:
		return "extended relative timestamp"
	case InfoBiBat:
		return "BiBat information"
	case InfoRFMulti:
		return "RF Multi information"
	case InfoPreamble:
		return "preamble and postamble"
	case InfoRFFastAck:
		return "RF fast acknowledgements"
	case InfoManufacturer:
		return "manufacturer information"
	}
	return fmt.Sprintf("additional information 0x%02X", uint8(t))
}

// Info is one item of the additional information of a cEMI message.
type Info struct {
	Type InfoType
	Data []byte // at most 252 bytes; aliases the cEMI message
}

// ParseInfo reads the additional information of an L_Data, L_Raw, L_Poll_Data or L_Busmon message; at most
// 127 items. Other cEMI messages have none and are read wrongly. Types that the standard does not define
// are kept; a length that does not fit the message is an error.
func ParseInfo(cemi []byte) ([]Info, error) {
	code, info, _, err := splitInfo(cemi)
	if err != nil {
		return nil, err
	}
	var items []Info
	for len(info) > 0 {
		if len(info) < 2 || len(info) < 2+int(info[1]) {
			return nil, fmt.Errorf("%v: additional information ends within an item", code)
		}
		end := 2 + int(info[1])
		items = append(items, Info{Type: InfoType(info[0]), Data: slices.Clip(info[2:end])})
		info = info[end:]
	}
	return items, nil
}
