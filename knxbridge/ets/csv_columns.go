package ets

import (
	"errors"
	"strconv"
	"strings"
)

// separators that ETS offers, the most likely first.
const separators = ";\t,"

// separator finds out what separates the fields of the first line that has any: the separator that stands there
// most often outside of quotes.
func separator(text string) (rune, error) {
	for line := range strings.Lines(text) {
		if len(line) > maxRecord {
			break
		}
		var found [len(separators)]int
		quoted := false
		for _, r := range line {
			if r == '"' {
				quoted = !quoted
			} else if i := strings.IndexRune(separators, r); i >= 0 && !quoted {
				found[i]++
			}
		}
		best := 0
		for i, n := range found {
			if n > found[best] {
				best = i
			}
		}
		if found[best] > 0 {
			return rune(separators[best]), nil
		}
	}
	return 0, errors.New("no line with fields between tabs, semicolons or commas; want the group address export of ETS (CSV 1/1 or 3/1, or XML) or a .knxproj")
}

// columns says which field of a record is what; -1 is missing.
type columns struct {
	names   []int // from the main group's to the address's, or only the latter in 1/1
	address int

	central, unfiltered, description, datapointType, security int
}

// headings are what ETS writes above the columns, in lower case.
var headings = map[string]func(c *columns, i int){
	"main":          func(c *columns, i int) { c.names = append(c.names, i) },
	"middle":        func(c *columns, i int) { c.names = append(c.names, i) },
	"sub":           func(c *columns, i int) { c.names = append(c.names, i) },
	"group name":    func(c *columns, i int) { c.names = append(c.names, i) },
	"address":       func(c *columns, i int) { c.address = i },
	"central":       func(c *columns, i int) { c.central = i },
	"unfiltered":    func(c *columns, i int) { c.unfiltered = i },
	"description":   func(c *columns, i int) { c.description = i },
	"datapointtype": func(c *columns, i int) { c.datapointType = i },
	"security":      func(c *columns, i int) { c.security = i },
}

// findColumns reads the header, or tells by the address in the first record how the columns stand. It reports
// whether the record was a header.
func findColumns(first []string) (columns, bool, error) {
	c := columns{address: -1, central: -1, unfiltered: -1, description: -1, datapointType: -1, security: -1}
	for i, heading := range first {
		if set, ok := headings[strings.ToLower(strings.TrimSpace(heading))]; ok {
			set(&c, i)
		}
	}
	switch {
	case c.address >= 0 && len(c.names) > 0:
		return c, true, nil
	case c.address >= 0:
		return c, true, errors.New("no column Group name or Sub in the header, want the export format 1/1 or 3/1 of ETS")
	case len(c.names) > 0:
		return c, true, errors.New("no column Address in the header, want the export format 1/1 or 3/1 of ETS")
	}
	// The names come first: one in 1/1, and in 3/1 as many as the style has levels.
	for i := 1; i < min(len(first), 4); i++ {
		if !addressLike(first[i]) {
			continue
		}
		for name := range i {
			c.names = append(c.names, name)
		}
		c.address, c.central, c.unfiltered, c.description, c.datapointType, c.security = i, i+1, i+2, i+3, i+4, i+5
		return c, false, nil
	}
	return c, false, errors.New("neither a header with Address nor a group address in the first fields, want the export format 1/1 or 3/1 of ETS")
}

// addressLike reports whether a field holds a group address or a range of them, right or wrong: numbers and
// dashes between slashes.
func addressLike(field string) bool {
	field = strings.TrimSpace(field)
	return field != "" && strings.Trim(field, "0123456789/-") == "" && strings.Trim(field, "/-") != ""
}

// field gives a field of a record, or "" where the record has none.
func field(record []string, i int) string {
	if i < 0 || i >= len(record) {
		return ""
	}
	return strings.TrimSpace(record[i])
}

// rangeKey names a range by the numbers of its address, without the dashes of the levels below: 1/2/- is 1/2.
// It is false for an address that is none of a range.
func rangeKey(address string) (key string, level int, ok bool) {
	parts := strings.Split(address, "/")
	for level < len(parts) && parts[level] != "-" {
		n, err := strconv.ParseUint(parts[level], 10, 16)
		if err != nil {
			return "", 0, false
		}
		parts[level] = strconv.FormatUint(n, 10)
		level++
	}
	for _, part := range parts[level:] {
		if part != "-" {
			return "", 0, false
		}
	}
	ok = level > 0 && level < len(parts) && len(parts) <= 3
	return strings.Join(parts[:level], "/"), level, ok
}
