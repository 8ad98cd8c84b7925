package ets

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that a caller tells apart, with errors.Is.
var (
	// ErrPasswordRequired means that the project is protected and Options had no password.
	ErrPasswordRequired = errors.New("the project is protected, give its password")
	// ErrWrongPassword means that the password does not open the project.
	ErrWrongPassword = errors.New("wrong password for this project (or the file is damaged)")
	// ErrTooLarge means that the import exceeds one of the bounds that keep it from exhausting memory or time.
	ErrTooLarge = errors.New("too large")
)

// Place is where in an import something stands. The zero Place is the import as a whole.
type Place struct {
	File string // the file within a project, such as P-0310/0.xml; empty in an export
	Line int    // from 1; 0 is not known
}

// String gives the place in words, such as "P-0310/0.xml line 12", or "" for the import as a whole.
func (p Place) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("line %d", p.Line)
	}
	return fmt.Sprintf("%s line %d", p.File, p.Line)
}

// Error says why an import cannot be read: where, what, and what would be right.
type Error struct {
	Name  string // the import's name, as given to Parse
	Place Place
	Err   error
}

// maxErrorText bounds an error in characters: the XML reader quotes what it does not understand.
const maxErrorText = 300

// Error gives the whole sentence in one line.
func (e *Error) Error() string {
	return sentence(e.Name, e.Place, cut(clean(e.Err.Error()), maxErrorText))
}

// Unwrap gives what went wrong without the place, for errors.Is.
func (e *Error) Unwrap() error { return e.Err }

// Warning is something odd in an import that could be read nevertheless.
type Warning struct {
	Place Place
	Text  string
}

// String gives the whole sentence in one line.
func (w Warning) String() string { return sentence("", w.Place, w.Text) }

func sentence(name string, place Place, text string) string {
	parts := make([]string, 0, 3)
	for _, part := range []string{cut(clean(name), 80), place.String(), text} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// at puts a place to an error that has none. The innermost place counts: it is the most exact.
func at(place Place, err error) error {
	var placed *Error
	if err == nil || errors.As(err, &placed) {
		return err
	}
	return &Error{Place: place, Err: err}
}

// tooLarge says which bound was exceeded.
func tooLarge(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrTooLarge}, args...)...)
}
