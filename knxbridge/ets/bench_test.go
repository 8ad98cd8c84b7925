package ets_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

// BenchmarkParseProject reads a project of 20,000 addresses, none of them with a type of its own, and 1,000
// devices of 20 kinds, with as many parameters as real ones have.
func BenchmarkParseProject(b *testing.B) {
	const addresses, devices, kinds = 20_000, 1_000, 20
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

	f := files{"P-0001/project.xml": sampleProject(b)["P-0001/project.xml"], "P-0001/0.xml": []byte(installation.String())}
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
	data := f.zip(b)
	unpacked := 0
	for _, content := range f {
		unpacked += len(content)
	}
	b.SetBytes(int64(unpacked))
	for b.Loop() {
		table, warnings := parse(b, "", data, ets.Options{})
		if len(table.Entries) != addresses || len(warnings) != 0 || table.Entries[0].Type.String() != "1.001" {
			b.Fatalf("%d entries, warnings %q", len(table.Entries), warnings)
		}
	}
}
