package ets

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	utf "golang.org/x/text/encoding/unicode"
)

var (
	zipMark   = []byte("PK\x03\x04") // the first file of a zip
	zipEmpty  = []byte("PK\x05\x06") // a zip without files
	utf8Mark  = []byte("\uFEFF")
	utf16Mark = [][]byte{{0xFF, 0xFE}, {0xFE, 0xFF}}
)

// decodeText gives the content of an export in UTF-8 without a byte order mark. Text that is not valid UTF-8 is
// taken as Windows-1252, which Windows programs write where they say Latin-1; both agree on all letters.
func decodeText(data []byte) ([]byte, error) {
	if len(data) > maxText {
		return nil, tooLarge("an export of %d octets, want at most %d", len(data), maxText)
	}
	text := bytes.TrimPrefix(data, utf8Mark)
	var err error
	switch {
	case bytes.HasPrefix(data, utf16Mark[0]), bytes.HasPrefix(data, utf16Mark[1]):
		text, err = utf.UTF16(utf.LittleEndian, utf.UseBOM).NewDecoder().Bytes(data)
	case !utf8.Valid(text):
		text, err = charmap.Windows1252.NewDecoder().Bytes(text)
	}
	if err != nil {
		return nil, fmt.Errorf("decode the text: %w", err)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("the file is neither text nor a project; want a group address export (XML or CSV) or a .knxproj")
	}
	return text, nil
}

// clean makes one line of valid, visible text out of what stands in a file: a name with a line break or an
// escape sequence in it would spoil every table and log it is printed to.
func clean(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r // an invalid octet comes as U+FFFD
	}, text))
}

// cut shortens a text to a number of characters and keeps nothing of the rest in memory.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	count := 0
	for i := range text {
		if count == most {
			return strings.TrimSpace(strings.Clone(text[:i]))
		}
		count++
	}
	return text
}
