package dpt

// lightingFamilies are the structured types of lighting (KNX 03_07_02 §6).
var lightingFamilies = []family{
	{207, "8-bit value with flags", 16, record{number("value", u8, ""), number("flags", u8, "")}, []row{
		{600, "DPT_StatusLightingActuator", "%", record{
			number("percent", percent, "%"), flag("failure"), flag("local_override"), flag("dimming"), flag("staircase_lighting"),
			flag("night_mode"), flag("forced"), flag("locked"), validity("percent_valid"),
		}},
	}},
	{232, "RGB colour", 24, nil, []row{
		{600, "DPT_Colour_RGB", "", rgb{}},
	}},
	{237, "DALI control gear", 16, nil, []row{
		{600, "DPT_DALI_Control_Gear_Diagnostic", "", record{
			reserved(5), flag("convertor_error"), flag("ballast_failure"), flag("lamp_failure"),
			flag("read"), flag("group"), number("address", u6, ""),
		}},
	}},
	{238, "DALI diagnostics", 8, nil, []row{
		{600, "DPT_DALI_Diagnostics", "", record{flag("ballast_failure"), flag("lamp_failure"), number("address", u6, "")}},
	}},
	{242, "xyY colour", 48, nil, []row{
		{600, "DPT_Colour_xyY", "", record{
			number("x", u16, ""), number("y", u16, ""), number("Y", u8, ""),
			reserved(6), validity("color_valid"), validity("brightness_valid"),
		}},
	}},
	{243, "xyY colour transition", 64, nil, []row{
		// The y-axis comes before the x-axis here (KNX 03_07_02 §6.10), other than in
		// 242.600; some clients have it the other way round.
		{600, "DPT_Colour_Transition_xyY", "", record{
			number("fade_time_s", u16.over(10, 1), "s"), number("y", u16, ""), number("x", u16, ""), number("Y", u8, ""),
			reserved(6), validity("color_valid"), validity("brightness_valid"),
		}},
	}},
	{244, "converter status", 16, nil, []row{
		{600, "DPT_Converter_Status", "", record{
			choice("mode", 4, enum{
				"unknown", "normal mode active", "inhibit mode active", "hardwired inhibit mode active", "rest mode active",
				"emergency mode active", "extended emergency mode active", "FT in progress", "DT in progress", "PDT in progress",
			}),
			reserved(2), flag("hardwired_switch"), flag("hardwired_inhibit"),
			choice("function_test", 2, pending), choice("duration_test", 2, pending), choice("partial_duration_test", 2, pending),
			choice("failure", 2, enum{"unknown", "no failure detected", "failure detected"}),
		}},
	}},
	{245, "converter test result", 48, nil, []row{
		{600, "DPT_Converter_Test_Result", "", record{
			choice("function_test", 4, testResult), choice("duration_test", 4, testResult), choice("partial_duration_test", 4, testResult),
			reserved(4),
			choice("function_test_start", 2, testStart), choice("duration_test_start", 2, testStart), choice("partial_duration_test_start", 2, testStart),
			reserved(2),
			// KNX 03_07_02 §6.12: the first is in steps of 2 minutes, the second a
			// battery charge.
			number("duration_test_time", u16.from(0, 510), ""), number("partial_duration_test_charge", u8, ""),
		}},
	}},
	{246, "battery", 16, nil, []row{
		{600, "DPT_Battery_Info", "", record{
			reserved(5), flag("fully_charged"), flag("duration_failure"), flag("failure"), number("charge", u8, ""),
		}},
	}},
	{247, "converter test", 96, nil, []row{
		{600, "DPT_Converter_Test_Info", "", record{moment("start"), number("interval_h", u16, "h"), number("duration_s", u16, "s")}},
	}},
	{248, "converter constants", 40, nil, []row{
		{600, "DPT_Converter_Info_Fix", "", record{
			choice("information", 8, converterInformation), number("min_level", u8, ""), number("max_level", u8, ""),
			number("rated_duration_min", u8, "min"),
			flag("relight_in_rest_mode"), flag("physical_selection"), flag("hardwired_inhibit"), flag("adjustable_level"),
			flag("auto_test"), flag("switched_maintained"), flag("maintained"), flag("integral_emergency"),
		}},
	}},
	{249, "brightness and colour temperature transition", 48, nil, []row{
		{600, "DPT_Brightness_Colour_Temperature_Transition", "", record{
			number("fade_time_s", u16.over(10, 1), "s"), number("color_temperature", u16, "K"), number("brightness", percent, "%"),
			reserved(5), validity("fade_time_valid"), validity("color_temperature_valid"), validity("brightness_valid"),
		}},
	}},
	{250, "brightness and colour temperature control", 24, nil, []row{
		{600, "DPT_Brightness_Colour_Temperature_Control", "", record{
			reserved(4), step("color_temperature"), reserved(4), step("brightness"),
			reserved(6), validity("color_temperature_valid"), validity("brightness_valid"),
		}},
	}},
	{251, "RGBW colour", 48, nil, []row{
		{600, "DPT_Colour_RGBW", "", rgbw{}},
	}},
	{252, "relative RGBW control", 40, nil, []row{
		{600, "DPT_Relative_Control_RGBW", "", record{
			reserved(4), step("r"), reserved(4), step("g"), reserved(4), step("b"), reserved(4), step("w"),
			reserved(4), validity("r_valid"), validity("g_valid"), validity("b_valid"), validity("w_valid"),
		}},
	}},
	{253, "relative xyY control", 32, nil, []row{
		{600, "DPT_Relative_Control_xyY", "", record{
			reserved(4), step("x"), reserved(4), step("y"), reserved(4), step("Y"),
			reserved(5), validity("x_valid"), validity("y_valid"), validity("Y_valid"),
		}},
	}},
	{254, "relative RGB control", 24, nil, []row{
		{600, "DPT_Relative_Control_RGB", "", record{reserved(4), step("r"), reserved(4), step("g"), reserved(4), step("b")}},
	}},
	{272, "converter", 56, nil, []row{
		{600, "DPT_Converter_Info", "", record{
			choice("information", 8, converterInformation), number("emergency_time_h", u16, "h"), number("operation_time_h", u16, "h"),
			number("emergency_level", u8, ""), number("address", u8.from(0, 63), ""),
		}},
	}},
}

// step is a part that steps up or down.
func step(name string) field { return field{name, 4, stepping{dimming}, "", ""} }

var (
	pending              = enum{"unknown", "no test pending", "test pending"}
	testStart            = enum{"unknown", "started automatically", "started by gateway"}
	converterInformation = enum{"none", "valid", "not valid"}
	testResult           = enum{
		"unknown", "passed in time", "passed after max delay", "failed in time", "failed after max delay", "test manually stopped",
	}
)

// shutterFamilies are the structured types of shutters and blinds (KNX 03_07_02
// §7).
var shutterFamilies = []family{
	{240, "combined position", 24, nil, []row{
		{800, "DPT_CombinedPosition", "%", record{
			number("height", percent, "%"), number("slats", percent, "%"),
			reserved(6), validity("slats_valid"), validity("height_valid"),
		}},
	}},
	{241, "shutter and blinds status", 32, nil, []row{
		{800, "DPT_StatusSAB", "%", record{
			number("height", percent, "%"), number("slats", percent, "%"), validity("slats_valid"), validity("height_valid"),
			reserved(3), flag("failure"), flag("local_override"), flag("locked"), flag("forced"), flag("weather_alarm"),
			flag("slats_restricted"), flag("height_restricted"), flag("target_reached"), flag("lower_predefined_position"),
			flag("lower_end"), flag("upper_end"),
		}},
	}},
}
