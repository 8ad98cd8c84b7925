package dpt

// enumFamilies are the enumerations of one octet (KNX 03_07_02 §3.20, §4.3, §6.3,
// §7.1, §8.3, §9). A number that is not named is reserved. Decimal commas are the
// standard's own.
var enumFamilies = []family{
	{20, "8-bit enumeration", 8, u8, []row{
		{1, "DPT_SCLOMode", "", enum{"autonomous", "slave", "master"}},
		{2, "DPT_BuildingMode", "", enum{"Building in use", "Building not used", "Building protection"}},
		{3, "DPT_OccMode", "", enum{"occupied", "standby", "not occupied"}},
		{4, "DPT_Priority", "", enum{"High", "Medium", "Low", "void"}},
		{5, "DPT_LightApplicationMode", "", enum{"normal", "presence simulation", "night round"}},
		{6, "DPT_ApplicationArea", "", applicationArea},
		{7, "DPT_AlarmClassType", "", enum{1: "simple alarm", 2: "basic alarm", 3: "extended alarm"}},
		{8, "DPT_PSUMode", "", enum{"disabled", "enabled", "auto"}},
		{11, "DPT_ErrorClass_System", "", enum{
			"no fault", "general device fault", "communication fault", "configuration fault", "hardware fault", "software fault",
			"insufficient non volatile memory", "insufficient volatile memory", "memory allocation command with size 0 received",
			"CRC-error", "watchdog reset detected", "invalid opcode detected", "general protection fault",
			"maximal table length exceeded", "undefined load command received", "Group Address Table is not sorted",
			"invalid connection number (TSAP)", "invalid Group Object number (ASAP)",
			"Group Object Type exceeds (PID_MAX_APDU_LENGTH - 2)",
		}},
		{12, "DPT_ErrorClass_HVAC", "", enum{"no fault", "sensor fault", "process fault / controller fault", "actuator fault", "other fault"}},
		{13, "DPT_Time_Delay", "", enum{
			"not active", "1 s", "2 s", "3 s", "5 s", "10 s", "15 s", "20 s", "30 s", "45 s",
			"1 min", "1,25 min", "1,5 min", "2 min", "2,5 min", "3 min", "5 min", "15 min", "20 min", "30 min",
			"1 h", "2 h", "3 h", "5 h", "12 h", "24 h",
		}},
		{14, "DPT_Beaufort_Wind_Force_Scale", "", enum{
			"calm (no wind)", "light air", "light breeze", "gentle breeze", "moderate breeze", "fresh breeze", "strong breeze",
			"near gale / moderate gale", "fresh gale", "strong gale", "whole gale / storm", "violent storm", "hurricane",
		}},
		{17, "DPT_SensorSelect", "", enum{
			"inactive", "digital input not inverted", "digital input inverted", "analog input -> 0% to 100%", "temperature sensor input",
		}},
		{20, "DPT_ActuatorConnectType", "", enum{1: "SensorConnection", 2: "ControllerConnection"}},
		{21, "DPT_Cloud_Cover", "", enum{
			"Cloudless", "Sunny", "Sunshiny", "Lightly cloudy", "Scattered clouds", "Cloudy", "6 oktas", "7 oktas", "Overcast",
			"Sky obstructed from view",
		}},
		{22, "DPT_PowerReturnMode", "", enum{"do not send", "send always", "send if value changed during powerdown"}},
		{100, "DPT_FuelType", "", enum{"auto", "oil", "gas", "solid state fuel"}},
		{101, "DPT_BurnerType", "", enum{1: "1 stage", 2: "2 stage", 3: "modulating"}},
		{102, "DPT_HVACMode", "", enum{"Auto", "Comfort", "Standby", "Economy", "Building protection"}},
		{103, "DPT_DHWMode", "", enum{"Auto", "LegioProtect", "Normal", "Reduced", "Off/FrostProtect"}},
		{104, "DPT_LoadPriority", "", enum{"None", "Shift load priority", "Absolute load priority"}},
		{105, "DPT_HVACContrMode", "", enum{
			0: "Auto", 1: "Heat", 2: "Morning Warmup", 3: "Cool", 4: "Night Purge", 5: "Precool", 6: "Off", 7: "Test",
			8: "Emergency Heat", 9: "Fan only", 10: "Free Cool", 11: "Ice", 12: "Maximum Heating Mode",
			13: "Economic Heat/Cool Mode", 14: "Dehumidification", 15: "Calibration Mode", 16: "Emergency Cool Mode",
			17: "Emergency Steam Mode", 20: "NoDem",
		}},
		{106, "DPT_HVACEmergMode", "", enum{"Normal", "EmergPressure", "EmergDepressure", "EmergPurge", "EmergShutdown", "EmergFire"}},
		{107, "DPT_ChangeoverMode", "", enum{"Auto", "CoolingOnly", "HeatingOnly"}},
		{108, "DPT_ValveMode", "", enum{
			1: "Heat stage A for normal heating", 2: "Heat stage B for heating with two stages (A + B)",
			3: "Cool stage A for normal cooling", 4: "Cool stage B for cooling with two stages (A + B)",
			5: "Heat/Cool for changeover applications",
		}},
		// The standard gives 3 and 4 the same name.
		{109, "DPT_DamperMode", "", enum{1: "Fresh air", 2: "Supply air", 3: "Extract air", 4: "Extract air (4)"}},
		{110, "DPT_HeaterMode", "", enum{1: "Heat Stage A On/Off", 2: "Heat Stage A Proportional", 3: "Heat Stage B Proportional"}},
		{111, "DPT_FanMode", "", enum{"not running", "permanently running", "running in intervals"}},
		{112, "DPT_MasterSlaveMode", "", enum{"autonomous", "master", "slave"}},
		{113, "DPT_StatusRoomSetp", "", enum{"normal setpoint", "alternative setpoint", "building protection setpoint"}},
		{114, "DPT_Metering_DeviceType", "", enum{
			0: "other device", 1: "oil meter", 2: "electricity meter", 3: "gas device", 4: "heat meter", 5: "steam meter",
			6: "warm water meter", 7: "water meter", 8: "heat cost allocator", 10: "cooling load meter (outlet)",
			11: "cooling load meter (inlet)", 12: "heat (inlet)", 13: "heat and cool", 32: "breaker (electricity)",
			33: "valve (gas or water)", 40: "waste water meter", 41: "garbage", 255: "void device type",
		}},
		{115, "DPT_HumDehumMode", "", enum{"inactive", "humidification", "dehumidification"}},
		{116, "DPT_EnableHCStage", "", enum{"disabled", "enable stage A", "enable stage B", "enable both stages"}},
		{120, "DPT_ADAType", "", enum{1: "Air Damper", 2: "VAV"}},
		{121, "DPT_BackupMode", "", enum{"Backup Value", "Keep Last State"}},
		{122, "DPT_StartSynchronization", "", enum{"Position unchanged", "Single close", "Single open"}},
		{600, "DPT_Behaviour_Lock_Unlock", "", enum{
			"off", "on", "no change", "value according additional parameter", "memory function value", "updated value", "value before locking",
		}},
		{601, "DPT_Behaviour_Bus_Power_Up_Down", "", enum{
			"off", "on", "no change", "value according additional parameter", "last (value before bus power down)",
		}},
		{602, "DPT_DALI_Fade_Time", "", enum{
			"0 s (no fade)", "0,7 s", "1,0 s", "1,4 s", "2,0 s", "2,8 s", "4,0 s", "5,7 s", "8,0 s", "11,3 s", "16,0 s",
			"22,6 s", "32,0 s", "45,3 s", "64,0 s", "90,5 s",
		}},
		{603, "DPT_BlinkingMode", "", enum{"BlinkingDisabled", "WithoutAcknowledge", "BlinkingWithAcknowledge"}},
		{604, "DPT_LightControlMode", "", enum{"automatic light control", "manual light control"}},
		{605, "DPT_SwitchPBModel", "", enum{1: "one PB/binary input mode", 2: "two PBs/binary inputs mode"}},
		{606, "DPT_PBAction", "", enum{
			"inactive (no message sent)", "SwitchOff message sent", "SwitchOn message sent", "inverse value of InfoOnOff is sent",
		}},
		{607, "DPT_DimmPBModel", "", enum{
			1: "one PB/binary input; SwitchOnOff inverts on each transmission", 2: "one PB/binary input, On / DimUp message sent",
			3: "one PB/binary input, Off / DimDown message sent", 4: "two PBs/binary inputs mode",
		}},
		{608, "DPT_SwitchOnMode", "", enum{"last actual value", "value according additional parameter", "last received absolute setvalue"}},
		{609, "DPT_LoadTypeSet", "", enum{
			"automatic", "leading edge (inductive load)", "trailing edge (capacitive load)", "switch mode only (non-dimmable load)",
			"automatic once", "CFL, leading", "CFL, trailing", "LED, leading", "LED, trailing",
		}},
		// The standard gives 3 and 255 the same name.
		{610, "DPT_LoadTypeDetected", "", enum{
			0: "undefined", 1: "leading edge (inductive load)", 2: "trailing edge (capacitive load)", 3: "detection not possible or error",
			4: "calibration pending, waiting on trigger", 5: "CFL, leading", 6: "CFL, trailing", 7: "LED, leading", 8: "LED, trailing",
			255: "detection not possible or error (255)",
		}},
		{611, "DPT_Converter_Test_Control", "", enum{
			1: "Start Function Test (FT)", 2: "Start Duration Test (DT)", 3: "Start Partial Duration Test (PDT)", 4: "Stop Test",
			5: "Reset Function Test Done Flag", 6: "Reset Duration Test Done",
		}},
		{612, "DPT_Converter_Control", "", enum{
			"Restore Factory Default Settings", "Goto Rest Mode", "Goto Inhibit Mode", "Re-Light / Reset Inhibit", "Reset Lamp Time",
		}},
		{613, "DPT_Converter_Data_Request", "", enum{
			1: "Request Converter Status", 2: "Request Converter Test Result", 3: "Request Battery Info", 4: "Request Converter FT Info",
			5: "Request Converter DT Info", 6: "Request Converter PDT Info", 7: "Request Converter Info", 8: "Request Converter Info Fix",
		}},
		{801, "DPT_SABExceptBehaviour", "", enum{"up", "down", "no change", "value according additional parameter", "stop"}},
		{802, "DPT_SABBehaviour_Lock_Unlock", "", enum{
			"up", "down", "no change", "value according additional parameter", "stop", "updated value", "value before locking",
		}},
		{803, "DPT_SSSBMode", "", enum{
			1: "one push button/binary input", 2: "one push button/binary input, MoveUp / StepUp message sent",
			3: "one push button/binary input, MoveDown / StepDown message sent", 4: "two push buttons/binary inputs mode",
		}},
		{804, "DPT_BlindsControlMode", "", enum{"Automatic Control", "Manual Control"}},
		{1000, "DPT_CommMode", "", enum{
			0: "Data Link Layer", 1: "Data Link Layer Busmonitor", 2: "Data Link Layer Raw Frames", 6: "cEMI Transport Layer", 255: "No Layer",
		}},
		{1001, "DPT_AddInfoTypes", "", enum{
			1: "PL medium Domain Address", 2: "RF Control Octet and Serial Number or DoA", 3: "Busmonitor Error Flags",
			4: "Relative timestamp", 5: "Time delay", 6: "Extended Relative Timestamp", 7: "BiBat information",
		}},
		{1002, "DPT_RF_ModeSelect", "", enum{"asynchronous", "asynchronous + BiBat Master", "asynchronous + BiBat Slave"}},
		{1003, "DPT_RF_FilterSelect", "", enum{
			"no filtering", "filtering by Domain Address", "filtering by KNX Serial Number table",
			"filtering by Domain Address and by Serial Number",
		}},
		{1004, "DPT_Medium", "", enum{0: "KNX TP1", 1: "KNX PL110", 2: "KNX RF", 5: "KNX IP"}},
		{1005, "DPT_PB_Function", "", enum{
			1: "default function", 2: "ON", 3: "OFF", 4: "Toggle", 5: "Dimming Up Down", 6: "Dimming Up", 7: "Dimming Down",
			8: "On / Off", 9: "Timed On Off", 10: "Forced On", 11: "Forced Off", 12: "Shutter Up (for PB)",
			13: "Shutter Down (for PB)", 14: "Shutter Up Down (for PB)", 16: "Forced Up", 17: "Forced Down", 18: "Wind Alarm",
			19: "Rain Alarm", 20: "HVAC Mode Comfort / Economy", 21: "HVAC Mode Comfort / -", 22: "HVAC Mode Economy / -",
			23: "HVAC Mode Building protection / HVAC mode auto", 24: "Shutter Stop", 25: "Timed Comfort Standby",
			26: "Forced Comfort", 27: "Forced Building protection", 28: "Scene 1", 29: "Scene 2", 30: "Scene 3", 31: "Scene 4",
			32: "Scene 5", 33: "Scene 6", 34: "Scene 7", 35: "Scene 8", 36: "Absolute dimming 25 %", 37: "Absolute dimming 50 %",
			38: "Absolute dimming 75 %", 39: "Absolute dimming 100 %", 40: "Shutter Up / - (for switch)",
			41: "Shutter Down / - (for switch)", 42: "Shutter Up / Down (for switch)", 43: "Shutter Down / Up (for switch)",
			44: "Light sensor", 45: "System clock", 46: "Battery status", 47: "HVAC Mode Standby / -", 48: "HVAC Mode Auto / -",
			49: "HVAC Mode Comfort / Standby", 50: "HVAC Mode Building protection / -", 51: "Timed toggle",
			52: "Dimming Absolute switch", 53: "Scene switch", 54: "Smoke alarm", 55: "Sub detector",
		}},
		{1200, "DPT_MBus_BreakerValve_State", "", enum{0: "closed", 1: "open", 2: "released", 255: "invalid"}},
		{1202, "DPT_Gas_Measurement_Condition", "", enum{
			"unknown", "temperature converted", "at base condition", "at measurement condition",
		}},
	}},
}

// applicationArea is 20.006, which 219.001 uses too.
var applicationArea = enum{
	0: "no fault", 1: "system and functions of common interest", 10: "HVAC general FBs", 11: "HVAC Hot Water Heating",
	12: "HVAC Direct Electrical Heating", 13: "HVAC Terminal Units", 14: "HVAC VAC", 20: "Lighting", 30: "Security",
	40: "Load Management", 50: "Shutters and blinds",
}
