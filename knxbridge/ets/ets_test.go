package ets_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

// files are the files of a project by name.
type files map[string][]byte

// sampleProject is the project in testdata.
func sampleProject(t testing.TB) files {
	t.Helper()
	root := filepath.Join("testdata", "project")
	found := files{}
	for _, name := range []string{
		"P-0001/project.xml", "P-0001/0.xml",
		"M-00FA/Hardware.xml", "M-00FA/M-00FA_A-0001-01-ABCD-O000A.xml", "M-00FA/M-00FA_A-0002-01-0000.xml",
	} {
		found[name] = read(t, root, name)
	}
	return found
}

// zip packs the files into a .knxproj.
func (f files) zip(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		out, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(f[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parse reads what must be readable.
func parse(t testing.TB, name string, data []byte, opts ets.Options) (ets.Table, []ets.Warning) {
	t.Helper()
	table, warnings, err := ets.Parse(name, data, opts)
	if err != nil {
		t.Fatal(err)
	}
	return table, warnings
}

// lines writes a table as people read it: what is not set is left out.
func lines(table ets.Table) string {
	var b strings.Builder
	for _, e := range table.Entries {
		fmt.Fprintf(&b, "%s %s", e.Address.In(table.Style), strings.Join(append(slices.Clone(e.Ranges), e.Name), " > "))
		if e.Type != (dpt.ID{}) {
			fmt.Fprintf(&b, " [%s]", e.Type)
		}
		if e.Description != "" {
			fmt.Fprintf(&b, " (%s)", e.Description)
		}
		if e.Security != ets.SecurityAuto {
			fmt.Fprintf(&b, " security %s", e.Security)
		}
		for _, flag := range []struct {
			set  bool
			name string
		}{{e.Central, "central"}, {e.Unfiltered, "unfiltered"}, {e.Secure, "secure"}} {
			if flag.set {
				b.WriteString(" " + flag.name)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// wantLines compares a table with one line for each entry; the indentation does not count.
func wantLines(t *testing.T, table ets.Table, want string) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(want)) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	if got := lines(table); got != b.String() {
		t.Errorf("got\n%swant\n%s", got, b.String())
	}
}

func wantNoWarning(t *testing.T, warnings []ets.Warning) {
	t.Helper()
	for _, w := range warnings {
		t.Errorf("unexpected warning: %s", w)
	}
}

// wantWarning looks for one warning that says what is wanted.
func wantWarning(t *testing.T, warnings []ets.Warning, want string) {
	t.Helper()
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), want) {
		t.Errorf("warnings %q, want one that says %q", warnings, want)
	}
}
