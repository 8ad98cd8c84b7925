package ets

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Table is what an import says about the group addresses of a building.
type Table struct {
	Format      Format
	ProjectName string // of a project; exports do not name it
	Style       frame.Style
	Entries     []Entry // by address, each address once
}

// Entry is one group address.
type Entry struct {
	Address     frame.GroupAddress
	Name        string
	Description string
	Type        dpt.ID   // the zero ID where the import does not tell
	Ranges      []string // names of the ranges around the address, outermost first; shared, not to be changed
	Central     bool     // a central function, such as all lights off
	Unfiltered  bool     // line couplers pass it on without a look into their filter tables
	Security    Security // the setting in ETS, the address's own or that of the innermost range that has one
	Secure      bool     // KNX Data Secure protects it: Security is on, or automatic and the project has a key for it
}

// Security is the KNX Data Secure setting of a group address in ETS.
type Security uint8

// The settings of ETS.
const (
	SecurityAuto Security = iota // secure when all linked devices can do it
	SecurityOn
	SecurityOff
)

// String names the setting as ETS exports do.
func (s Security) String() string {
	switch s {
	case SecurityAuto:
		return "Auto"
	case SecurityOn:
		return "On"
	case SecurityOff:
		return "Off"
	}
	return fmt.Sprintf("security %d", uint8(s))
}

// parseSecurity takes what it does not know as automatic, the default of ETS.
func parseSecurity(text string) Security {
	switch {
	case strings.EqualFold(text, "On"):
		return SecurityOn
	case strings.EqualFold(text, "Off"):
		return SecurityOff
	}
	return SecurityAuto
}

// or gives the setting, or where it is automatic that of the range around.
func (s Security) or(outer Security) Security {
	if s == SecurityAuto {
		return outer
	}
	return s
}

func parseFlag(text string) bool {
	text = strings.TrimSpace(text)
	return strings.EqualFold(text, "true") || text == "1"
}

// builder collects what an import says.
type builder struct {
	table    Table
	lines    int                        // lines with an address so far
	rows     map[frame.GroupAddress]int // index in table.Entries
	warnings []Warning
	unsaid   int // warnings beyond maxWarnings
}

func newBuilder(format Format) *builder {
	return &builder{table: Table{Format: format}, rows: map[frame.GroupAddress]int{}}
}

// add takes an entry. An address that comes again replaces what was there.
func (b *builder) add(place Place, e Entry) error {
	if b.lines++; b.lines > maxAddresses {
		return at(place, tooLarge("more than %d group addresses", maxAddresses))
	}
	e.Name = cut(clean(e.Name), maxName)
	e.Description = cut(clean(e.Description), maxDescription)
	i, again := b.rows[e.Address]
	if !again {
		b.rows[e.Address] = len(b.table.Entries)
		b.table.Entries = append(b.table.Entries, e)
		return nil
	}
	b.warnf(place, "group address %s comes again as %q: the last one counts, not %q",
		e.Address.In(b.table.Style), cut(e.Name, 40), cut(b.table.Entries[i].Name, 40))
	b.table.Entries[i] = e
	return nil
}

func (b *builder) warnf(place Place, format string, args ...any) {
	if len(b.warnings) == maxWarnings-1 {
		b.unsaid++
		return
	}
	// A reference names files that need not be there, and may hold anything.
	place.File = cut(clean(place.File), maxErrorText)
	b.warnings = append(b.warnings, Warning{place, fmt.Sprintf(format, args...)})
}

// finish gives the result, sorted.
func (b *builder) finish() (Table, []Warning) {
	if len(b.table.Entries) == 0 {
		b.warnf(Place{}, "no group address in it")
	}
	if b.unsaid > 0 {
		b.warnings = append(b.warnings, Warning{Text: fmt.Sprintf("%d more warnings", b.unsaid)})
	}
	slices.SortFunc(b.table.Entries, func(x, y Entry) int { return cmp.Compare(x.Address, y.Address) })
	return b.table, b.warnings
}

// address reads a group address of an export. The first one tells the style of them all.
func (b *builder) address(place Place, text string) (frame.GroupAddress, error) {
	text = strings.TrimSpace(text)
	address, err := frame.ParseGroupAddress(text)
	if err != nil {
		return 0, at(place, err)
	}
	style := frame.StyleThreeLevel
	switch strings.Count(text, "/") {
	case 0:
		style = frame.StyleFree
	case 1:
		style = frame.StyleTwoLevel
	}
	if b.lines == 0 {
		b.table.Style = style
	} else if style != b.table.Style {
		b.warnf(place, "group address %s is not in the style of those before, which would be %s", text, address.In(b.table.Style))
	}
	return address, nil
}
