package knxserver

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// Script is what goes wrong and when: a list of faults with their times. The zero
// value is none. It does not change and may be shared.
type Script struct{ steps []step }

// step is one change of the faults.
type step struct {
	at    time.Duration // from Start
	end   bool          // ends a fault: goes before those that begin at the same time
	apply func(s *Server, now time.Time)
}

// maxSteps bounds a script.
const maxSteps = 1000

// ParseScript reads a script. Each line, or part between semicolons, is
//
//	at TIME FAULT [VALUE] [LENGTH]
//
// with TIME counted from Start and LENGTH as durations such as 90s or 1m30s. Without
// a length a fault lasts until "clear", which ends all. What follows # is a
// comment. An end ends the fault however often it was begun. The faults:
//
//	silence, freeze, full            as in Faults
//	refuse STATUS, heartbeat STATUS  with a status such as 0x24
//	long-refusals                    refusals of 20 bytes
//	refuse-tcp, bus-down             as in Faults
//	nacks N, busies N                of every Nth telegram, as in Faults
//	lose-acks N, ignore-acks N       every Nth
//	negative-confirmations, no-confirmations, anonymous-confirmations
//	late-confirmations DURATION      each held back so long
//	wrong-sequence N, duplicates N, foreign N, malformed N, broken N
//	reboot                           forgets its channels, silent for LENGTH
//	disconnect                       ends all channels; no length
//	hang-up                          closes all TCP connections; no length
//	clear                            ends all faults; no length
//
// An error names the line and what would be right.
func ParseScript(text string) (Script, error) {
	var script Script
	for number, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for part := range strings.SplitSeq(line, ";") {
			words := strings.Fields(part)
			if len(words) == 0 {
				continue
			}
			if err := script.add(words); err != nil {
				return Script{}, fmt.Errorf("fault script, line %d: %w", number+1, err)
			}
			if len(script.steps) > maxSteps {
				return Script{}, fmt.Errorf("fault script, line %d: more than %d steps", number+1, maxSteps)
			}
		}
	}
	slices.SortStableFunc(script.steps, func(a, b step) int {
		if a.at == b.at && a.end != b.end {
			if a.end {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.at, b.at)
	})
	return script, nil
}

// scripted is a fault by its name in scripts.
type scripted struct {
	name string
	// value reads the fault's value; nil when it has none.
	value func(word string) (int64, error)
	// set sets the fault, or with value 0 takes it back. nil: see special.
	set func(f *Faults, value int64)
}

var scriptedFaults = []scripted{
	{"silence", nil, func(f *Faults, v int64) { f.Silent = v != 0 }},
	{"freeze", nil, func(f *Faults, v int64) { f.Frozen = v != 0 }},
	{"full", nil, func(f *Faults, v int64) { f.Full = v != 0 }},
	{"refuse", parseStatus, func(f *Faults, v int64) { f.Refuse = frame.Status(v) }},
	{"long-refusals", nil, func(f *Faults, v int64) { f.LongRefusals = v != 0 }},
	{"refuse-tcp", nil, func(f *Faults, v int64) { f.RefuseTCP = v != 0 }},
	{"heartbeat", parseStatus, func(f *Faults, v int64) { f.Heartbeat = frame.Status(v) }},
	{"bus-down", nil, func(f *Faults, v int64) { f.BusDown = v != 0 }},
	{"nacks", parseCount, func(f *Faults, v int64) { f.Nacks = int(v) }},
	{"busies", parseCount, func(f *Faults, v int64) { f.Busies = int(v) }},
	{"lose-acks", parseCount, func(f *Faults, v int64) { f.LoseAcks = int(v) }},
	{"ignore-acks", parseCount, func(f *Faults, v int64) { f.IgnoreAcks = int(v) }},
	{"negative-confirmations", nil, func(f *Faults, v int64) { f.Confirmation = ConfirmNegative * Confirmation(v) }},
	{"no-confirmations", nil, func(f *Faults, v int64) { f.Confirmation = ConfirmNever * Confirmation(v) }},
	{"anonymous-confirmations", nil, func(f *Faults, v int64) { f.AnonymousConfirmations = v != 0 }},
	{"late-confirmations", parseDelay, func(f *Faults, v int64) { f.ConfirmationDelay = time.Duration(v) }},
	{"wrong-sequence", parseCount, func(f *Faults, v int64) { f.WrongSequence = int(v) }},
	{"duplicates", parseCount, func(f *Faults, v int64) { f.Duplicates = int(v) }},
	{"foreign", parseCount, func(f *Faults, v int64) { f.Foreign = int(v) }},
	{"malformed", parseCount, func(f *Faults, v int64) { f.Malformed = int(v) }},
	{"broken", parseCount, func(f *Faults, v int64) { f.Broken = int(v) }},
}

// add reads one entry.
func (script *Script) add(words []string) error {
	if words[0] != "at" || len(words) < 3 {
		return fmt.Errorf("%.60q, want at TIME FAULT, such as: at 10s silence 30s", strings.Join(words, " "))
	}
	at, err := parseDuration("time", words[1])
	if err != nil {
		return err
	}
	name, rest := words[2], words[3:]
	if known, err := script.special(at, name, rest); known {
		return err
	}
	i := slices.IndexFunc(scriptedFaults, func(f scripted) bool { return f.name == name })
	if i < 0 {
		return fmt.Errorf("fault %.30q is not known, want one of %s, reboot, disconnect, hang-up, clear", name, faultNames())
	}
	fault, value := scriptedFaults[i], int64(1)
	if fault.value != nil {
		if len(rest) == 0 {
			return fmt.Errorf("%s needs a value", name)
		}
		if value, err = fault.value(rest[0]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rest = rest[1:]
	}
	length, err := parseLength(name, rest)
	if err != nil {
		return err
	}
	script.steps = append(script.steps, step{at: at, apply: change(fault.set, value)})
	if length > 0 {
		script.steps = append(script.steps, step{at: at + length, end: true, apply: change(fault.set, 0)})
	}
	return nil
}

// special reads an entry that is no state but an event; known is false for others.
func (script *Script) special(at time.Duration, name string, rest []string) (known bool, err error) {
	entry := step{at: at}
	switch name {
	case "reboot":
		var length time.Duration
		length, err = parseLength(name, rest)
		entry.apply = func(s *Server, now time.Time) { s.Reboot(now, length) }
	case "disconnect":
		err = noMore(name, rest)
		entry.apply = func(s *Server, now time.Time) { s.Disconnect(now) }
	case "hang-up":
		err = noMore(name, rest)
		entry.apply = func(s *Server, now time.Time) { s.HangUp(now) }
	case "clear":
		err = noMore(name, rest)
		entry.end = true
		entry.apply = func(s *Server, now time.Time) { s.SetFaults(now, Faults{}) }
	default:
		return false, nil
	}
	script.steps = append(script.steps, entry)
	return true, err
}

func change(set func(*Faults, int64), value int64) func(*Server, time.Time) {
	return func(s *Server, now time.Time) {
		f := s.faults
		set(&f, value)
		s.SetFaults(now, f)
	}
}

func faultNames() string {
	names := make([]string, len(scriptedFaults))
	for i, f := range scriptedFaults {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

func noMore(name string, rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%s: %.30q is too much, want nothing there", name, strings.Join(rest, " "))
	}
	return nil
}

func parseLength(name string, rest []string) (time.Duration, error) {
	if len(rest) == 0 {
		return 0, nil
	}
	if err := noMore(name, rest[1:]); err != nil {
		return 0, err
	}
	length, err := parseDuration(name+": length", rest[0])
	if err == nil && length == 0 {
		err = fmt.Errorf("%s: length 0, want more, or none for a fault that lasts", name)
	}
	return length, err
}

// maxScriptTime keeps times within what can be added to any date.
const maxScriptTime = 10_000 * time.Hour

func parseDuration(what, word string) (time.Duration, error) {
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 || d > maxScriptTime {
		return 0, fmt.Errorf("%s %.30q is no duration from 0s to 10000h, want such as 90s or 1m30s", what, word)
	}
	return d, nil
}

func parseDelay(word string) (int64, error) {
	d, err := parseDuration("value", word)
	if err == nil && d == 0 {
		err = fmt.Errorf("value %q delays nothing, want such as 4s", word)
	}
	return int64(d), err
}

func parseCount(word string) (int64, error) {
	n, err := strconv.ParseUint(word, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("value %.30q is no count from 1, want such as 3 for every third", word)
	}
	return int64(n), nil
}

func parseStatus(word string) (int64, error) {
	n, err := strconv.ParseUint(word, 0, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("value %.30q is no status from 0x01 to 0xFF, want such as 0x24", word)
	}
	return int64(n), nil
}

// runScript applies the steps that are due.
func (s *Server) runScript(now time.Time) {
	steps := s.cfg.Script.steps
	for s.next < len(steps) && !s.started.Add(steps[s.next].at).After(now) {
		apply := steps[s.next].apply
		s.next++
		apply(s, now)
	}
}

func (s *Server) scriptDeadline() (time.Time, bool) {
	if s.next >= len(s.cfg.Script.steps) {
		return time.Time{}, false
	}
	return s.started.Add(s.cfg.Script.steps[s.next].at), true
}
