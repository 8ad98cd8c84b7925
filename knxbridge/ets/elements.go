package ets

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// element is the start of an XML element.
type element struct {
	name  string
	space string // the namespace
	attrs []xml.Attr
	place Place
}

// attr gives the value of an attribute, or "" where it is missing.
func (e element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// visitor is told of the elements in a file in their order. What start returns as an error ends the walk.
type visitor interface {
	start(e element) error
	end(name string)
}

// errEnough ends a walk without an error: the visitor has what it looks for.
var errEnough = errors.New("enough")

// walk reads an XML file, whose root element must have the given name, as a stream: it holds one tag at a time.
// Unless the visitor had enough, it reads to the end.
func walk(file string, r io.Reader, root string, v visitor) error {
	bounded := &allowance{r: r, exceeded: tooLarge("an XML tag or text of more than %d octets", maxToken)}
	d := xml.NewDecoder(bounded)
	// Exports are in UTF-8 by now, whatever they declare; projects always are, and the decoder refuses what is not.
	d.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	for depth := 0; ; {
		bounded.left = maxToken
		token, err := d.Token()
		line, _ := d.InputPos()
		place := Place{File: file, Line: line}
		if err != nil {
			return at(place, xmlProblem(err, depth))
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 && token.Name.Local != root {
				return at(place, fmt.Errorf("the outermost element is %q, want %q", cut(token.Name.Local, 40), root))
			}
			if depth++; depth > maxDepth {
				return at(place, tooLarge("more than %d XML elements within each other", maxDepth))
			}
			err := v.start(element{token.Name.Local, token.Name.Space, token.Attr, place})
			if errors.Is(err, errEnough) {
				return nil
			}
			if err != nil {
				return at(place, err)
			}
		case xml.EndElement:
			v.end(token.Name.Local)
			if depth--; depth == 0 {
				_, err := io.Copy(io.Discard, r) // a checksum is only compared at the very end
				return at(Place{File: file}, err)
			}
		}
	}
}

// xmlProblem says in our words why a token could not be read.
func xmlProblem(err error, depth int) error {
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not valid XML: %s", syntax.Msg)
	case errors.Is(err, io.EOF) && depth == 0:
		return errors.New("no XML element in the file")
	}
	return err
}

// allowance is a reader that gives no more than what is left, and then an error. Its owner renews left for
// each thing that it bounds.
type allowance struct {
	r        io.Reader
	left     int
	exceeded error
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, a.exceeded
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
