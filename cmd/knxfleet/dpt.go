package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
)

// dptCmd looks datapoint types up. No gateway is asked.
type dptCmd struct {
	List   dptListCmd   `cmd:"" help:"List the datapoint types."`
	Decode dptDecodeCmd `cmd:"" help:"Say what the bytes of a value mean."`
	Encode dptEncodeCmd `cmd:"" help:"Print the bytes of a value in hex."`
}

type dptListCmd struct {
	Output string   `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
	Filter []string `arg:"" optional:"" name:"filter" help:"Only types of this main number (9), with this number (9.001), or with these words in name, unit or range."`
}

// listedType is a type as programs read it.
type listedType struct {
	DPT   string `json:"dpt"`
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	Range string `json:"range"`
	Bits  int    `json:"bits"` // 0 is variable
}

// Run lists the types that have all words of the filter.
func (c *dptListCmd) Run(s *streams) error {
	var types []listedType
	for t := range dpt.All() {
		listed := listedType{t.ID().String(), t.Name(), t.Unit(), t.Range(), t.Bits()}
		if listed.has(c.Filter) {
			types = append(types, listed)
		}
	}
	if len(types) == 0 {
		return usagef("no datapoint type has %s: want a main number such as 9, a number such as 9.001, or words such as temperature or °C",
			shown(strings.Join(c.Filter, " ")))
	}
	if c.Output == "json" {
		return printList(s.out, types)
	}
	rows := make([][]string, len(types))
	for i, t := range types {
		rows[i] = []string{t.DPT, t.Name, t.Unit, t.Range}
	}
	return printTable(s.out, []string{"DPT", "NAME", "UNIT", "RANGE"}, rows)
}

// has tells whether the type has every word: digits stand for the main number,
// with a point for the start of a number, anything else for a part of what is
// shown.
func (t listedType) has(words []string) bool {
	all := strings.ToLower(strings.Join([]string{t.DPT, t.Name, t.Unit, t.Range}, " "))
	for _, word := range words {
		number := strings.Trim(word, ".0123456789") == ""
		switch {
		case number && strings.Contains(word, "."):
			if !strings.HasPrefix(t.DPT, word) {
				return false
			}
		case number:
			if !strings.HasPrefix(t.DPT, word+".") {
				return false
			}
		case !strings.Contains(all, strings.ToLower(word)):
			return false
		}
	}
	return true
}

// printList prints a JSON array with one element a line.
func printList[T any](w io.Writer, list []T) error {
	lines := make([]string, len(list))
	for i, element := range list {
		line, err := marshal(element)
		if err != nil {
			return err
		}
		lines[i] = line
	}
	_, err := fmt.Fprintf(w, "[%s]\n", strings.Join(lines, ",\n"))
	return err
}

// marshal is JSON on one line in which <, > and & stay readable.
func marshal(v any) (string, error) {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return strings.TrimSuffix(line.String(), "\n"), err
}

type dptDecodeCmd struct {
	Output string   `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
	DPT    string   `arg:"" name:"dpt" help:"Datapoint type, such as 9.001."`
	Hex    []string `arg:"" name:"hex" help:"Bytes of the value in hex, such as 0c33."`
}

// decodedValue is a value as programs read it. Value is null where the bytes mean
// nothing in their type.
type decodedValue struct {
	DPT   string `json:"dpt"`
	Value any    `json:"value"`
	Text  string `json:"text"`
	Unit  string `json:"unit"`
	Valid bool   `json:"valid"`
}

// Run prints the value. Bytes that mean nothing in their type are a value too.
func (c *dptDecodeCmd) Run(s *streams) error {
	t, err := lookupType(c.DPT)
	if err != nil {
		return err
	}
	raw, err := readHex(c.Hex)
	if err != nil {
		return err
	}
	v, err := t.Decode(raw)
	if err != nil {
		return usageError{err}
	}
	if c.Output == "json" {
		line, err := marshal(decodedValue{t.ID().String(), v.JSON(), v.Text(), t.Unit(), v.Valid()})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, line)
		return err
	}
	line := v.Text()
	if v.Valid() && t.Unit() != "" {
		line += " " + t.Unit()
	}
	_, err = fmt.Fprintln(s.out, line)
	return err
}

type dptEncodeCmd struct {
	DPT   string `arg:"" name:"dpt" help:"Datapoint type, such as 9.001."`
	Value []text `arg:"" name:"value" help:"Value as people write it: on, 21.5, -20.3, '50 %', 2026-11-21, '#ff8800'."`
}

// Run prints the bytes in lower-case hex and nothing else.
func (c *dptEncodeCmd) Run(s *streams) error {
	t, err := lookupType(c.DPT)
	if err != nil {
		return err
	}
	words := make([]string, len(c.Value))
	for i, word := range c.Value {
		words[i] = string(word)
	}
	raw, err := t.Encode(strings.Join(words, " "))
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintln(s.out, hex.EncodeToString(raw))
	return err
}

// lookupType finds a type by its number. Other than the gateway, which reads a
// telegram of an unknown sub number by its main number, it wants the very type
// that was typed.
func lookupType(number string) (dpt.Type, error) {
	id, err := dpt.ParseID(number)
	if err != nil {
		return dpt.Type{}, usageError{err}
	}
	t, ok := dpt.Lookup(id)
	switch {
	case !ok:
		return t, usagef("there is no datapoint type %s (see knxfleet dpt list)", id)
	case id.Sub != dpt.Generic && t.ID() != id:
		return t, usagef("there is no datapoint type %s (see knxfleet dpt list %d)", id, id.Main)
	}
	return t, nil
}

// readHex reads bytes as people copy them: with or without 0x, with spaces or
// colons between them, in either case.
func readHex(args []string) ([]byte, error) {
	typed := strings.Join(args, " ")
	var digits strings.Builder
	for _, word := range strings.FieldsFunc(typed, func(r rune) bool { return r == ':' || unicode.IsSpace(r) }) {
		digits.WriteString(strings.TrimPrefix(strings.ToLower(word), "0x"))
	}
	raw, err := hex.DecodeString(digits.String())
	if err != nil || len(raw) == 0 {
		return nil, usagef("%s: want bytes in hex, two digits each, such as 0c33", shown(typed))
	}
	return raw, nil
}

// shown is what was typed as an error quotes it, cut to a bearable length.
func shown(typed string) string {
	const most = 60
	if r := []rune(typed); len(r) > most {
		typed = string(r[:most]) + "…"
	}
	return strconv.Quote(typed)
}
