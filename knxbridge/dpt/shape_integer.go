package dpt

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// integer is a whole number of some bits. Where it is scaled, the value is
// raw × times / per; people then see so many digits after the point as it takes
// to tell the steps apart.
type integer struct {
	bits   int
	signed bool
	lo, hi int64 // raw limits; both 0 means all that the bits hold
	times  int64 // 0 means 1
	per    int64 // 0 means 1
	digits int
}

// The plain formats (KNX 03_07_02 §3.5 to §3.8, §3.12, §3.13, §3.29).
var (
	u3  = integer{bits: 3}
	u4  = integer{bits: 4}
	u5  = integer{bits: 5}
	u6  = integer{bits: 6}
	u8  = integer{bits: 8}
	u16 = integer{bits: 16}
	u32 = integer{bits: 32}
	v8  = integer{bits: 8, signed: true}
	v16 = integer{bits: 16, signed: true}
	v32 = integer{bits: 32, signed: true}
	v64 = integer{bits: 64, signed: true}

	// percent is 5.001: 0 to 100 % in 255 steps.
	percent = integer{bits: 8, times: 100, per: 255, digits: 1}
	// degrees is 5.003: 0 to 360° in 255 steps.
	degrees = integer{bits: 8, times: 360, per: 255, digits: 1}
)

// from limits the raw values.
func (n integer) from(lo, hi int64) integer {
	n.lo, n.hi = lo, hi
	return n
}

// by makes a step of the raw value worth so much.
func (n integer) by(times int64) integer {
	n.times = times
	return n
}

// over makes a raw value that many steps of one, which takes so many digits.
func (n integer) over(per int64, digits int) integer {
	n.per, n.digits = per, digits
	return n
}

func (n integer) scale() (times, per int64) { return max(n.times, 1), max(n.per, 1) }

// raw reads the bits as a signed number where they are one.
func (n integer) raw(p payload) int64 {
	if n.signed {
		return int64(p.bits<<(64-n.bits)) >> (64 - n.bits)
	}
	return int64(p.bits)
}

// bounds returns the least and the greatest raw value.
func (n integer) bounds() (lo, hi int64) {
	switch {
	case n.lo != 0 || n.hi != 0:
		return n.lo, n.hi
	case n.signed:
		return -1 << (n.bits - 1), 1<<(n.bits-1) - 1
	}
	return 0, 1<<n.bits - 1
}

func (n integer) valid(p payload) bool {
	lo, hi := n.bounds()
	raw := n.raw(p)
	return lo <= raw && raw <= hi
}

func (n integer) text(p payload) string { return n.format(n.raw(p)) }

func (n integer) format(raw int64) string {
	times, per := n.scale()
	if per == 1 {
		return strconv.FormatInt(raw*times, 10)
	}
	unit := int64(1)
	for range n.digits {
		unit *= 10
	}
	return fixed(roundedDiv(raw*times*unit, per), n.digits)
}

func (n integer) json(p payload) any {
	times, per := n.scale()
	if per == 1 {
		return n.raw(p) * times
	}
	return float64(n.raw(p)*times) / float64(per)
}

func (n integer) limits() string {
	lo, hi := n.bounds()
	return n.format(lo) + " to " + n.format(hi)
}

func (n integer) parse(s, unit string) (payload, error) {
	text, err := numeral(s, unit)
	if err != nil {
		return payload{}, err
	}
	times, per := n.scale()
	lo, hi := n.bounds()
	mask := ^uint64(0) >> (64 - n.bits)
	if times == 1 && per == 1 {
		// Whole numbers go by this way because 64 bits do not fit a float.
		raw, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err == nil && lo <= raw && raw <= hi:
			return payload{bits: uint64(raw) & mask}, nil
		case err == nil || errors.Is(err, strconv.ErrRange):
			return payload{}, outOfRange(s, n.limits(), unit)
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	least, most := float64(lo*times)/float64(per), float64(hi*times)/float64(per)
	if err != nil || value < least || value > most {
		return payload{}, outOfRange(s, n.limits(), unit)
	}
	raw := math.Round(value * float64(per) / float64(times))
	if times == 1 && per == 1 && raw != value {
		return payload{}, fmt.Errorf("%s is no whole number, want %s", quote(s), withUnit(n.limits(), unit))
	}
	if n.bits > 53 && math.Abs(raw) > 1<<53 {
		return payload{}, fmt.Errorf("%s is not exact, want a number as large as this without point or exponent", quote(s))
	}
	return payload{bits: uint64(int64(raw)) & mask}, nil
}
