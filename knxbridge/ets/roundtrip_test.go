package ets_test

import (
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// TestWhatWasWrittenIsRead writes any table in each format and reads it back.
func TestWhatWasWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTable(t)
		writers := map[string]func(ets.Table) string{
			"XML":                writeXML,
			"CSV 1/1, tab":       func(table ets.Table) string { return writeCSV(table, '\t', false) },
			"CSV 1/1, semicolon": func(table ets.Table) string { return writeCSV(table, ';', false) },
			"CSV 3/1, comma":     func(table ets.Table) string { return writeCSV(table, ',', true) },
		}
		if want.Style == frame.StyleFree {
			delete(writers, "CSV 3/1, comma") // there are no levels to name
		}
		for name, write := range writers {
			text := write(want)
			got, warnings, err := ets.Parse("", []byte(text), ets.Options{})
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if len(warnings) != 0 && len(want.Entries) != 0 {
				t.Errorf("%s: %v", name, warnings)
			}
			if len(want.Entries) == 0 {
				continue
			}
			if got.Style != want.Style || !slices.EqualFunc(got.Entries, want.Entries, sameEntry) {
				t.Errorf("%s: got\n%+v\nwant\n%+v\nfrom\n%s", name, got, want, text)
			}
		}
	})
}

// sameEntry takes no ranges and an empty list of them as the same.
func sameEntry(a, b ets.Entry) bool {
	same := slices.Equal(a.Ranges, b.Ranges)
	a.Ranges, b.Ranges = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// drawTable makes a table of at most eight addresses, whose ranges all have names where the style has levels.
func drawTable(t *rapid.T) ets.Table {
	text := rapid.StringOf(rapid.RuneFrom([]rune(`aZ0 äß€"';,<>&-/.=ᖛ`)))
	name := rapid.Custom(func(t *rapid.T) string { return strings.TrimSpace(text.Draw(t, "text")) })
	table := ets.Table{Style: rapid.SampledFrom([]frame.Style{frame.StyleThreeLevel, frame.StyleTwoLevel, frame.StyleFree}).Draw(t, "style")}
	ranges := map[string]string{}
	addresses := rapid.SliceOfNDistinct(rapid.Uint16Range(1, 0xFFFF), 0, 8, rapid.ID).Draw(t, "addresses")
	slices.Sort(addresses)
	for _, a := range addresses {
		e := ets.Entry{
			Address:     frame.GroupAddress(a),
			Name:        name.Draw(t, "name"),
			Description: name.Draw(t, "description"),
			Central:     rapid.Bool().Draw(t, "central"),
			Unfiltered:  rapid.Bool().Draw(t, "unfiltered"),
			Security:    rapid.SampledFrom([]ets.Security{ets.SecurityAuto, ets.SecurityOn, ets.SecurityOff}).Draw(t, "security"),
		}
		e.Secure = e.Security == ets.SecurityOn
		if rapid.Bool().Draw(t, "typed") {
			e.Type = dpt.ID{Main: rapid.Uint16Range(1, 300).Draw(t, "main"), Sub: rapid.OneOf(rapid.Uint16Range(0, 1200), rapid.Just(dpt.Generic)).Draw(t, "sub")}
		}
		for _, key := range outerRanges(e.Address.In(table.Style)) {
			if _, known := ranges[key]; !known {
				ranges[key] = name.Draw(t, "range")
			}
			e.Ranges = append(e.Ranges, ranges[key])
		}
		table.Entries = append(table.Entries, e)
	}
	return table
}

// outerRanges gives the ranges around an address as ETS writes them in CSV: 1/-/- and 1/2/- around 1/2/3.
func outerRanges(address string) []string {
	parts := strings.Split(address, "/")
	var keys []string
	for i := 1; i < len(parts); i++ {
		keys = append(keys, strings.Join(parts[:i], "/")+strings.Repeat("/-", len(parts)-i))
	}
	return keys
}

func etsType(id dpt.ID) string {
	switch {
	case id == dpt.ID{}:
		return ""
	case id.Sub == dpt.Generic:
		return fmt.Sprintf("DPT-%d", id.Main)
	}
	return fmt.Sprintf("DPST-%d-%d", id.Main, id.Sub)
}

func writeXML(table ets.Table) string {
	var b strings.Builder
	attr := func(name, value string) {
		b.WriteString(" " + name + `="`)
		if err := xml.EscapeText(&b, []byte(value)); err != nil {
			panic(err) // a strings.Builder takes everything
		}
		b.WriteString(`"`)
	}
	b.WriteString(`<GroupAddress-Export xmlns="http://knx.org/xml/ga-export/01">`)
	for _, e := range table.Entries {
		for _, name := range e.Ranges {
			b.WriteString("<GroupRange")
			attr("Name", name)
			b.WriteString(">")
		}
		b.WriteString("<GroupAddress")
		attr("Name", e.Name)
		attr("Address", e.Address.In(table.Style))
		attr("Description", e.Description)
		attr("DPTs", etsType(e.Type))
		attr("Central", fmt.Sprint(e.Central))
		attr("Unfiltered", fmt.Sprint(e.Unfiltered))
		attr("Security", e.Security.String())
		b.WriteString("/>" + strings.Repeat("</GroupRange>", len(e.Ranges)))
	}
	b.WriteString("</GroupAddress-Export>")
	return b.String()
}

// writeCSV writes the table as ETS does in the format 3/1, where levels is set, or 1/1.
func writeCSV(table ets.Table, comma rune, levels bool) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	w.Comma = comma
	columns := map[bool][]string{false: {"Group name"}, true: {"Main", "Middle", "Sub"}}[levels]
	if levels && table.Style == frame.StyleTwoLevel {
		columns = []string{"Main", "Sub"}
	}
	row := func(level int, name string, rest ...string) {
		names := make([]string, len(columns))
		names[min(level, len(columns)-1)] = name
		if err := w.Write(append(names, rest...)); err != nil {
			panic(err) // a strings.Builder takes everything
		}
	}
	if err := w.Write(append(columns, "Address", "Central", "Unfiltered", "Description", "DatapointType", "Security")); err != nil {
		panic(err)
	}
	written := map[string]bool{}
	for _, e := range table.Entries {
		address := e.Address.In(table.Style)
		for i, key := range outerRanges(address) {
			if !written[key] {
				written[key] = true
				row(i, e.Ranges[i], key, "", "", "", "", "Auto")
			}
		}
		row(len(columns)-1, e.Name, address, fmt.Sprint(e.Central), fmt.Sprint(e.Unfiltered), e.Description, etsType(e.Type), e.Security.String())
	}
	w.Flush()
	return b.String()
}
