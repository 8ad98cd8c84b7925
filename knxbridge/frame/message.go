package frame

import "fmt"

// MessageCode tells which cEMI message follows (KNX 03_06_03 EMI_IMI §4.1.3).
type MessageCode uint8

// The message codes of the data link layer. LData reads the three of L_Data, Busmonitor the one of L_Busmon.
const (
	LRawReq       MessageCode = 0x10
	LDataReq      MessageCode = 0x11
	LPollDataReq  MessageCode = 0x13
	LPollDataCon  MessageCode = 0x25
	LDataInd      MessageCode = 0x29
	LBusmonInd    MessageCode = 0x2B
	LRawInd       MessageCode = 0x2D
	LDataCon      MessageCode = 0x2E
	LRawCon       MessageCode = 0x2F
	MResetInd     MessageCode = 0xF0
	MResetReq     MessageCode = 0xF1
	MPropWriteCon MessageCode = 0xF5
	MPropWriteReq MessageCode = 0xF6
	MPropInfoInd  MessageCode = 0xF7
	MPropReadCon  MessageCode = 0xFB
	MPropReadReq  MessageCode = 0xFC
)

// String gives the standard's name, such as L_Data.ind, or the number of a code without one.
func (c MessageCode) String() string {
	if name := c.name(); name != "" {
		return name
	}
	return fmt.Sprintf("message 0x%02X", uint8(c))
}

// Known tells whether the standard has a name for the code.
func (c MessageCode) Known() bool { return c.name() != "" }

func (c MessageCode) name() string {
	switch c {
	case LRawReq:
		return "L_Raw.req"
	case LDataReq:
		return "L_Data.req"
	case LPollDataReq:
		return "L_Poll_Data.req"
	case LPollDataCon:
		return "L_Poll_Data.con"
	case LDataInd:
		return "L_Data.ind"
	case LBusmonInd:
		return "L_Busmon.ind"
	case LRawInd:
		return "L_Raw.ind"
	case LDataCon:
		return "L_Data.con"
	case LRawCon:
		return "L_Raw.con"
	case MResetInd:
		return "M_Reset.ind"
	case MResetReq:
		return "M_Reset.req"
	case MPropWriteCon:
		return "M_PropWrite.con"
	case MPropWriteReq:
		return "M_PropWrite.req"
	case MPropInfoInd:
		return "M_PropInfo.ind"
	case MPropReadCon:
		return "M_PropRead.con"
	case MPropReadReq:
		return "M_PropRead.req"
	}
	return ""
}

// MessageOf tells the message code of a cEMI message, and false when it is empty.
func MessageOf(cemi []byte) (MessageCode, bool) {
	if len(cemi) == 0 {
		return 0, false
	}
	return MessageCode(cemi[0]), true
}

// reservedInfoLength is the one value that the length of the additional information may not have.
const reservedInfoLength = 0xFF

// splitInfo takes a cEMI message apart into its code, its additional information and the service
// information behind it (KNX 03_06_03 EMI_IMI §4.1.4).
func splitInfo(cemi []byte) (code MessageCode, info, service []byte, err error) {
	if len(cemi) < 2 {
		return 0, nil, nil, fmt.Errorf("cEMI: %d bytes, want at least 2", len(cemi))
	}
	code = MessageCode(cemi[0])
	length := int(cemi[1])
	if length == reservedInfoLength || len(cemi) < 2+length {
		return 0, nil, nil, fmt.Errorf("%v: additional information of %d bytes, but %d bytes follow", code, length, len(cemi)-2)
	}
	return code, cemi[2 : 2+length], cemi[2+length:], nil
}
