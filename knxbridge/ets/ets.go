package ets

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Format is the format of an import.
type Format uint8

// The formats. The zero Format asks Parse to find out.
const (
	FormatUnknown Format = iota
	FormatXML            // group address export as XML
	FormatCSV            // group address export as CSV, 1/1 or 3/1, with tab, semicolon or comma
	FormatProject        // .knxproj of ETS4 to ETS6
)

// String names the format.
func (f Format) String() string {
	switch f {
	case FormatUnknown:
		return "unknown"
	case FormatXML:
		return "XML"
	case FormatCSV:
		return "CSV"
	case FormatProject:
		return "knxproj"
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// Options say how to read an import. The zero Options read everything but a protected project.
type Options struct {
	Password string // of a protected project; else it is not looked at
	Format   Format // FormatUnknown finds out from the content
}

// String does not show the password.
func (o Options) String() string { return o.Format.String() + ", password (hidden)" }

// GoString does not show the password.
func (o Options) GoString() string { return o.String() }

// Parse reads an import. Name is the name of the file; it stands in errors and tells the format of nothing but
// a file that is not what its name says. Parse does not change data and keeps no reference to it.
//
// An error is an *Error. It is ErrPasswordRequired, ErrWrongPassword or ErrTooLarge where errors.Is says so;
// all others mean a file that is damaged or of another kind. Table and warnings are empty then.
func Parse(name string, data []byte, opts Options) (Table, []Warning, error) {
	format := opts.Format
	if format == FormatUnknown {
		format = detect(data)
	}
	b := newBuilder(format)
	if err := b.parse(name, data, opts.Password); err != nil {
		var placed *Error
		if !errors.As(err, &placed) {
			placed = &Error{Err: err}
		}
		return Table{}, nil, &Error{Name: name, Place: placed.Place, Err: placed.Err}
	}
	table, warnings := b.finish()
	return table, warnings, nil
}

func (b *builder) parse(name string, data []byte, password string) error {
	if len(data) == 0 {
		return errors.New("the file is empty")
	}
	if b.table.Format == FormatProject {
		return b.project(data, password)
	}
	if strings.EqualFold(path.Ext(name), ".knxproj") && !isZip(data) {
		return errors.New("not a zip archive, as every .knxproj is; export the project from ETS again")
	}
	text, err := decodeText(data)
	if err != nil {
		return err
	}
	if b.table.Format == FormatXML {
		return b.exportXML(text)
	}
	return b.exportCSV(string(text))
}

// detect tells the format by the first octets. What is neither a zip nor XML can only be CSV.
func detect(data []byte) Format {
	if isZip(data) {
		return FormatProject
	}
	start := bytes.TrimPrefix(data, utf8Mark)
	for _, mark := range utf16Mark {
		start = bytes.TrimPrefix(start, mark)
	}
	if bytes.HasPrefix(bytes.TrimLeft(start, " \t\r\n\x00"), []byte("<")) {
		return FormatXML
	}
	return FormatCSV
}

func isZip(data []byte) bool {
	return bytes.HasPrefix(data, zipMark) || bytes.HasPrefix(data, zipEmpty)
}
