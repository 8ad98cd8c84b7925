package ets

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestTooLarge exceeds each bound by a little or by a lot. What is only just within it is read.
func TestTooLarge(t *testing.T) {
	export := func(text string) []byte { return []byte("<GroupAddress-Export>" + text + "</GroupAddress-Export>") }
	nested := func(name string, n int) []byte {
		return export(strings.Repeat("<"+name+">", n) + strings.Repeat("</"+name+">", n))
	}
	addresses := func(n int) []byte {
		var b strings.Builder
		b.WriteString("Group name;Address\n")
		for i := range n {
			fmt.Fprintf(&b, "a;%d\n", i%maxAddresses+1)
		}
		return []byte(b.String())
	}
	record := func(n int) []byte {
		return []byte("Group name;Address\na;1/2/3" + strings.Repeat(";", n-len("a;1/2/3")-1) + "\nb;1/2/4\n")
	}
	const ahead = 8192 // what the readers may have read before
	tests := []struct {
		name         string
		within, over []byte
		want         string
	}{
		{"export", nil, make([]byte, maxText+1), "an export of 67108865 octets"},
		{"addresses", addresses(maxAddresses), addresses(maxAddresses + 1), "more than 65535 group addresses"},
		{"record", record(maxRecord / 2), record(maxRecord + ahead), "line 2: too large: a CSV record of more than 65536 octets"},
		{"depth", nested("a", maxDepth-1), nested("a", maxDepth), "more than 256 XML elements within each other"},
		{"ranges", nested("GroupRange", maxRanges), nested("GroupRange", maxRanges+1), "more than 16 group ranges within each other"},
		{"tag", export(`<a b="` + strings.Repeat("x", maxToken/8) + `"/>`), export(`<a b="` + strings.Repeat("x", maxToken+ahead) + `"/>`), "an XML tag or text of more than 8388608 octets"},
		{"files", nil, slices.Concat(zipMark, bytes.Repeat(directoryMark, maxArchiveFiles+1)), "an archive of more than 100000 files"},
		{"links", nil, project(t, `<ComObjectInstanceRef RefId="O-1_R-1" Links="`+strings.Repeat("A ", maxLinks+1)+`"/>`), "more than 1048576 links"},
		{"addresses of a project", nil, project(t, "<GroupAddresses>"+strings.Repeat(`<GroupAddress Address="1"/>`, maxAddresses+1)+"</GroupAddresses>"), "more than 65535 group addresses"},
		{"ratio", nil, pack(t, "P-1.zip", string(make([]byte, ratioFrom+ahead))), "P-1.zip: too large: it unpacks to more than 250 times its size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, warnings, err := Parse("", test.over, Options{})
			if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want it to say %q", err, test.want)
			}
			if table.Entries != nil || warnings != nil {
				t.Errorf("an error beside a table of %d entries", len(table.Entries))
			}
			if _, _, err := Parse("", test.within, Options{}); test.within != nil && err != nil {
				t.Errorf("within the bound: %v", err)
			}
		})
	}
}

// project packs a project whose 0.xml has the given content.
func project(t *testing.T, content string) []byte {
	t.Helper()
	return pack(t, "P-1/project.xml", "<KNX/>", "P-1/0.xml", "<KNX>"+content+"</KNX>")
}

// pack makes a zip of names and contents.
func pack(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for pair := range slices.Chunk(pairs, 2) {
		out, err := w.Create(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUnpackedBounds begins where a bomb has already unpacked almost as much as it may.
func TestUnpackedBounds(t *testing.T) {
	tests := []struct {
		name  string
		n     uint64
		total int
		want  string
	}{
		{"within both", maxFile - 10, 10, ""},
		{"one file", maxFile - 9, 10, "it unpacks to more than 512 MiB"},
		{"all files", 0, 9, "the files unpack to more than 1024 MiB together"},
	}
	for _, test := range tests {
		u := &unpacked{r: strings.NewReader("0123456789"), f: &zip.File{FileHeader: zip.FileHeader{CompressedSize64: maxFile}}, n: test.n, total: &test.total}
		_, err := io.Copy(io.Discard, u)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want it to say %q", test.name, err, test.want)
		}
	}
}

// TestWarningsAreBounded says how many warnings there were and shows the first of them.
func TestWarningsAreBounded(t *testing.T) {
	text := "Group name;Address\n" + strings.Repeat("a;\n", 3*maxWarnings)
	_, warnings, err := Parse("", []byte(text), Options{})
	if err != nil || len(warnings) != maxWarnings {
		t.Fatalf("%d warnings, %v", len(warnings), err)
	}
	// All rows, and that there is no address at all.
	if got, want := warnings[maxWarnings-1].String(), fmt.Sprintf("%d more warnings", 2*maxWarnings+2); got != want {
		t.Errorf("the last warning is %q, want %q", got, want)
	}
	if got := warnings[0].String(); got != "line 2: the row has no address, so it is left out" {
		t.Errorf("the first warning is %q", got)
	}
}

func TestReferences(t *testing.T) {
	for ref, want := range map[string][2]string{
		"O-40_R-1433":                                         {"", "O-40_R-1433"},
		"M-0002_A-A066-14-550B_O-40_R-1433":                   {"M-0002_A-A066-14-550B", "O-40_R-1433"},
		"MD-2_M-20_MI-1_O-2-2_R-3":                            {"", "MD-2_O-2-2_R-3"},
		"M-0008_A-20E0-21-9997-O000A_MD-2_O-2-2_R-3":          {"M-0008_A-20E0-21-9997-O000A", "MD-2_O-2-2_R-3"},
		"M-0008_A-20E0_MD-2_M-20_MI-1_O-2-2_R-3":              {"M-0008_A-20E0", "MD-2_O-2-2_R-3"},
		"MD-4_M-15_MI-1_SM-1_M-1_MI-1-1-2_SM-1_O-3-1_R-2":     {"", "MD-4_SM-1_O-3-1_R-2"},
		"M-0001_A-1_MD-4_M-1_MI-1_SM-1_M-1_MI-1_SM-1_O-3_R-2": {"M-0001_A-1", "MD-4_SM-1_O-3_R-2"},
		"":      {"", ""},
		"X_Y_Z": {"", "X_Y_Z"},
	} {
		if program, object := splitReference(ref); program != want[0] || object != want[1] {
			t.Errorf("%q splits in %q and %q, want %q", ref, program, object, want)
		}
	}
}
