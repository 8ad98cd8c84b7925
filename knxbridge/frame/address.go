package frame

import (
	"fmt"
	"strconv"
	"strings"
)

// GroupAddress is the address of a group of datapoints, 1 to 65535 (KNX 03_05_01 Resources).
// 0 is the broadcast address and names no group.
type GroupAddress uint16

// Style is how an ETS project writes its group addresses. The zero value is the three-level style.
type Style uint8

// The styles of ETS.
const (
	StyleThreeLevel Style = iota // main/middle/sub: 0-31/0-7/0-255
	StyleTwoLevel                // main/sub: 0-31/0-2047
	StyleFree                    // 1-65535
)

// String names the style as ETS project files do.
func (s Style) String() string {
	switch s {
	case StyleThreeLevel:
		return "ThreeLevel"
	case StyleTwoLevel:
		return "TwoLevel"
	case StyleFree:
		return "Free"
	}
	return fmt.Sprintf("style %d", uint8(s))
}

// ParseGroupAddress reads a group address in any of the three styles: "1/2/3", "1/515" or "2563".
// The error names the part that is out of range and the range.
func ParseGroupAddress(text string) (GroupAddress, error) {
	limits := []part{{"address", 0xFFFF}}
	switch strings.Count(text, "/") {
	case 0:
	case 1:
		limits = []part{{"main group", 31}, {"sub group", 2047}}
	case 2:
		limits = []part{{"main group", 31}, {"middle group", 7}, {"sub group", 255}}
	default:
		return 0, fmt.Errorf("group address %.40q has too many levels, want such as 1/2/3, 1/515 or 2563", text)
	}
	address, err := parseParts("group address", text, "/", limits)
	if err != nil {
		return 0, err
	}
	if address == 0 {
		return 0, fmt.Errorf("group address %.40q is the broadcast address, want 0/0/1 to 31/7/255", text)
	}
	return GroupAddress(address), nil
}

// String writes the address in the three-level style.
func (a GroupAddress) String() string { return a.In(StyleThreeLevel) }

// In writes the address in the given style; an unknown style counts as three-level.
func (a GroupAddress) In(style Style) string {
	text := make([]byte, 0, len("31/7/255"))
	switch style {
	case StyleFree:
		text = strconv.AppendUint(text, uint64(a), 10)
	case StyleTwoLevel:
		text = strconv.AppendUint(text, uint64(a>>11), 10)
		text = append(text, '/')
		text = strconv.AppendUint(text, uint64(a&0x7FF), 10)
	default:
		text = strconv.AppendUint(text, uint64(a>>11), 10)
		text = append(text, '/')
		text = strconv.AppendUint(text, uint64(a>>8&0x7), 10)
		text = append(text, '/')
		text = strconv.AppendUint(text, uint64(a&0xFF), 10)
	}
	return string(text)
}

// IndividualAddress is the address of one device: area, line and device (KNX 03_05_01 Resources).
// 0.0.0 as a source lets the interface fill in its own.
type IndividualAddress uint16

// ParseIndividualAddress reads an address such as "1.1.5".
// The error names the part that is out of range and the range.
func ParseIndividualAddress(text string) (IndividualAddress, error) {
	if strings.Count(text, ".") != 2 {
		return 0, fmt.Errorf("individual address %.40q is not of the form area.line.device, want such as 1.1.5", text)
	}
	address, err := parseParts("individual address", text, ".", []part{{"area", 15}, {"line", 15}, {"device", 255}})
	return IndividualAddress(address), err
}

// String writes the address as area.line.device.
func (a IndividualAddress) String() string {
	text := make([]byte, 0, len("15.15.255"))
	text = strconv.AppendUint(text, uint64(a>>12), 10)
	text = append(text, '.')
	text = strconv.AppendUint(text, uint64(a>>8&0xF), 10)
	text = append(text, '.')
	text = strconv.AppendUint(text, uint64(a&0xFF), 10)
	return string(text)
}

// part is one number of an address. Its maximum is 2^n-1, so it tells the number's width too.
type part struct {
	name    string
	maximum uint64
}

func parseParts(kind, text, separator string, parts []part) (uint16, error) {
	var address uint64
	for i, field := range strings.Split(text, separator) {
		number, err := strconv.ParseUint(field, 10, 32)
		if err != nil || number > parts[i].maximum {
			return 0, fmt.Errorf("%s %.40q: %s %.20q is not a number from 0 to %d",
				kind, text, parts[i].name, field, parts[i].maximum)
		}
		address = address*(parts[i].maximum+1) + number
	}
	return uint16(address), nil
}
