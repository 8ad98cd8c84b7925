package api

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type importStream = grpc.ClientStreamingClient[knxfleetv1.ImportGroupAddressesRequest, knxfleetv1.ImportGroupAddressesResponse]

// beginImport opens an import and sends its header.
func (g *gateway) beginImport(t *testing.T, header *knxfleetv1.ImportHeader) importStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := g.buildings.ImportGroupAddresses(ctx)
	noError(t, err)
	noError(t, stream.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{Header: header}}))
	return stream
}

func chunk(data []byte) *knxfleetv1.ImportGroupAddressesRequest {
	return &knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Chunk{Chunk: data}}
}

// importFile sends a file in small chunks and returns the answer.
func (g *gateway) importFile(t *testing.T, header *knxfleetv1.ImportHeader, file []byte) (*knxfleetv1.ImportGroupAddressesResponse, error) {
	t.Helper()
	stream := g.beginImport(t, header)
	for len(file) > 0 {
		n := min(len(file), 1000)
		if err := stream.Send(chunk(file[:n])); err != nil {
			break // the answer says why
		}
		file = file[n:]
	}
	return stream.CloseAndRecv()
}

func (g *gateway) asleep(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		b := g.building(id)
		b.Disabled = true
		g.create(t, b)
	}
}

func (g *gateway) list(t *testing.T, request *knxfleetv1.ListGroupAddressesRequest) *knxfleetv1.ListGroupAddressesResponse {
	t.Helper()
	response, err := g.buildings.ListGroupAddresses(t.Context(), request)
	noError(t, err)
	return response
}

// house is a CSV export; each line is an address, a name and a type, with commas.
func house(lines ...string) []byte {
	return []byte("Address,Group name,DatapointType\n" + strings.Join(lines, "\n") + "\n")
}

func sample(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../knxbridge/ets/testdata", path))
	noError(t, err)
	return data
}

func TestImportAndList(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	if none := g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"}); none.GetEtag() != "" || none.GetImportedAt() != nil ||
		none.GetTotalSize() != 0 || none.GetStyle() != knxfleetv1.GroupAddressStyle_GROUP_ADDRESS_STYLE_UNSPECIFIED {
		t.Errorf("before the import: %v", none)
	}
	file := sample(t, "house.xml")
	preview, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq", ValidateOnly: true}, file)
	if err != nil || preview.GetAdded() != 5 || preview.GetEtag() != "" || g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"}).GetTotalSize() != 0 {
		t.Errorf("preview: %v, %v", preview, err)
	}
	first, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq"}, file)
	noError(t, err)
	if first.GetFormat() != knxfleetv1.ImportFormat_IMPORT_FORMAT_XML || first.GetStyle() != knxfleetv1.GroupAddressStyle_GROUP_ADDRESS_STYLE_THREE_LEVEL ||
		first.GetTotal() != 5 || first.GetAdded() != 5 || len(first.GetChanges()) != 5 || first.GetEtag() == "" {
		t.Errorf("first import: %v", first)
	}
	all := g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"})
	if all.GetTotalSize() != 5 || all.GetEtag() != first.GetEtag() || time.Since(all.GetImportedAt().AsTime()) > time.Minute || all.GetStyle() != first.GetStyle() {
		t.Errorf("list: %v", all)
	}
	if a := all.GetGroupAddresses()[1]; a.GetAddress() != "1/1/2" || a.GetName() != "Kitchen <ceiling>" || a.GetDpt() != "1.001" ||
		a.GetDescription() != "two lines" || strings.Join(a.GetRanges(), " > ") != "Lights > Ground floor" || a.GetSecure() {
		t.Errorf("address: %v", a)
	}
	if a := all.GetGroupAddresses()[2]; !a.GetSecure() {
		t.Errorf("address: %v, want it secure", a)
	}

	second, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq", Prune: true, Etag: first.GetEtag(), Format: knxfleetv1.ImportFormat_IMPORT_FORMAT_CSV},
		house("1/1/1,Kitchen,DPST-1-1", "1/1/3,New,DPST-9-1", "1/1/1,Kitchen wall,DPST-1-1"))
	noError(t, err)
	if second.GetAdded() != 1 || second.GetChanged() != 1 || second.GetRemoved() != 4 || second.GetUnchanged() != 0 || second.GetTotal() != 2 || second.GetEtag() == first.GetEtag() {
		t.Errorf("second import: %v", second)
	}
	if w := second.GetWarnings(); len(w) != 1 || w[0].GetLine() != 4 || !strings.Contains(w[0].GetMessage(), "1/1/1") {
		t.Errorf("warnings %v, want one of the address that comes twice", w)
	}
	if c := second.GetChanges()[0]; c.GetKind() != knxfleetv1.GroupAddressChange_KIND_CHANGED || c.GetBefore().GetName() != "Küche Wand" || c.GetAfter().GetName() != "Kitchen wall" {
		t.Errorf("change: %v", c)
	}
	if c := second.GetChanges()[1]; c.GetKind() != knxfleetv1.GroupAddressChange_KIND_REMOVED || c.GetBefore().GetAddress() != "1/1/2" || c.GetAfter() != nil {
		t.Errorf("change: %v", c)
	}
	_, err = g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq", Etag: first.GetEtag()}, file)
	if info, _ := refused(t, err, codes.Aborted, "ETAG_MISMATCH", "hq"); info.GetMetadata()["building"] != "hq" {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	_, err = g.buildings.DeleteBuilding(t.Context(), &knxfleetv1.DeleteBuildingRequest{Id: "hq"})
	noError(t, err)
	_, err = g.buildings.ListGroupAddresses(t.Context(), &knxfleetv1.ListGroupAddressesRequest{Building: "hq"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "hq")
	g.asleep(t, "hq")
	if left := g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"}); left.GetTotalSize() != 0 {
		t.Errorf("a new building of that name has %v", left)
	}
}

func TestListGroupAddressesPagesAndSelects(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	lines := make([]string, 0, 250)
	for i := range 250 {
		lines = append(lines, fmt.Sprintf("1/2/%d,%s %d,DPST-1-1", i, []string{"Light", "Blind"}[i%2], i))
	}
	_, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq"}, house(lines...))
	noError(t, err)
	var seen []string
	request := &knxfleetv1.ListGroupAddressesRequest{Building: "hq", PageSize: 60, Names: []string{"*LIGHT*", "blind 1"}, GroupAddresses: []string{"1/2/0-199", "9/*/*"}}
	pages := 0
	for {
		page := g.list(t, request)
		pages++
		if page.GetTotalSize() != 101 {
			t.Errorf("total %d, want 101", page.GetTotalSize())
		}
		for _, a := range page.GetGroupAddresses() {
			seen = append(seen, a.GetAddress())
		}
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			break
		}
	}
	if len(seen) != 101 || pages != 2 || seen[0] != "1/2/0" || seen[1] != "1/2/1" || seen[2] != "1/2/2" || seen[100] != "1/2/198" {
		t.Errorf("%d pages with %d addresses: %v", pages, len(seen), seen)
	}
	if page := g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"}); len(page.GetGroupAddresses()) != 100 {
		t.Errorf("%d addresses on a page, want 100", len(page.GetGroupAddresses()))
	}
	for _, c := range []struct {
		field   string
		request *knxfleetv1.ListGroupAddressesRequest
	}{
		{"building", &knxfleetv1.ListGroupAddressesRequest{}},
		{"building", &knxfleetv1.ListGroupAddressesRequest{Building: "../hq"}},
		{"group_addresses", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", GroupAddresses: []string{"32/0/0"}}},
		{"group_addresses", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", GroupAddresses: make([]string, 101)}},
		{"names", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", Names: []string{""}}},
		{"page_size", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", PageSize: -1}},
		{"page_token", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", PageToken: "x"}},
		{"page_token", &knxfleetv1.ListGroupAddressesRequest{Building: "hq", PageToken: "eA"}},
	} {
		_, err := g.buildings.ListGroupAddresses(t.Context(), c.request)
		wrongField(t, err, c.field)
	}
}

func TestRefusedImports(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	_, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq"}, house("1/2/3,Light,DPST-1-1"))
	noError(t, err)
	ask := func(messages ...*knxfleetv1.ImportGroupAddressesRequest) error {
		stream, err := g.buildings.ImportGroupAddresses(t.Context())
		noError(t, err)
		for _, m := range messages {
			if stream.Send(m) != nil {
				break // the answer says why
			}
		}
		_, err = stream.CloseAndRecv()
		return err
	}
	header := func(h *knxfleetv1.ImportHeader) *knxfleetv1.ImportGroupAddressesRequest {
		return &knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{Header: h}}
	}
	hq := header(&knxfleetv1.ImportHeader{Building: "hq"})
	for name, c := range map[string]struct {
		field    string
		messages []*knxfleetv1.ImportGroupAddressesRequest
	}{
		"nothing":           {"header", nil},
		"no header":         {"header", []*knxfleetv1.ImportGroupAddressesRequest{chunk([]byte("x"))}},
		"an empty message":  {"header", []*knxfleetv1.ImportGroupAddressesRequest{{}}},
		"two headers":       {"chunk", []*knxfleetv1.ImportGroupAddressesRequest{hq, hq}},
		"an empty part":     {"chunk", []*knxfleetv1.ImportGroupAddressesRequest{hq, {}}},
		"no building":       {"header.building", []*knxfleetv1.ImportGroupAddressesRequest{header(&knxfleetv1.ImportHeader{})}},
		"no format":         {"header.format", []*knxfleetv1.ImportGroupAddressesRequest{header(&knxfleetv1.ImportHeader{Building: "hq", Format: 17})}},
		"a large chunk":     {"chunk", []*knxfleetv1.ImportGroupAddressesRequest{hq, chunk(make([]byte, 1<<20+1))}},
		"pruning all there": {"header.prune", []*knxfleetv1.ImportGroupAddressesRequest{header(&knxfleetv1.ImportHeader{Building: "hq", Prune: true}), chunk(house())}},
	} {
		t.Run(name, func(t *testing.T) { wrongField(t, ask(c.messages...), c.field) })
	}
	refused(t, ask(header(&knxfleetv1.ImportHeader{Building: "nowhere"})), codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")

	for name, c := range map[string]struct {
		file          []byte
		password      string
		reason, field string
	}{
		"an empty file":    {nil, "", "INVALID_FILE", "chunk"},
		"a picture":        {[]byte("\x89PNG\r\n\x1a\n\x00\x00"), "", "INVALID_FILE", "chunk"},
		"half a project":   {project(t, "")[:200], "", "INVALID_FILE", "chunk"},
		"no password":      {project(t, "ets6_aes256.zip"), "", "PASSWORD_REQUIRED", "header.password"},
		"a wrong password": {project(t, "ets6_aes256.zip"), "hunter2", "WRONG_PASSWORD", "header.password"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq", Password: c.password}, c.file)
			info, bad := refused(t, err, codes.InvalidArgument, c.reason, "")
			if v := bad.GetFieldViolations(); len(v) != 1 || v[0].GetField() != c.field || v[0].GetDescription() == "" || info.GetMetadata()["building"] != "hq" {
				t.Errorf("violations %v, metadata %v", v, info.GetMetadata())
			}
		})
	}
	answer, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq", Password: "Schlüssel 1"}, project(t, "ets6_aes256.zip"))
	if err != nil || answer.GetTotal() != 14 || answer.GetFormat() != knxfleetv1.ImportFormat_IMPORT_FORMAT_KNXPROJ || answer.GetAdded() != 14 || answer.GetUnchanged() != 1 {
		t.Errorf("with its password: %v, %v; want the one of before to have stayed", answer, err)
	}
	g.stop()
	for _, secret := range []string{"hunter2", "Schlüssel"} {
		if g.seen.holds(secret) {
			t.Errorf("the password %s came out", secret)
		}
	}
}

// holds looks for a text that must not come out.
func (s *secrecy) holds(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.all.String(), text)
}

// project packs the sample project, with its own folder inside a protected archive
// if one is named.
func project(t *testing.T, protection string) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	add := func(name string, data []byte) {
		f, err := w.Create(name)
		noError(t, err)
		_, err = f.Write(data)
		noError(t, err)
	}
	for _, name := range []string{"M-00FA/Hardware.xml", "M-00FA/M-00FA_A-0001-01-ABCD-O000A.xml", "M-00FA/M-00FA_A-0002-01-0000.xml"} {
		add(name, sample(t, "project/"+name))
	}
	if protection == "" {
		add("P-0001/project.xml", sample(t, "project/P-0001/project.xml"))
		add("P-0001/0.xml", sample(t, "project/P-0001/0.xml"))
	} else {
		add("P-0001.zip", sample(t, "protected/"+protection))
	}
	noError(t, w.Close())
	return packed.Bytes()
}

// A client that goes away, and a server that stops, end an import under way; the
// table stays, and nothing of the bound is held.
func TestAbortedImports(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := g.buildings.ImportGroupAddresses(ctx)
	noError(t, err)
	noError(t, gone.Send(&knxfleetv1.ImportGroupAddressesRequest{Part: &knxfleetv1.ImportGroupAddressesRequest_Header{Header: &knxfleetv1.ImportHeader{Building: "hq"}}}))
	noError(t, gone.Send(chunk(house("1/2/3,Light,DPST-1-1"))))
	cancel()
	if _, err := gone.CloseAndRecv(); err == nil {
		t.Error("a cancelled import was answered")
	}
	if n := g.list(t, &knxfleetv1.ListGroupAddressesRequest{Building: "hq"}).GetTotalSize(); n != 0 {
		t.Errorf("%d addresses after it", n)
	}
	stalled := g.beginImport(t, &knxfleetv1.ImportHeader{Building: "hq"})
	noError(t, stalled.Send(chunk(house("1/2/3,Light,DPST-1-1"))))
	began := time.Now()
	g.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the stop took %v", took)
	}
	_, err = stalled.CloseAndRecv()
	refused(t, err, codes.Unavailable, "GATEWAY_STOPPING", "")
}

func TestUploadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newImports(zerolog.Nop())
		m.uploads = semaphore.NewWeighted(1500)
		parts := make(chan part)
		collect := func() (*upload, chan error) {
			u, done := &upload{bound: m.uploads}, make(chan error, 1)
			go func() { done <- m.collect(t.Context(), parts, u) }()
			return u, done
		}
		first, done := collect()
		parts <- part{message: chunk(make([]byte, 1000))}
		parts <- part{err: io.EOF}
		noError(t, <-done)
		second, done := collect()
		parts <- part{message: chunk(make([]byte, 500))}
		parts <- part{message: chunk(make([]byte, 1))}
		if err := <-done; !errors.Is(err, errImportsBusy) {
			t.Errorf("beyond the bound: %v", err)
		}
		second.release()
		if _, _, err := m.parse(t.Context(), first, ets.Options{}); err == nil {
			t.Error("a file of zeros was read")
		}
		synctest.Wait()
		if !m.uploads.TryAcquire(1500) || !m.parsers.TryAcquire(maxParsers) {
			t.Error("something is held after all imports ended")
		}
		// Nobody reads; the client waits until its patience ends.
		m.uploads.Release(1500)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		waiting := &upload{bound: m.uploads}
		noError(t, waiting.add(make([]byte, 1500)))
		if _, _, err := m.parse(ctx, waiting, ets.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for a turn: %v", err)
		}
		if !m.uploads.TryAcquire(1500) {
			t.Error("one that gave up holds its upload")
		}
		// A client that stalls.
		began := time.Now()
		_, done = collect()
		if err := <-done; !errors.Is(err, errSlowUpload) || time.Since(began) != chunkPatience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		large := &upload{bound: semaphore.NewWeighted(1 << 40), size: maxFile}
		if err := large.add([]byte{1}); !errors.Is(err, errFileTooLarge) {
			t.Errorf("a byte too much: %v", err)
		}
	})
}

// An answer is not larger than clients take, however much changed.
func TestImportAnswerFits(t *testing.T) {
	changed := ets.Entry{Address: 1, Name: strings.Repeat("n", 255), Description: strings.Repeat("d", 2048), Ranges: []string{strings.Repeat("r", 255)}}
	result := tables.Result{Table: &tables.Table{}}
	for range 5000 {
		result.Changes = append(result.Changes, tables.Change{Before: &changed, After: &changed})
	}
	answer := importToProto(ets.Table{Format: ets.FormatCSV}, make([]ets.Warning, 2000), result)
	if n := len(answer.GetChanges()); n < 100 || n > maxReported || len(answer.GetWarnings()) != maxReported {
		t.Errorf("%d changes and %d warnings", n, len(answer.GetWarnings()))
	}
	for format, want := range map[ets.Format]knxfleetv1.ImportFormat{
		ets.FormatXML: knxfleetv1.ImportFormat_IMPORT_FORMAT_XML, ets.FormatCSV: knxfleetv1.ImportFormat_IMPORT_FORMAT_CSV,
		ets.FormatProject: knxfleetv1.ImportFormat_IMPORT_FORMAT_KNXPROJ,
	} {
		if got := formatToProto(format); got != want {
			t.Errorf("%v is told as %v", format, got)
		}
	}
}

// REST takes what gRPC takes, one message on each line, also more than another
// call may have.
func TestImportByREST(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	noError(t, encoder.Encode(map[string]any{"header": map[string]any{"building": "hq"}}))
	file := []byte("Address,Group name,DatapointType,Description\n")
	for i := range 150 {
		file = fmt.Appendf(file, "1/2/%d,Küche,DPST-9-1,%s\n", i, strings.Repeat("long ", 10_000))
	}
	for len(file) > 0 {
		n := min(len(file), maxChunk)
		noError(t, encoder.Encode(map[string]any{"chunk": file[:n]}))
		file = file[n:]
	}
	answer := g.rest(t, "POST", "/v1/groupAddresses:import", body.String(), 200)
	if field(t, answer, "added") != 150.0 || field(t, answer, "format") != "IMPORT_FORMAT_CSV" {
		t.Errorf("answered %v", answer)
	}
	list := g.rest(t, "GET", "/v1/buildings/hq/groupAddresses?names=*che", "", 200)
	if field(t, list, "groupAddresses.0.name") != "Küche" || field(t, list, "groupAddresses.0.dpt") != "9.001" {
		t.Errorf("listed %v", list)
	}
	wrong := g.rest(t, "POST", "/v1/groupAddresses:import", `{"header":{"building":"hq"}}{"chunk":"AAAA"}`, 400)
	if field(t, wrong, "details.0.reason") != "INVALID_FILE" {
		t.Errorf("refused %v", wrong)
	}
}

// A write may name the address and leave out the type, and is told so before the
// building's state.
func TestWriteByName(t *testing.T) {
	g := start(t)
	g.asleep(t, "hq")
	_, err := g.importFile(t, &knxfleetv1.ImportHeader{Building: "hq"}, house("1/2/3,Kitchen,DPST-9-1", "1/2/4,Twin,DPST-1-1", "1/2/5,Twin,DPST-1-1"))
	noError(t, err)
	write := func(address, value string) error {
		_, err := g.telegrams.GroupWrite(t.Context(), &knxfleetv1.GroupWriteRequest{Building: "hq", GroupAddress: address, Value: value})
		return err
	}
	refused(t, write("Kitchen", "21.5"), codes.FailedPrecondition, "BUILDING_NOT_ONLINE", "DISABLED")
	wrongField(t, write("Kitchen", "on"), "value")
	wrongField(t, write("Twin", "on"), "group_address")
	wrongField(t, write("Cellar", "on"), "group_address")
	wrongField(t, write("1/2/6", "on"), "dpt")
}

func TestStreamSelectsByNameKindAndSource(t *testing.T) {
	g := start(t)
	publish := func() {
		for i, name := range []string{"Kitchen light", "", "Bath"} {
			tg := telegram("a", uint64(i+1), 0x0A03, nil)
			tg.Source = 0x1105
			tg.Name = name
			if i == 2 {
				tg.Source, tg.Kind = 0x1201, knxfleetv1.Telegram_KIND_READ
			}
			g.hub.Publish(tg)
		}
	}
	for _, c := range []struct {
		request *knxfleetv1.StreamTelegramsRequest
		want    string
	}{
		{&knxfleetv1.StreamTelegramsRequest{Names: []string{"*LIGHT", "b*h"}}, "a:1 a:3"},
		{&knxfleetv1.StreamTelegramsRequest{Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_WRITE}}, "a:1 a:2"},
		{&knxfleetv1.StreamTelegramsRequest{Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_UNSPECIFIED}}, "a:1 a:2 a:3"},
		{&knxfleetv1.StreamTelegramsRequest{Sources: []string{"1.2.*"}}, "a:3"},
	} {
		stream := g.subscribe(t, c.request)
		publish()
		if got := read(t, stream, len(strings.Fields(c.want))); got != c.want {
			t.Errorf("%v: %s, want %s", c.request, got, c.want)
		}
	}
}
