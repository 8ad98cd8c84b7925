package frame

import (
	"errors"
	"fmt"
)

// MessageCode tells which cEMI message follows (KNX 03_06_03 EMI_IMI §4.1.3).
type MessageCode uint8

// The message codes. LData reads the three of L_Data, Busmonitor the one of L_Busmon.
const (
	LRawReq      MessageCode = 0x10
	LDataReq     MessageCode = 0x11
	LPollDataReq MessageCode = 0x13
	LPollDataCon MessageCode = 0x25
	LDataInd     MessageCode = 0x29
	LBusmonInd   MessageCode = 0x2B
	LRawInd      MessageCode = 0x2D
	LDataCon     MessageCode = 0x2E
	LRawCon      MessageCode = 0x2F

	// The transport layer, for devices without a bus between.
	TDataConnectedReq  MessageCode = 0x41
	TDataIndividualReq MessageCode = 0x4A
	TDataConnectedInd  MessageCode = 0x89
	TDataIndividualInd MessageCode = 0x94

	// Device management.
	MResetInd     MessageCode = 0xF0
	MResetReq     MessageCode = 0xF1
	MPropWriteCon MessageCode = 0xF5
	MPropWriteReq MessageCode = 0xF6
	MPropInfoInd  MessageCode = 0xF7
	MPropReadCon  MessageCode = 0xFB
	MPropReadReq  MessageCode = 0xFC

	MFuncPropCommandReq   MessageCode = 0xF8
	MFuncPropStateReadReq MessageCode = 0xF9
	MFuncPropCon          MessageCode = 0xFA // of both
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
	case MFuncPropCommandReq:
		return "M_FuncPropCommand.req"
	case MFuncPropStateReadReq:
		return "M_FuncPropStateRead.req"
	case MFuncPropCon:
		return "M_FuncPropCommand.con"
	case TDataConnectedReq:
		return "T_Data_Connected.req"
	case TDataIndividualReq:
		return "T_Data_Individual.req"
	case TDataConnectedInd:
		return "T_Data_Connected.ind"
	case TDataIndividualInd:
		return "T_Data_Individual.ind"
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

// What device management messages have at least after the message code: interface object type, instance and
// property, and for properties the number of elements and the first (KNX 03_06_03 EMI_IMI §4.1.7).
const (
	functionPropertyLength = 4
	propertyLength         = 6
	transportLength        = 6 // reserved, in messages of the transport layer, after the additional information
)

// CheckMessage says what is wrong with a cEMI message that this package does not take apart. L_Data and L_Busmon
// have their own readers.
func CheckMessage(cemi []byte) error {
	code, some := MessageOf(cemi)
	if !some {
		return errors.New("cEMI: 0 bytes, want a message code")
	}
	want := 0
	switch code {
	case MResetInd, MResetReq:
		if len(cemi) > 1 {
			return fmt.Errorf("%v: %d bytes after the message code, want none", code, len(cemi)-1)
		}
	case MPropReadReq, MPropReadCon, MPropWriteReq, MPropWriteCon, MPropInfoInd:
		want = propertyLength
	case MFuncPropCommandReq, MFuncPropStateReadReq, MFuncPropCon:
		want = functionPropertyLength
	default:
		_, _, service, err := splitInfo(cemi)
		if err != nil {
			return err
		}
		transport := code == TDataConnectedReq || code == TDataIndividualReq || code == TDataConnectedInd || code == TDataIndividualInd
		if transport && len(service) < transportLength {
			return fmt.Errorf("%v: %d bytes after the additional information, want at least %d", code, len(service), transportLength)
		}
	}
	if len(cemi) < 1+want {
		return fmt.Errorf("%v: %d bytes after the message code, want at least %d", code, len(cemi)-1, want)
	}
	return nil
}
