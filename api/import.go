package api

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Limits of imports; the first three are the contract's.
const (
	maxFile     = 256 << 20 // bytes of a file
	maxChunk    = 1 << 20
	maxReported = 1000 // changes, and warnings, that an answer lists
	// maxUploads bounds the files in memory of all imports together, in bytes; a
	// chunk beyond it is refused. One more copy is made of the file that is read.
	maxUploads = maxFile
	// maxParsers is how many files are read at once; the others wait. Reading takes
	// a processor, for seconds with a large project.
	maxParsers = 1
	// chunkPatience is how long a client may take for a chunk, so that one that
	// stalls does not keep others from importing.
	chunkPatience = 30 * time.Second
)

// Errors of imports.
var (
	// errFileTooLarge: the file exceeds the contract's limit.
	errFileTooLarge = errors.New("the file has more than 256 MiB; want a group address export (XML or CSV) or a .knxproj")
	// errImportsBusy: maxUploads is reached.
	errImportsBusy = errors.New("the gateway takes as many imports as it can at this moment; try again in a minute")
	// errSlowUpload: a chunk did not come within chunkPatience.
	errSlowUpload = errors.New("no chunk of the file came for 30 s; import it again")
)

// imports bounds what all imports take together.
type imports struct {
	uploads  *semaphore.Weighted // bytes
	parsers  *semaphore.Weighted
	patience time.Duration // chunkPatience; tests shorten it
	log      zerolog.Logger
}

func newImports(log zerolog.Logger) *imports {
	return &imports{
		uploads: semaphore.NewWeighted(maxUploads), parsers: semaphore.NewWeighted(maxParsers), patience: chunkPatience, log: log,
	}
}

// upload is what came of one import: its chunks, and what they hold of the bound.
type upload struct {
	chunks [][]byte
	size   int64
	bound  *semaphore.Weighted
}

// add takes a chunk, or refuses it.
func (u *upload) add(chunk []byte) error {
	switch n := int64(len(chunk)); {
	case n > maxChunk:
		return invalid("chunk", "has %d bytes; want at most 1 MiB in each", n)
	case u.size+n > maxFile:
		return errFileTooLarge
	case !u.bound.TryAcquire(n):
		return errImportsBusy
	default:
		u.size += n
		u.chunks = append(u.chunks, chunk)
		return nil
	}
}

// file joins the chunks, once.
func (u *upload) file() []byte {
	if len(u.chunks) == 1 {
		return u.chunks[0]
	}
	file := make([]byte, 0, u.size)
	for i, chunk := range u.chunks {
		file = append(file, chunk...)
		u.chunks[i] = nil
	}
	return file
}

func (u *upload) release() { u.bound.Release(u.size) }

// ImportGroupAddresses takes the file into memory, reads it beside the call, so
// that the call ends at once when its client goes or the server stops, and puts it
// into the table at last.
func (s *buildingService) ImportGroupAddresses(stream knxfleetv1.BuildingService_ImportGroupAddressesServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	parts := receive(ctx, stream.Recv)
	first, err := s.imports.next(ctx, parts)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	header := first.GetHeader()
	if header == nil {
		return invalid("header", "is missing; the first message names the building, and chunks follow")
	}
	err = s.importFrom(ctx, header, parts, stream.SendAndClose)
	if field, ok := errors.AsType[*registry.FieldError](err); ok && field.Field == "prune" {
		err = &registry.FieldError{Field: "header.prune", Problem: field.Problem}
	}
	return aboutBuilding(err, header.GetBuilding())
}

func (s *buildingService) importFrom(ctx context.Context, header *knxfleetv1.ImportHeader, parts <-chan part, answer func(*knxfleetv1.ImportGroupAddressesResponse) error) error {
	format, err := formatFromProto(header.GetFormat())
	if err != nil {
		return err
	}
	// What is wrong already is told before the file is sent.
	if _, err := findBuilding(ctx, s.registry, "header.building", header.GetBuilding()); err != nil {
		return err
	}
	u := upload{bound: s.imports.uploads}
	err = s.imports.collect(ctx, parts, &u)
	if err != nil {
		u.release()
		return err
	}
	file, warnings, err := s.imports.parse(ctx, &u, ets.Options{Password: header.GetPassword(), Format: format})
	if err != nil {
		return err
	}
	result, err := s.tables.Import(ctx, header.GetBuilding(), file, tables.Options{
		Prune: header.GetPrune(), ValidateOnly: header.GetValidateOnly(), Etag: header.GetEtag(),
	})
	if err != nil {
		return err
	}
	if !header.GetValidateOnly() {
		s.imports.log.Info().Str("building", header.GetBuilding()).Stringer("format", file.Format).
			Int("added", result.Added).Int("changed", result.Changed).Int("removed", result.Removed).Msg("group addresses imported")
	}
	return answer(importToProto(file, warnings, result))
}

// collect takes the chunks up to the end of the stream.
func (m *imports) collect(ctx context.Context, parts <-chan part, u *upload) error {
	for {
		message, err := m.next(ctx, parts)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		chunk, ok := message.GetPart().(*knxfleetv1.ImportGroupAddressesRequest_Chunk)
		if !ok {
			return invalid("chunk", "is missing; after the header come chunks alone")
		}
		if err := u.add(chunk.Chunk); err != nil {
			return err
		}
	}
}

// part is one message of an import, or the end.
type part struct {
	message *knxfleetv1.ImportGroupAddressesRequest
	err     error
}

// receive reads messages until one fails. It ends with ctx, and with the stream,
// which ends when its handler has returned.
func receive(ctx context.Context, recv func() (*knxfleetv1.ImportGroupAddressesRequest, error)) <-chan part {
	parts := make(chan part) // unbuffered: the stream's own flow control holds the client
	go func() {
		for {
			message, err := recv()
			select {
			case parts <- part{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return parts
}

// next waits for a message, not forever.
func (m *imports) next(ctx context.Context, parts <-chan part) (*knxfleetv1.ImportGroupAddressesRequest, error) {
	patience := time.NewTimer(m.patience)
	defer patience.Stop()
	select {
	case p := <-parts:
		return p.message, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, errSlowUpload
	}
}

// parsed is what came of reading a file.
type parsed struct {
	table    ets.Table
	warnings []ets.Warning
	err      error
}

// parse reads a file beside the caller, who goes on when ctx ends; what was begun
// then ends by itself, within the bounds of package ets. It releases the upload. A
// panic is contained: files come from outside.
func (m *imports) parse(ctx context.Context, u *upload, opts ets.Options) (ets.Table, []ets.Warning, error) {
	if err := m.parsers.Acquire(ctx, 1); err != nil {
		u.release()
		return ets.Table{}, nil, err
	}
	done := make(chan parsed, 1) // one value
	go func() {
		defer m.parsers.Release(1)
		defer u.release()
		var result parsed
		defer func() {
			if p := recover(); p != nil {
				m.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("panic while reading an import")
				result = parsed{err: errInternal}
			}
			done <- result
		}()
		result.table, result.warnings, result.err = ets.Parse("", u.file(), opts)
	}()
	select {
	case result := <-done:
		return result.table, result.warnings, result.err
	case <-ctx.Done():
		return ets.Table{}, nil, ctx.Err()
	}
}

func formatFromProto(f knxfleetv1.ImportFormat) (ets.Format, error) {
	switch f {
	case knxfleetv1.ImportFormat_IMPORT_FORMAT_UNSPECIFIED:
		return ets.FormatUnknown, nil
	case knxfleetv1.ImportFormat_IMPORT_FORMAT_XML:
		return ets.FormatXML, nil
	case knxfleetv1.ImportFormat_IMPORT_FORMAT_CSV:
		return ets.FormatCSV, nil
	case knxfleetv1.ImportFormat_IMPORT_FORMAT_KNXPROJ:
		return ets.FormatProject, nil
	default:
		return 0, invalid("header.format", "%d is no format; want XML, CSV or KNXPROJ, or none to find it out", f)
	}
}

func formatToProto(f ets.Format) knxfleetv1.ImportFormat {
	return knxfleetv1.ImportFormat(knxfleetv1.ImportFormat_value["IMPORT_FORMAT_"+strings.ToUpper(f.String())])
}

// importToProto is the answer to an import. It lists what fits into one.
func importToProto(file ets.Table, warnings []ets.Warning, result tables.Result) *knxfleetv1.ImportGroupAddressesResponse {
	changes := make([]*knxfleetv1.GroupAddressChange, 0, min(len(result.Changes), maxReported))
	response := &knxfleetv1.ImportGroupAddressesResponse{
		Format:    formatToProto(file.Format),
		Style:     styleToProto(result.Style),
		Total:     int32(result.Total),
		Added:     int32(result.Added),
		Changed:   int32(result.Changed),
		Removed:   int32(result.Removed),
		Unchanged: int32(result.Unchanged),
		Etag:      result.Table.Etag(),
	}
	for _, c := range result.Changes[:min(len(result.Changes), maxReported)] {
		change := &knxfleetv1.GroupAddressChange{Kind: knxfleetv1.GroupAddressChange_KIND_CHANGED}
		if c.Before == nil {
			change.Kind = knxfleetv1.GroupAddressChange_KIND_ADDED
		} else {
			change.Before = groupAddressToProto(c.Before, result.Style)
		}
		if c.After == nil {
			change.Kind = knxfleetv1.GroupAddressChange_KIND_REMOVED
		} else {
			change.After = groupAddressToProto(c.After, result.Style)
		}
		changes = append(changes, change)
	}
	response.Changes = changes[:fitting(changes)]
	for _, w := range warnings[:min(len(warnings), maxReported)] {
		response.Warnings = append(response.Warnings, &knxfleetv1.Warning{Line: uint32(w.Place.Line), Subject: w.Place.File, Message: w.Text})
	}
	return response
}
