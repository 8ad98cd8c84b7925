package ets_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

const password = "Schlüssel 1"

const sampleLines = `
	1/1/1 Lights > Ground floor > Küche [1.001] (type of the reference)
	1/1/2 Lights > Ground floor > Hall [1.001] central unfiltered
	1/1/3 Lights > Ground floor > Dimmer [5.001] (first type of the object)
	1/1/4 Lights > Ground floor > Temperature [9.001] (type of the instance)
	1/1/5 Lights > Ground floor > Power [14.056] (object in a module)
	1/1/6 Lights > Ground floor > Bit [1] (object of one bit without a type)
	1/1/7 Lights > Ground floor > Unknown (object of two bytes without a type)
	1/1/8 Lights > Ground floor > Mode [20.102] (object in a module of a module)
	2/0/1 Other > Old > ETS4 sends [9.004] security Off
	2/0/2 Other > Old > ETS4 receives [9.004] security On secure
	2/1/0 Other > Own type [1.005] security On secure
	3/0/1 Mixed > Objects differ [9.001] secure
	3/0/2 Mixed > Sub type wins [5.001]
	3/0/3 Mixed > Not linked`

const sampleWarning = "group address 3/0/1 has no datapoint type and its objects differ, 9.001 and 7.001: the first is taken"

func TestProject(t *testing.T) {
	table, warnings := parse(t, "house.knxproj", sampleProject(t).zip(t), ets.Options{Password: "not needed"})
	wantWarning(t, warnings, "P-0001/0.xml line 69: "+sampleWarning)
	if table.Format != ets.FormatProject || table.ProjectName != "Haus Süd" || table.Style != frame.StyleThreeLevel {
		t.Errorf("format %v, project %q, style %v", table.Format, table.ProjectName, table.Style)
	}
	wantLines(t, table, sampleLines)
}

func TestProjectStyles(t *testing.T) {
	for style, first := range map[frame.Style]string{
		frame.StyleThreeLevel: "1/1/1", frame.StyleTwoLevel: "1/257", frame.StyleFree: "2305",
	} {
		f := sampleProject(t)
		f.replace(t, "P-0001/project.xml", `"ThreeLevel"`, fmt.Sprintf("%q", style))
		table, _ := parse(t, "", f.zip(t), ets.Options{})
		if got := table.Entries[0].Address.In(table.Style); table.Style != style || got != first {
			t.Errorf("style %v reads as %v with %s first, want %s", style, table.Style, got, first)
		}
	}
}

// replace changes a file so that it differs from what it was.
func (f files) replace(t testing.TB, name, before, after string) {
	t.Helper()
	changed := bytes.ReplaceAll(f[name], []byte(before), []byte(after))
	if before != after && bytes.Equal(changed, f[name]) {
		t.Fatalf("%s does not contain %q", name, before)
	}
	f[name] = changed
}

// TestSchemas reads the format of each version from ETS4 to ETS6, and newer ones with a warning.
func TestSchemas(t *testing.T) {
	for schema := 10; schema <= 24; schema++ {
		f := sampleProject(t)
		for name := range f {
			if name != "M-00FA/M-00FA_A-0002-01-0000.xml" {
				f.replace(t, name, "project/22", fmt.Sprintf("project/%d", schema))
			}
		}
		if schema < 14 { // ETS4 writes a capital, and Windows paths were seen
			f["P-0001/Project.xml"] = f["P-0001/project.xml"]
			f[`P-0001\0.xml`] = f["P-0001/0.xml"]
			delete(f, "P-0001/project.xml")
			delete(f, "P-0001/0.xml")
		}
		table, warnings := parse(t, "", f.zip(t), ets.Options{})
		wantLines(t, table, sampleLines)
		known := schema >= 11 && schema <= 23
		said := strings.Contains(fmt.Sprint(warnings), fmt.Sprintf(`the format of the project is "http://knx.org/xml/project/%d"`, schema))
		if known == said {
			t.Errorf("version %d: warnings %q", schema, warnings)
		}
	}
}

// protected puts an archive made by 7-Zip (AES) or Info-ZIP (ZipCrypto) in place of the project's folder.
func protected(t testing.TB, name string) files {
	t.Helper()
	f := sampleProject(t)
	delete(f, "P-0001/project.xml")
	delete(f, "P-0001/0.xml")
	f["P-0001.zip"] = read(t, "testdata", "protected", name)
	return f
}

// passesCheck is a wrong password that ZipCrypto takes for right in the sample, as it does with every 256th.
const passesCheck = "schlüssel 626"

var protections = []string{"ets5_zipcrypto.zip", "ets6_aes128.zip", "ets6_aes192.zip", "ets6_aes256.zip"}

func TestProtectedProjects(t *testing.T) {
	for _, name := range protections {
		t.Run(name, func(t *testing.T) {
			data := protected(t, name).zip(t)
			table, warnings := parse(t, "", data, ets.Options{Password: password})
			wantWarning(t, warnings, "P-0001.zip/0.xml line 69: "+sampleWarning)
			if table.ProjectName != "Haus Süd" {
				t.Errorf("project %q", table.ProjectName)
			}
			wantLines(t, table, sampleLines)

			_, _, err := ets.Parse("", data, ets.Options{})
			if !errors.Is(err, ets.ErrPasswordRequired) || errors.Is(err, ets.ErrWrongPassword) {
				t.Errorf("without a password: %v", err)
			}
			for _, secret := range []string{"schlüssel 1", passesCheck} {
				_, _, err := ets.Parse("", data, ets.Options{Password: secret})
				if !errors.Is(err, ets.ErrWrongPassword) || strings.Contains(err.Error(), secret) {
					t.Errorf("with a wrong password: %v", err)
				}
			}
		})
	}
}

// TestPasswordIsNotShown prints the options in every way that a log would.
func TestPasswordIsNotShown(t *testing.T) {
	opts := ets.Options{Password: password}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, opts); strings.Contains(got, password) {
			t.Errorf("%s shows the password: %s", verb, got)
		}
	}
}

// TestMissingTypes reads the addresses of projects whose manufacturers' data is missing or damaged.
func TestMissingTypes(t *testing.T) {
	const program = "M-00FA/M-00FA_A-0001-01-ABCD-O000A.xml"
	tests := []struct {
		name    string
		change  func(files)
		warning string
	}{
		{"no hardware", func(f files) { delete(f, "M-00FA/Hardware.xml") }, "M-00FA/Hardware.xml: not in the project"},
		{"no program", func(f files) { delete(f, program) }, program + ": not in the project"},
		{"half a program", func(f files) { f[program] = f[program][:500] }, program + " line 10: not valid XML: unexpected EOF"},
		{"another file", func(f files) { f[program] = []byte("<html/>") }, program + ` line 1: the outermost element is "html", want "KNX"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := sampleProject(t)
			test.change(f)
			table, warnings := parse(t, "", f.zip(t), ets.Options{})
			if len(table.Entries) != 14 || len(warnings) == 0 {
				t.Fatalf("%d entries, warnings %q", len(table.Entries), warnings)
			}
			wantWarning(t, warnings[:1], test.warning)
			wantWarning(t, warnings[:1], "types of group addresses may be missing")
			if e := table.Entries[3]; e.Type.String() != "9.001" {
				t.Errorf("the type that stands in the project itself is %s", e.Type)
			}
		})
	}
}

func TestSeveralProjectsAndInstallations(t *testing.T) {
	f := sampleProject(t)
	f["P-0002/project.xml"], f["P-0002/0.xml"] = []byte("<KNX/>"), []byte("<KNX/>")
	f["P-0001/1.xml"] = []byte("<KNX/>")
	table, warnings := parse(t, "", f.zip(t), ets.Options{})
	wantLines(t, table, sampleLines)
	said := fmt.Sprint(warnings)
	for _, want := range []string{
		"2 projects in the archive, only P-0001 is read",
		"P-0001/0.xml: the project has 2 installations, only this one is read",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("warnings %q, want one that says %q", warnings, want)
		}
	}
}

// TestOddProjects reads what ETS does not write but others did.
func TestOddProjects(t *testing.T) {
	sample := sampleProject(t)
	inner := files{"project.xml": sample["P-0001/project.xml"], "0.xml": sample["P-0001/0.xml"]}
	delete(sample, "P-0001/project.xml")
	delete(sample, "P-0001/0.xml")
	sample["P-0001.zip"] = inner.zip(t)
	table, _ := parse(t, "an inner archive without a password", sample.zip(t), ets.Options{})
	wantLines(t, table, sampleLines)

	for information, want := range map[string]string{
		`<ProjectInformation Name="a" GroupAddressStyle="Five"/>`: `P-1/project.xml line 1: group address style "Five" is not known, taken as ThreeLevel`,
		``: "P-1/project.xml: no ProjectInformation, so the group addresses are taken as three-level",
	} {
		f := files{
			"P-1/project.xml": []byte(`<KNX xmlns="http://knx.org/xml/project/22">` + information + `</KNX>`),
			"P-1/0.xml":       []byte(`<KNX><GroupAddresses><GroupAddress Address="2305" Name="a"/></GroupAddresses></KNX>`),
		}
		table, warnings := parse(t, "", f.zip(t), ets.Options{})
		wantWarning(t, warnings, want)
		wantLines(t, table, "1/1/1 a")
	}
}
