package dpt

import "fmt"

// flagFamilies are the sets of bits (KNX 03_07_02 §3.21, §3.22, §3.27, §3.29,
// §4.4, §4.5, §6.4, §8.4). Bit 0, the least significant, comes first.
var flagFamilies = []family{
	{21, "8-bit set", 8, numbered("bit_%d", 0, 8), []row{
		{1, "DPT_StatusGen", "", flags{"out_of_service", "fault", "overridden", "in_alarm", "alarm_unacked"}},
		{2, "DPT_Device_Control", "", flags{"user_stopped", "own_individual_address", "verify_mode"}},
		{100, "DPT_ForceSign", "", flags{
			"force_request", "protection", "oversupply", "overrun", "dhw_norm", "dhw_legio", "room_h_conf", "room_h_max",
		}},
		{101, "DPT_ForceSignCool", "", flags{"force_request"}},
		{102, "DPT_StatusRHC", "", flags{
			"fault", "status_eco", "temp_flow_limit", "temp_return_limit", "status_morning_boost", "status_start_optim",
			"status_stop_optim", "summer_mode",
		}},
		{103, "DPT_StatusSDHWC", "", flags{"fault", "sdhw_load_active", "solar_load_sufficient"}},
		{104, "DPT_FuelTypeSet", "", flags{"oil", "gas", "solid_state"}},
		{105, "DPT_StatusRCC", "", flags{"fault"}},
		{106, "DPT_StatusAHU", "", flags{"fault", "fan_active", "heat", "cool"}},
		{107, "DPT_CombinedStatus_RTSM", "", flags{
			"window_status", "presence_status", "comfort_push_button", "comfort_prolongation_user", "hvac_mode_user",
		}},
		{601, "DPT_LightActuatorErrorInfo", "", flags{
			"load_detection_error", "undervoltage", "overcurrent", "underload", "defective_load", "lamp_failure", "overheat",
		}},
		{1000, "DPT_RF_ModeInfo", "", flags{"asynchronous", "bibat_master", "bibat_slave"}},
		{1001, "DPT_RF_FilterInfo", "", flags{"doa", "knx_sn", "doa_and_knx_sn"}},
		{1002, "DPT_Security_Report", "", flags{"security_failure"}},
		{1010, "DPT_Channel_Activation_8", "", numbered("channel_%d", 1, 8)},
		{1200, "DPT_VirtualDryContact", "", numbered("contact_%d", 0, 8)},
		{1201, "DPT_Phases_Status", "", numbered("phase_%d", 1, 3)},
	}},
	{22, "16-bit set", 16, numbered("bit_%d", 0, 16), []row{
		{100, "DPT_StatusDHWC", "", flags{
			"fault", "dhw_load_active", "legio_prot_active", "dhw_push_active", "other_energy_source_active", "solar_energy_only",
			"solar_energy_support", "temp_optim_shift_active",
		}},
		{101, "DPT_StatusRHCC", "", flags{
			"fault", "status_eco_h", "temp_flow_limit", "temp_return_limit", "status_morning_boost_h", "status_start_optim",
			"status_stop_optim", "heating_disabled", "heat_cool_mode", "status_eco_c", "status_pre_cool", "cooling_disabled",
			"dew_point_status", "frost_alarm", "overheat_alarm",
		}},
		{102, "DPT_CombinedStatus_HVA", "", flags{
			"current_valve_position", "short_circuit", "overload", "valve_kick", "service_mode", "manual_operation",
			"forced_position", "locked_position", "calibration_mode",
		}},
		{103, "DPT_CombinedStatus_RTC", "", flags{
			"general_failure", "active_mode", "dew_point_status", "frost_alarm", "overheat_alarm", "controller_inactive",
			"additional_stage", "heating_mode_enabled", "cooling_mode_enabled",
		}},
		{1000, "DPT_Media", "", flags{1: "tp1", 2: "pl110", 4: "rf", 5: "knx_ip"}},
		{1010, "DPT_Channel_Activation_16", "", numbered("channel_%d", 1, 16)},
	}},
	{27, "32-bit set", 32, nil, []row{
		// An output counts where its bit in the upper half is set.
		{1, "DPT_CombinedInfoOnOff", "", append(numbered("output_%d", 1, 16), numbered("output_%d_valid", 1, 16)...)},
	}},
	{30, "24-bit set", 24, nil, []row{
		{1010, "DPT_Channel_Activation_24", "", numbered("channel_%d", 1, 24)},
	}},
}

// numbered is so many flags that differ by a number.
func numbered(format string, first, count int) flags {
	var f flags
	for i := range count {
		f = append(f, fmt.Sprintf(format, first+i))
	}
	return f
}
