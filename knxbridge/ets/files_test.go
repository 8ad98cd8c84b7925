package ets_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// TestFilesOfETS reads files that ETS itself wrote. What they contain was read out of them by hand; the types
// that come from linked objects agree with what xknxproject finds in the same projects.
func TestFilesOfETS(t *testing.T) {
	folder := dataFolder(t)
	tests := []struct {
		file    string
		format  ets.Format
		project string
		style   frame.Style
		want    string
	}{
		{"ga.xml", ets.FormatXML, "", frame.StyleThreeLevel, `
			1/1/1 Licht > EG & Keller > Küche Decke [1.001] (Schalten) central unfiltered
			1/1/2 Licht > EG & Keller > Raumtemperatur [9.001]
			1/1/3 Licht > EG & Keller > nur Haupttyp [5]
			1/1/4 Licht > EG & Keller > ohne DPT
			1/1/5 Licht > EG & Keller > zwei DPTs [1.006]`},
		{"ga_11_tab.csv", ets.FormatCSV, "", frame.StyleThreeLevel, `
			1/1/1 Licht > EG > Küche Decke [1.001] (Schalten)
			1/1/2 Licht > EG > Raumtemperatur [9.001]`},
		{"ga_31_semicolon.csv", ets.FormatCSV, "", frame.StyleThreeLevel, `
			1/1/1 Licht > EG > Küche; Decke "A" [1.001] (Schalten)`},
		{"ets6_free.knxproj", ets.FormatProject, "ets6_free", frame.StyleFree, `
			1 Group 1 > foo
			2 Group 1 > Group 1.1 > bar
			3 Group 1 > Group 1.1 > Group 1.1.1 > whatever
			1025 Only Sub > Sub > one_more`},
		{"pw.knxproj", ets.FormatProject, "xknx test project", frame.StyleThreeLevel, `
			1/0/0 Neue Hauptgruppe > Neue Mittelgruppe > Test [1.008]
			1/0/1 Neue Hauptgruppe > Neue Mittelgruppe > Behang D auf/ab [1]
			1/0/2 Neue Hauptgruppe > Neue Mittelgruppe > Lamelle C auf/ab [1.008]
			1/0/3 Neue Hauptgruppe > Neue Mittelgruppe > Behang C auf/ab [1.008]
			1/0/4 Neue Hauptgruppe > Neue Mittelgruppe > Lamelle B auf/ab [1]
			1/0/5 Neue Hauptgruppe > Neue Mittelgruppe > BehangB auf/ab [1]
			2/0/0 Neue Hauptgruppe > Neue Mittelgruppe > channel-test [1.002] secure
			2/0/1 Neue Hauptgruppe > Neue Mittelgruppe > Temperature [9.001] secure
			2/0/6 Neue Hauptgruppe > Neue Mittelgruppe > Windalarm [1.001]
			2/1/1 Neue Hauptgruppe > DPT tests > Not linked to a comm object (no dpt)
			2/1/2 Neue Hauptgruppe > DPT tests > Not linked to a comm object 2 [9.001] (temperature)
			2/1/10 Neue Hauptgruppe > DPT tests > generic 1-bit [1]
			2/1/21 Neue Hauptgruppe > DPT tests > No DPT in GA [9] (multiple DPT 9 in 1 CO)
			2/1/22 Neue Hauptgruppe > DPT tests > No DPT in GA 2 [9] (multiple DPT 9 and not defined in COs)
			2/1/23 Neue Hauptgruppe > DPT tests > No DPT in GA 3 [9] (DPT 9 generic and multiple in COs)
			7/0/0 DataSecureTest > Non-DS > ds 0 [9.001] (security: off (inherited from middle group)) security Off
			7/1/0 DataSecureTest > DS-Auto > ds 1 [9.001] (security: auto) secure
			7/1/1 DataSecureTest > DS-Auto > ds 2 [5.001] (security: on) security On secure
			7/1/2 DataSecureTest > DS-Auto > ds + non ds [9.001]`},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			table, warnings := parse(t, test.file, read(t, folder, test.file), ets.Options{Password: "test"})
			wantNoWarning(t, warnings)
			if table.Format != test.format || table.ProjectName != test.project || table.Style != test.style {
				t.Errorf("format %v, project %q, style %v", table.Format, table.ProjectName, table.Style)
			}
			wantLines(t, table, test.want)
		})
	}
	t.Run("wrong passwords", func(t *testing.T) {
		data := read(t, folder, "pw.knxproj")
		for secret, want := range map[string]error{"": ets.ErrPasswordRequired, "Test": ets.ErrWrongPassword} {
			if _, _, err := ets.Parse("pw.knxproj", data, ets.Options{Password: secret}); !errors.Is(err, want) {
				t.Errorf("password %q: %v, want %v", secret, err, want)
			}
		}
	})
}

// dataFolder finds the files of ETS, which stand beside the module, or where
// KNXFLEET_ETS_FILES says, and are not part of it.
func dataFolder(t *testing.T) string {
	t.Helper()
	if folder := os.Getenv("KNXFLEET_ETS_FILES"); folder != "" {
		return folder
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(root)
		if parent == root {
			t.Fatal("no go.mod above the package")
		}
		root = parent
	}
	beside := filepath.Join("..", "shared", "data", "ets")
	if _, err := os.Stat(filepath.Join(root, beside)); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the files that ETS wrote are not beside the module, in %s: they belong to others and are not part of it", beside)
	}
	return filepath.Join(root, beside)
}
