package frame

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Busmonitor is an L_Busmon.ind: one frame as it was heard on the bus, raw
// (KNX 03_06_03 EMI_IMI §4.1.5).
type Busmonitor struct {
	FrameError  bool
	BitError    bool
	ParityError bool
	Lost        bool  // at least one frame before this one was lost
	Sequence    uint8 // 0 to 7, counts the frames
	// Timestamp is the interface's clock when the frame began, in ticks that depend on the interface.
	// It wraps at 16 bits unless Extended. Zero when the interface told none.
	Timestamp uint32
	Extended  bool
	// Frame is the frame or the acknowledgement as the medium carried it, on TP1 with its checksum.
	// It aliases the cEMI message.
	Frame []byte
}

// ParseBusmonitor reads an L_Busmon.ind; any other cEMI message is an error. Additional information of
// types other than status and timestamps is skipped.
func ParseBusmonitor(cemi []byte) (Busmonitor, error) {
	code, _, frame, err := splitInfo(cemi)
	if err != nil {
		return Busmonitor{}, err
	}
	if code != LBusmonInd {
		return Busmonitor{}, fmt.Errorf("%v: want L_Busmon.ind", code)
	}
	if len(frame) == 0 {
		return Busmonitor{}, fmt.Errorf("%v: no frame after the additional information", code)
	}
	b := Busmonitor{Frame: slices.Clip(frame)}
	items, err := ParseInfo(cemi)
	if err != nil {
		return Busmonitor{}, err
	}
	for _, item := range items {
		if err := b.take(item); err != nil {
			return Busmonitor{}, fmt.Errorf("%v: %w", code, err)
		}
	}
	return b, nil
}

func (b *Busmonitor) take(item Info) error {
	value := item.Data
	want := len(value)
	switch item.Type {
	case InfoBusmonitorStatus:
		want = 1
	case InfoTimestamp:
		want = 2
	case InfoExtendedTimestamp:
		want = 4
	}
	if len(value) != want {
		return fmt.Errorf("%v has %d bytes, want %d", item.Type, len(value), want)
	}
	switch item.Type {
	case InfoBusmonitorStatus:
		b.FrameError = value[0]&0x80 != 0
		b.BitError = value[0]&0x40 != 0
		b.ParityError = value[0]&0x20 != 0
		b.Lost = value[0]&0x08 != 0
		b.Sequence = value[0] & 0x07
	case InfoTimestamp:
		b.Timestamp, b.Extended = uint32(binary.BigEndian.Uint16(value)), false
	case InfoExtendedTimestamp:
		b.Timestamp, b.Extended = binary.BigEndian.Uint32(value), true
	}
	return nil
}

// Append appends the message in its wire form to dst. A frame that is empty or longer than a bus carries has
// none: dst is returned as it was.
func (b Busmonitor) Append(dst []byte) []byte {
	if len(b.Frame) == 0 || len(b.Frame) > maxBusFrame {
		return dst
	}
	status := b.Sequence & 0x07
	for bit, set := range map[byte]bool{0x80: b.FrameError, 0x40: b.BitError, 0x20: b.ParityError, 0x08: b.Lost} {
		if set {
			status |= bit
		}
	}
	info := []byte{byte(InfoBusmonitorStatus), 1, status, byte(InfoTimestamp), 2}
	if b.Extended {
		info[3], info[4] = byte(InfoExtendedTimestamp), 4
		info = binary.BigEndian.AppendUint32(info, b.Timestamp)
	} else {
		info = binary.BigEndian.AppendUint16(info, uint16(b.Timestamp))
	}
	dst = append(dst, byte(LBusmonInd), byte(len(info)))
	dst = append(dst, info...)
	return append(dst, b.Frame...)
}

// maxBusFrame is the longest frame of TP1: an extended one with its check octet (KNX 03_02_02 Twisted Pair 1).
const maxBusFrame = tp1ExtendedHeader + 1 + maxAPDULength + 1
