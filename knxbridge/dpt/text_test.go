package dpt

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// TestText shows what people read.
func TestText(t *testing.T) {
	for _, c := range []struct{ dpt, octets, text string }{
		{"1.001", "01", "on"},
		{"1.011", "00", "inactive"},
		{"1.017", "00", "trigger"}, // not to be told apart
		{"1.017", "01", "trigger"},
		{"1.019", "01", "open"},
		{"1.023", "00", "only move up/down"},
		{"1.023", "01", "move up/down + step-stop"},
		{"1", "01", "true"},
		{"2.001", "03", "control on"},
		{"2.008", "00", "no control up"},
		{"3.007", "0d", "increase 5"},
		{"3.008", "00", "up break"},
		{"4.001", "41", "A"},
		{"5.001", "4d", "30.2"},
		{"5.001", "ff", "100"},
		{"5.003", "ff", "360"},
		{"7.003", "0001", "10"},
		{"8.010", "ffff", "-0.01"},
		{"9.001", "0c33", "21.5"},
		{"9.001", "7fff", "invalid (7fff)"},
		{"9.001", "0000", "0"},
		{"10.001", "6d2d1e", "Wed 13:45:30"},
		{"10.001", "0d2d1e", "13:45:30"},
		{"11.001", "0e0a18", "2024-10-14"},
		{"11.001", "000000", "invalid (000000)"},
		{"11.001", "1f0218", "invalid (1f0218)"}, // 31 February
		{"14.056", "44fa0000", "2000"},
		{"14.000", "7fc00000", "invalid (7fc00000)"},
		{"14.000", "7f7fffff", "3.4028235e+38"},
		{"15.000", "01234547", "code 012345, accepted true, index 7"},
		{"16.001", "e4f6fcdf00000000000000000000", "äöüß"},
		{"17.001", "1f", "31"},
		{"18.001", "81", "learn 1"},
		{"18.001", "05", "activate 5"},
		{"19.001", "7e0b15cd2d1e2080", "Sat 2026-11-21 13:45:30 synchronised"},
		{"19.001", "0000000000003e00", "none"},
		{"20.102", "04", "Building protection"},
		{"20.102", "05", "invalid (05)"},
		{"20.013", "0b", "1,25 min"},
		{"20.020", "01", "SensorConnection"},
		{"20.020", "02", "ControllerConnection"},
		{"20.1005", "01", "default function"},
		{"20.1005", "0e", "Shutter Up Down (for PB)"},
		{"20.1005", "0f", "invalid (0f)"},
		{"20.1005", "27", "Absolute dimming 100 %"},
		{"20.1005", "2b", "Shutter Down / Up (for switch)"},
		{"20.1005", "37", "Sub detector"},
		{"20.1005", "38", "invalid (38)"},
		{"21.001", "05", "out_of_service, overridden"},
		{"21.001", "00", "none"},
		{"21.001", "80", "invalid (80)"},
		{"22.101", "4001", "fault, overheat_alarm"},
		{"23.001", "02", "off/on"},
		{"23.003", "02", "UpDown"},
		{"23.003", "03", "DownUp"},
		{"26.001", "45", "active false, scene 5"},
		{"28.001", "68c3a900", "hé"},
		{"29.010", "8000000000000000", "-9223372036854775808"},
		{"213.100", "0433041a03e80190", "comfort 21.5, standby 21, economy 20, building_protection 8"},
		{"217.001", "0842", "magic 1, version 1, revision 2"},
		{"219.001", "0701140203 06", "log_number 7, priority medium, application_area Lighting, error_class 2, timestamp_supported true, ack_supported true, locked true, alarm_unacked true"},
		{"222.100", "7fff0c1a0b8c", "comfort invalid, standby 21, economy 18.16"},
		{"222.100", "7fff7fff7fff", "invalid (7fff7fff7fff)"},
		{"222.100", "0c330c1a0b8c", "comfort 21.5, standby 21, economy 18.16"},
		{"229.001", "0000000a0310", "value 10, encoding energy 1 Wh, alarm_unacked true"},
		{"232.600", "ff8800", "#ff8800"},
		{"234.001", "6465", "de"},
		{"235.001", "000003e80100", "energy 1000, tariff 1"},
		{"242.600", "800040006403", "x 32768, y 16384, Y 100"},
		{"242.600", "800040006401", "x 32768, y 16384, Y 100, color_valid false"},
		{"243.600", "0019400080006403", "fade_time_s 2.5, y 16384, x 32768, Y 100"},
		{"249.600", "000a0bb88007", "fade_time_s 1, color_temperature 3000, brightness 50.2"},
		{"251.600", "10203040000f", "#10203040"},
		{"251.600", "10203000000e", "#10203000 valid rgb"},
		{"254.600", "0d0008", "r increase 5, g decrease break, b increase break"},
		{"265.001", "7e0b15cd2d1e208001", "datetime Sat 2026-11-21 13:45:30 synchronised, value on"},
	} {
		typ := find(t, c.dpt)
		v, err := typ.Decode(unhex(t, strings.ReplaceAll(c.octets, " ", "")))
		if err != nil {
			t.Errorf("%s %s: %v", c.dpt, c.octets, err)
		} else if v.Text() != c.text {
			t.Errorf("%s %s reads %q, want %q", c.dpt, c.octets, v.Text(), c.text)
		}
	}
}

// TestTyped shows what people may type.
func TestTyped(t *testing.T) {
	for _, c := range []struct{ dpt, text, octets string }{
		{"1.001", "on", "01"},
		{"1.001", "ON", "01"},
		{"1.001", " off ", "00"},
		{"1.001", "true", "01"},
		{"1.001", "0", "00"},
		{"1.005", "no_alarm", "00"},
		{"1.008", "Down", "01"},
		{"1.017", "trigger", "01"},
		{"1.017", "trigger (0)", "00"},
		{"1.017", "Trigger (1)", "01"},
		{"1.017", "false", "00"},
		{"1.100", "heating", "01"},
		{"1.009", "opened", "00"},
		{"1.009", "closed", "01"},
		{"1.010", "started", "01"},
		{"1.010", "Stopped", "00"},
		{"2.001", "control, on", "03"},
		{"2.001", "no control off", "00"},
		{"2.001", `{"control":true,"value":false}`, "02"},
		{"3.007", "increase 5", "0d"},
		{"3.007", "Decrease stop", "00"},
		{"3.007", "break", "00"},
		{"3.007", "up 5", "0d"},
		{"3.007", "down 3", "03"},
		{"3.007", "up stop", "08"},
		{"3.007", `{"direction":"up","stepcode":5}`, "0d"},
		{"3.008", "up 5", "05"},
		{"3.008", "down 3", "0b"},
		{"3.008", "open 5", "05"},
		{"3.008", "close 3", "0b"},
		{"3.008", "increase 5", ""}, // up or more closed?
		{"3", "increase 5", "0d"},
		{"3", "up 5", ""}, // may be a dimmer or a blind
		{"254.600", "r up 5, g down 3, b increase break", "0d0308"},
		{"3.008", `{"direction":"down","stepcode":1}`, "09"},
		{"4.002", "é", "e9"},
		{"4.001", " ", "20"},
		{"5.001", "50 %", "80"},
		{"5.001", "50%", "80"},
		{"5.001", "30.19607843137255", "4d"},
		{"5.003", "180 degrees", "80"},
		{"5.010", "3 pulses", "03"},
		{"5.010", "1 pulse", "01"},
		{"5.010", "3 counter pulses", "03"},
		{"7.003", "15", "0002"},
		{"7.600", "3000 K", "0bb8"},
		{"7.001", "1e3", "03e8"},
		{"8.010", "-327,68", "8000"},
		{"8.010", "327.67 %", "7fff"},
		{"9.001", "21.5", "0c33"},
		{"9.001", "21.5 °C", "0c33"},
		{"9.001", "21,5°C", "0c33"},
		{"9.001", "21.5c", "0c33"},
		{"9.001", "−20.3", "8012"},
		{"9.001", "-273", "a156"},
		{"9.004", "1000 lux", "361b"},
		{"9.022", "21 W/m2", "0c1a"},
		{"9.002", "-671088.64 K", "f800"},
		{"9.002", "670433.28", "7ffe"},
		{"10.001", "13:45", "0d2d00"},
		{"10.001", "wednesday 13:45:30", "6d2d1e"},
		{"10.001", "Wednesday, 13:45:30", "6d2d1e"},
		{"10.001", "Wed., 13:45", "6d2d00"},
		{"10.001", `{"day":null,"time":"13:45:30"}`, "0d2d1e"},
		{"11.001", "2026-11-21", "150b1a"},
		{"11.001", "21.11.2026", "150b1a"},
		{"12.001", "3 pulses", "00000003"},
		{"12.001", "3 counter pulses", "00000003"},
		{"13.010", "-1 Wh", "ffffffff"},
		{"14.056", "2 000,5 W", ""},
		{"14.056", "1e-3", "3a83126f"},
		{"14.060", "10 ohm", "41200000"},
		{"16.001", "äöüß", "e4f6fcdf00000000000000000000"},
		{"16.000", "", "0000000000000000000000000000"},
		{"17.001", "63", "3f"},
		{"18.001", "5", "05"},
		{"18.001", "learn 5", "85"},
		{"19.001", "2026-11-21 13:45:30", "7e0b150d2d1e2400"},
		{"19.001", "Saturday, 2026-11-21 13:45:30", "7e0b15cd2d1e2000"},
		{"19.001", "2026-11-21T13:45:30", "7e0b150d2d1e2400"},
		{"19.001", "Sat 2026-11-21 13:45 working-day summer-time", "7e0b15cd2d004100"},
		{"19.001", `{"datetime":"2026-11-21","day":"Sat","working_day":false}`, "7e0b15c000000200"},
		{"20.102", "comfort", "01"},
		{"20.102", "building_protection", "04"},
		{"20.102", "3", "03"},
		{"20.602", "0.7 s", "01"},
		{"20.020", "sensor connection", "01"},
		{"20.1005", "scene 8", "23"},
		{"20.1005", "55", "37"},
		{"21.001", "Overridden, in_alarm", "0c"},
		{"23.003", "down/up", "03"},
		{"21.001", "none", "00"},
		{"21.001", `{"fault":true,"in_alarm":false}`, "02"},
		{"28.001", "", "00"},
		{"29.010", "9223372036854775807 Wh", "7fffffffffffffff"},
		{"213.100", "comfort 21,5 °C, standby 21, economy 20.009, building protection 8", "0433041a03e80190"},
		{"213.102", `{"comfort":1,"standby":0,"economy":-1.5,"building_protection":-655.34}`, "00320000ffb58001"},
		{"222.100", "comfort invalid, standby 21, economy 18.16", "7fff0c1a0718"},
		{"222.100", `{"comfort":null,"standby":21,"economy":18.16}`, "7fff0c1a0718"},
		{"273.001", "delay_min 60, probability 50, max invalid, min 21.5", "0f003c807fff0c33"},
		{"275.100", `{"comfort":21.5,"standby":null,"economy":21.5,"building_protection":null}`, "0c337fff0c337fff"},
		{"222.100", "comfort 21,5, standby 21, economy: 18.16 °C", "0c330c1a0718"},
		{"232.600", "#ff8800", "ff8800"},
		{"232.600", "#f80", "ff8800"},
		{"232.600", "#F80", "ff8800"},
		{"232.600", "f80", ""}, // may be anything
		{"232.600", "#f8", ""},
		{"232.600", "255, 136, 0", "ff8800"},
		{"232.600", `{"r":255,"g":136,"b":0}`, "ff8800"},
		{"232.600", "r=255; g=136; b=0", "ff8800"},
		{"242.600", "x 32768, y 16384, Y 100", "800040006403"},
		{"242.600", "color valid false, x 32768, y 16384, Y 100", "800040006401"},
		{"251.600", "#10203040", "10203040000f"},
		{"251.600", "#102030", "10203000000e"},
		{"251.600", "#f80", "ff880000000e"},
		{"251.600", "#f801", "ff880011000f"},
		{"251.600", "16 32 48 64", "10203040000f"},
		{"251.600", `{"r":16,"g":32,"b":48,"w":64,"valid":"rgb"}`, "10203040000e"},
		{"267.001", "datetime 2026-11-21 13:45:30, text a, b", "7e0b150d2d1e2400612c206200"},
	} {
		got, err := find(t, c.dpt).Encode(c.text)
		if c.octets == "" {
			if err == nil {
				t.Errorf("%s %q gives %x, want an error", c.dpt, c.text, got)
			}
			continue
		}
		if err != nil || hex.EncodeToString(got) != c.octets {
			t.Errorf("%s %q gives %x (%v), want %s", c.dpt, c.text, got, err, c.octets)
		}
	}
}

// TestErrors wants each error to say what is allowed.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ dpt, text, want string }{
		{"1.001", "maybe", `dpt 1.001: "maybe" is neither "off" nor "on"`},
		{"1.001", "", `dpt 1.001: "" is neither "off" nor "on"`},
		{"1.017", "on", `dpt 1.017: "on" is not "trigger"`},
		{"5.001", "101", `dpt 5.001: "101" is out of range, allowed is 0 to 100 %`},
		{"5.001", "-1 %", `dpt 5.001: "-1 %" is out of range, allowed is 0 to 100 %`},
		{"5.001", "abc", `dpt 5.001: "abc" is no number`},
		{"5.001", "5 °C", `dpt 5.001: "5 °C": want the unit % or none`},
		{"5.005", "5 %", `dpt 5.005: "5 %": want a number without a unit`},
		{"5.010", "1.5", `dpt 5.010: "1.5" is no whole number, want 0 to 255 counter pulses`},
		{"5.006", "255", `dpt 5.006: "255" is out of range, allowed is 0 to 254`},
		{"9.001", "-300", `dpt 9.001: "-300" is out of range, allowed is -273 to 670433.28 °C`},
		{"9.001", "1e999", `dpt 9.001: "1e999" is out of range, allowed is -273 to 670433.28 °C`},
		{"9.001", "nan", `dpt 9.001: "nan" is no number`},
		{"9.001", "0x10", `dpt 9.001: "0x10": want the unit °C or none`},
		{"11.001", "2026-02-30", `dpt 11.001: "2026-02-30" is no date, want one such as 2026-11-21`},
		{"11.001", "1989-12-31", `dpt 11.001: "1989-12-31" is out of range, allowed is 1990-01-01 to 2089-12-31`},
		{"10.001", "25:00", `dpt 10.001: "25:00" is no time, want 00:00:00 to 23:59:59`},
		{"10.001", "Xyz 13:45", `dpt 10.001: "Xyz 13:45": want a weekday such as Wed before the time`},
		{"18.001", "learn 64", `dpt 18.001: scene: "64" is out of range, allowed is 0 to 63`},
		{"19.001", "2026-11-21 2026-11-22", `dpt 19.001: "2026-11-22" is a second date`},
		{"19.001", "Mon Tue", `dpt 19.001: "Tue" is a second weekday`},
		{"19.001", "2156-01-01", `dpt 19.001: year 2156 is out of range, allowed is 1900 to 2155`},
		{"19.001", "--02-30", `dpt 19.001: "--02-30" is no day of a year, want one such as --11-21`},
		{"19.001", `{"when":"2026"}`, `dpt 19.001: "when" is no part of a date and time`},
		{"3.007", "increase 8", `dpt 3.007: step code: "8" is out of range, allowed is 0 to 7`},
		{"4.001", "AB", `dpt 4.001: "AB" is not one character`},
		{"28.001", "a\xff", `dpt 28.001: "a�" is no UTF-8 text without zero characters`},
		{"232.600", `{"r":1,"g":[2],"b":3}`, `dpt 232.600: want a colour such as #ff8800 or 255 136 0: "g" is a JSON array, want a number, a text, true, false or an object`},
		{"234.001", "deu", `dpt 234.001: "deu": want 2 letters`},
		{"14.056", "1e39", `dpt 14.056: "1e39" is out of range, allowed is -3.4e+38 to 3.4e+38 W`},
		{"16.000", "ä", `dpt 16.000: "ä" has a character that is not in ASCII`},
		{"16.001", "123456789012345", `dpt 16.001: "123456789012345" is too long, allowed are 14 characters`},
		{"17.001", "64", `dpt 17.001: "64" is out of range, allowed is 0 to 63`},
		{"20.102", "warm", `dpt 20.102: "warm" is none of: Auto, Comfort, Standby, Economy, Building protection`},
		{"20.102", "5", `dpt 20.102: "5" is none of: Auto, Comfort, Standby, Economy, Building protection`},
		{"21.105", "cold", `dpt 21.105: "cold" is none of the flags: fault`},
		{"29.010", "9223372036854775808", `dpt 29.010: "9223372036854775808" is out of range, allowed is -9223372036854775808 to 9223372036854775807 Wh`},
		{"217.001", "magic 31, version 31, revision 63", `dpt 217.001: "magic 31, version 31, revision 63" means that the version is not valid`},
		{"222.100", "comfort 21", `dpt 222.100: standby is missing, want comfort (-273 to 670433.28 °C), standby (-273 to 670433.28 °C), economy (-273 to 670433.28 °C)`},
		{"222.100", `{"comfort":21,"standby":null}`, `dpt 222.100: economy is missing, want comfort (-273 to 670433.28 °C), standby (-273 to 670433.28 °C), economy (-273 to 670433.28 °C)`},
		{"222.100", `{"comfort":null,"standby":null,"economy":null}`, `dpt 222.100: "{\"comfort\":null,\"standby\":null,\"economy\"…" has no part with a value, want one at least`},
		{"222.100", "comfort invalid, standby invalid, economy invalid", `dpt 222.100: "comfort invalid, standby invalid, econom…" has no part with a value, want one at least`},
		{"242.600", `{"x":1,"y":2,"Y":null}`, `dpt 242.600: Y is missing, want x (0 to 65535), y (0 to 65535), Y (0 to 255), color_valid (false, true), brightness_valid (false, true)`},
		{"232.600", "256 0 0", `dpt 232.600: r: "256" is out of range, allowed is 0 to 255`},
		{"5.001", strings.Repeat("x", 10000), `dpt 5.001: "` + strings.Repeat("x", 40) + `…" is no number`},
	} {
		got, err := find(t, c.dpt).Encode(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s %.50q gives %x and the error\n%v, want\n%s", c.dpt, c.text, got, err, c.want)
		}
	}
}

func TestWrongLength(t *testing.T) {
	for _, c := range []struct{ dpt, octets, want string }{
		{"9.001", "0c", "dpt 9.001: 1 octet, want 2"},
		{"9.001", "", "dpt 9.001: 0 octets, want 2"},
		{"9.001", "0c3300", "dpt 9.001: 3 octets, want 2"},
		{"1.001", "0001", "dpt 1.001: 2 octets, want 1"},
		{"28.001", "", "dpt 28.001: 0 octets, want 1 to 253"},
		{"28.001", strings.Repeat("41", 254), "dpt 28.001: 254 octets, want 1 to 253"},
	} {
		_, err := find(t, c.dpt).Decode(unhex(t, c.octets))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s of %d octets gives the error %v, want %s", c.dpt, len(c.octets)/2, err, c.want)
		}
	}
}

// TestJSON shows what programs read.
func TestJSON(t *testing.T) {
	for _, c := range []struct{ dpt, octets, want string }{
		{"1.001", "01", `true`},
		{"2.001", "02", `{"control":true,"value":false}`},
		{"3.007", "0d", `{"direction":"increase","stepcode":5}`},
		{"5.001", "4d", `30.19607843137255`},
		{"5.010", "4d", `77`},
		{"9.001", "7fff", `null`},
		{"10.001", "0d2d1e", `{"day":null,"time":"13:45:30"}`},
		{"11.001", "0e0a18", `"2024-10-14"`},
		{"18.001", "81", `{"learn":true,"scene":1}`},
		{"19.001", "7e0b15cd2d1e2080", `{"datetime":"2026-11-21T13:45:30","day":"Sat","fault":false,"reliable":false,"summer_time":false,"synchronised":true,"working_day":null}`},
		{"20.102", "04", `"Building protection"`},
		{"20.102", "ff", `null`},
		{"22.1000", "0022", `{"knx_ip":true,"pl110":false,"rf":false,"tp1":true}`},
		{"29.010", "7fffffffffffffff", `9223372036854775807`},
		{"232.600", "ff8800", `{"b":0,"g":136,"r":255}`},
		{"243.600", "0019400080006403", `{"Y":100,"brightness_valid":true,"color_valid":true,"fade_time_s":2.5,"x":32768,"y":16384}`},
		{"251.600", "102030400000", `{"b":48,"g":32,"r":16,"valid":"","w":64}`},
	} {
		v, err := find(t, c.dpt).Decode(unhex(t, c.octets))
		if err != nil {
			t.Errorf("%s: %v", c.dpt, err)
			continue
		}
		if got, err := json.Marshal(v.JSON()); err != nil || string(got) != c.want {
			t.Errorf("%s %s is %s (%v), want %s", c.dpt, c.octets, got, err, c.want)
		}
	}
}
