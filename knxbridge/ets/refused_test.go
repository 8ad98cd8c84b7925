package ets_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
)

func TestRefused(t *testing.T) {
	const (
		open   = `<GroupAddress-Export>`
		header = "Group name;Address\n"
	)
	tests := []struct {
		file, data string
		place      ets.Place
		want       string
	}{
		{"a.xml", "", ets.Place{}, "a.xml: the file is empty"},
		{"a.knxproj", "a;1/2/3", ets.Place{}, "a.knxproj: not a zip archive, as every .knxproj is"},
		{"a.png", "\x89PNG\x00\x01;", ets.Place{}, "a.png: the file is neither text nor a project; want a group address export"},
		{"a.txt", "hello\nworld", ets.Place{}, "no line with fields between tabs, semicolons or commas; want the group address export of ETS"},

		{"", open, ets.Place{Line: 1}, "line 1: not valid XML: unexpected EOF"},
		{"", "<!-- -->", ets.Place{Line: 1}, "no XML element in the file"},
		{"", "<KNX/>", ets.Place{Line: 1}, `the outermost element is "KNX", want "GroupAddress-Export"`},
		{"", open + "\n<a></b>", ets.Place{Line: 2}, "line 2: not valid XML: element <a> closed by </b>"},
		{"", open + "<a>&lol;</a>", ets.Place{Line: 1}, "invalid character entity &lol;"},
		{"", open + "\n\n<GroupAddress Address='32/0/1'/>", ets.Place{Line: 3}, `line 3: group address "32/0/1": main group "32" is not a number from 0 to 31`},
		{"", open + "<GroupAddress/>", ets.Place{Line: 1}, `address "" is not a number from 0 to 65535`},
		{"", open + "<GroupAddress Address='0'/>", ets.Place{Line: 1}, "is the broadcast address"},

		{"", header + "a;1/2/3\n\nb;1/2/256\n", ets.Place{Line: 4}, `line 4: group address "1/2/256": sub group "256" is not a number from 0 to 255`},
		{"", header + "a;switch\n", ets.Place{Line: 2}, `line 2: group address "switch"`},
		{"", "Group name;Type\na;DPT-1\n", ets.Place{Line: 1}, "no column Address in the header, want the export format 1/1 or 3/1"},
		{"", "Name;Address\na;1/2/3\n", ets.Place{Line: 1}, "no column Group name or Sub in the header"},
		{"", "\nname;what\na;1/2/3\n", ets.Place{Line: 2}, "neither a header with Address nor a group address in the first fields"},
		{"", header + "a;1/2/3\n\"b;1/2/4\nc;1/2/5\n", ets.Place{Line: 3}, "a quoted field that does not end at a quote and a separator; want quotes within a field written twice"},
		{"", header + "3\" lamp;1/2/3\n", ets.Place{Line: 2}, "line 2: a quote within a field that does not begin with one"},

		{"", "PK\x03\x04 and no more", ets.Place{}, "not a complete zip archive"},
		{"", string(files{"a.txt": nil}.zip(t)), ets.Place{}, "a zip archive without a project (P-XXXX) in it; want a .knxproj"},
		{"", string(files{"P-1/project.xml": []byte("<KNX/>")}.zip(t)), ets.Place{}, "no P-1/0.xml in it"},
		{"", string(files{"P-1/0.xml": []byte("<KNX/>")}.zip(t)), ets.Place{}, "no P-1/project.xml in it"},
		{"", string(files{"P-1.zip": nil}.zip(t)), ets.Place{File: "P-1.zip"}, "P-1.zip: not a complete zip archive"},
		{"", string(files{"P-1.zip": files{"0.xml": nil}.zip(t)}.zip(t)), ets.Place{File: "P-1.zip"}, "P-1.zip: no project.xml in it"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			table, warnings, err := ets.Parse(test.file, []byte(test.data), ets.Options{Password: password})
			wantRefused(t, table, warnings, err, test.want)
			var placed *ets.Error
			if !errors.As(err, &placed) || placed.Place != test.place || placed.Name != test.file {
				t.Errorf("error %#v, want place %v", err, test.place)
			}
		})
	}
}

func wantRefused(t *testing.T, table ets.Table, warnings []ets.Warning, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("read as %d entries, want an error", len(table.Entries))
	}
	if table.Entries != nil || table.ProjectName != "" || warnings != nil {
		t.Errorf("an error beside a table of %d entries", len(table.Entries))
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want it to say %q", err, want)
	}
	if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 1000 {
		t.Errorf("error %q is not one short line", err)
	}
}

// TestProjectRefused changes one thing in a project that is read otherwise.
func TestProjectRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(files)
		want   string
	}{
		{"address out of range", func(f files) { f.replace(t, "P-0001/0.xml", `Address="2307"`, `Address="70000"`) }, `P-0001/0.xml line 53: group address "70000"`},
		{"no address", func(f files) { f.replace(t, "P-0001/0.xml", `Address="2307"`, ``) }, `P-0001/0.xml line 53: group address ""`},
		{"half a file", func(f files) { f["P-0001/0.xml"] = f["P-0001/0.xml"][:2000] }, "P-0001/0.xml line 32: not valid XML: unexpected EOF"},
		{"not UTF-8", func(f files) { f.replace(t, "P-0001/project.xml", "ü", "\xFC") }, "P-0001/project.xml line 4: not valid XML: invalid UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := sampleProject(t)
			test.change(f)
			table, warnings, err := ets.Parse("", f.zip(t), ets.Options{})
			wantRefused(t, table, warnings, err, test.want)
		})
	}
}

// TestDamaged changes single octets of whole projects: what is still read is what was written. Only types may
// be missing, where the manufacturers' data is damaged.
func TestDamaged(t *testing.T) {
	for _, name := range append([]string{""}, protections...) {
		f := sampleProject(t)
		if name != "" {
			f = protected(t, name)
		}
		whole := f.zip(t)
		want, _ := parse(t, "", whole, ets.Options{Password: password})
		refused := 0
		for at := 0; at < len(whole); at += 397 {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0x10
			table, _, err := ets.Parse("", damaged, ets.Options{Password: password})
			if err != nil {
				refused++
				continue
			}
			same := func(a, b ets.Entry) bool {
				a.Type = b.Type
				return reflect.DeepEqual(a, b)
			}
			if table.ProjectName != want.ProjectName || !slices.EqualFunc(table.Entries, want.Entries, same) {
				t.Errorf("%s with octet %d changed reads as project %q\n%s", name, at, table.ProjectName, lines(table))
			}
		}
		if refused == 0 {
			t.Errorf("%s: no damage was found", name)
		}
	}
}

// TestMethods refuses a compression that no ETS uses, instead of reading nonsense.
func TestMethods(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range []string{"P-1/project.xml", "P-1/0.xml"} {
		out, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: 12, CompressedSize64: 4, UncompressedSize64: 4})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(out, "BZh9")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	table, warnings, err := ets.Parse("", b.Bytes(), ets.Options{})
	wantRefused(t, table, warnings, err, "P-1/project.xml: compressed by method 12, want deflate or none")
}
