package tables

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Table is the group address table of a building. It never changes, so that it
// may be shared by many goroutines. Nil is the empty table.
//
// Both lookups are binary searches: they need no memory beside the entries but
// two bytes each, and take at most 16 steps.
type Table struct {
	style      frame.Style
	importedAt time.Time // zero: nothing was imported
	revision   uint64    // of the record in the store; 0: not stored
	entries    []ets.Entry
	named      []uint16 // indexes of the entries with a name, sorted by it
}

// New makes a table that is not stored, as a file has it.
func New(file ets.Table) *Table { return newTable(file.Style, byAddress(file.Entries)) }

// newTable takes entries that are sorted by address, each address once.
func newTable(style frame.Style, entries []ets.Entry) *Table {
	t := &Table{style: style, entries: entries}
	count := 0
	for i := range entries {
		if entries[i].Name != "" {
			count++
		}
	}
	t.named = make([]uint16, 0, count)
	for i := range entries {
		if entries[i].Name != "" {
			t.named = append(t.named, uint16(i)) // there are fewer entries than addresses
		}
	}
	slices.SortStableFunc(t.named, func(x, y uint16) int { return strings.Compare(entries[x].Name, entries[y].Name) })
	return t
}

// byAddress copies entries in the order of a table; of those with the same
// address the last one counts.
func byAddress(entries []ets.Entry) []ets.Entry {
	sorted := slices.Clone(entries)
	slices.Reverse(sorted)
	slices.SortStableFunc(sorted, func(x, y ets.Entry) int { return cmp.Compare(x.Address, y.Address) })
	return slices.CompactFunc(sorted, func(x, y ets.Entry) bool { return x.Address == y.Address })
}

// Style is how the table writes addresses; three levels until something was
// imported.
func (t *Table) Style() frame.Style {
	if t == nil {
		return frame.StyleThreeLevel
	}
	return t.style
}

// ImportedAt is when the table last changed; zero when nothing was imported.
func (t *Table) ImportedAt() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.importedAt
}

// Etag names this version of the table; empty when nothing was imported.
func (t *Table) Etag() string {
	if t == nil || t.revision == 0 {
		return ""
	}
	return strconv.FormatUint(t.revision, 10)
}

// Entries are the lines of the table by address, each address once. They must
// not be changed.
func (t *Table) Entries() []ets.Entry {
	if t == nil {
		return nil
	}
	return t.entries
}

// Lookup finds the line of an address, or nil. It must not be changed.
func (t *Table) Lookup(address frame.GroupAddress) *ets.Entry {
	if t == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(t.entries, address, func(e ets.Entry, a frame.GroupAddress) int {
		return cmp.Compare(e.Address, a)
	})
	if !found {
		return nil
	}
	return &t.entries[i]
}

// Named lists the addresses that have exactly this name, in order.
func (t *Table) Named(name string) []frame.GroupAddress {
	if t == nil || name == "" {
		return nil
	}
	first, _ := slices.BinarySearchFunc(t.named, name, func(i uint16, name string) int {
		return strings.Compare(t.entries[i].Name, name)
	})
	var found []frame.GroupAddress
	for _, i := range t.named[first:] {
		if t.entries[i].Name != name {
			break
		}
		found = append(found, t.entries[i].Address)
	}
	return found
}
