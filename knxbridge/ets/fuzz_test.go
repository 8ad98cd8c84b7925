package ets_test

import (
	"bytes"
	"path/filepath"
	"reflect"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

// Seeds are short: the fuzzer tries to shorten what it finds, which takes long for long ones.

func FuzzParseXML(f *testing.F) {
	f.Add([]byte(`<GroupAddress-Export><GroupRange Name="A" Security="On"><GroupAddress Name="a" Address="1/2/3" DPTs="DPT-1,DPST-1-6"/></GroupRange></GroupAddress-Export>`))
	f.Add([]byte(`<GroupAddress-Export xmlns="x"><GroupAddress Address="7" Central="1" Description="&#xA;"/><!-- --></GroupAddress-Export>`))
	f.Add([]byte("\xFF\xFE<\x00a\x00/\x00>\x00"))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data, ets.Options{Format: ets.FormatXML}) })
}

func FuzzParseCSV(f *testing.F) {
	f.Add([]byte("\"Group name\"\t\"Address\"\t\"Security\"\r\n\"K\xFCche\"\t\"1/2/3\"\t\"On\"\r\n"))
	f.Add([]byte("\uFEFFMain;Middle;Sub;Address;Central\nA;;;1/-/-;\n;B;;1/2/-;\n;;c;1/2/3;true\n"))
	f.Add([]byte("Lights,,,1/-/-\n,Hall,,1/2/-\n,,a,1/2/3,,,,DPST-1-1,On\n"))
	f.Add([]byte("a;7\n\"b;\";65535\n"))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data, ets.Options{Format: ets.FormatCSV}) })
}

// FuzzParseProject changes the files of a project before they are packed, and the packed project as a whole.
func FuzzParseProject(f *testing.F) {
	sample := sampleProject(f)
	f.Add([]byte(nil), []byte(`<KNX xmlns="http://knx.org/xml/project/22"><ProjectInformation Name="a" GroupAddressStyle="Free"/></KNX>`),
		[]byte(`<KNX><DeviceInstance Hardware2ProgramRefId="M-00FA_H-1-0_HP-0001-01-ABCD"><ComObjectInstanceRef RefId="O-1_R-1" Links="A"/></DeviceInstance>`+
			`<ComObjectInstanceRef RefId="M-00FA_A-0002-01-0000_O-1_R-1"><Send GroupAddressRefId="P_B"/></ComObjectInstanceRef>`+
			`<GroupAddresses><GroupRange Name="r"><GroupAddress Id="P_A" Address="1"/><GroupAddress Id="P_B" Address="2" Key="k"/></GroupRange></GroupAddresses></KNX>`),
		[]byte(`<KNX><ComObject Id="M-00FA_A-0001-01-ABCD-O000A_O-1" ObjectSize="1 Bit"/><ComObjectRef Id="M-00FA_A-0001-01-ABCD-O000A_O-1_R-1" DatapointType="DPT-1"/></KNX>`))
	f.Add(sample.zip(f), []byte(nil), []byte(nil), []byte(nil))
	for _, name := range protections {
		f.Add(protected(f, name).zip(f), []byte(nil), []byte(nil), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, whole, information, installation, program []byte) {
		if len(whole) > 0 {
			check(t, whole, ets.Options{Format: ets.FormatProject, Password: password})
			return
		}
		changed := files{
			"P-0001/project.xml":                     information,
			"P-0001/0.xml":                           installation,
			"M-00FA/Hardware.xml":                    sample["M-00FA/Hardware.xml"],
			"M-00FA/M-00FA_A-0001-01-ABCD-O000A.xml": program,
			"M-00FA/M-00FA_A-0002-01-0000.xml":       sample["M-00FA/M-00FA_A-0002-01-0000.xml"],
		}
		check(t, changed.zip(t), ets.Options{Format: ets.FormatProject})
	})
}

// check holds for every import, whatever it is.
func check(t *testing.T, data []byte, opts ets.Options) {
	t.Helper()
	before := bytes.Clone(data)
	table, warnings, err := ets.Parse(filepath.Base(t.Name()), data, opts)
	if !bytes.Equal(data, before) {
		t.Fatal("Parse changed the data")
	}
	if err != nil {
		if !reflect.DeepEqual(table, ets.Table{}) || warnings != nil {
			t.Fatal("something beside an error")
		}
		checkText(t, "error", err.Error(), 1000)
		return
	}
	for _, w := range warnings {
		checkText(t, "warning", w.String(), 1000)
	}
	checkText(t, "project", table.ProjectName, 255)
	for i, e := range table.Entries {
		if e.Address == 0 || i > 0 && table.Entries[i-1].Address >= e.Address {
			t.Fatalf("entry %d is %v", i, e.Address)
		}
		if e.Secure && e.Security == ets.SecurityOff {
			t.Fatalf("%v is secure with security off", e.Address)
		}
		checkText(t, "name", e.Name, 255)
		checkText(t, "description", e.Description, 2048)
		if len(e.Ranges) > 16 {
			t.Fatalf("%v has %d ranges around it", e.Address, len(e.Ranges))
		}
		for _, name := range e.Ranges {
			checkText(t, "range", name, 255)
		}
	}
	again, warnedAgain, err := ets.Parse(filepath.Base(t.Name()), data, opts)
	if err != nil || !reflect.DeepEqual(again, table) || !reflect.DeepEqual(warnedAgain, warnings) {
		t.Fatalf("read again, it differs: %v", err)
	}
}

// checkText wants one line of valid text with a bounded number of characters.
func checkText(t *testing.T, what, text string, most int) {
	t.Helper()
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > most || bytes.ContainsFunc([]byte(text), unicode.IsControl) {
		t.Fatalf("%s %q", what, text)
	}
}
