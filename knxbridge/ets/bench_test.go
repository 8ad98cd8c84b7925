package ets_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

// largeAddresses is how many addresses a large project has.
const largeAddresses = 20_000

// largeProject is a project of 20,000 addresses, none of them with a type of its own, and 1,000 devices of 20
// kinds, with as many parameters as real ones have. unpacked is its size in octets.
func largeProject(tb testing.TB) (data []byte, unpacked int64) {
	tb.Helper()
	const addresses, devices, kinds = largeAddresses, 1_000, 20
	parameters := strings.Repeat(`<ParameterInstanceRef RefId="M-00FA_A-0001-01-ABCD_P-12345_R-23456" Value="1" />`, 500)
	var installation strings.Builder
	installation.WriteString(`<KNX xmlns="http://knx.org/xml/project/20">`)
	for device := range devices {
		fmt.Fprintf(&installation, `<DeviceInstance Hardware2ProgramRefId="M-00FA_H-1_HP-%d">%s<ComObjectInstanceRefs>`, device%kinds, parameters)
		for object := range 60 {
			fmt.Fprintf(&installation, `<ComObjectInstanceRef RefId="O-%d_R-%[1]d" ReadFlag="Enabled" Text="some text" Links="GA-%d" />`, object, (device*60+object)%addresses)
		}
		installation.WriteString(`</ComObjectInstanceRefs></DeviceInstance>`)
	}
	installation.WriteString(`<GroupAddresses>`)
	for address := range addresses {
		fmt.Fprintf(&installation, `<GroupAddress Id="P-0001-0_GA-%d" Address="%d" Name="Address %[1]d" Description="" />`, address, address+1)
	}
	installation.WriteString(`</GroupAddresses></KNX>`)

	f := files{"P-0001/project.xml": sampleProject(tb)["P-0001/project.xml"], "P-0001/0.xml": []byte(installation.String())}
	var hardware strings.Builder
	hardware.WriteString(`<KNX>`)
	for kind := range kinds {
		fmt.Fprintf(&hardware, `<Hardware2Program Id="M-00FA_H-1_HP-%d"><ApplicationProgramRef RefId="M-00FA_A-%[1]d"/></Hardware2Program>`, kind)
		var program strings.Builder
		program.WriteString(`<KNX>` + strings.Repeat(`<Parameter Id="M-00FA_A-1_P-12345" Name="a name" Text="a text" Value="0" />`, 20_000))
		for object := range 60 {
			fmt.Fprintf(&program, `<ComObject Id="M-00FA_A-%d_O-%d" ObjectSize="1 Bit" DatapointType="DPST-1-1" />`, kind, object)
			fmt.Fprintf(&program, `<ComObjectRef Id="M-00FA_A-%d_O-%d_R-%[2]d" RefId="M-00FA_A-%[1]d_O-%[2]d" />`, kind, object)
		}
		program.WriteString(`</KNX>`)
		f[fmt.Sprintf("M-00FA/M-00FA_A-%d.xml", kind)] = []byte(program.String())
	}
	f["M-00FA/Hardware.xml"] = []byte(hardware.String() + `</KNX>`)
	for _, content := range f {
		unpacked += int64(len(content))
	}
	return f.zip(tb), unpacked
}

// TestLargeProject reads it in seconds, also on a slow machine.
func TestLargeProject(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("takes seconds, and minutes with the race detector")
	}
	data, _ := largeProject(t)
	began := time.Now()
	table, warnings := parse(t, "", data, ets.Options{})
	if took := time.Since(began); took > 30*time.Second || len(table.Entries) != largeAddresses || len(warnings) != 0 {
		t.Errorf("%d addresses in %v, warnings %q", len(table.Entries), took, warnings)
	}
	for _, e := range table.Entries {
		if e.Type.String() != "1.001" {
			t.Fatalf("%s %s has type %s, want that of its objects", e.Address, e.Name, e.Type)
		}
	}
}

func BenchmarkParseProject(b *testing.B) {
	data, unpacked := largeProject(b)
	b.SetBytes(unpacked)
	for b.Loop() {
		table, warnings := parse(b, "", data, ets.Options{})
		if len(table.Entries) != largeAddresses || len(warnings) != 0 || table.Entries[0].Type.String() != "1.001" {
			b.Fatalf("%d entries, warnings %q", len(table.Entries), warnings)
		}
	}
}
