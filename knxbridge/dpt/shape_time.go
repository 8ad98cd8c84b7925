package dpt

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// weekdays is the day of 10.001 and 19.001; index 0 has two readings.
var weekdays = [8]string{"", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// dayNumber reads the name of a weekday, short or long.
func dayNumber(s string) (uint64, bool) {
	s = strings.ToLower(strings.TrimRight(s, ".,"))
	for i := 1; i < len(weekdays); i++ {
		long := strings.ToLower(time.Weekday(i % 7).String())
		if len(s) >= 2 && strings.HasPrefix(long, s) {
			return uint64(i), true
		}
	}
	return 0, false
}

// timeOfDay is 10.001: an optional weekday, hours, minutes and seconds (KNX
// 03_07_02 §3.10).
type timeOfDay struct{}

func (timeOfDay) valid(p payload) bool {
	return p.bits>>16&0x1F <= 23 && p.bits>>8&0xFF <= 59 && p.bits&0xFF <= 59
}

func (timeOfDay) clock(p payload) string {
	return fmt.Sprintf("%02d:%02d:%02d", p.bits>>16&0x1F, p.bits>>8&0xFF, p.bits&0xFF)
}

func (t timeOfDay) text(p payload) string {
	return strings.TrimSpace(weekdays[p.bits>>21] + " " + t.clock(p))
}

func (t timeOfDay) json(p payload) any {
	parts := map[string]any{"day": nil, "time": t.clock(p)}
	if day := weekdays[p.bits>>21]; day != "" {
		parts["day"] = day
	}
	return parts
}

func (timeOfDay) limits() string { return "00:00:00 to 23:59:59, with or without a weekday before it" }

func (t timeOfDay) parse(s, _ string) (payload, error) {
	parts, _, isObject, err := object(s)
	if err != nil {
		return payload{}, err
	}
	text := s
	if isObject {
		text = parts["day"] + " " + parts["time"]
		if extra := unknownPart(parts, "day", "time"); extra != "" {
			return payload{}, fmt.Errorf("%s is no part of the value, want day and time", quote(extra))
		}
	}
	words := strings.Fields(text)
	var p payload
	if len(words) == 2 {
		day, ok := dayNumber(words[0])
		if !ok {
			return p, fmt.Errorf("%s: want a weekday such as Wed before the time", quote(s))
		}
		p.bits = day << 21
		words = words[1:]
	}
	if len(words) != 1 {
		return p, fmt.Errorf("%s: want a time such as 13:45:30 or Wed 13:45", quote(s))
	}
	clock, err := readClock(words[0])
	if err != nil {
		return p, err
	}
	p.bits |= clock
	return p, nil
}

// unknownPart returns a name that is none of those known, or "".
func unknownPart(parts map[string]string, known ...string) string {
	for name := range parts {
		if !slices.Contains(known, name) {
			return name
		}
	}
	return ""
}

// readClock reads 13:45 or 13:45:30 into three octets.
func readClock(s string) (uint64, error) {
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil && t.Nanosecond() == 0 {
			return uint64(t.Hour())<<16 | uint64(t.Minute())<<8 | uint64(t.Second()), nil
		}
	}
	return 0, fmt.Errorf("%s is no time, want 00:00:00 to 23:59:59", quote(s))
}

// date is 11.001: a day from 1990 to 2089 (KNX 03_07_02 §3.11).
type date struct{}

// calendar takes the parts apart; years from 90 are those of the last century.
func (date) calendar(p payload) (year, month, day int) {
	year = int(p.bits & 0x7F)
	if year >= 90 {
		year += 1900
	} else {
		year += 2000
	}
	return year, int(p.bits >> 8 & 0xF), int(p.bits >> 16 & 0x1F)
}

func (d date) valid(p payload) bool {
	const reserved = 0xE0F080
	year, month, day := d.calendar(p)
	return p.bits&reserved == 0 && p.bits&0x7F <= 99 && realDay(year, month, day)
}

func (d date) text(p payload) string {
	year, month, day := d.calendar(p)
	return fmt.Sprintf("%04d-%02d-%02d", year, month, day)
}

func (d date) json(p payload) any { return d.text(p) }

func (date) limits() string { return "1990-01-01 to 2089-12-31" }

func (d date) parse(s, _ string) (payload, error) {
	year, month, day, err := readDate(strings.TrimSpace(s))
	if err != nil {
		return payload{}, err
	}
	if year < 1990 || year > 2089 {
		return payload{}, outOfRange(s, d.limits(), "")
	}
	return payload{bits: uint64(day)<<16 | uint64(month)<<8 | uint64(year%100)}, nil
}

// readDate reads 2026-11-21 or 21.11.2026.
func readDate(s string) (year, month, day int, err error) {
	for _, layout := range []string{"2006-01-02", "2.1.2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Year(), int(t.Month()), t.Day(), nil
		}
	}
	return 0, 0, 0, fmt.Errorf("%s is no date, want one such as 2026-11-21", quote(s))
}

// realDay tells whether the calendar has the day.
func realDay(year, month, day int) bool {
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return month >= 1 && day >= 1 && int(t.Month()) == month && t.Day() == day
}
