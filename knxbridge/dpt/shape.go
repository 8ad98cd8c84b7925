package dpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A shape is a format of values: the four forms of a value and the way between
// them. A shape is also the format of a part of a structured value (see record).
type shape interface {
	decoder
	encoder
}

// A decoder reads a payload. text and json are called only where valid is true.
type decoder interface {
	valid(p payload) bool
	text(p payload) string
	json(p payload) any
}

// An encoder reads what people type. Its errors say what is allowed; parse is
// given the unit because people may type it.
type encoder interface {
	parse(s, unit string) (payload, error)
	limits() string
}

// boolean is one bit with the names of 0 and 1 (KNX 03_07_02 §3.1).
type boolean [2]string

func (b boolean) valid(payload) bool { return true }

func (b boolean) text(p payload) string { return b[p.bits&1] }

func (b boolean) json(p payload) any { return p.bits == 1 }

func (b boolean) limits() string { return b[0] + ", " + b[1] }

func (b boolean) parse(s, _ string) (payload, error) {
	typed := fold(strings.TrimSpace(s))
	for bit, number := range []string{"0", "1"} {
		if typed == number || typed == truth[bit] {
			return payload{bits: uint64(bit)}, nil
		}
		name := fold(b[bit])
		switch ending, ok := strings.CutPrefix(typed, name); {
		case !ok:
		// Many say of a state what the standard says of a command: closed, opened,
		// stopped.
		case ending == "", ending == "d", ending == "ed", ending == name[len(name)-1:]+"ed":
			return payload{bits: uint64(bit)}, nil
		}
	}
	return payload{}, fmt.Errorf("%s is neither %q nor %q", quote(s), b[0], b[1])
}

// trigger is 1.017, of which both values mean the same and shall not be told apart
// (KNX 03_07_02 §3.1). The two names, which ETS has, are read only.
type trigger struct{ ets boolean }

const triggerName = "trigger"

func (trigger) valid(payload) bool { return true }

func (trigger) text(payload) string { return triggerName }

func (t trigger) json(p payload) any { return t.ets.json(p) }

func (trigger) limits() string { return triggerName }

func (t trigger) parse(s, unit string) (payload, error) {
	if fold(strings.TrimSpace(s)) == triggerName {
		return payload{bits: 1}, nil
	}
	p, err := t.ets.parse(s, unit)
	if err != nil {
		return p, fmt.Errorf("%s is not %q", quote(s), triggerName)
	}
	return p, nil
}

// inverse is one bit that is set where the statement is false: a "not valid" bit
// is read as valid.
type inverse struct{}

func (inverse) valid(payload) bool { return true }

func (inverse) text(p payload) string { return truth.text(payload{bits: p.bits ^ 1}) }

func (inverse) json(p payload) any { return p.bits == 0 }

func (inverse) limits() string { return truth.limits() }

func (inverse) parse(s, unit string) (payload, error) {
	p, err := truth.parse(s, unit)
	return payload{bits: p.bits ^ 1}, err
}

// truth is a plain yes or no within a structured value.
var truth = boolean{"false", "true"}

// enum is a value of the standard's list, its index being the value; "" is
// reserved.
type enum []string

func (e enum) valid(p payload) bool { return p.bits < uint64(len(e)) && e[p.bits] != "" }

func (e enum) text(p payload) string { return e[p.bits] }

func (e enum) json(p payload) any { return e[p.bits] }

func (e enum) limits() string { return strings.Join(names(e), ", ") }

// parse takes a name, or the number of one.
func (e enum) parse(s, _ string) (payload, error) {
	if i := e.index(s); i >= 0 {
		return payload{bits: uint64(i)}, nil
	}
	if n, ok := digits(strings.TrimSpace(s)); ok && e.valid(payload{bits: uint64(n)}) {
		return payload{bits: uint64(n)}, nil
	}
	return payload{}, fmt.Errorf("%s is none of: %s", quote(s), e.limits())
}

// flags is a set of bits with the names of the bits in snake_case, bit 0 first;
// "" is reserved (KNX 03_07_02 §3.21, §3.22).
type flags []string

func (f flags) valid(p payload) bool {
	for i, name := range f {
		if name == "" && p.bits>>i&1 == 1 {
			return false
		}
	}
	return p.bits>>len(f) == 0
}

// text is the names of the bits that are set.
func (f flags) text(p payload) string {
	var set []string
	for i, name := range f {
		if p.bits>>i&1 == 1 {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, ", ")
}

func (f flags) json(p payload) any {
	parts := make(map[string]any, len(f))
	for i, name := range f {
		if name != "" {
			parts[name] = p.bits>>i&1 == 1
		}
	}
	return parts
}

func (f flags) limits() string { return "none, or some of " + strings.Join(names(f), ", ") }

func (f flags) parse(s, _ string) (payload, error) {
	var p payload
	parts, _, isObject, err := object(s)
	if err != nil {
		return p, err
	}
	if !isObject {
		parts = map[string]string{}
		for name := range strings.SplitSeq(s, ",") {
			parts[name] = "true"
		}
		if name := fold(strings.TrimSpace(s)); name == "none" || name == "" {
			return p, nil
		}
	}
	for name, text := range parts {
		bit := enum(f).index(name)
		if bit < 0 {
			return p, fmt.Errorf("%s is none of the flags: %s", quote(strings.TrimSpace(name)), strings.Join(names(f), ", "))
		}
		on, err := truth.parse(text, "")
		if err != nil {
			return p, fmt.Errorf("%s: %w", f[bit], err)
		}
		p.bits |= on.bits << bit
	}
	return p, nil
}

// index finds a name, -1 where there is none.
func (e enum) index(name string) int {
	name = strings.TrimSpace(name)
	if i := slices.Index(e, name); i >= 0 && name != "" {
		return i
	}
	name = fold(name)
	for i, text := range e {
		if text != "" && fold(text) == name {
			return i
		}
	}
	return -1
}

// names drops the reserved ones.
func names(all []string) []string {
	var known []string
	for _, name := range all {
		if name != "" {
			known = append(known, name)
		}
	}
	return known
}

// object reads the JSON form of a value of several parts into the text of each
// part that has one, and the names of those that are null. It returns false where
// s is no JSON object.
func object(s string) (parts map[string]string, nulls []string, isObject bool, err error) {
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		return nil, nil, false, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		return nil, nil, true, fmt.Errorf("%s is no JSON object: %w", quote(s), err)
	}
	parts = make(map[string]string, len(raw))
	for name, value := range raw {
		var text string
		switch err := json.Unmarshal(value, &text); {
		case string(value) == "null":
			nulls = append(nulls, name)
		case err == nil:
			parts[name] = text
		case value[0] == '[':
			return nil, nil, true, errors.New(quote(name) + " is a JSON array, want a number, a text, true, false or an object")
		default:
			parts[name] = string(value)
		}
	}
	return parts, nulls, true, nil
}
