package dpt

// timeFamilies are date and time, and values with a date and time before them
// (KNX 03_07_02 §3.10, §3.11, §3.19, §3.53 to §3.56).
var timeFamilies = []family{
	{10, "time", 24, nil, []row{
		{1, "DPT_TimeOfDay", "", timeOfDay{}},
	}},
	{11, "date", 24, nil, []row{
		{1, "DPT_Date", "", date{}},
	}},
	{19, "date and time", 64, nil, []row{
		{1, "DPT_DateTime", "", dateTime{}},
	}},
	{256, "date and time period", 128, nil, []row{
		{1, "DPT_DateTime_Period", "", record{moment("start"), moment("stop")}},
	}},
	{265, "date and time with 1 bit", 72, dated(truth), []row{
		{1, "DPT_DateTime_Switch", "", dated(offOn)},
		{5, "DPT_DateTime_Alarm", "", dated(noAlarm)},
		{9, "DPT_DateTime_OpenClose", "", dated(openClose)},
		{11, "DPT_DateTime_State", "", dated(inactiveActive)},
		{12, "DPT_DateTime_Invert", "", dated(notInverted)},
		{1200, "DPT_DateTime_ConsumerProducer", "", dated(consumerProducer)},
		{1201, "DPT_DateTime_EnergyDirection", "", dated(positiveNegative)},
	}},
	{266, "date and time with 4-octet float value", 96, datedFloat(""), []row{
		{27, "DPT_DateTime_Value_Electric_Potential", "V", datedFloat("V")},
		{56, "DPT_DateTime_Value_Power", "W", datedFloat("W")},
		{80, "DPT_DateTime_Value_ApparentPower", "VA", datedFloat("VA")},
	}},
	{267, "date and time with UTF-8 string", 0, nil, []row{
		{1, "DPT_DateTime_UTF-8", "", record{moment("datetime"), {"text", 0, utf8Text{}, "", ""}}},
	}},
}

func moment(name string) field { return field{name, 64, dateTime{}, "", ""} }

func dated(b boolean) record {
	return record{moment("datetime"), reserved(7), {"value", 1, b, "", ""}}
}

func datedFloat(unit string) record {
	return record{moment("datetime"), {"value", 32, ieee32{}, unit, ""}}
}
