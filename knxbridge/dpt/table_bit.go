package dpt

// bitFamilies are the types of one to four bits, and the characters and scenes of
// one octet (KNX 03_07_02 §3.1 to §3.4, §3.17, §3.18, §3.23, §3.25, §3.26).
var bitFamilies = []family{
	{1, "1 bit", 1, truth, []row{
		{1, "DPT_Switch", "", offOn},
		{2, "DPT_Bool", "", truth},
		{3, "DPT_Enable", "", boolean{"disable", "enable"}},
		{4, "DPT_Ramp", "", boolean{"no ramp", "ramp"}},
		{5, "DPT_Alarm", "", noAlarm},
		{6, "DPT_BinaryValue", "", boolean{"low", "high"}},
		{7, "DPT_Step", "", decreaseIncrease},
		{8, "DPT_UpDown", "", upDown},
		{9, "DPT_OpenClose", "", openClose},
		{10, "DPT_Start", "", boolean{"stop", "start"}},
		{11, "DPT_State", "", inactiveActive},
		{12, "DPT_Invert", "", notInverted},
		{13, "DPT_DimSendStyle", "", boolean{"start/stop", "cyclically"}},
		{14, "DPT_InputSource", "", boolean{"fixed", "calculated"}},
		{15, "DPT_Reset", "", boolean{"no action", "reset"}},
		{16, "DPT_Ack", "", boolean{"no action", "acknowledge"}},
		{17, "DPT_Trigger", "", trigger{boolean{"trigger (0)", "trigger (1)"}}},
		{18, "DPT_Occupancy", "", boolean{"not occupied", "occupied"}},
		{19, "DPT_Window_Door", "", boolean{"closed", "open"}},
		{21, "DPT_LogicalFunction", "", boolean{"OR", "AND"}},
		{22, "DPT_Scene_AB", "", boolean{"scene A", "scene B"}},
		{23, "DPT_ShutterBlinds_Mode", "", boolean{"only move up/down", "move up/down + step-stop"}},
		{24, "DPT_DayNight", "", boolean{"day", "night"}},
		{100, "DPT_Heat/Cool", "", coolingHeating},
		{1200, "DPT_ConsumerProducer", "", consumerProducer},
		{1201, "DPT_EnergyDirection", "", positiveNegative},
	}},
	{2, "1 bit with control", 2, controlled{truth}, []row{
		{1, "DPT_Switch_Control", "", controlled{offOn}},
		{2, "DPT_Bool_Control", "", controlled{truth}},
		{3, "DPT_Enable_Control", "", controlled{boolean{"disable", "enable"}}},
		{4, "DPT_Ramp_Control", "", controlled{boolean{"no ramp", "ramp"}}},
		{5, "DPT_Alarm_Control", "", controlled{noAlarm}},
		{6, "DPT_BinaryValue_Control", "", controlled{boolean{"low", "high"}}},
		{7, "DPT_Step_Control", "", controlled{decreaseIncrease}},
		{8, "DPT_Direction1_Control", "", controlled{upDown}},
		{9, "DPT_Direction2_Control", "", controlled{openClose}},
		{10, "DPT_Start_Control", "", controlled{boolean{"stop", "start"}}},
		{11, "DPT_State_Control", "", controlled{inactiveActive}},
		{12, "DPT_Invert_Control", "", controlled{notInverted}},
	}},
	{3, "3 bit with control", 4, stepping{change}, []row{
		{7, "DPT_Control_Dimming", "", stepping{dimming}},
		{8, "DPT_Control_Blinds", "", stepping{moving}},
	}},
	{17, "scene number", 8, nil, []row{
		{1, "DPT_SceneNumber", "", u8.from(0, 63)},
	}},
	{18, "scene control", 8, nil, []row{
		{1, "DPT_SceneControl", "", sceneControl{}},
	}},
	{23, "2-bit enumeration", 2, integer{bits: 2}, []row{
		{1, "DPT_OnOffAction", "", enum{"off", "on", "off/on", "on/off"}},
		{2, "DPT_Alarm_Reaction", "", enum{"no alarm is used", "alarm position is up", "alarm position is down"}},
		{3, "DPT_UpDown_Action", "", enum{"up", "down", "UpDown", "DownUp"}},
		{102, "DPT_HVAC_PB_Action", "", enum{"comfort/economy", "comfort/nothing", "economy/nothing", "building protection/auto"}},
	}},
	{25, "2 nibbles", 8, record{number("high", u4, ""), number("low", u4, "")}, []row{
		{1000, "DPT_DoubleNibble", "", record{number("busy", u4.from(0, 3), ""), number("nak", u4.from(0, 3), "")}},
	}},
	{26, "scene information", 8, nil, []row{
		{1, "DPT_SceneInfo", "", record{reserved(1), {"active", 1, inverse{}, "", "true"}, number("scene", u6, "")}},
	}},
}

// The names of bits that several types share.
var (
	offOn            = boolean{"off", "on"}
	upDown           = boolean{"up", "down"}
	openClose        = boolean{"open", "close"}
	noAlarm          = boolean{"no alarm", "alarm"}
	inactiveActive   = boolean{"inactive", "active"}
	notInverted      = boolean{"not inverted", "inverted"}
	decreaseIncrease = boolean{"decrease", "increase"}
	coolingHeating   = boolean{"cooling", "heating"}
	consumerProducer = boolean{"consumer", "producer"}
	positiveNegative = boolean{"positive", "negative"}
)
