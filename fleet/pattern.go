package fleet

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// AddressPattern selects group addresses. The zero value selects none.
type AddressPattern struct {
	levels [3]span
	count  int
}

// span is a range of one level, both ends included.
type span struct{ low, high uint16 }

// styleBits are the widths of the levels in the free, two-level and three-level
// style (KNX 03_03_02 Data Link Layer General §1.4).
var styleBits = [...][]int{1: {16}, 2: {5, 11}, 3: {5, 3, 8}}

// ParseAddressPattern reads an address in any of the three styles, in which a
// level may also be "*" or a range such as "0-99": 1/2/3, 1/2/*, 1/*/*, 1/2/0-99,
// 1/*, *. The number of levels says which style it is.
func ParseAddressPattern(text string) (AddressPattern, error) {
	parts := strings.Split(text, "/")
	if len(parts) >= len(styleBits) {
		return AddressPattern{}, patternError(text)
	}
	p := AddressPattern{count: len(parts)}
	for i, part := range parts {
		highest := uint16(1)<<styleBits[p.count][i] - 1
		if part == "*" {
			p.levels[i] = span{0, highest}
			continue
		}
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		l, lowErr := strconv.ParseUint(low, 10, 16)
		h, highErr := strconv.ParseUint(high, 10, 16)
		if lowErr != nil || highErr != nil || l > h || h > uint64(highest) {
			return AddressPattern{}, patternError(text)
		}
		p.levels[i] = span{uint16(l), uint16(h)}
	}
	return p, nil
}

func patternError(text string) error {
	return fmt.Errorf("%q is no group address pattern; want an address such as 1/2/3 (0-31/0-7/0-255) in which a level may be * or a range: 1/*/*, 1/2/0-99", text)
}

// Match reports whether the pattern selects the address.
func (p AddressPattern) Match(a frame.GroupAddress) bool {
	if p.count == 0 {
		return false
	}
	rest := uint16(a)
	for i := p.count - 1; i >= 0; i-- {
		bits := styleBits[p.count][i]
		level := rest & (1<<bits - 1)
		rest >>= bits
		if level < p.levels[i].low || level > p.levels[i].high {
			return false
		}
	}
	return true
}
