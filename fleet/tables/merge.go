package tables

import (
	"slices"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Change is one difference that an import makes. Before is nil for an address
// that is new, After for one that goes.
type Change struct {
	Before, After *ets.Entry
}

// Result says what an import did, or would do.
type Result struct {
	// Table is the building's table now. Where nothing was stored, because only
	// the outcome was asked for, it is the table of before.
	Table *Table
	// Style is how the table writes addresses after the import.
	Style frame.Style
	// Total counts the addresses that the file names. The others count those of
	// the table; Unchanged also those that the file does not name.
	Total, Added, Changed, Removed, Unchanged int
	// Changes are the differences by address.
	Changes []Change
}

// merge puts the lines of a file into a table: a line of the file counts as a
// whole. With prune, lines go that the file does not have. A file without any line
// says nothing of the style.
func merge(old *Table, file ets.Table, prune bool) (*Table, Result) {
	before, after := old.Entries(), byAddress(file.Entries)
	merged := make([]ets.Entry, 0, max(len(before), len(after)))
	result := Result{Total: len(after), Style: old.Style()}
	if len(after) > 0 {
		result.Style = file.Style
	}
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Address < after[0].Address:
			if prune {
				result.Removed++
				result.Changes = append(result.Changes, Change{Before: &before[0]})
			} else {
				result.Unchanged++
				merged = append(merged, before[0])
			}
			before = before[1:]
		case len(before) == 0 || after[0].Address < before[0].Address:
			result.Added++
			result.Changes = append(result.Changes, Change{After: &after[0]})
			merged = append(merged, after[0])
			after = after[1:]
		default:
			if same(before[0], after[0]) {
				result.Unchanged++
			} else {
				result.Changed++
				result.Changes = append(result.Changes, Change{Before: &before[0], After: &after[0]})
			}
			merged = append(merged, after[0])
			before, after = before[1:], after[1:]
		}
	}
	return newTable(result.Style, merged), result
}

func same(x, y ets.Entry) bool {
	return x.Address == y.Address && x.Name == y.Name && x.Description == y.Description && x.Type == y.Type &&
		x.Central == y.Central && x.Unfiltered == y.Unfiltered && x.Security == y.Security && x.Secure == y.Secure &&
		slices.Equal(x.Ranges, y.Ranges)
}
