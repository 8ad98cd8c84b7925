package ets_test

import (
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// TestExportsOfOneHouse reads the same addresses from each format that ETS exports.
func TestExportsOfOneHouse(t *testing.T) {
	for name, format := range map[string]ets.Format{
		"house.xml":                  ets.FormatXML,
		"house_11_tab_latin1.csv":    ets.FormatCSV,
		"house_31_semicolon_bom.csv": ets.FormatCSV,
	} {
		t.Run(name, func(t *testing.T) {
			table, warnings := parse(t, name, read(t, "testdata", name), ets.Options{})
			wantNoWarning(t, warnings)
			if table.Format != format || table.Style != frame.StyleThreeLevel || table.ProjectName != "" {
				t.Errorf("format %v, style %v, project %q", table.Format, table.Style, table.ProjectName)
			}
			want := `
				1/1/1 Lights > Ground floor > Küche Wand [1.006]
				1/1/2 Lights > Ground floor > Kitchen <ceiling> [1.001] (two lines) central unfiltered
				1/2/1 Lights > Secured > Front door [1.009] security On secure
				1/2/2 Lights > Secured > Bell [1] security Off
				2/1/255 Heating > Rooms > Setpoint`
			wantLines(t, table, want)
		})
	}
}

func TestXMLForms(t *testing.T) {
	const space = ` xmlns="http://knx.org/xml/ga-export/01"`
	tests := []struct {
		name, text string
		style      frame.Style
		want       string
	}{
		{
			"two levels", `<GroupAddress-Export` + space + `><GroupRange Name="Main" RangeStart="2048" RangeEnd="4095"><GroupAddress Name="a" Address="1/515" DPTs="DPST-5-1"/></GroupRange></GroupAddress-Export>`,
			frame.StyleTwoLevel, "1/515 Main > a [5.001]",
		},
		{
			"free with ranges at every level", `<GroupAddress-Export` + space + `><GroupAddress Name="z" Address="9"/><GroupRange Name="A"><GroupRange Name="B"><GroupRange Name="C"><GroupAddress Name="y" Address="3"/></GroupRange></GroupRange><GroupAddress Name="x" Address="65535"/></GroupRange></GroupAddress-Export>`,
			frame.StyleFree, "3 A > B > C > y\n9 z\n65535 A > x",
		},
		{
			"no namespace, byte order mark, comment", "\uFEFF<?xml version=\"1.0\"?><!-- don't -->\n<GroupAddress-Export><GroupAddress Name=\"a\" Address=\"1/2/3\"/></GroupAddress-Export>\n",
			frame.StyleThreeLevel, "1/2/3 a",
		},
		{
			"Latin-1", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><GroupAddress-Export><GroupAddress Name=\"K\xFCche\" Address=\"1/2/3\"/></GroupAddress-Export>",
			frame.StyleThreeLevel, "1/2/3 Küche",
		},
		{
			"UTF-16", utf16(`<?xml version="1.0" encoding="utf-16"?><GroupAddress-Export><GroupAddress Name="Küche" Address="1/2/3"/></GroupAddress-Export>`),
			frame.StyleThreeLevel, "1/2/3 Küche",
		},
		{
			"prefix, foreign attributes and elements", `<k:GroupAddress-Export xmlns:k="http://knx.org/xml/ga-export/02" xmlns:o="urn:o"><k:GroupAddress o:Name="no" Name=" a " Address=" 1/2/3 " Security="on"><k:Comment>x</k:Comment></k:GroupAddress></k:GroupAddress-Export>`,
			frame.StyleThreeLevel, "1/2/3 a security On secure",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, warnings := parse(t, "", []byte(test.text), ets.Options{})
			wantNoWarning(t, warnings)
			if table.Style != test.style {
				t.Errorf("style %v, want %v", table.Style, test.style)
			}
			wantLines(t, table, test.want)
		})
	}
}

// utf16 writes ASCII and Latin-1 letters in UTF-16, little-endian with a byte order mark.
func utf16(text string) string {
	var b strings.Builder
	b.WriteString("\xFF\xFE")
	for _, r := range text {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}

func TestCSVForms(t *testing.T) {
	tests := []struct {
		name, text string
		style      frame.Style
		want       string
	}{
		{
			"1/1 without a header", "\"Lights\",\"1/-/-\",\"\",\"\",\"\",\"\",\"Auto\"\r\n\"a, b\",\"1/2/3\",\"true\",\"\",\"text\",\"DPST-1-1\",\"On\"\r\n",
			frame.StyleThreeLevel, "1/2/3 Lights > a, b [1.001] (text) security On central secure",
		},
		{
			"3/1 without a header", "Lights;;;1/-/-\n;Hall;;1/2/-\n;;a;1/2/3;;;;DPST-1-1\n",
			frame.StyleThreeLevel, "1/2/3 Lights > Hall > a [1.001]",
		},
		{
			"without a header and without ranges", "a\t1/2/3\nb\t1/2/4\n",
			frame.StyleThreeLevel, "1/2/3 a\n1/2/4 b",
		},
		{
			"two levels in two columns of names", "\"Main\";\"Sub\";\"Address\"\n\"Lights\";\"\";\"1/-\"\n\"\";\"a\";\"1/515\"\n\"\";\"b\";\"2/1\"\n",
			frame.StyleTwoLevel, "1/515 Lights > a\n2/1 b",
		},
		{
			"two levels without a header", "Lights;;1/-\n;a;1/515\n",
			frame.StyleTwoLevel, "1/515 Lights > a",
		},
		{
			"free", "\"Group name\";\"Address\"\n\"a\";\"7\"\n\"b\";\"65535\"\n",
			frame.StyleFree, "7 a\n65535 b",
		},
		{
			"columns in another order and others beside", "datapointtype, ADDRESS ,Comment,Group Name\n9.001,1/2/3,x,a\n",
			frame.StyleThreeLevel, "1/2/3 a [9.001]",
		},
		{
			"names of ranges in every row", "Main;Middle;Sub;Address\nLights;Hall;a;1/2/3\nLights;Hall;b;1/2/4\nHeat;;c;2/0/1\n",
			frame.StyleThreeLevel, "1/2/3 Lights > Hall > a\n1/2/4 Lights > Hall > b\n2/0/1 Heat > c",
		},
		{
			"names of two ranges in a row, then the row of one", "Main;Middle;Sub;Address\nLights;Hall;;1/2/-\nAll lights;;;01/-/-\n;;a;1/2/3\n",
			frame.StyleThreeLevel, "1/2/3 All lights > Hall > a",
		},
		{
			"rows of ranges after the addresses, security of a range", "Group name;Address;Security\na;1/2/3;Auto\nb;1/3/3;Auto\nLights;1/-/-;On\nHall;1/2/-;Off\n",
			frame.StyleThreeLevel, "1/2/3 Lights > Hall > a security Off\n1/3/3 Lights > b security On secure",
		},
		{
			"blank rows and short ones", "\n\nGroup name;Address;Central\n;;\n\na;1/2/3\n   ;\t;\n",
			frame.StyleThreeLevel, "1/2/3 a",
		},
		{
			"UTF-16", utf16("Group name\tAddress\r\nKüche\t1/2/3\r\n"),
			frame.StyleThreeLevel, "1/2/3 Küche",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, warnings := parse(t, "export.csv", []byte(test.text), ets.Options{})
			wantNoWarning(t, warnings)
			if table.Format != ets.FormatCSV || table.Style != test.style {
				t.Errorf("format %v, style %v, want CSV and %v", table.Format, table.Style, test.style)
			}
			wantLines(t, table, test.want)
		})
	}
}

func TestWarnings(t *testing.T) {
	const header = "Group name;Address;DatapointType\n"
	tests := []struct {
		name, text, want, warning string
	}{
		{"an address twice", header + "a;1/2/3;\nb;1/2/3;DPT-1\n", "1/2/3 b [1]", `line 3: group address 1/2/3 comes again as "b": the last one counts, not "a"`},
		{"another style", header + "a;1/2/3;\nb;7;\n", "0/0/7 b\n1/2/3 a", "line 3: group address 7 is not in the style of those before, which would be 0/0/7"},
		{"no type", header + "a;1/2/3;switch\n", "1/2/3 a", `line 2: "switch" is no datapoint type, want such as DPST-9-1`},
		{"a type and none", header + "a;1/2/3;DPST-1-1 ?\n", "1/2/3 a [1.001]", `"?" is no datapoint type`},
		{"no address", header + "a;;\nb;1/2/3;\n", "1/2/3 b", "line 2: the row has no address"},
		{"no range", header + "a;-/2/-;\nb;1/2/3;\n", "1/2/3 b", `line 2: "-/2/-" is no range, want such as 1/-/-`},
		{"nothing but ranges", header + "a;1/-/-;\n", "", "no group address in it"},
		{"nothing", "<GroupAddress-Export/>", "", "no group address in it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, warnings := parse(t, "", []byte(test.text), ets.Options{})
			wantWarning(t, warnings, test.warning)
			if test.want == "" && len(table.Entries) == 0 {
				return
			}
			wantLines(t, table, test.want)
		})
	}
}

// TestNamesAreOneLine lets nothing into a name that would spoil a table or steer a terminal.
func TestNamesAreOneLine(t *testing.T) {
	long := strings.Repeat("ü", 300)
	text := "Group name;Address;Description\n\"a\r\nb\x1b[31m\";1/2/3;\"\tx\"\n" + long + ";1/2/4;" + strings.Repeat(long, 8)
	table, warnings := parse(t, "", []byte(text), ets.Options{})
	wantNoWarning(t, warnings)
	if e := table.Entries[0]; e.Name != "a b [31m" || e.Description != "x" {
		t.Errorf("%q, %q", e.Name, e.Description)
	}
	if e := table.Entries[1]; e.Name != long[:2*255] || e.Description != strings.Repeat("ü", 2048) {
		t.Errorf("%d and %d octets", len(e.Name), len(e.Description))
	}
}
