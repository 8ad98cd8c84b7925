package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Priority is the priority of a telegram on the bus (KNX 03_03_02 Data Link Layer).
type Priority uint8

// The priorities in their wire form. Group telegrams are sent with PriorityLow unless something is urgent.
const (
	PrioritySystem Priority = 0
	PriorityNormal Priority = 1
	PriorityUrgent Priority = 2
	PriorityLow    Priority = 3
)

// String names the priority.
func (p Priority) String() string {
	switch p {
	case PrioritySystem:
		return "system"
	case PriorityNormal:
		return "normal"
	case PriorityUrgent:
		return "urgent"
	case PriorityLow:
		return "low"
	}
	return fmt.Sprintf("priority %d", uint8(p))
}

// Control fields 1 and 2 of an L_Data message (KNX 03_06_03 EMI_IMI §4.1.5).
const (
	control1Standard    = 0x80 // 0: extended frame
	control1NotRepeated = 0x20
	control1Broadcast   = 0x10 // 0: system broadcast
	control1Priority    = 2    // shift
	control1Ack         = 0x02
	control1Failed      = 0x01
	control2Group       = 0x80
	control2Hops        = 4    // shift
	control2Format      = 0x0F // extended frame format
)

const (
	// DefaultHopCount is the hop count with which a device sends: up to six couplers.
	DefaultHopCount = 6
	// MaxData is the most bytes that LData.Data may have: an APDU has at most 254 octets, and its first
	// holds the rest of the APCI (KNX 03_06_03 EMI_IMI §4.1.5; 255 is an escape code).
	MaxData = maxAPDULength - 1

	maxAPDULength         = 254
	maxStandardAPDULength = 15 // longer needs an extended frame (KNX 03_02_02 Twisted Pair 1)
	ldataHeaderLength     = 7  // two control fields, source, destination, APDU length
)

// LData is an L_Data.req, .con or .ind: one frame of the bus (KNX 03_06_03 EMI_IMI §4.1.5).
type LData struct {
	Message  MessageCode
	Priority Priority
	// Repeated says that the frame was a repetition on the bus. In an L_Data.req, true asks the interface
	// not to repeat a frame that nobody acknowledges.
	Repeated     bool
	HopCount     uint8 // 0 to 7; 6 is usual
	AckRequested bool
	// Failed, in an L_Data.con, says that the frame was not acknowledged on the bus (a negative confirmation).
	Failed          bool
	SystemBroadcast bool
	// Format is the extended frame format, 0 to 15. It is 0 but for LTE-mode frames, whose destination
	// is not a group address.
	Format      uint8
	Source      IndividualAddress
	Destination uint16
	Group       bool // Destination is a GroupAddress, else an IndividualAddress
	TPCI        TPCI
	APCI        APCI // 0 when TPCI.Control()
	// Data is what follows the APCI, at most MaxData bytes; it aliases the cEMI message but for SixBit.
	Data []byte
	// SixBit says that the value of a GroupValueWrite or GroupValueResponse travels in the APCI's octet
	// (APDU length 1). Data is then one byte, 0 to 63, and both services have it so or have Data of at
	// least one byte. A GroupValueRead has no value: neither SixBit nor Data.
	SixBit bool
}

// ParseLData reads an L_Data message; any other cEMI message is an error. The additional information is
// skipped. Lengths that do not agree with the message, in either direction, are errors.
func ParseLData(cemi []byte) (LData, error) {
	code, _, service, err := splitInfo(cemi)
	if err != nil {
		return LData{}, err
	}
	if code != LDataReq && code != LDataCon && code != LDataInd {
		return LData{}, fmt.Errorf("%v: want L_Data.req, L_Data.con or L_Data.ind", code)
	}
	if len(service) < ldataHeaderLength+1 {
		return LData{}, fmt.Errorf("%v: %d bytes after the additional information, want at least %d",
			code, len(service), ldataHeaderLength+1)
	}
	control1, control2 := service[0], service[1]
	l := LData{
		Message:         code,
		Priority:        Priority(control1 >> control1Priority & 3),
		Repeated:        control1&control1NotRepeated == 0,
		HopCount:        control2 >> control2Hops & 7,
		AckRequested:    control1&control1Ack != 0,
		Failed:          control1&control1Failed != 0,
		SystemBroadcast: control1&control1Broadcast == 0,
		Format:          control2 & control2Format,
		Source:          IndividualAddress(binary.BigEndian.Uint16(service[2:])),
		Destination:     binary.BigEndian.Uint16(service[4:]),
		Group:           control2&control2Group != 0,
	}
	length, tpdu := int(service[6]), service[ldataHeaderLength:]
	if length > maxAPDULength || len(tpdu) != 1+length {
		return LData{}, fmt.Errorf("%v: APDU length %d, but %d bytes follow the TPCI, want as many, at most %d",
			code, length, len(tpdu)-1, maxAPDULength)
	}
	if err := l.parseTPDU(tpdu); err != nil {
		return LData{}, err
	}
	return l, nil
}

// parseTPDU reads the transport and application layer's control fields and the data. The TPDU is not empty.
func (l *LData) parseTPDU(tpdu []byte) error {
	if tpdu[0]&tpciControl != 0 {
		if len(tpdu) != 1 {
			return fmt.Errorf("%v: APDU of %d bytes in a transport control frame, want none", l.Message, len(tpdu)-1)
		}
		l.TPCI = TPCI(tpdu[0])
		return nil
	}
	if len(tpdu) < 2 {
		return fmt.Errorf("%v: data frame without an APDU, want at least 1 byte", l.Message)
	}
	l.TPCI = TPCI(tpdu[0] & tpciDataMask)
	apci := APCI(tpdu[0]&^tpciDataMask)<<8 | APCI(tpdu[1])
	l.APCI = apci.service()
	l.Data = tpdu[2:len(tpdu):len(tpdu)]
	if len(tpdu) == 2 && l.APCI.hasValue() {
		l.SixBit = true
		l.Data = []byte{byte(apci) & sixBits}
	}
	return nil
}

// Append appends the message in its wire form to dst, without additional information. It is a standard
// frame when the APDU is short enough and an extended one otherwise. Data of more than MaxData bytes has
// no wire form: dst is returned as it was.
func (l LData) Append(dst []byte) []byte {
	if len(l.Data) > MaxData {
		return dst
	}
	length := l.apduLength()
	control1 := byte(l.Priority&3) << control1Priority
	if length <= maxStandardAPDULength && l.Format == 0 {
		control1 |= control1Standard
	}
	if !l.Repeated {
		control1 |= control1NotRepeated
	}
	if !l.SystemBroadcast {
		control1 |= control1Broadcast
	}
	if l.AckRequested {
		control1 |= control1Ack
	}
	if l.Failed {
		control1 |= control1Failed
	}
	control2 := l.HopCount&7<<control2Hops | l.Format&control2Format
	if l.Group {
		control2 |= control2Group
	}
	dst = append(dst, byte(l.Message), 0, control1, control2)
	dst = binary.BigEndian.AppendUint16(dst, uint16(l.Source))
	dst = binary.BigEndian.AppendUint16(dst, l.Destination)
	return l.appendTPDU(append(dst, byte(length)))
}

// appendTPDU writes the transport and application layer's control fields and the data.
func (l LData) appendTPDU(dst []byte) []byte {
	if l.TPCI.Control() {
		return append(dst, byte(l.TPCI))
	}
	dst = append(dst, byte(l.TPCI)&tpciDataMask|byte(l.APCI>>8)&^tpciDataMask, l.secondOctet())
	if l.SixBit {
		return dst
	}
	return append(dst, l.Data...)
}

// apduLength counts the octets after the TPCI.
func (l LData) apduLength() int {
	switch {
	case l.TPCI.Control():
		return 0
	case l.SixBit:
		return 1
	}
	return 1 + len(l.Data)
}

// secondOctet is the low part of the APCI, with the value when that fits into it.
func (l LData) secondOctet() byte {
	octet := byte(l.APCI)
	if l.SixBit && len(l.Data) > 0 {
		octet |= l.Data[0] & sixBits
	}
	return octet
}

// GroupService tells whether the message is a read, a response or a write of a group: group destination
// other than the broadcast address, transport service T_Data_Group, and one of the three group services.
func (l LData) GroupService() bool {
	if !l.Group || l.Destination == 0 || l.Format != 0 || l.TPCI != 0 {
		return false
	}
	return l.APCI == GroupValueRead || l.APCI == GroupValueResponse || l.APCI == GroupValueWrite
}

// SameAPDU tells whether both messages carry the same APDU to the same destination. An L_Data.con is
// matched so with its request; the source does not count, because the interface may fill it in or not.
func (l LData) SameAPDU(other LData) bool {
	if l.Destination != other.Destination || l.Group != other.Group || l.TPCI != other.TPCI {
		return false
	}
	if l.TPCI.Control() {
		return true
	}
	if l.APCI>>8 != other.APCI>>8 || l.secondOctet() != other.secondOctet() || l.apduLength() != other.apduLength() {
		return false
	}
	return l.SixBit || other.SixBit || bytes.Equal(l.Data, other.Data)
}

// Clone returns a copy whose Data aliases nothing, to keep after the datagram's buffer is used again.
func (l LData) Clone() LData {
	l.Data = bytes.Clone(l.Data)
	return l
}
