package dpt

import "fmt"

// meteringFamilies are the structured types of metering (KNX 03_07_02 §3.37,
// §3.45, §3.48, §9).
var meteringFamilies = []family{
	{229, "metering value", 48, nil, []row{
		{1, "DPT_MeteringValue", "", record{
			number("value", v32, ""), choice("encoding", 8, valueInformation()),
			reserved(3), flag("alarm_unacked"), flag("in_alarm"), flag("overridden"), flag("fault"), flag("out_of_service"),
		}},
	}},
	{230, "M-Bus address", 64, nil, []row{
		{1000, "DPT_MBus_Address", "", record{
			number("manufacturer", u16, ""), number("identification", u32, ""), number("version", u8, ""),
			choice("medium", 8, enum{
				0: "other", 1: "oil meter", 2: "electricity meter", 3: "gas meter", 4: "heat meter", 5: "steam meter",
				6: "warm water meter", 7: "water meter", 8: "heat cost allocator", 9: "compressed air",
				10: "cooling load meter (inlet)", 11: "cooling load meter (outlet)", 12: "heat (inlet)", 13: "heat and cool",
				14: "bus/system", 15: "unknown device type", 32: "breaker (electricity)", 33: "valve (gas or water)",
				40: "waste water meter", 41: "garbage", 55: "radio converter (meter side)",
			}),
		}},
	}},
	{235, "energy with tariff", 48, nil, []row{
		{1, "DPT_Tariff_ActiveEnergy", "Wh", record{
			number("energy", v32, "Wh"), number("tariff", u8, ""),
			reserved(6), {"energy_valid", 1, inverse{}, "", "true"}, {"tariff_valid", 1, inverse{}, "", "true"},
		}},
	}},
	{257, "3 4-octet float values", 96, phases(""), []row{
		{1200, "DPT_Value_Electric_Current_3", "A", phases("A")},
		{1201, "DPT_Value_Electric_Potential_3", "V", phases("V")},
		{1202, "DPT_Value_ApparentPower_3", "VA", phases("VA")},
	}},
}

// valueInformation is what a metering value counts and in which steps (KNX
// 03_07_02 §3.45.1). The codes are those of M-Bus: blocks of eight powers of ten.
func valueInformation() enum {
	codes := make(enum, 187)
	for _, block := range []struct {
		first    int
		quantity string
		decimals int // of the first step
		unit     string
	}{
		{0, "energy", 3, "Wh"},
		{8, "energy", 3, "kJ"},
		{16, "volume", 3, "l"},
		{24, "mass", 3, "kg"},
		{40, "power", 3, "W"},
		{48, "power", 3, "kJ/h"},
		{56, "volume flow", 3, "l/h"},
		{64, "volume flow", 4, "l/min"},
		{72, "volume flow", 3, "ml/s"},
		{80, "mass flow", 3, "kg/h"},
	} {
		step := 1.0
		for range block.decimals {
			step /= 10
		}
		for i := range 8 {
			codes[block.first+i] = fmt.Sprintf("%s %s %s", block.quantity, decimal(step, block.decimals), block.unit)
			step *= 10
		}
	}
	codes[110] = "units for HCA"
	codes[186] = "dimensionless counter"
	for first, name := range map[int]string{128: "energy %s MWh", 136: "energy %s GJ", 168: "power %s MW", 176: "power %s GJ/h"} {
		codes[first], codes[first+1] = fmt.Sprintf(name, "0.1"), fmt.Sprintf(name, "1")
	}
	return codes
}

func phases(unit string) record {
	return record{{"l1", 32, ieee32{}, unit, ""}, {"l2", 32, ieee32{}, unit, ""}, {"l3", 32, ieee32{}, unit, ""}}
}
