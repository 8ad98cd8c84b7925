package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsImportCmd struct {
	client

	ID           string `arg:"" help:"Id of the building."`
	File         string `arg:"" help:"Group address export of ETS (XML or CSV) or project (.knxproj); - for standard input."`
	PasswordFile string `help:"File with the password of a protected project." placeholder:"FILE"`
	Prune        bool   `help:"Also remove the addresses that the file does not name."`
	ValidateOnly bool   `help:"Change nothing; show what would change."`
}

const (
	uploadChunk = 256 << 10
	// maxPassword is more than ETS takes.
	maxPassword = 4 << 10
	// progressEvery is how often progress is shown.
	progressEvery = 200 * time.Millisecond
)

// Run sends a file to the gateway and shows what became of it.
func (c *buildingsImportCmd) Run(ctx context.Context, s *streams) error {
	header := &knxfleetv1.ImportHeader{Building: c.ID, Prune: c.Prune, ValidateOnly: c.ValidateOnly}
	var err error
	if header.Password, err = c.password(); err != nil {
		return err
	}
	in, size, err := c.open(s.in)
	if err != nil {
		return err
	}
	defer in.Close()
	shown := &progress{w: s.err, size: size, silent: !isTerminal(s.err)}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		result, err := c.upload(ctx, buildings, header, in, shown)
		shown.end()
		if err != nil {
			return err
		}
		for _, w := range result.GetWarnings() {
			fmt.Fprintf(s.err, "knxfleet: %s: %s\n", c.place(w), w.GetMessage())
		}
		return c.print(s.out, result)
	})
}

func (c *buildingsImportCmd) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	f, err := os.Open(c.PasswordFile)
	if err != nil {
		return "", usagef("--password-file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", usagef("--password-file: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || len(text) > maxPassword || strings.ContainsAny(password, "\r\n") {
		return "", usagef("--password-file: %s must have the password in one line, and nothing else", c.PasswordFile)
	}
	return password, nil
}

// open opens the file; its size is 0 if it is not known.
func (c *buildingsImportCmd) open(in io.Reader) (io.ReadCloser, int64, error) {
	if c.File == "-" {
		return io.NopCloser(in), 0, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, usageError{err}
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder; want the file that ETS exported", c.File)
	}
	if err != nil {
		return nil, 0, usageError{errors.Join(err, f.Close())}
	}
	return f, info.Size(), nil
}

func (c *buildingsImportCmd) upload(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, header *knxfleetv1.ImportHeader, in io.Reader, shown *progress) (*knxfleetv1.ImportGroupAddressesResponse, error) {
	ctx, cancel := context.WithCancel(ctx) // takes the import back if the file cannot be read
	defer cancel()
	stream, err := buildings.ImportGroupAddresses(ctx)
	if err != nil {
		return nil, err
	}
	// A failed Send means that there is an answer already: CloseAndRecv has it.
	err = stream.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{Header: header}})
	for err == nil {
		chunk := make([]byte, uploadChunk) // a message may not change once it is sent
		n, readErr := io.ReadFull(in, chunk)
		if n > 0 {
			err = stream.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Chunk{Chunk: chunk[:n]}})
			shown.add(n)
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			return nil, fmt.Errorf("%s: %w", c.File, readErr)
		}
	}
	shown.sent()
	return stream.CloseAndRecv()
}

// place says where a warning comes from.
func (c *buildingsImportCmd) place(w *knxfleetv1.Warning) string {
	parts := []string{c.File}
	if w.GetSubject() != "" {
		parts = append(parts, w.GetSubject())
	}
	if w.GetLine() > 0 {
		parts = append(parts, "line "+strconv.FormatUint(uint64(w.GetLine()), 10))
	}
	return strings.Join(parts, ", ")
}

func (c *buildingsImportCmd) print(w io.Writer, result *knxfleetv1.ImportGroupAddressesResponse) error {
	if c.json() {
		return printJSON(w, result)
	}
	if c.ValidateOnly {
		for _, change := range result.GetChanges() {
			if err := printChange(w, change); err != nil {
				return err
			}
		}
	}
	count := func(n int32) string { return strconv.Itoa(int(n)) }
	return printTable(w, []string{"GROUP ADDRESSES", "OF " + strings.ToUpper(c.ID)}, [][]string{
		{"in the file", count(result.GetTotal())},
		{"added", count(result.GetAdded())},
		{"changed", count(result.GetChanged())},
		{"removed", count(result.GetRemoved())},
		{"unchanged", count(result.GetUnchanged())},
		{"format", strings.TrimPrefix(result.GetFormat().String(), "IMPORT_FORMAT_")},
		{"style", strings.TrimPrefix(result.GetStyle().String(), "GROUP_ADDRESS_STYLE_")},
	})
}

// printChange shows a change as diff does: what goes with -, what comes with +.
func printChange(w io.Writer, change *knxfleetv1.GroupAddressChange) error {
	for _, line := range []struct {
		sign    string
		address *knxfleetv1.GroupAddress
	}{{"-", change.GetBefore()}, {"+", change.GetAfter()}} {
		if a := line.address; a != nil {
			if _, err := fmt.Fprintf(w, "%s %s\t%s\t%s\n", line.sign, a.GetAddress(), a.GetDpt(), a.GetName()); err != nil {
				return err
			}
		}
	}
	return nil
}

// progress shows on a terminal how much was sent.
type progress struct {
	w      io.Writer
	size   int64 // 0 is not known
	silent bool

	done  int64
	shown time.Time
}

func (p *progress) add(n int) {
	p.done += int64(n)
	if p.silent || time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	const mib = 1 << 20
	text := fmt.Sprintf("%.1f MiB", float64(p.done)/mib)
	if p.size > 0 {
		text = fmt.Sprintf("%.1f of %.1f MiB", float64(p.done)/mib, float64(p.size)/mib)
	}
	p.line(text + " sent")
}

// sent tells that the gateway works now.
func (p *progress) sent() {
	if !p.silent {
		p.line("sent; the gateway reads it")
	}
}

// end leaves an empty line for what follows.
func (p *progress) end() {
	if !p.silent {
		p.line("")
	}
}

// line replaces the terminal's line: back to its beginning, clear to its end
// (ECMA-48 EL).
func (p *progress) line(text string) { fmt.Fprintf(p.w, "\r\x1b[K%s", text) }
