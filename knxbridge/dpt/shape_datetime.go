package dpt

import (
	"fmt"
	"strings"
	"time"
)

// dateTime is 19.001, a date and a time of which parts may be missing (KNX
// 03_07_02 §3.19). Its octets are year since 1900, month, day, weekday and hour,
// minute, second, and two octets of flags.
type dateTime struct{}

// The flags of the last two octets.
const (
	dtFault        = 1 << 15 // the clock has a fault
	dtWorkingDay   = 1 << 14
	dtNoWorkingDay = 1 << 13 // dtWorkingDay means nothing
	dtNoYear       = 1 << 12
	dtNoDate       = 1 << 11 // no month and day
	dtNoWeekday    = 1 << 10
	dtNoTime       = 1 << 9
	dtSummerTime   = 1 << 8
	dtSynchronised = 1 << 7 // the clock follows an external signal
	dtReliable     = 1 << 6 // and that signal can be relied on
	dtReserved     = 0x3F
)

// dateTimeMarks are the words that follow date and time in the text form. A day
// off is a day that is known not to be a working day.
var dateTimeMarks = []struct {
	word      string
	set, gone uint64
}{
	{"working-day", dtWorkingDay, dtNoWorkingDay},
	{"day-off", 0, dtNoWorkingDay},
	{"summer-time", dtSummerTime, 0},
	{"synchronised", dtSynchronised, 0},
	{"reliable", dtReliable, 0},
	{"fault", dtFault, 0},
}

func (dateTime) has(p payload, missing uint64) bool { return p.bits&missing == 0 }

func (d dateTime) calendar(p payload) (year, month, day int) {
	return 1900 + int(p.bits>>56), int(p.bits >> 48 & 0xFF), int(p.bits >> 40 & 0xFF)
}

// valid looks only at the parts that the flags do not declare missing.
func (d dateTime) valid(p payload) bool {
	if p.bits&dtReserved != 0 {
		return false
	}
	year, month, day := d.calendar(p)
	if !d.has(p, dtNoYear) {
		year = 2000 // a leap year: without a year, 29 February may exist
	}
	if d.has(p, dtNoDate) && !realDay(year, month, day) {
		return false
	}
	hour, minute, second := p.bits>>32&0x1F, p.bits>>24&0xFF, p.bits>>16&0xFF
	midnight := hour == 24 && minute == 0 && second == 0
	return !d.has(p, dtNoTime) || midnight || (hour <= 23 && minute <= 59 && second <= 59)
}

// iso writes what there is of date and time, with the separator between them.
func (d dateTime) iso(p payload, separator string) string {
	year, month, day := d.calendar(p)
	var s string
	switch {
	case d.has(p, dtNoYear|dtNoDate):
		s = fmt.Sprintf("%04d-%02d-%02d", year, month, day)
	case d.has(p, dtNoDate):
		s = fmt.Sprintf("--%02d-%02d", month, day)
	case d.has(p, dtNoYear):
		s = fmt.Sprintf("%04d", year)
	}
	if !d.has(p, dtNoTime) {
		return s
	}
	if s != "" {
		s += separator
	}
	return s + fmt.Sprintf("%02d:%02d:%02d", p.bits>>32&0x1F, p.bits>>24&0xFF, p.bits>>16&0xFF)
}

func (d dateTime) weekday(p payload) string {
	if day := weekdays[p.bits>>37&7]; day != "" {
		return day
	}
	return "any-day"
}

func (d dateTime) text(p payload) string {
	var words []string
	if d.has(p, dtNoWeekday) {
		words = append(words, d.weekday(p))
	}
	if s := d.iso(p, " "); s != "" {
		words = append(words, s)
	}
	switch {
	case !d.has(p, dtNoWorkingDay):
	case p.bits&dtWorkingDay != 0:
		words = append(words, "working-day")
	default:
		words = append(words, "day-off")
	}
	for _, mark := range dateTimeMarks[2:] {
		if p.bits&mark.set != 0 {
			words = append(words, mark.word)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

func (d dateTime) json(p payload) any {
	parts := map[string]any{
		"datetime":     nil,
		"day":          nil,
		"working_day":  nil,
		"summer_time":  p.bits&dtSummerTime != 0,
		"synchronised": p.bits&dtSynchronised != 0,
		"reliable":     p.bits&dtReliable != 0,
		"fault":        p.bits&dtFault != 0,
	}
	if s := d.iso(p, "T"); s != "" {
		parts["datetime"] = s
	}
	if d.has(p, dtNoWeekday) {
		parts["day"] = d.weekday(p)
	}
	if d.has(p, dtNoWorkingDay) {
		parts["working_day"] = p.bits&dtWorkingDay != 0
	}
	return parts
}

func (dateTime) limits() string {
	return "1900-01-01 00:00:00 to 2155-12-31 24:00:00, parts of it, a weekday before it, and after it working-day or day-off, summer-time, synchronised, reliable, fault"
}

// parse reads the text form and ISO 8601. What is not given is marked as missing;
// the offset of an ISO time is not part of the value and is refused.
func (d dateTime) parse(s, _ string) (payload, error) {
	parts, _, isObject, err := object(s)
	if err != nil {
		return payload{}, err
	}
	text := s
	if isObject {
		if text, err = d.words(parts); err != nil {
			return payload{}, err
		}
	}
	p := payload{bits: dtNoWorkingDay | dtNoYear | dtNoDate | dtNoWeekday | dtNoTime}
	words := strings.Fields(text)
	if len(words) == 0 {
		return p, fmt.Errorf("%s is empty, want a date and a time such as 2026-11-21 13:45:30", quote(s))
	}
	if len(words) == 1 && strings.EqualFold(words[0], "none") {
		return p, nil
	}
	for _, word := range words {
		if err := d.read(&p, word); err != nil {
			return p, err
		}
	}
	return p, nil
}

// words turns the JSON form into the text form.
func (dateTime) words(parts map[string]string) (string, error) {
	if extra := unknownPart(parts, "datetime", "day", "working_day", "summer_time", "synchronised", "reliable", "fault"); extra != "" {
		return "", fmt.Errorf("%s is no part of a date and time", quote(extra))
	}
	words := []string{parts["day"], parts["datetime"]}
	for name, word := range map[string][2]string{
		"working_day": {"day-off", "working-day"}, "summer_time": {"", "summer-time"},
		"synchronised": {"", "synchronised"}, "reliable": {"", "reliable"}, "fault": {"", "fault"},
	} {
		text, ok := parts[name]
		if !ok {
			continue
		}
		p, err := truth.parse(text, "")
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		words = append(words, word[p.bits])
	}
	if text := strings.TrimSpace(strings.Join(words, " ")); text != "" {
		return text, nil
	}
	return "none", nil
}

// read puts one word of the text form into p.
func (d dateTime) read(p *payload, word string) error {
	for _, mark := range dateTimeMarks {
		if strings.EqualFold(word, mark.word) {
			p.bits = p.bits&^mark.gone | mark.set
			return nil
		}
	}
	if day, ok := dayNumber(word); ok || strings.EqualFold(word, "any-day") {
		if d.has(*p, dtNoWeekday) {
			return fmt.Errorf("%s is a second weekday", quote(word))
		}
		p.bits = p.bits&^dtNoWeekday | day<<37
		return nil
	}
	if date, clock, both := strings.Cut(strings.ToUpper(word), "T"); both {
		if err := d.read(p, date); err != nil {
			return err
		}
		word = clock
	}
	if strings.Contains(word, ":") {
		return d.readTime(p, word)
	}
	return d.readDate(p, word)
}

func (d dateTime) readTime(p *payload, word string) error {
	clock := uint64(24) << 16
	if word != "24:00:00" && word != "24:00" {
		var err error
		if clock, err = readClock(word); err != nil {
			return err
		}
	}
	if d.has(*p, dtNoTime) {
		return fmt.Errorf("%s is a second time", quote(word))
	}
	p.bits = p.bits&^dtNoTime | clock<<16
	return nil
}

func (d dateTime) readDate(p *payload, word string) error {
	if d.has(*p, dtNoYear) || d.has(*p, dtNoDate) {
		return fmt.Errorf("%s is a second date", quote(word))
	}
	if year, ok := digits(word); ok && len(word) == 4 {
		return d.setYear(p, int(year))
	}
	if short, ok := strings.CutPrefix(word, "--"); ok {
		t, err := time.Parse("2006-01-02", "2000-"+short) // in a leap year
		if err != nil {
			return fmt.Errorf("%s is no day of a year, want one such as --11-21", quote(word))
		}
		p.bits = p.bits&^dtNoDate | uint64(t.Month())<<48 | uint64(t.Day())<<40
		return nil
	}
	year, month, day, err := readDate(word)
	if err != nil {
		return err
	}
	p.bits = p.bits&^dtNoDate | uint64(month)<<48 | uint64(day)<<40
	return d.setYear(p, year)
}

func (dateTime) setYear(p *payload, year int) error {
	if year < 1900 || year > 2155 {
		return fmt.Errorf("year %d is out of range, allowed is 1900 to 2155", year)
	}
	p.bits = p.bits&^dtNoYear | uint64(year-1900)<<56
	return nil
}
