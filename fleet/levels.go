package fleet

import (
	"slices"
	"strconv"
	"strings"
)

// levels is a pattern of an address of up to three levels. The zero value matches
// nothing.
type levels struct {
	spans  [3]span
	widths []int // in bits; one for each level
}

// span is a range of one level, both ends included.
type span struct{ low, high uint16 }

// parseLevels reads levels of the given widths. Each is a number, "*" or a range
// such as "0-99".
func parseLevels(text, separator string, widths []int) (levels, bool) {
	parts := strings.Split(text, separator)
	if len(parts) != len(widths) {
		return levels{}, false
	}
	p := levels{widths: widths}
	for i, part := range parts {
		highest := uint16(1)<<widths[i] - 1
		if part == "*" {
			p.spans[i] = span{0, highest}
			continue
		}
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		l, lowErr := strconv.ParseUint(low, 10, 16)
		h, highErr := strconv.ParseUint(high, 10, 16)
		if lowErr != nil || highErr != nil || l > h || h > uint64(highest) {
			return levels{}, false
		}
		p.spans[i] = span{uint16(l), uint16(h)}
	}
	return p, true
}

func (p levels) match(address uint16) bool {
	if len(p.widths) == 0 {
		return false
	}
	for i, width := range slices.Backward(p.widths) {
		level := address & (1<<width - 1)
		address >>= width
		if level < p.spans[i].low || level > p.spans[i].high {
			return false
		}
	}
	return true
}
