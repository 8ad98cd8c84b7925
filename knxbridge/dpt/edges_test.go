package dpt

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// TestEdges are the ends of ranges and the less common types, worked out by hand
// from KNX 03_07_02: octets, their JSON form, and that the text encodes to the
// octets again.
func TestEdges(t *testing.T) {
	for _, c := range []struct{ dpt, octets, want string }{
		{"1.023", "01", `true`},
		{"2.012", "01", `{"control":false,"value":true}`},
		{"3.007", "08", `{"direction":"increase","stepcode":0}`},
		{"3.008", "07", `{"direction":"up","stepcode":7}`},
		{"4.001", "7e", `"~"`},
		{"4.001", "80", `null`},
		{"4.002", "ff", `"ÿ"`},
		{"5.001", "00", `0`},
		{"5.001", "01", `0.39215686274509803`},
		{"5.001", "7f", `49.80392156862745`},
		{"5.003", "01", `1.411764705882353`},
		{"5.003", "80", `180.7058823529412`},
		{"5.004", "ff", `255`},
		{"5.006", "fe", `254`},
		{"5.006", "ff", `null`},
		{"5.100", "ff", `255`},
		{"6.001", "80", `-128`},
		{"6.001", "7f", `127`},
		{"6.010", "ff", `-1`},
		{"6.020", "f9", `{"mode":"mode 0","status_a":false,"status_b":false,"status_c":false,"status_d":false,"status_e":false}`},
		{"6.020", "04", `{"mode":"mode 2","status_a":true,"status_b":true,"status_c":true,"status_d":true,"status_e":true}`},
		{"6.020", "03", `null`},
		{"7.003", "ffff", `655350`},
		{"7.004", "ffff", `6553500`},
		{"8.003", "8000", `-327680`},
		{"8.004", "7fff", `3276700`},
		{"8.010", "8000", `-327.68`},
		{"8.010", "7fff", `327.67`},
		{"8.010", "0001", `0.01`},
		{"8.012", "8000", `-32768`},
		{"9.001", "a156", `-272.96`}, // the next step is below absolute zero
		{"9.001", "a155", `null`},    // -273.12
		{"9.001", "ffff", `null`},    // -327.68
		{"9.001", "7ffe", `670433.28`},
		{"9.002", "f800", `-671088.64`},
		{"9.002", "87ff", `-0.01`},
		{"9.002", "0001", `0.01`},
		{"9.004", "87ff", `null`},
		{"9.027", "0000", `0`},
		{"10.001", "000000", `{"day":null,"time":"00:00:00"}`},
		{"10.001", "f8173b", `null`}, // 24 o'clock
		{"10.001", "003c00", `null`},
		{"11.001", "1d0218", `"2024-02-29"`},
		{"11.001", "1d0217", `null`}, // no leap year
		{"11.001", "010164", `null`}, // year 100
		{"12.001", "00000000", `0`},
		{"12.102", "80000000", `2147483648`},
		{"12.1201", "ffffffff", `4294967295`},
		{"13.001", "80000000", `-2147483648`},
		{"13.001", "7fffffff", `2147483647`},
		{"13.010", "ffffffff", `-1`},
		{"13.016", "fffffff6", `-10`},
		{"13.100", "ffffff9c", `-100`},
		{"13.1201", "00000001", `1`},
		{"14.000", "00000000", `0`},
		{"14.019", "3dcccccd", `0.10000000149011612`},
		{"14.027", "43660000", `230`},
		{"14.056", "ff7fffff", `-3.4028234663852886e+38`},
		{"14.056", "00000001", `1.401298464324817e-45`},
		{"14.056", "7f800000", `null`},
		{"14.056", "ff800000", `null`},
		{"14.068", "c1a26666", `-20.299999237060547`},
		{"15.000", "99999900", `{"accepted":false,"code":"999999","encrypted":false,"error":false,"index":0,"right_to_left":false}`},
		{"15.000", "a0000000", `null`},
		{"15.000", "000001bf", `{"accepted":false,"code":"000001","encrypted":true,"error":true,"index":15,"right_to_left":true}`},
		{"16.000", "4b4e58206973204f4b000000000000" + "", ``},
		{"16.000", "4b4e58206973204f4b0000000000", `"KNX is OK"`},
		{"16.001", "ff000000000000000000000000ff", `null`},
		{"16.001", "4142434445464748494a4b4c4d4e", `"ABCDEFGHIJKLMN"`},
		{"17.001", "40", `null`},
		{"18.001", "3f", `{"learn":false,"scene":63}`},
		{"18.001", "c0", `null`},
		{"19.001", "ff0c1ff83b3b0000", `null`}, // 24:59:59
		{"19.001", "ff0c1ff800000000", `{"datetime":"2155-12-31T24:00:00","day":"Sun","fault":false,"reliable":false,"summer_time":false,"synchronised":false,"working_day":false}`},
		{"20.006", "32", `"Shutters and blinds"`},
		{"20.011", "12", `"Group Object Type exceeds (PID_MAX_APDU_LENGTH - 2)"`},
		{"20.102", "00", `"Auto"`},
		{"20.105", "14", `"NoDem"`},
		{"20.105", "12", `null`},
		{"20.114", "ff", `"void device type"`},
		{"20.1000", "ff", `"No Layer"`},
		{"21.100", "81", `{"dhw_legio":false,"dhw_norm":false,"force_request":true,"overrun":false,"oversupply":false,"protection":false,"room_h_conf":false,"room_h_max":true}`},
		{"21.106", "0b", `{"cool":true,"fan_active":true,"fault":true,"heat":false}`},
		{"22.100", "0081", `{"dhw_load_active":false,"dhw_push_active":false,"fault":true,"legio_prot_active":false,"other_energy_source_active":false,"solar_energy_only":false,"solar_energy_support":false,"temp_optim_shift_active":true}`},
		{"22.101", "8000", `null`},
		{"23.102", "03", `"building protection/auto"`},
		{"24.001", "e400", `"ä"`},
		{"24.001", "e4", `null`},
		{"25.1000", "31", `{"busy":3,"nak":1}`},
		{"26.001", "3f", `{"active":true,"scene":63}`},
		{"28.001", "f09f8f9800", `"🏘"`},
		{"28.001", "ff00", `null`},
		{"28.001", "4100", `"A"`},
		{"28.001", "41", `null`},
		{"29.010", "8000000000000000", `-9223372036854775808`},
		{"29.011", "7fffffffffffffff", `9223372036854775807`},
		{"206.100", "003c04", `{"delay_min":60,"mode":"building protection"}`},
		{"207.600", "ff81", `{"dimming":false,"failure":true,"forced":false,"local_override":false,"locked":false,"night_mode":false,"percent":100,"percent_valid":true,"staircase_lighting":false}`},
		{"213.100", "caae7fff00000001", `{"building_protection":0.02,"comfort":-273,"economy":0,"standby":655.34}`},
		{"213.100", "caad000000000000", `null`}, // below absolute zero
		{"213.101", "0bb8089803e800fa", `{"legio_protect":60,"normal":44,"off_frost_protect":5,"reduced":20}`},
		{"213.102", "80017fffffff0032", `{"building_protection":1,"comfort":-655.34,"economy":-0.02,"standby":655.34}`},
		{"213.102", "8000000000000000", `null`},
		{"217.001", "fffe", `{"magic":31,"revision":62,"version":31}`},
		{"217.001", "ffff", `null`}, // 31.31.63
		{"219.001", "ff0332050f07", `{"ack_supported":true,"alarm_text_supported":true,"alarm_unacked":true,"application_area":"Shutters and blinds","error_class":5,"error_code_supported":true,"in_alarm":true,"locked":true,"log_number":255,"priority":"none","timestamp_supported":true}`},
		{"222.101", "87ff00000001", `{"comfort":-0.01,"economy":0.01,"standby":0}`},
		{"222.100", "7fff0c1a0b8c", `{"comfort":null,"economy":18.16,"standby":21}`},
		{"222.100", "7fff7fff0b8c", `{"comfort":null,"economy":18.16,"standby":null}`},
		{"222.100", "7fff7fff7fff", `null`},
		{"222.100", "ffff0c1a0b8c", `null`}, // -327.68: no such temperature
		{"222.101", "00007fff7fff", `{"comfort":0,"economy":null,"standby":null}`},
		{"225.001", "0001ff", `{"percent":100,"time_ms":100}`},
		{"225.001", "000000", `null`},
		{"229.001", "80000000031f", `{"alarm_unacked":true,"encoding":"energy 1 Wh","fault":true,"in_alarm":true,"out_of_service":true,"overridden":true,"value":-2147483648}`},
		{"229.001", "00000064ba00", `{"alarm_unacked":false,"encoding":"dimensionless counter","fault":false,"in_alarm":false,"out_of_service":false,"overridden":false,"value":100}`},
		{"229.001", "00000064bb00", `null`},
		{"230.1000", "1234000000ff0107", `{"identification":255,"manufacturer":4660,"medium":"water meter","version":1}`},
		{"231.001", "6465 4154", `{"language":"de","region":"AT"}`},
		{"232.600", "000000", `{"b":0,"g":0,"r":0}`},
		{"235.001", "ffffffff0203", `{"energy":-1,"energy_valid":false,"tariff":2,"tariff_valid":false}`},
		{"236.001", "ff", `{"deactivate":true,"mode":15,"priority":7}`},
		{"237.600", "01 7f", `{"address":63,"ballast_failure":false,"convertor_error":false,"group":true,"lamp_failure":true,"read":false}`},
		{"238.600", "bf", `{"address":63,"ballast_failure":true,"lamp_failure":false}`},
		{"240.800", "ff0003", `{"height":100,"height_valid":true,"slats":0,"slats_valid":true}`},
		{"241.800", "ff80c001", `{"failure":false,"forced":false,"height":100,"height_restricted":false,"height_valid":true,"local_override":false,"locked":false,"lower_end":false,"lower_predefined_position":false,"slats":50.19607843137255,"slats_restricted":false,"slats_valid":true,"target_reached":false,"upper_end":true,"weather_alarm":false}`},
		{"242.600", "ffff00000000", `{"Y":0,"brightness_valid":false,"color_valid":false,"x":65535,"y":0}`},
		{"244.600", "1555", `null`}, // the reserved bits
		{"244.600", "1155", `{"duration_test":"no test pending","failure":"no failure detected","function_test":"no test pending","hardwired_inhibit":true,"hardwired_switch":false,"mode":"normal mode active","partial_duration_test":"no test pending"}`},
		{"246.600", "07ff", `{"charge":255,"duration_failure":true,"failure":true,"fully_charged":true}`},
		{"249.600", "00640fa0ff07", `{"brightness":100,"brightness_valid":true,"color_temperature":4000,"color_temperature_valid":true,"fade_time_s":10,"fade_time_valid":true}`},
		{"250.600", "0d0303", `{"brightness":{"direction":"decrease","stepcode":3},"brightness_valid":true,"color_temperature":{"direction":"increase","stepcode":5},"color_temperature_valid":true}`},
		{"251.600", "ff0000ff0009", `{"b":0,"g":0,"r":255,"valid":"rw","w":255}`},
		{"252.600", "0f01000008", `{"b":{"direction":"decrease","stepcode":0},"b_valid":false,"g":{"direction":"decrease","stepcode":1},"g_valid":false,"r":{"direction":"increase","stepcode":7},"r_valid":true,"w":{"direction":"decrease","stepcode":0},"w_valid":false}`},
		{"253.600", "0f010004", `{"Y":{"direction":"decrease","stepcode":0},"Y_valid":false,"x":{"direction":"increase","stepcode":7},"x_valid":true,"y":{"direction":"decrease","stepcode":1},"y_valid":false}`},
		{"254.600", "0f0102", `{"b":{"direction":"decrease","stepcode":2},"g":{"direction":"decrease","stepcode":1},"r":{"direction":"increase","stepcode":7}}`},
		{"255.001", "41800000c1800000", `{"latitude":-16,"longitude":16}`},
		{"257.1201", "436600004366800043670000", `{"l1":230,"l2":230.5,"l3":231}`},
		{"273.001", "0f003c807fff0c33", `{"delay_min":60,"delay_valid":true,"max":null,"max_valid":true,"min":21.5,"min_valid":true,"probability":50.19607843137255,"probability_valid":true}`},
		{"273.001", "02003c807fff7fff", `{"delay_min":60,"delay_valid":false,"max":null,"max_valid":true,"min":null,"min_valid":false,"probability":50.19607843137255,"probability_valid":false}`},
		{"275.100", "0c337fff0c330c33", `{"building_protection":21.5,"comfort":21.5,"economy":21.5,"standby":null}`},
		{"275.100", "7fff7fff7fff7fff", `null`},
		{"275.100", "0c330c1a0b8c0000", `{"building_protection":0,"comfort":21.5,"economy":18.16,"standby":21}`},
	} {
		typ, raw := find(t, c.dpt), unhex(t, strings.ReplaceAll(c.octets, " ", ""))
		v, err := typ.Decode(raw)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s takes %d octets", c.dpt, len(raw))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.dpt, err)
			continue
		}
		if got, err := json.Marshal(v.JSON()); err != nil || string(got) != c.want {
			t.Errorf("%s %x is %s (%v), want %s", c.dpt, raw, got, err, c.want)
		}
		if !v.Valid() {
			continue
		}
		again, err := typ.Encode(v.Text())
		if want := hex.EncodeToString(raw); err != nil || (hex.EncodeToString(again) != want && !hasCanonical(typ.e.shape)) {
			t.Errorf("%s %q encodes to %x (%v), want %s", c.dpt, v.Text(), again, err, want)
		}
	}
}

// TestRounding takes numbers that lie between two steps to the nearer one.
func TestRounding(t *testing.T) {
	for _, c := range []struct{ dpt, text, octets string }{
		{"9.001", "-20.3", "8012"},
		{"9.001", "20.474", "07ff"},
		{"9.001", "20.48", "0c00"},
		{"9.001", "20.489", "0c00"},
		{"9.001", "20.491", "0c01"},
		{"9.001", "-20.484", "8000"},
		{"9.001", "-20.486", "8000"}, // -20.48 with the least exponent
		{"9.001", "-20.5", "8bff"},
		{"9.001", "0.004", "0000"},
		{"9.001", "-0.004", "0000"},
		{"9.001", "-0.006", "87ff"},
		{"9.006", "101325", "6cd5"},
		{"9.004", "100000", "6cc5"},
		{"9.002", "670433.27", "7ffe"},
		{"5.001", "0.19", "00"},
		{"5.001", "0.2", "01"},
		{"5.001", "99.9", "ff"},
		{"5.003", "0.7", "00"},
		{"5.003", "0.71", "01"},
		{"8.010", "0.004", "0000"},
		{"8.010", "-0.006", "ffff"},
		{"8.003", "-14", "ffff"},
		{"14.056", "0.1", "3dcccccd"},
		{"14.056", "16777217", "4b800000"}, // half way, to even
		{"14.056", "16777219", "4b800002"},
		{"14.056", "1e-46", "00000000"},
		{"14.056", "-0", "80000000"},
	} {
		got, err := find(t, c.dpt).Encode(c.text)
		if err != nil || hex.EncodeToString(got) != c.octets {
			t.Errorf("%s %s gives %x (%v), want %s", c.dpt, c.text, got, err, c.octets)
		}
	}
}
