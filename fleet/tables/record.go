package tables

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

const (
	recordVersion = 1
	// maxUnpacked bounds a record before compression, in bytes.
	maxUnpacked = 32 << 20
)

// record is a table as it is stored: JSON, compressed with gzip.
type record struct {
	Version    int        `json:"v"`
	Style      string     `json:"style"`
	ImportedAt time.Time  `json:"importedAt"`
	Ranges     [][]string `json:"ranges,omitempty"` // each path of ranges once
	Lines      []line     `json:"addresses"`
}

// line is one entry. Its keys are short, as there are many.
type line struct {
	Address     frame.GroupAddress `json:"a"`
	Name        string             `json:"n,omitempty"`
	Description string             `json:"d,omitempty"`
	Type        string             `json:"t,omitempty"`
	Ranges      int                `json:"r,omitempty"` // place in record.Ranges from 1; 0 is none
	Central     bool               `json:"c,omitempty"`
	Unfiltered  bool               `json:"u,omitempty"`
	Security    ets.Security       `json:"x,omitempty"`
	Secure      bool               `json:"s,omitempty"`
}

var styles = []frame.Style{frame.StyleThreeLevel, frame.StyleTwoLevel, frame.StyleFree}

// encode gives the record of a table, or ErrTooLarge.
func encode(t *Table) ([]byte, error) {
	r := record{Version: recordVersion, Style: t.style.String(), ImportedAt: t.importedAt, Lines: make([]line, len(t.entries))}
	places := make(map[string]int)
	for i, e := range t.entries {
		l := line{
			Address: e.Address, Name: e.Name, Description: e.Description,
			Central: e.Central, Unfiltered: e.Unfiltered, Security: e.Security, Secure: e.Secure,
		}
		if e.Type != (dpt.ID{}) {
			l.Type = e.Type.String()
		}
		if len(e.Ranges) > 0 {
			path := strings.Join(e.Ranges, "\x00") // which no name has: ets cleans them
			if places[path] == 0 {
				r.Ranges = append(r.Ranges, e.Ranges)
				places[path] = len(r.Ranges)
			}
			l.Ranges = places[path]
		}
		r.Lines[i] = l
	}
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(plain) > maxUnpacked {
		return nil, fmt.Errorf("%w: %d bytes of names and descriptions, want at most %d", ErrTooLarge, len(plain), maxUnpacked)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if packed.Len() > engine.MaxTableValue {
		return nil, fmt.Errorf("%w: %d bytes compressed, want at most %d", ErrTooLarge, packed.Len(), engine.MaxTableValue)
	}
	return packed.Bytes(), nil
}

// decode reads a record. It trusts nothing in it.
func decode(packed []byte) (*Table, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(unpacked, maxUnpacked+1))
	if err != nil {
		return nil, err
	}
	if len(plain) > maxUnpacked {
		return nil, errors.New("it unpacks to more than a table has")
	}
	var r record
	if err := json.Unmarshal(plain, &r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("it has version %d, this program knows version %d: use the newer program that wrote it", r.Version, recordVersion)
	}
	style, err := parseStyle(r.Style)
	if err != nil {
		return nil, err
	}
	entries := make([]ets.Entry, len(r.Lines))
	last := frame.GroupAddress(0)
	for i, l := range r.Lines {
		if l.Address <= last {
			return nil, fmt.Errorf("address %s follows %s", l.Address, last)
		}
		last = l.Address
		if entries[i], err = l.entry(r.Ranges); err != nil {
			return nil, fmt.Errorf("address %s: %w", l.Address, err)
		}
	}
	t := newTable(style, entries)
	t.importedAt = r.ImportedAt
	return t, nil
}

// entry shares the paths of ranges.
func (l line) entry(paths [][]string) (ets.Entry, error) {
	e := ets.Entry{
		Address: l.Address, Name: l.Name, Description: l.Description,
		Central: l.Central, Unfiltered: l.Unfiltered, Security: l.Security, Secure: l.Secure,
	}
	if l.Ranges < 0 || l.Ranges > len(paths) {
		return e, fmt.Errorf("ranges %d of %d", l.Ranges, len(paths))
	}
	if l.Ranges > 0 {
		e.Ranges = paths[l.Ranges-1]
	}
	if l.Type == "" {
		return e, nil
	}
	var err error
	e.Type, err = dpt.ParseID(l.Type)
	return e, err
}

func parseStyle(name string) (frame.Style, error) {
	for _, s := range styles {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("style %.40q is not known", name)
}
