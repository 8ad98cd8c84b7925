package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// TP1Kind is what was heard on a TP1 line (KNX 03_02_02 Twisted Pair 1 §2.2).
type TP1Kind uint8

// The kinds.
const (
	TP1Data     TP1Kind = iota + 1 // an L_Data frame
	TP1Poll                        // an L_Poll_Data frame
	TP1Ack                         // every receiver took the frame
	TP1Nack                        // a receiver found the frame broken; it is repeated
	TP1Busy                        // a receiver cannot take it now; it is repeated later
	TP1NackBusy                    // both
)

// String names the kind as the standard does.
func (k TP1Kind) String() string {
	switch k {
	case TP1Data:
		return "L_Data"
	case TP1Poll:
		return "L_Poll_Data"
	case TP1Ack:
		return "ACK"
	case TP1Nack:
		return "NACK"
	case TP1Busy:
		return "BUSY"
	case TP1NackBusy:
		return "NACK+BUSY"
	}
	return fmt.Sprintf("TP1 kind %d", uint8(k))
}

// The short acknowledgements, one octet each (KNX 03_02_02 Twisted Pair 1 §2.2.6).
const (
	tp1Ack      = 0xCC
	tp1Nack     = 0x0C
	tp1Busy     = 0xC0
	tp1NackBusy = 0x00
)

// The control field of a frame on TP1, and where the fields of a frame begin (KNX 03_02_02 Twisted Pair 1
// §2.2.4 and §2.2.5).
const (
	tp1Poll           = 0xF0
	tp1ControlFixed   = 0x53 // these bits
	tp1ControlValue   = 0x10 // have this value in an L_Data frame
	tp1PollLength     = 7    // control, source, group, number of slots, check octet
	tp1StandardHeader = 6    // control, source, destination, and address type, hop count and length in one
	tp1ExtendedHeader = 7    // control, extended control, source, destination, length
)

// TP1 is one frame, or the acknowledgement of one, as a busmonitor hears it on a TP1 line.
type TP1 struct {
	Kind TP1Kind
	// LData is the content of a TP1Data frame; its Message is LBusmonInd, and its Data aliases the frame.
	// Zero otherwise.
	LData LData
	// Source and Group are of a TP1Poll frame: who polls, and the polling group. Slots is how many devices
	// may answer.
	Source IndividualAddress
	Group  uint16
	Slots  uint8
}

// ParseTP1 reads what Busmonitor.Frame holds on a TP1 line, and checks its check octet. Anything that is
// not whole is an error: a busmonitor hears collisions too.
func ParseTP1(raw []byte) (TP1, error) {
	switch len(raw) {
	case 0:
		return TP1{}, errors.New("TP1: nothing was heard")
	case 1:
		return parseTP1Ack(raw[0])
	}
	body, check := raw[:len(raw)-1], raw[len(raw)-1]
	if want := tp1Check(body); check != want {
		return TP1{}, fmt.Errorf("TP1: check octet 0x%02X, want 0x%02X", check, want)
	}
	if raw[0] == tp1Poll {
		if len(raw) != tp1PollLength {
			return TP1{}, fmt.Errorf("TP1: L_Poll_Data of %d bytes, want %d", len(raw), tp1PollLength)
		}
		return TP1{
			Kind: TP1Poll, Source: IndividualAddress(binary.BigEndian.Uint16(raw[1:])),
			Group: binary.BigEndian.Uint16(raw[3:]), Slots: raw[5] & 0x0F,
		}, nil
	}
	if raw[0]&tp1ControlFixed != tp1ControlValue {
		return TP1{}, fmt.Errorf("TP1: control field 0x%02X is that of no frame", raw[0])
	}
	l, tpdu, err := parseTP1Header(body)
	if err != nil {
		return TP1{}, err
	}
	if err := l.parseTPDU(tpdu); err != nil {
		return TP1{}, fmt.Errorf("TP1: %w", err)
	}
	return TP1{Kind: TP1Data, LData: l}, nil
}

func parseTP1Ack(octet byte) (TP1, error) {
	switch octet {
	case tp1Ack:
		return TP1{Kind: TP1Ack}, nil
	case tp1Nack:
		return TP1{Kind: TP1Nack}, nil
	case tp1Busy:
		return TP1{Kind: TP1Busy}, nil
	case tp1NackBusy:
		return TP1{Kind: TP1NackBusy}, nil
	}
	return TP1{}, fmt.Errorf("TP1: one octet 0x%02X, which is no acknowledgement", octet)
}

// parseTP1Header reads what stands before the TPDU of a standard or an extended frame without its check octet.
func parseTP1Header(body []byte) (LData, []byte, error) {
	standard := body[0]&control1Standard != 0
	header := tp1ExtendedHeader
	if standard {
		header = tp1StandardHeader
	}
	if len(body) <= header {
		return LData{}, nil, fmt.Errorf("TP1: L_Data of %d bytes, want more than %d before the check octet", len(body), header)
	}
	l := LData{
		Message:  LBusmonInd,
		Priority: Priority(body[0] >> control1Priority & 3),
		Repeated: body[0]&control1NotRepeated == 0,
	}
	addresses, control2, length := body[1:], body[5], int(body[5]&0x0F)
	if !standard {
		addresses, control2, length = body[2:], body[1], int(body[6])
		l.Format = control2 & control2Format
	}
	l.HopCount = control2 >> control2Hops & 7
	l.Group = control2&control2Group != 0
	l.Source = IndividualAddress(binary.BigEndian.Uint16(addresses))
	l.Destination = binary.BigEndian.Uint16(addresses[2:])
	tpdu := body[header:]
	if length > maxAPDULength || len(tpdu) != 1+length {
		return LData{}, nil, fmt.Errorf("TP1: APDU length %d, but %d bytes follow the TPCI, want as many, at most %d",
			length, len(tpdu)-1, maxAPDULength)
	}
	return l, tpdu, nil
}

// tp1Check is the check octet: odd parity over each bit position of the octets before it.
func tp1Check(body []byte) byte {
	check := byte(0xFF)
	for _, b := range body {
		check ^= b
	}
	return check
}

// AppendTP1 appends the message as a frame of a TP1 line with its check octet to dst: a standard frame when
// the APDU is short enough, an extended one otherwise. Data of more than MaxData bytes has no wire form: dst
// is returned as it was.
func (l LData) AppendTP1(dst []byte) []byte {
	if len(l.Data) > MaxData {
		return dst
	}
	start, length := len(dst), l.apduLength()
	control1 := byte(tp1ControlValue) | byte(l.Priority&3)<<control1Priority
	if !l.Repeated {
		control1 |= control1NotRepeated
	}
	control2 := l.HopCount & 7 << control2Hops
	if l.Group {
		control2 |= control2Group
	}
	standard := length <= maxStandardAPDULength && l.Format == 0
	if standard {
		dst = append(dst, control1|control1Standard)
	} else {
		dst = append(dst, control1, control2|l.Format&control2Format)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(l.Source))
	dst = binary.BigEndian.AppendUint16(dst, l.Destination)
	if standard {
		dst = append(dst, control2|byte(length))
	} else {
		dst = append(dst, byte(length))
	}
	dst = l.appendTPDU(dst)
	return append(dst, tp1Check(dst[start:]))
}
