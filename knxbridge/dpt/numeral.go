package dpt

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decimal writes a number with at most so many digits after the point and no
// zeros at their end.
func decimal(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// fixed writes n / 10^digits, without zeros at the end of its fraction. It is how
// decimal would write it, and several times as fast.
func fixed(n int64, digits int) string {
	whole, unit := n, int64(1)
	for range digits {
		unit *= 10
	}
	whole /= unit
	fraction := n % unit
	if fraction < 0 {
		fraction = -fraction
	}
	text := make([]byte, 0, 24) // a sign, 19 digits and a point
	if n < 0 && whole == 0 && fraction != 0 {
		text = append(text, '-')
	}
	text = strconv.AppendInt(text, whole, 10)
	if fraction == 0 {
		return string(text)
	}
	text = append(text, '.')
	for ; fraction != 0; fraction %= unit {
		unit /= 10
		text = append(text, byte('0'+fraction/unit))
	}
	return string(text)
}

// roundedDiv divides by a positive number and rounds halves away from zero.
func roundedDiv(n, by int64) int64 {
	if n < 0 {
		return -((-n + by/2) / by)
	}
	return (n + by/2) / by
}

// numeral reads a number as people type it, with or without the unit, with a comma
// or a point, and returns it in the form strconv reads.
func numeral(s, unit string) (string, error) {
	text := strings.TrimSpace(s)
	end := len(text)
	for i := range text {
		if r, _ := utf8.DecodeRuneInString(text[i:]); !strings.ContainsRune("+-−0123456789.,", r) && !exponentAt(text, i) {
			end = i
			break
		}
	}
	number, typed := text[:end], strings.TrimSpace(text[end:])
	if typed != "" && !sameUnit(typed, unit) {
		if !strings.ContainsAny(number, "0123456789") {
			return "", fmt.Errorf("%s is no number", quote(s))
		}
		if unit == "" {
			return "", fmt.Errorf("%s: want a number without a unit", quote(s))
		}
		return "", fmt.Errorf("%s: want the unit %s or none", quote(s), unit)
	}
	number = numberSpelling.Replace(number)
	// Only the form is asked for here: what is too large is the caller's to say.
	if value, err := strconv.ParseFloat(number, 64); err != nil && !math.IsInf(value, 0) {
		return "", fmt.Errorf("%s is no number", quote(s))
	}
	return number, nil
}

// exponentAt tells whether an e at i is the exponent of a number rather than the
// start of a unit.
func exponentAt(s string, i int) bool {
	if i == 0 || (s[i] != 'e' && s[i] != 'E') {
		return false
	}
	rest := strings.TrimLeft(s[i+1:], "+-")
	return rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// numberSpelling turns the signs people type into those strconv reads.
var numberSpelling = strings.NewReplacer("−", "-", ",", ".")

// unitSpelling turns the ways to type a unit into one. Counter pulses are pulses.
var unitSpelling = strings.NewReplacer(
	"²", "2", "³", "3", "^", "", "µ", "u", "μ", "u", "ω", "ohm", " ", "", "lux", "lx", "degrees", "°", "deg", "°", "percent", "%",
	"counter ", "", "pulses", "pulse")

// sameUnit compares units as people type them: m3/h and m^3/h are m³/h, and C is
// °C.
func sameUnit(typed, unit string) bool {
	a, b := unitSpelling.Replace(strings.ToLower(typed)), unitSpelling.Replace(strings.ToLower(unit))
	return unit != "" && (a == b || a == strings.TrimPrefix(b, "°"))
}

func outOfRange(s, limits, unit string) error {
	return fmt.Errorf("%s is out of range, allowed is %s", quote(s), withUnit(limits, unit))
}

func withUnit(s, unit string) string {
	return strings.TrimSpace(s + " " + unit)
}
