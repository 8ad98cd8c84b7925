package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// report is what a comparison says, as JSON.
type report struct {
	Figures   []row    `json:"figures"`
	Buildings int      `json:"buildings"`
	Runs      int      `json:"runs"`
	Names     int      `json:"names"`
	Machine   string   `json:"machine"`
	Notes     []string `json:"notes,omitempty"`
}

// machine says where it was measured.
func machine() string {
	system := runtime.GOOS
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		system = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	return fmt.Sprintf("%d processors, %s, %s on %s", runtime.NumCPU(), runtime.Version(), system, runtime.GOARCH)
}

// writeJSON writes a value to a file.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // figures are no secret
}

// short is a number as people want it: three digits that count, and all before
// the point.
func short(v float64) string {
	if magnitude := math.Abs(v); magnitude >= 100 || magnitude < 0.0005 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// show shows the figures to people, and as plain lines with tabs when w is no
// terminal.
func (r report) show(w io.Writer) error {
	f, ok := w.(*os.File)
	people := ok && term.IsTerminal(int(f.Fd()))
	var rows [][]string
	for _, x := range r.Figures {
		ratios := row{Runs: make([]pair, len(x.Runs))}
		for i, p := range x.Runs {
			ratios.Runs[i].Knxfleet = ratioOf(p.Knxfleet, p.Naive)
		}
		other := x.spread(func(p pair) float64 { return p.Naive })
		if x.Against != "naive" {
			other += " (" + x.Against + ")"
		}
		rows = append(rows, []string{
			x.Name, x.Unit, x.spread(func(p pair) float64 { return p.Knxfleet }), other,
			ratios.spread(func(p pair) float64 { return p.Knxfleet }), verdict(x),
		})
	}
	header := []string{"FIGURE", "UNIT", "KNXFLEET min/median/max", "NAIVE", "RATIO", "MARK"}
	if err := printRows(w, people, header, rows); err != nil {
		return err
	}
	rows = nil
	for _, x := range r.Figures {
		for _, part := range slices.Sorted(maps.Keys(x.Parts)) {
			p := x.Parts[part]
			rows = append(rows, []string{x.Name, part, short(p.Knxfleet), short(p.Naive)})
		}
	}
	if len(rows) > 0 {
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := printRows(w, people, []string{"FIGURE", "PART", "KNXFLEET median", "NAIVE"}, rows); err != nil {
			return err
		}
	}
	for _, note := range append(slices.Clone(r.Notes), fmt.Sprintf("%d buildings, %d names each, %d runs; %s", r.Buildings, r.Names, r.Runs, r.Machine)) {
		if _, err := fmt.Fprintln(w, "\n"+note); err != nil {
			return err
		}
	}
	return nil
}

func verdict(x row) string {
	switch {
	case x.Met == nil:
		return "-"
	case *x.Met:
		return x.Mark + ": met"
	default:
		return x.Mark + ": MISSED"
	}
}

func printRows(w io.Writer, people bool, header []string, rows [][]string) error {
	if people {
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, row := range append([][]string{header}, rows...) {
			if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
				return err
			}
		}
		return t.Flush()
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return nil
}
