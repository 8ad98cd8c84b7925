package frame

import "fmt"

// APCI is the application layer's control field, 10 bits: the service (KNX 03_03_07 Application Layer).
// A few services keep a parameter in the lower six bits, such as the count of MemoryRead; it stays there.
// The six bits of the three group services are no part of it: see LData.SixBit.
type APCI uint16

// Services that more than their name is made of here. String knows the names of all.
const (
	GroupValueRead     APCI = 0x000
	GroupValueResponse APCI = 0x040
	GroupValueWrite    APCI = 0x080
	// SecureService is a telegram of KNX Data Secure: what it carries is encrypted.
	SecureService APCI = 0x3F1
)

// sixBits are the bits of the APCI's second octet that can hold a value.
const sixBits = 0x3F

// service takes the value, or what else came in its place, off the three group services.
func (a APCI) service() APCI {
	if a&^sixBits <= GroupValueWrite {
		return a &^ sixBits
	}
	return a
}

// hasValue tells the services whose value travels in the six bits when it fits.
func (a APCI) hasValue() bool { return a == GroupValueResponse || a == GroupValueWrite }

// String gives the standard's name without its "A_", such as GroupValueWrite, or the number of a service
// without one.
func (a APCI) String() string {
	if name := a.extendedName(); name != "" {
		return name
	}
	if name := a.baseName(); name != "" {
		return name
	}
	return fmt.Sprintf("APCI 0x%03X", uint16(a))
}

// baseName names the services of four bits, which leave the other six to a parameter.
func (a APCI) baseName() string {
	switch a &^ sixBits {
	case 0x000:
		return "GroupValueRead"
	case 0x040:
		return "GroupValueResponse"
	case 0x080:
		return "GroupValueWrite"
	case 0x0C0:
		return "IndividualAddressWrite"
	case 0x100:
		return "IndividualAddressRead"
	case 0x140:
		return "IndividualAddressResponse"
	case 0x180:
		return "ADCRead"
	case 0x1C0:
		return "ADCResponse"
	case 0x200:
		return "MemoryRead"
	case 0x240:
		return "MemoryResponse"
	case 0x280:
		return "MemoryWrite"
	case 0x300:
		return "DeviceDescriptorRead"
	case 0x340:
		return "DeviceDescriptorResponse"
	case 0x380:
		return "Restart"
	}
	return ""
}

// extendedName names the services of ten bits.
func (a APCI) extendedName() string {
	switch a {
	case 0x1C8:
		return "SystemNetworkParameterRead"
	case 0x1C9:
		return "SystemNetworkParameterResponse"
	case 0x1CA:
		return "SystemNetworkParameterWrite"
	case 0x1CC:
		return "PropertyExtValueRead"
	case 0x1CD:
		return "PropertyExtValueResponse"
	case 0x1CE:
		return "PropertyExtValueWriteCon"
	case 0x1CF:
		return "PropertyExtValueWriteConRes"
	case 0x1D0:
		return "PropertyExtValueWriteUnCon"
	case 0x1D1:
		return "PropertyExtValueInfoReport"
	case 0x1D2:
		return "PropertyExtDescriptionRead"
	case 0x1D3:
		return "PropertyExtDescriptionResponse"
	case 0x1D4:
		return "FunctionPropertyExtCommand"
	case 0x1D5:
		return "FunctionPropertyExtStateRead"
	case 0x1D6:
		return "FunctionPropertyExtStateResponse"
	case 0x1FB:
		return "MemoryExtendedWrite"
	case 0x1FC:
		return "MemoryExtendedWriteResponse"
	case 0x1FD:
		return "MemoryExtendedRead"
	case 0x1FE:
		return "MemoryExtendedReadResponse"
	case 0x2C0:
		return "UserMemoryRead"
	case 0x2C1:
		return "UserMemoryResponse"
	case 0x2C2:
		return "UserMemoryWrite"
	case 0x2C4:
		return "UserMemoryBitWrite"
	case 0x2C5:
		return "UserManufacturerInfoRead"
	case 0x2C6:
		return "UserManufacturerInfoResponse"
	case 0x2C7:
		return "FunctionPropertyCommand"
	case 0x2C8:
		return "FunctionPropertyStateRead"
	case 0x2C9:
		return "FunctionPropertyStateResponse"
	case 0x381:
		return "RestartMasterReset"
	case 0x3A1:
		return "RestartMasterResetResponse"
	}
	return a.escapedName()
}

// escapedName names the services of ten bits behind the escape code 0x3C0.
func (a APCI) escapedName() string {
	switch a {
	case 0x3C0:
		return "FilterTableOpen"
	case 0x3C1:
		return "FilterTableRead"
	case 0x3C2:
		return "FilterTableResponse"
	case 0x3C3:
		return "FilterTableWrite"
	case 0x3C8:
		return "RouterMemoryRead"
	case 0x3C9:
		return "RouterMemoryResponse"
	case 0x3CA:
		return "RouterMemoryWrite"
	case 0x3CD:
		return "RouterStatusRead"
	case 0x3CE:
		return "RouterStatusResponse"
	case 0x3CF:
		return "RouterStatusWrite"
	case 0x3D0:
		return "MemoryBitWrite"
	case 0x3D1:
		return "AuthorizeRequest"
	case 0x3D2:
		return "AuthorizeResponse"
	case 0x3D3:
		return "KeyWrite"
	case 0x3D4:
		return "KeyResponse"
	case 0x3D5:
		return "PropertyValueRead"
	case 0x3D6:
		return "PropertyValueResponse"
	case 0x3D7:
		return "PropertyValueWrite"
	case 0x3D8:
		return "PropertyDescriptionRead"
	case 0x3D9:
		return "PropertyDescriptionResponse"
	case 0x3DA:
		return "NetworkParameterRead"
	case 0x3DB:
		return "NetworkParameterResponse"
	case 0x3DC:
		return "IndividualAddressSerialNumberRead"
	case 0x3DD:
		return "IndividualAddressSerialNumberResponse"
	case 0x3DE:
		return "IndividualAddressSerialNumberWrite"
	case 0x3E0:
		return "DomainAddressWrite"
	case 0x3E1:
		return "DomainAddressRead"
	case 0x3E2:
		return "DomainAddressResponse"
	case 0x3E3:
		return "DomainAddressSelectiveRead"
	case 0x3E4:
		return "NetworkParameterWrite"
	case 0x3E5:
		return "LinkRead"
	case 0x3E6:
		return "LinkResponse"
	case 0x3E7:
		return "LinkWrite"
	case 0x3E8:
		return "GroupPropValueRead"
	case 0x3E9:
		return "GroupPropValueResponse"
	case 0x3EA:
		return "GroupPropValueWrite"
	case 0x3EB:
		return "GroupPropValueInfoReport"
	case 0x3EC:
		return "DomainAddressSerialNumberRead"
	case 0x3ED:
		return "DomainAddressSerialNumberResponse"
	case 0x3EE:
		return "DomainAddressSerialNumberWrite"
	case 0x3F0:
		return "FileStreamInfoReport"
	case SecureService:
		return "SecureService"
	}
	return ""
}
