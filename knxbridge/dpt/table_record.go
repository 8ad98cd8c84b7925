package dpt

// recordFamilies are the structured types of common use and of the system (KNX
// 03_07_02 §3.15, §3.30 to §3.52, §8, §10).
var recordFamilies = []family{
	{15, "access data", 32, nil, []row{
		{0, "DPT_Access_Data", "", record{
			{"code", 24, bcd(6), "", ""}, flag("error"), flag("accepted"), flag("right_to_left"), flag("encrypted"),
			number("index", u4, ""),
		}},
	}},
	{217, "datapoint type version", 16, nil, []row{
		{1, "DPT_Version", "", version{record{number("magic", u5, ""), number("version", u5, ""), number("revision", u6, "")}}},
	}},
	{219, "alarm information", 48, nil, []row{
		{1, "DPT_AlarmInfo", "", record{
			number("log_number", u8, ""), choice("priority", 8, enum{"high", "medium", "low", "none"}),
			choice("application_area", 8, applicationArea),
			number("error_class", u8, ""), // 20.011, or 20.012 where the area is HVAC
			reserved(4), flag("error_code_supported"), flag("alarm_text_supported"), flag("timestamp_supported"), flag("ack_supported"),
			reserved(5), flag("locked"), flag("alarm_unacked"), flag("in_alarm"),
		}},
	}},
	{221, "serial number", 48, nil, []row{
		{1, "DPT_SerNum", "", record{number("manufacturer", u16, ""), number("number", u32, "")}},
	}},
	{225, "scaling speed", 24, record{number("time", u16, ""), number("value", u8, "")}, []row{
		{1, "DPT_ScalingSpeed", "", record{number("time_ms", u16.by(100).from(1, 65535), "ms"), number("percent", percent, "%")}},
		{2, "DPT_Scaling_Step_Time", "", record{number("time_ms", u16.from(1, 65535), "ms"), number("percent", percent, "%")}},
		{3, "DPT_TariffNext", "", record{number("delay_min", u16, "min"), number("tariff", u8.from(0, 254), "")}},
	}},
	{236, "prioritised mode control", 8, nil, []row{
		{1, "DPT_Prioritised_Mode_Control", "", record{flag("deactivate"), number("priority", u3, ""), number("mode", u4, "")}},
	}},
	{239, "flagged scaling", 16, nil, []row{
		{1, "DPT_FlaggedScaling", "%", record{number("percent", percent, "%"), reserved(7), validity("active")}},
	}},
	{255, "geographical location", 64, nil, []row{
		{1, "DPT_GeographicalLocation", "°", record{{"longitude", 32, ieee32{}, "°", ""}, {"latitude", 32, ieee32{}, "°", ""}}},
	}},
	{273, "forecast", 64, forecast(anyF16, ""), []row{
		{1, "DPT_Forecast_Temperature", "°C", forecast(celsius, "°C")},
		{2, "DPT_Forecast_WindSpeed", "m/s", forecast(positiveF16, "m/s")},
		{3, "DPT_Forecast_RelativeHumidity", "%", forecast(positiveF16, "%")},
		{4, "DPT_Forecast_AbsoluteHumidity", "%", forecast(positiveF16, "%")},
		{5, "DPT_Forecast_CO2", "ppm", forecast(positiveF16, "ppm")},
		{6, "DPT_Forecast_AirPollutants", "µg/m³", forecast(positiveF16, "µg/m³")},
		{7, "DPT_Forecast_SunIntensity", "W/m²", forecast(anyF16, "W/m²")},
	}},
	{274, "forecast of a direction", 48, nil, []row{
		{1, "DPT_Forecast_Wind_Direction", "°", append(forecastHead(), number("max", degrees, "°"), number("min", degrees, "°"))},
	}},
}

func forecast(value float16, unit string) record {
	return append(forecastHead(), float("max", value, unit), float("min", value, unit))
}

func forecastHead() record {
	return record{
		reserved(4), validity("delay_valid"), validity("probability_valid"), validity("max_valid"), validity("min_valid"),
		number("delay_min", u16, "min"), number("probability", percent, "%"),
	}
}

// hvacFamilies are the structured types of heating, ventilation and air
// conditioning (KNX 03_07_02 §4).
var hvacFamilies = []family{
	{206, "delay and mode", 24, modeNext(nil), []row{
		{100, "DPT_HVACModeNext", "", modeNext(enum{"undefined", "comfort", "standby", "economy", "building protection"})},
		{102, "DPT_DHWModeNext", "", modeNext(enum{"undefined", "legio protect", "normal", "reduced", "off/frost protection"})},
		{104, "DPT_OccModeNext", "", modeNext(enum{"occupied", "standby", "not occupied"})},
		{105, "DPT_BuildingModeNext", "", modeNext(enum{"building in use", "building not used", "building protection"})},
	}},
	// Other clients have 2-octet floats here, but the standard has steps of 0.02 (KNX
	// 03_07_02 §4.18).
	{213, "4 2-octet signed values", 64, setpoints(v16.over(50, 2), "", comfortModes...), []row{
		{100, "DPT_TempRoomSetpSet[4]", "°C", setpoints(v16.over(50, 2).from(-13650, 32767), "°C", comfortModes...)},
		{101, "DPT_TempDHWSetpSet[4]", "°C", setpoints(v16.over(50, 2).from(-13650, 32767), "°C",
			"legio_protect", "normal", "reduced", "off_frost_protect")},
		{102, "DPT_TempRoomSetpSetShift[4]", "K", setpoints(v16.over(50, 2).from(-32767, 32767), "K", comfortModes...)},
	}},
	{222, "3 2-octet float values", 48, setpoints(part16{anyF16}, "", comfortModes[:3]...), []row{
		{100, "DPT_TempRoomSetpSetF16[3]", "°C", setpoints(part16{celsius}, "°C", comfortModes[:3]...)},
		{101, "DPT_TempRoomSetpSetShiftF16[3]", "K", setpoints(part16{anyF16}, "K", comfortModes[:3]...)},
	}},
	{275, "4 2-octet float values", 64, setpoints(part16{anyF16}, "", comfortModes...), []row{
		{100, "DPT_TempRoomSetpSetF16[4]", "°C", setpoints(part16{celsius}, "°C", comfortModes...)},
		{101, "DPT_TempRoomSetpSetShiftF16[4]", "K", setpoints(part16{anyF16}, "K", comfortModes...)},
	}},
}

func modeNext(mode enum) record {
	if mode == nil {
		return record{number("delay_min", u16, "min"), number("mode", u8, "")}
	}
	return record{number("delay_min", u16, "min"), choice("mode", 8, mode)}
}

// comfortModes are the modes of a room that have a setpoint each.
var comfortModes = []string{"comfort", "standby", "economy", "building_protection"}

// setpoints is a value of 16 bits for each mode.
func setpoints(value shape, unit string, modes ...string) record {
	var r record
	for _, mode := range modes {
		r = append(r, field{mode, 16, value, unit, ""})
	}
	return r
}
