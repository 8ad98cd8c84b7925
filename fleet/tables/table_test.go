package tables

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// files draws what an import may say; few addresses and names, so that they meet.
func files() *rapid.Generator[ets.Table] {
	entries := rapid.Custom(func(t *rapid.T) ets.Entry {
		e := ets.Entry{
			Address:     frame.GroupAddress(rapid.Uint16Range(1, 12).Draw(t, "address")),
			Name:        rapid.SampledFrom([]string{"", "Licht", "licht", "Küche Decke", "Temperatur \u2713"}).Draw(t, "name"),
			Description: rapid.SampledFrom([]string{"", "\"quoted\", & <odd>"}).Draw(t, "description"),
			Type:        rapid.SampledFrom([]dpt.ID{{}, {Main: 1, Sub: 1}, {Main: 9, Sub: dpt.Generic}, {Main: 14, Sub: 1200}}).Draw(t, "type"),
			Ranges:      rapid.SampledFrom([][]string{nil, {"EG"}, {"EG", "Licht"}, {"EG", ""}, {"EGLicht"}}).Draw(t, "ranges"),
			Security:    rapid.SampledFrom([]ets.Security{ets.SecurityAuto, ets.SecurityOn, ets.SecurityOff}).Draw(t, "security"),
			Secure:      rapid.Bool().Draw(t, "secure"),
			Central:     rapid.Bool().Draw(t, "central"),
			Unfiltered:  rapid.Bool().Draw(t, "unfiltered"),
		}
		return e
	})
	return rapid.Custom(func(t *rapid.T) ets.Table {
		return ets.Table{
			Style:   rapid.SampledFrom(styles).Draw(t, "style"),
			Entries: rapid.SliceOfN(entries, 0, 10).Draw(t, "entries"),
		}
	})
}

func TestRecordKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := New(files().Draw(t, "file"))
		want.importedAt = time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "at"), 5).UTC()
		packed, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(packed)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.entries)+len(want.entries) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nwant %+v", got, want)
		}
	})
}

func TestLookups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := files().Draw(t, "file")
		table := New(file)
		last := map[frame.GroupAddress]ets.Entry{}
		named := map[string][]frame.GroupAddress{}
		for _, e := range file.Entries {
			last[e.Address] = e // the last line of an address counts
		}
		for address := range frame.GroupAddress(14) {
			want, ok := last[address]
			got := table.Lookup(address)
			if (got != nil) != ok || ok && !reflect.DeepEqual(*got, want) {
				t.Fatalf("%s: %+v, want %+v", address, got, want)
			}
			if ok && want.Name != "" {
				named[want.Name] = append(named[want.Name], address)
			}
		}
		for _, name := range []string{"", "Licht", "licht", "LICHT", "Küche Decke", "Temperatur \u2713", "zzz"} {
			if got := table.Named(name); !slices.Equal(got, named[name]) {
				t.Fatalf("%q: %v, want %v", name, got, named[name])
			}
		}
		if len(table.Entries()) != len(last) {
			t.Fatalf("%d entries, want %d", len(table.Entries()), len(last))
		}
	})
}

func TestNilIsTheEmptyTable(t *testing.T) {
	for _, table := range []*Table{nil, {}} {
		if table.Lookup(1) != nil || table.Named("a") != nil || len(table.Entries()) != 0 || table.Etag() != "" ||
			!table.ImportedAt().IsZero() || table.Style() != frame.StyleThreeLevel {
			t.Errorf("%+v is not empty", table)
		}
	}
}

// What is merged is what the rules of the contract say, line by line, and the
// counts and changes tell exactly the difference.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, file, prune := New(files().Draw(t, "old")), files().Draw(t, "file"), rapid.Bool().Draw(t, "prune")
		lines := New(file)
		merged, result := merge(old, file, prune)
		var want Result
		want.Total = len(lines.Entries())
		for address := frame.GroupAddress(1); address < 14; address++ {
			before, after := old.Lookup(address), lines.Lookup(address)
			if after == nil && !prune {
				after = before
			}
			got := merged.Lookup(address)
			if (got == nil) != (after == nil) || got != nil && !reflect.DeepEqual(*got, *after) {
				t.Fatalf("%s: %+v, want %+v", address, got, after)
			}
			switch {
			case before == nil && after == nil:
				continue
			case before == nil:
				want.Added++
			case after == nil:
				want.Removed++
			case !reflect.DeepEqual(*before, *after):
				want.Changed++
			default:
				want.Unchanged++
				continue
			}
			want.Changes = append(want.Changes, Change{before, after})
		}
		want.Style = old.Style()
		if len(lines.Entries()) > 0 {
			want.Style = file.Style
		}
		if !reflect.DeepEqual(result, want) || merged.Style() != want.Style {
			t.Fatalf("%+v, style %v\nwant %+v", result, merged.Style(), want)
		}
	})
}

func pack(t testing.TB, plain string) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	good := pack(t, `{"v":1,"style":"Free","addresses":[{"a":1,"n":"x"}]}`)
	if _, err := decode(good); err != nil {
		t.Fatal(err)
	}
	for plain, want := range map[string]string{
		`{"v":2,"style":"Free"}`:                                      "newer program",
		`{"v":1,"style":"Round"}`:                                     "Round",
		`{"v":1,"style":"Free","addresses":[{"a":0}]}`:                "follows",
		`{"v":1,"style":"Free","addresses":[{"a":2},{"a":2}]}`:        "follows",
		`{"v":1,"style":"Free","addresses":[{"a":70000}]}`:            "70000",
		`{"v":1,"style":"Free","addresses":[{"a":1,"r":1}]}`:          "ranges 1 of 0",
		`{"v":1,"style":"Free","addresses":[{"a":1,"t":"nonsense"}]}`: "nonsense",
		`[]`: "array",
	} {
		if _, err := decode(pack(t, plain)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", plain, err, want)
		}
	}
	for _, packed := range [][]byte{nil, good[:len(good)-9], []byte("plain")} {
		if _, err := decode(packed); err == nil {
			t.Errorf("%q was taken", packed)
		}
	}
	if _, err := decode(pack(t, strings.Repeat(" ", maxUnpacked+1))); err == nil || !strings.Contains(err.Error(), "unpacks") {
		t.Errorf("a record that unpacks to too much: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"style":"Free","ranges":[["a"]],"addresses":[{"a":1,"n":"x","t":"9.001","r":1}]}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		table, err := decode(pack(t, string(plain)))
		if err != nil {
			return
		}
		packed, err := encode(table)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(packed)
		if err != nil || len(again.entries) != len(table.entries) {
			t.Errorf("read back: %v", err)
		}
	})
}

// large is a table as a building has it, with n addresses.
func large(n int) ets.Table {
	file := ets.Table{Entries: make([]ets.Entry, n)}
	for i := range file.Entries {
		file.Entries[i] = ets.Entry{
			Address: frame.GroupAddress(i + 1), Name: fmt.Sprintf("EG Zimmer %d Licht %d schalten", i%40, i), Type: dpt.ID{Main: 1, Sub: 1},
			Ranges: []string{"EG", fmt.Sprintf("Zimmer %d", i%40)},
		}
	}
	return file
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{200, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := New(large(n))
			address := frame.GroupAddress(0)
			for b.Loop() {
				if address = address*7919 + 1; table.Lookup(address) == nil && n == 65535 && address != 0 {
					b.Fatal(address)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	packed, err := encode(New(large(200)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(packed)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(packed); err != nil {
			b.Fatal(err)
		}
	}
}
