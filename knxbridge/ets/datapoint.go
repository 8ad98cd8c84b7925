package ets

import (
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
)

// typesIn reads a list of datapoint types, such as "DPT-9 DPST-9-1" or "DPST-1-1,DPST-1-6", and the first text
// in it that is none.
func typesIn(list string) (types []dpt.ID, bad string) {
	for text := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		id, err := dpt.ParseID(text)
		if err != nil {
			if bad == "" {
				bad = text
			}
			continue
		}
		types = append(types, id)
	}
	return types, bad
}

// addressType reads the type of a group address: the last of a list, before which ETS puts those of linked
// objects. The zero ID is none.
func (b *builder) addressType(place Place, list string) dpt.ID {
	types, bad := typesIn(list)
	if bad != "" {
		b.warnf(place, "%q is no datapoint type, want such as DPST-9-1 or DPT-9", cut(clean(bad), 40))
	}
	if len(types) == 0 {
		return dpt.ID{}
	}
	return types[len(types)-1]
}

// objectType reads the type of a communication object: the first of a list, which is its default. Where there
// is none, an object of one bit can only be of main type 1. The zero ID is unknown.
func objectType(list, size string) dpt.ID {
	if types, _ := typesIn(list); len(types) > 0 {
		return types[0]
	}
	if size == "1 Bit" {
		return dpt.ID{Main: 1, Sub: dpt.Generic}
	}
	return dpt.ID{}
}
