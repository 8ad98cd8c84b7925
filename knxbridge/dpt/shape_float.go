package dpt

import (
	"math"
	"strconv"
	"strings"
)

// float16 is the 2-octet float 0.01 × mantissa × 2^exponent with a 12-bit
// mantissa in two's complement; 7fff means "invalid" (KNX 03_07_02 §3.9). lo and
// hi limit the value; both 0 means all that the format holds.
type float16 struct{ lo, hi float64 }

const (
	invalidF16 = 0x7FFF
	minF16     = -671088.64
	maxF16     = 670433.28 // 670760.96 would be 7fff
)

// The ranges of main number 9.
var (
	anyF16      = float16{}
	positiveF16 = float16{0, maxF16}
	celsius     = float16{-273, maxF16}
	fahrenheit  = float16{-459.6, maxF16}
)

func (f float16) bounds() (lo, hi float64) {
	if f.lo == 0 && f.hi == 0 {
		return minF16, maxF16
	}
	return f.lo, f.hi
}

// hundredths is the value × 100, which is a whole number.
func (float16) hundredths(p payload) int64 {
	mantissa := int64(p.bits & 0x7FF)
	if p.bits&0x8000 != 0 {
		mantissa -= 0x800
	}
	return mantissa << (p.bits >> 11 & 0xF)
}

func (f float16) value(p payload) float64 { return float64(f.hundredths(p)) / 100 }

func (f float16) valid(p payload) bool {
	lo, hi := f.bounds()
	v := f.value(p)
	return p.bits != invalidF16 && lo <= v && v <= hi
}

func (f float16) text(p payload) string { return fixed(f.hundredths(p), 2) }

func (f float16) json(p payload) any { return f.value(p) }

func (f float16) limits() string {
	lo, hi := f.bounds()
	return decimal(lo, 2) + " to " + decimal(hi, 2)
}

// parse rounds to the nearest value and takes the least exponent, which is the
// most exact.
func (f float16) parse(s, unit string) (payload, error) {
	text, err := numeral(s, unit)
	if err != nil {
		return payload{}, err
	}
	value, err := strconv.ParseFloat(text, 64)
	lo, hi := f.bounds()
	if err != nil || value < lo || value > hi {
		return payload{}, outOfRange(s, f.limits(), unit)
	}
	exponent := 0
	mantissa := math.Round(value * 100)
	for mantissa < -0x800 || mantissa > 0x7FF {
		exponent++
		mantissa = math.Round(math.Ldexp(value*100, -exponent))
	}
	if exponent > 0 && mantissa == -0x400 { // reached by rounding: it has a lesser exponent too
		exponent--
		mantissa = -0x800
	}
	bits := uint64(int64(mantissa))&0x7FF | uint64(exponent)<<11
	if mantissa < 0 {
		bits |= 0x8000
	}
	return payload{bits: bits}, nil
}

// part16 is a float16 that is a part of a record. There 7fff says that this part
// has no value, while others may (KNX 03_07_02 §4.23).
type part16 struct{ float16 }

const invalidPart = "invalid"

func (f part16) valid(p payload) bool { return p.bits == invalidF16 || f.float16.valid(p) }

func (f part16) text(p payload) string {
	if p.bits == invalidF16 {
		return invalidPart
	}
	return f.float16.text(p)
}

func (f part16) json(p payload) any {
	if p.bits == invalidF16 {
		return nil
	}
	return f.float16.json(p)
}

func (f part16) parse(s, unit string) (payload, error) {
	if fold(strings.TrimSpace(s)) == invalidPart {
		return payload{bits: invalidF16}, nil
	}
	return f.float16.parse(s, unit)
}

// ieee32 is the 4-octet IEEE 754 float (KNX 03_07_02 §3.14). Infinity and NaN
// are not valid.
type ieee32 struct{}

func (ieee32) value(p payload) float64 { return float64(math.Float32frombits(uint32(p.bits))) }

func (f ieee32) valid(p payload) bool {
	v := f.value(p)
	return !math.IsNaN(v) && !math.IsInf(v, 0)
}

// text is the shortest that reads back to the same float.
func (f ieee32) text(p payload) string {
	v := f.value(p)
	if size := math.Abs(v); size != 0 && (size < 1e-6 || size >= 1e15) {
		return strconv.FormatFloat(v, 'e', -1, 32)
	}
	return strconv.FormatFloat(v, 'f', -1, 32)
}

func (f ieee32) json(p payload) any { return f.value(p) }

func (ieee32) limits() string { return "-3.4e+38 to 3.4e+38" }

func (f ieee32) parse(s, unit string) (payload, error) {
	text, err := numeral(s, unit)
	if err != nil {
		return payload{}, err
	}
	value, err := strconv.ParseFloat(text, 32)
	if err != nil {
		return payload{}, outOfRange(s, f.limits(), unit)
	}
	return payload{bits: uint64(math.Float32bits(float32(value)))}, nil
}
