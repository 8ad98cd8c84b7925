package frame

import "fmt"

// Transport layer control field (KNX 03_03_04 Transport Layer).
const (
	tpciControl  = 0x80
	tpciDataMask = 0xFC // the two low bits of a data frame belong to the APCI
)

// TPCI is the transport layer's control field: of a data frame the upper six bits of its octet in their
// place, of a control frame the whole octet. Zero is T_Data_Group, T_Data_Broadcast and T_Data_Individual.
type TPCI uint8

// The values of TPCI that are not numbered.
const (
	TPCIData         TPCI = 0x00 // T_Data_Group, T_Data_Broadcast, T_Data_Individual
	TPCIDataTagGroup TPCI = 0x04 // T_Data_Tag_Group
	TPCIConnect      TPCI = 0x80 // T_Connect
	TPCIDisconnect   TPCI = 0x81 // T_Disconnect
)

// Control tells that the frame is one of the transport layer itself and has no APDU.
func (t TPCI) Control() bool { return t&tpciControl != 0 }

// String gives the standard's name of the service.
func (t TPCI) String() string {
	sequence := t >> 2 & 0xF
	switch {
	case t == TPCIData:
		return "T_Data"
	case t == TPCIDataTagGroup:
		return "T_Data_Tag_Group"
	case t == TPCIConnect:
		return "T_Connect"
	case t == TPCIDisconnect:
		return "T_Disconnect"
	case t&0xC3 == 0x40:
		return fmt.Sprintf("T_Data_Connected %d", sequence)
	case t&0xC3 == 0xC2:
		return fmt.Sprintf("T_ACK %d", sequence)
	case t&0xC3 == 0xC3:
		return fmt.Sprintf("T_NAK %d", sequence)
	}
	return fmt.Sprintf("TPCI 0x%02X", uint8(t))
}
