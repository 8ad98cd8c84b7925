package dpt

import (
	"archive/zip"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// masterType is a main number in the master data that ETS puts into its projects.
type masterType struct {
	Number   uint16 `xml:"Number,attr"`
	Bits     int    `xml:"SizeInBit,attr"`
	Subtypes []struct {
		Number uint16 `xml:"Number,attr"`
		Name   string `xml:"Name,attr"`
		Enum   struct {
			Width  int `xml:"Width,attr"`
			Values []struct {
				Value uint64 `xml:"Value,attr"`
				Text  string `xml:"Text,attr"`
			} `xml:"EnumValue"`
		} `xml:"Format>Enumeration"`
	} `xml:"DatapointSubtypes>DatapointSubtype"`
}

// etsNames are those names that ETS spells otherwise than the standard does (KNX
// 03_07_02 §2).
var etsNames = map[string]string{
	"DPT_Heat_Cool":           "DPT_Heat/Cool",
	"DPT_Volume_m³":           "DPT_Volume_m3",
	"DPT_DeltaVolume_m³":      "DPT_DeltaVolume_m3",
	"DPT_SABExcept-Behaviour": "DPT_SABExceptBehaviour",
}

// TestTypesOfETS compares the table with the master data of ETS: every type that
// ETS knows is here, has its name and its size, and names the same values.
func TestTypesOfETS(t *testing.T) {
	types := readMaster(t)
	count := 0
	for _, m := range types {
		for _, s := range m.Subtypes {
			count++
			id := ID{m.Number, s.Number}
			typ, ok := Lookup(id)
			if !ok || typ.ID() != id {
				t.Errorf("%v %s is missing", id, s.Name)
				continue
			}
			name := strings.TrimSpace(s.Name)
			if standard, ok := etsNames[name]; ok {
				name = standard
			}
			if strings.HasPrefix(name, "DPT_") && typ.Name() != name {
				t.Errorf("%v is named %s, want %s", id, typ.Name(), name)
			}
			if variable := m.Number == 24 || m.Number == 28; typ.Bits() != m.Bits && !variable {
				t.Errorf("%v has %d bits, in ETS %d", id, typ.Bits(), m.Bits)
			}
			if s.Enum.Width != m.Bits {
				continue // no enumeration, or one within a structure
			}
			for _, v := range s.Enum.Values {
				named := v.Text != "" && !strings.EqualFold(v.Text, "reserved")
				value := Value{e: typ.e, p: payload{bits: v.Value}, valid: typ.e.shape.valid(payload{bits: v.Value})}
				if named && !value.Valid() {
					t.Errorf("%v %d is not valid, in ETS it is %q", id, v.Value, v.Text)
				}
			}
		}
	}
	if count < 300 {
		t.Errorf("the master data has %d types only", count)
	}
}

// readMaster finds the master data in a project that ETS wrote, beside the
// repository.
func readMaster(t *testing.T) []masterType {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "ets", "ets6_free.knxproj")
	project, err := zip.OpenReader(path)
	if os.IsNotExist(err) {
		t.Skipf("the files that ETS wrote are not beside the module, in %s: they belong to others and are not part of it", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer project.Close()
	file, err := project.Open("knx_master.xml")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var master struct {
		Types []masterType `xml:"MasterData>DatapointTypes>DatapointType"`
	}
	if err := xml.NewDecoder(file).Decode(&master); err != nil {
		t.Fatal(err)
	}
	return master.Types
}
