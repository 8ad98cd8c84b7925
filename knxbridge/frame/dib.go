package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Description information blocks (KNX 03_08_02 Core §7.5.4).
const (
	dibDeviceInfo        = 0x01
	dibSupportedServices = 0x02
	dibKNXAddresses      = 0x05

	dibHeaderLength     = 2 // the block's length, which counts itself, and its type
	dibDeviceInfoLength = 54
	dibNameLength       = 30
	maxDIBLength        = 0xFF
	maxDIBPairs         = (maxDIBLength - dibHeaderLength) / 2 // entries of two octets in one block
)

// maxDIBs bounds how many blocks one description may have. The standard defines nine types.
const maxDIBs = 32

// Family is a group of KNXnet/IP services that a device may support (KNX 03_08_02 Core §7.5.4).
type Family uint8

// The service families.
const (
	FamilyCore             Family = 0x02
	FamilyDeviceManagement Family = 0x03
	FamilyTunnelling       Family = 0x04
	FamilyRouting          Family = 0x05
	FamilyRemoteLogging    Family = 0x06
	FamilyRemoteConfig     Family = 0x07
	FamilyObjectServer     Family = 0x08
	FamilySecurity         Family = 0x09
)

// String names the family.
func (f Family) String() string {
	switch f {
	case FamilyCore:
		return "core"
	case FamilyDeviceManagement:
		return "device management"
	case FamilyTunnelling:
		return "tunnelling"
	case FamilyRouting:
		return "routing"
	case FamilyRemoteLogging:
		return "remote logging"
	case FamilyRemoteConfig:
		return "remote configuration and diagnosis"
	case FamilyObjectServer:
		return "object server"
	case FamilySecurity:
		return "security"
	}
	return fmt.Sprintf("family 0x%02X", uint8(f))
}

// SupportedService is a service family with the version in which a device supports it.
type SupportedService struct {
	Family  Family
	Version uint8
}

// Medium is the kind of bus a device is on (KNX 03_08_02 Core §7.5.4).
type Medium uint8

// The media.
const (
	MediumTP1   Medium = 0x02
	MediumPL110 Medium = 0x04
	MediumRF    Medium = 0x10
	MediumIP    Medium = 0x20
)

// String names the medium.
func (m Medium) String() string {
	switch m {
	case MediumTP1:
		return "TP1"
	case MediumPL110:
		return "PL110"
	case MediumRF:
		return "RF"
	case MediumIP:
		return "IP"
	}
	return fmt.Sprintf("medium 0x%02X", uint8(m))
}

// DeviceInfo says who a device is (KNX 03_08_02 Core §7.5.4).
type DeviceInfo struct {
	Medium          Medium
	ProgrammingMode bool
	Address         IndividualAddress
	Project         uint16 // project installation identifier
	Serial          [6]byte
	Multicast       netip.Addr // IPv4 of its routing; 0.0.0.0 when it does not route
	MAC             [6]byte
	// Name is the friendly name, at most 30 characters of ISO 8859-1. It is the device's own text:
	// quote it where control characters could do harm.
	Name string
}

// DIB is a description information block that this package does not take apart.
type DIB struct {
	Type byte
	Data []byte // what follows the type, at most 253 bytes
}

// Description is what a device tells about itself.
type Description struct {
	Device   DeviceInfo         // mandatory
	Services []SupportedService // at most 126
	// Addresses are the KNX addresses of the device beside Device.Address, such as those of its
	// tunnels; at most 126. Some devices repeat Device.Address in front.
	Addresses []IndividualAddress
	Other     []DIB // at most 32 blocks in all, one for each of the fields above that is not empty
}

// Version tells in which version the device supports a family, 0 when it does not.
func (d Description) Version(family Family) uint8 {
	for _, s := range d.Services {
		if s.Family == family {
			return s.Version
		}
	}
	return 0
}

// parseDescription reads blocks, of which the device information must be one.
func parseDescription(data []byte) (Description, error) {
	d, device, err := parseBlocks(data)
	if err == nil && !device {
		err = errors.New("no device information among the description blocks")
	}
	return d, err
}

// parseBlocks reads blocks in any order, and tells if the device information is among them. Of the blocks
// that are read, none may come twice.
func parseBlocks(data []byte) (d Description, device bool, err error) {
	var seen [256]bool
	for count := 0; len(data) > 0; count++ {
		if count == maxDIBs {
			return Description{}, false, fmt.Errorf("more than %d description blocks", maxDIBs)
		}
		if len(data) < dibHeaderLength || int(data[0]) < dibHeaderLength || int(data[0]) > len(data) {
			return Description{}, false, fmt.Errorf("description block: length %d, but %d bytes are left, want at least %d",
				data[0], len(data), dibHeaderLength)
		}
		kind, block := data[1], data[dibHeaderLength:data[0]]
		data = data[data[0]:]
		if seen[kind] && (kind == dibDeviceInfo || kind == dibSupportedServices || kind == dibKNXAddresses) {
			return Description{}, false, fmt.Errorf("description block of type 0x%02X comes twice", kind)
		}
		seen[kind] = true
		if err := d.take(kind, block); err != nil {
			return Description{}, false, err
		}
	}
	return d, seen[dibDeviceInfo], nil
}

func (d *Description) take(kind byte, block []byte) error {
	switch kind {
	case dibDeviceInfo:
		return d.Device.parse(block)
	case dibSupportedServices, dibKNXAddresses:
		if len(block)%2 != 0 {
			return fmt.Errorf("description block of type 0x%02X: length %d, want an even one", kind, dibHeaderLength+len(block))
		}
		for ; len(block) > 0; block = block[2:] {
			if kind == dibSupportedServices {
				d.Services = append(d.Services, SupportedService{Family: Family(block[0]), Version: block[1]})
			} else {
				d.Addresses = append(d.Addresses, IndividualAddress(binary.BigEndian.Uint16(block)))
			}
		}
	default:
		d.Other = append(d.Other, DIB{Type: kind, Data: append([]byte{}, block...)})
	}
	return nil
}

func (i *DeviceInfo) parse(block []byte) error {
	if len(block) != dibDeviceInfoLength-dibHeaderLength {
		return fmt.Errorf("device information: length %d, want %d", dibHeaderLength+len(block), dibDeviceInfoLength)
	}
	*i = DeviceInfo{
		Medium:          Medium(block[0]),
		ProgrammingMode: block[1]&0x01 != 0,
		Address:         IndividualAddress(binary.BigEndian.Uint16(block[2:])),
		Project:         binary.BigEndian.Uint16(block[4:]),
		Serial:          [6]byte(block[6:12]),
		Multicast:       netip.AddrFrom4([4]byte(block[12:16])),
		MAC:             [6]byte(block[16:22]),
		Name:            parseLatin1(block[22:]),
	}
	return nil
}

// append writes the blocks in the standard's order and leaves out empty ones. What is beyond the limits
// that the fields tell is cut.
func (d Description) append(dst []byte) []byte {
	return d.appendOptional(d.Device.append(dst), maxDIBs-1)
}

// appendOptional writes what is there beside the device information, room blocks at most.
func (d Description) appendOptional(dst []byte, room int) []byte {
	if services := d.Services[:min(len(d.Services), maxDIBPairs)]; len(services) > 0 {
		room--
		dst = append(dst, byte(dibHeaderLength+2*len(services)), dibSupportedServices)
		for _, s := range services {
			dst = append(dst, byte(s.Family), s.Version)
		}
	}
	if addresses := d.Addresses[:min(len(d.Addresses), maxDIBPairs)]; len(addresses) > 0 {
		room--
		dst = append(dst, byte(dibHeaderLength+2*len(addresses)), dibKNXAddresses)
		for _, a := range addresses {
			dst = binary.BigEndian.AppendUint16(dst, uint16(a))
		}
	}
	for _, other := range d.Other[:min(len(d.Other), room)] {
		data := other.Data[:min(len(other.Data), maxDIBLength-dibHeaderLength)]
		dst = append(dst, byte(dibHeaderLength+len(data)), other.Type)
		dst = append(dst, data...)
	}
	return dst
}

func (i DeviceInfo) append(dst []byte) []byte {
	var status byte
	if i.ProgrammingMode {
		status = 0x01
	}
	var multicast [4]byte
	if addr := i.Multicast.Unmap(); addr.Is4() {
		multicast = addr.As4()
	}
	dst = append(dst, dibDeviceInfoLength, dibDeviceInfo, byte(i.Medium), status)
	dst = binary.BigEndian.AppendUint16(dst, uint16(i.Address))
	dst = binary.BigEndian.AppendUint16(dst, i.Project)
	dst = append(dst, i.Serial[:]...)
	dst = append(dst, multicast[:]...)
	dst = append(dst, i.MAC[:]...)
	return appendLatin1(dst, i.Name, dibNameLength)
}

// parseLatin1 reads ISO 8859-1 text, whose codes are those of Unicode, up to the first zero.
func parseLatin1(field []byte) string {
	runes := make([]rune, 0, len(field))
	for _, b := range field {
		if b == 0 {
			break
		}
		runes = append(runes, rune(b))
	}
	return string(runes)
}

// appendLatin1 writes text into a field of the given length, padded with zeros. What is too long is cut,
// what ISO 8859-1 does not have becomes a question mark.
func appendLatin1(dst []byte, text string, length int) []byte {
	end := len(dst) + length
	for _, r := range text {
		if len(dst) == end {
			return dst
		}
		if r > 0xFF {
			r = '?'
		}
		dst = append(dst, byte(r))
	}
	return append(dst, make([]byte, end-len(dst))...)
}
