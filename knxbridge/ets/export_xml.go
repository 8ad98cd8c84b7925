package ets

import (
	"bytes"
	"slices"
)

// exportXML reads a group address export (namespace http://knx.org/xml/ga-export/01).
func (b *builder) exportXML(text []byte) error {
	return walk("", bytes.NewReader(text), "GroupAddress-Export", &xmlExport{b: b})
}

type xmlExport struct {
	b      *builder
	ranges nesting
}

func (x *xmlExport) start(e element) error {
	switch e.name {
	case "GroupRange":
		return x.ranges.open(e)
	case "GroupAddress":
		address, err := x.b.address(e.place, e.attr("Address"))
		if err != nil {
			return err
		}
		entry := x.ranges.entry(e)
		entry.Address = address
		entry.Type = x.b.addressType(e.place, e.attr("DPTs"))
		entry.Secure = entry.Security == SecurityOn
		return x.b.add(e.place, entry)
	}
	return nil
}

func (x *xmlExport) end(name string) {
	if name == "GroupRange" {
		x.ranges.close()
	}
}

// nesting is the GroupRange elements around the current one, the outermost first.
type nesting []groupRange

type groupRange struct {
	names    []string // its own name last; entries share it
	security Security
}

func (n *nesting) open(e element) error {
	if len(*n) == maxRanges {
		return tooLarge("more than %d group ranges within each other", maxRanges)
	}
	outer := n.innermost()
	*n = append(*n, groupRange{
		names:    append(slices.Clip(outer.names), cut(clean(e.attr("Name")), maxName)),
		security: parseSecurity(e.attr("Security")).or(outer.security),
	})
	return nil
}

func (n *nesting) close() { *n = (*n)[:len(*n)-1] }

func (n *nesting) innermost() groupRange {
	if len(*n) == 0 {
		return groupRange{}
	}
	return (*n)[len(*n)-1]
}

// entry takes from a GroupAddress element what exports and projects write alike.
func (n *nesting) entry(e element) Entry {
	around := n.innermost()
	return Entry{
		Name:        e.attr("Name"),
		Description: e.attr("Description"),
		Ranges:      around.names,
		Central:     parseFlag(e.attr("Central")),
		Unfiltered:  parseFlag(e.attr("Unfiltered")),
		Security:    parseSecurity(e.attr("Security")).or(around.security),
	}
}
