package dpt

import (
	"fmt"
	"strconv"
	"strings"
)

// Generic is the sub number of a type of which only the main number is known, as
// ETS writes it in DPT-9. It is no number of the standard: 14.000, 15.000 and
// 16.000 exist, so zero cannot say "none".
const Generic uint16 = 0xFFFF

// ID is the number of a datapoint type (KNX 03_07_02 §1.1).
type ID struct {
	Main uint16 // the format, from 1
	Sub  uint16 // the meaning within the format, or Generic
}

// String returns the number as the standard writes it: 9.001, 14.1200, or 9 where
// only the main number is known.
func (id ID) String() string {
	if id.Sub == Generic {
		return strconv.Itoa(int(id.Main))
	}
	return fmt.Sprintf("%d.%03d", id.Main, id.Sub)
}

// ParseID reads the number of a datapoint type in the forms people and ETS use:
// "9.001", "9.1", "DPST-9-1", and for the main number alone "9", "9.x", "9.*" and
// "DPT-9". It does not ask whether such a type exists; Lookup does.
func ParseID(s string) (ID, error) {
	text := strings.ToUpper(strings.TrimSpace(s))
	separator := "."
	switch {
	case strings.HasPrefix(text, "DPST-"):
		text, separator = text[len("DPST-"):], "-"
	case strings.HasPrefix(text, "DPT-"):
		text, separator = text[len("DPT-"):], "-"
	case strings.HasPrefix(text, "DPT"):
		text = strings.TrimLeft(text[len("DPT"):], " ")
	}
	first, second, two := strings.Cut(text, separator)
	number, ok := digits(first)
	if !ok || number == 0 {
		return ID{}, badID(s)
	}
	if !two || second == "*" || (second != "" && strings.Trim(second, "X") == "") {
		return ID{Main: number, Sub: Generic}, nil
	}
	sub, ok := digits(second)
	if !ok || sub == Generic {
		return ID{}, badID(s)
	}
	return ID{Main: number, Sub: sub}, nil
}

func badID(s string) error {
	return fmt.Errorf("datapoint type %s: want a main and a sub number such as 9.001 or DPST-9-1, or a main number such as 9 or DPT-9", quote(s))
}

// digits reads an unsigned 16-bit number of decimal digits alone.
func digits(s string) (uint16, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}
