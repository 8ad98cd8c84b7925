package dpt

// numberFamilies are the whole and scaled numbers (KNX 03_07_02 §3.5 to §3.8,
// §3.12, §3.13, §3.29).
var numberFamilies = []family{
	{5, "8-bit unsigned value", 8, u8, []row{
		{1, "DPT_Scaling", "%", percent},
		{3, "DPT_Angle", "°", degrees},
		{4, "DPT_Percent_U8", "%", u8},
		{5, "DPT_DecimalFactor", "", u8},
		{6, "DPT_Tariff", "", u8.from(0, 254)},
		{10, "DPT_Value_1_Ucount", "counter pulses", u8},
		{100, "DPT_FanStage", "fan stage", u8},
	}},
	{6, "8-bit signed value", 8, v8, []row{
		{1, "DPT_Percent_V8", "%", v8},
		{10, "DPT_Value_1_Count", "counter pulses", v8},
		{20, "DPT_Status_Mode3", "", record{
			statusBit("status_a"), statusBit("status_b"), statusBit("status_c"), statusBit("status_d"), statusBit("status_e"),
			choice("mode", 3, enum{1: "mode 0", 2: "mode 1", 4: "mode 2"}),
		}},
	}},
	{7, "2-octet unsigned value", 16, u16, []row{
		{1, "DPT_Value_2_Ucount", "pulses", u16},
		{2, "DPT_TimePeriodMsec", "ms", u16},
		{3, "DPT_TimePeriod10Msec", "ms", u16.by(10)},
		{4, "DPT_TimePeriod100Msec", "ms", u16.by(100)},
		{5, "DPT_TimePeriodSec", "s", u16},
		{6, "DPT_TimePeriodMin", "min", u16},
		{7, "DPT_TimePeriodHrs", "h", u16},
		{10, "DPT_PropDataType", "", u16},
		{11, "DPT_Length_mm", "mm", u16},
		{12, "DPT_UElCurrentmA", "mA", u16},
		{13, "DPT_Brightness", "lx", u16},
		{600, "DPT_Absolute_Colour_Temperature", "K", u16},
	}},
	{8, "2-octet signed value", 16, v16, []row{
		{1, "DPT_Value_2_Count", "pulses", v16},
		{2, "DPT_DeltaTimeMsec", "ms", v16},
		{3, "DPT_DeltaTime10Msec", "ms", v16.by(10)},
		{4, "DPT_DeltaTime100Msec", "ms", v16.by(100)},
		{5, "DPT_DeltaTimeSec", "s", v16},
		{6, "DPT_DeltaTimeMin", "min", v16},
		{7, "DPT_DeltaTimeHrs", "h", v16},
		{10, "DPT_Percent_V16", "%", v16.over(100, 2)},
		{11, "DPT_Rotation_Angle", "°", v16},
		{12, "DPT_Length_m", "m", v16},
	}},
	{12, "4-octet unsigned value", 32, u32, []row{
		{1, "DPT_Value_4_Ucount", "counter pulses", u32},
		{100, "DPT_LongTimePeriod_Sec", "s", u32},
		{101, "DPT_LongTimePeriod_Min", "min", u32},
		{102, "DPT_LongTimePeriod_Hrs", "h", u32},
		{1200, "DPT_VolumeLiquid_Litre", "l", u32},
		{1201, "DPT_Volume_m3", "m³", u32},
	}},
	{13, "4-octet signed value", 32, v32, []row{
		{1, "DPT_Value_4_Count", "counter pulses", v32},
		// The standard gives 13.002 a resolution of 0.0001 m³/h, but devices and
		// other clients alike send whole m³/h.
		{2, "DPT_FlowRate_m3/h", "m³/h", v32},
		{10, "DPT_ActiveEnergy", "Wh", v32},
		{11, "DPT_ApparantEnergy", "VAh", v32},
		{12, "DPT_ReactiveEnergy", "VARh", v32},
		{13, "DPT_ActiveEnergy_kWh", "kWh", v32},
		{14, "DPT_ApparantEnergy_kVAh", "kVAh", v32},
		{15, "DPT_ReactiveEnergy_kVARh", "kVARh", v32},
		{16, "DPT_ActiveEnergy_MWh", "MWh", v32},
		{100, "DPT_LongDeltaTimeSec", "s", v32},
		{1200, "DPT_DeltaVolumeLiquid_Litre", "l", v32},
		{1201, "DPT_DeltaVolume_m3", "m³", v32},
	}},
	{29, "8-octet signed value", 64, v64, []row{
		{10, "DPT_ActiveEnergy_V64", "Wh", v64},
		{11, "DPT_ApparantEnergy_V64", "VAh", v64},
		{12, "DPT_ReactiveEnergy_V64", "VARh", v64},
	}},
}

// statusBit is a status of 6.020, which is set where its bit is 0 (KNX 03_07_02
// §3.6.2).
func statusBit(name string) field { return field{name, 1, inverse{}, "", ""} }
