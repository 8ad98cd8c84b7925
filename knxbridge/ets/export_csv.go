package ets

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// exportCSV reads a group address export in the formats 1/1, with one column for all names, and 3/1, with a
// column for the names of each level. A range has a row of its own, such as "Lights";"1/-/-".
func (b *builder) exportCSV(text string) error {
	comma, err := separator(text)
	if err != nil {
		return err
	}
	bounded := &allowance{r: strings.NewReader(text), exceeded: tooLarge("a CSV record of more than %d octets", maxRecord)}
	r := csv.NewReader(bounded)
	r.Comma, r.FieldsPerRecord = comma, -1
	c := csvExport{b: b, ranges: map[string]csvRange{}}
	for known := false; ; {
		bounded.left = maxRecord
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return csvProblem(err, Place{Line: 1 + strings.Count(text[:r.InputOffset()], "\n")})
		}
		line, _ := r.FieldPos(0)
		place := Place{Line: line}
		if !known {
			known = true
			columns, header, err := findColumns(record)
			if err != nil {
				return at(place, err)
			}
			c.columns = columns
			if header {
				continue
			}
		}
		if err := c.row(place, record); err != nil {
			return err
		}
	}
	c.surround()
	return nil
}

// csvProblem says in our words why a record could not be read. The place is where the reader stopped.
func csvProblem(err error, place Place) error {
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		return at(place, err)
	}
	place.Line = parse.Line
	if errors.Is(parse.Err, csv.ErrQuote) {
		place.Line = parse.StartLine // the quote that goes on to the end of the file
	}
	switch {
	case errors.Is(parse.Err, csv.ErrBareQuote):
		return at(place, errors.New(`a quote within a field that does not begin with one; want the whole field in quotes, and quotes within it written twice`))
	case errors.Is(parse.Err, csv.ErrQuote):
		return at(place, errors.New(`a quoted field that does not end at a quote and a separator; want quotes within a field written twice`))
	}
	return at(place, fmt.Errorf("not valid CSV: %w", parse.Err))
}

type csvExport struct {
	b       *builder
	columns columns
	ranges  map[string]csvRange // by rangeKey
}

type csvRange struct {
	name     string
	security Security
}

func (c *csvExport) row(place Place, record []string) error {
	names := make([]string, len(c.columns.names))
	for i, column := range c.columns.names {
		names[i] = field(record, column)
	}
	address := field(record, c.columns.address)
	security := parseSecurity(field(record, c.columns.security))
	switch {
	case address == "" && strings.TrimSpace(strings.Join(record, "")) == "":
		return nil
	case address == "":
		c.b.warnf(place, "the row has no address, so it is left out")
		return nil
	case strings.Contains(address, "-"):
		key, level, ok := rangeKey(address)
		if !ok {
			c.b.warnf(place, "%q is no range, want such as 1/-/- or 1/2/-, so the row is left out", cut(clean(address), 40))
			return nil
		}
		own := min(level, len(names)) - 1 // 1/1 has one column for the names of all levels
		c.nameOuter(key, names[:own])
		c.ranges[key] = csvRange{cut(clean(names[own]), maxName), security}
		return nil
	}
	parsed, err := c.b.address(place, address)
	if err != nil {
		return err
	}
	c.nameOuter(outerKey(parsed, c.b.table.Style), names[:len(names)-1])
	return c.b.add(place, Entry{
		Address:     parsed,
		Name:        names[len(names)-1],
		Description: field(record, c.columns.description),
		Type:        c.b.addressType(place, field(record, c.columns.datapointType)),
		Central:     parseFlag(field(record, c.columns.central)),
		Unfiltered:  parseFlag(field(record, c.columns.unfiltered)),
		Security:    security,
	})
}

// nameOuter takes the names that a row gives for the ranges around it, outermost first. ETS leaves them empty,
// as each range has a row of its own; other programs repeat them in every row instead.
func (c *csvExport) nameOuter(key string, names []string) {
	parts := strings.Split(key, "/")
	for i, name := range names {
		if name == "" || i >= len(parts) || parts[i] == "" {
			continue
		}
		outer := strings.Join(parts[:i+1], "/")
		if _, known := c.ranges[outer]; !known {
			c.ranges[outer] = csvRange{name: cut(clean(name), maxName)}
		}
	}
}

// surround gives each entry the names and the security of its ranges, whose rows may stand anywhere.
func (c *csvExport) surround() {
	around := map[string]groupRange{} // by outerKey, so that entries share the names
	for i := range c.b.table.Entries {
		e := &c.b.table.Entries[i]
		key := outerKey(e.Address, c.b.table.Style)
		outer, ok := around[key]
		if !ok {
			outer = c.around(key)
			around[key] = outer
		}
		e.Ranges = outer.names
		e.Security = e.Security.or(outer.security)
		e.Secure = e.Security == SecurityOn
	}
}

func (c *csvExport) around(key string) groupRange {
	var g groupRange
	for i := range len(key) + 1 {
		if i < len(key) && key[i] != '/' {
			continue
		}
		if r, ok := c.ranges[key[:i]]; ok {
			g.names = append(g.names, r.name)
			g.security = r.security.or(g.security)
		}
	}
	return g
}

// outerKey is the rangeKey of the innermost range around an address; in the free style there is none.
func outerKey(a frame.GroupAddress, style frame.Style) string {
	text := a.In(style)
	return text[:max(strings.LastIndexByte(text, '/'), 0)]
}
