package main

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// exported are telegrams of all kinds, and what each looks like as a frame.
var exported = []struct {
	telegram      *knxfleetv1.Telegram
	service, cemi string
}{
	{&knxfleetv1.Telegram{Source: "1.1.5", Destination: "1/2/3", Kind: knxfleetv1.Telegram_KIND_WRITE, Raw: []byte{0x0c, 0x33}, Dpt: "9.001", Value: "21.5", Unit: "°C", Name: `=A1 "<&--`},
		"L_Data.ind", "2900BCE011050A030300800C33"},
	{&knxfleetv1.Telegram{Source: "1.1.5", Destination: "1/515", Kind: knxfleetv1.Telegram_KIND_WRITE, Raw: []byte{1}, SixBit: true, Priority: knxfleetv1.Priority_PRIORITY_URGENT},
		"L_Data.ind", "2900B8E011050A03010081"},
	{&knxfleetv1.Telegram{Source: "1.1.250", Destination: "2563", Kind: knxfleetv1.Telegram_KIND_READ, SentByGateway: true},
		"L_Data.con", "2E00BCE011FA0A03010000"},
	{&knxfleetv1.Telegram{Source: "1.1.5", Destination: "1/2/3", Kind: knxfleetv1.Telegram_KIND_RESPONSE, Raw: []byte{0}, SixBit: true, HopCount: 5},
		"L_Data.ind", "2900BCD011050A03010040"},
	{&knxfleetv1.Telegram{Source: "1.1.5", Destination: "1/2/3", Kind: knxfleetv1.Telegram_KIND_WRITE, Raw: bytes.Repeat([]byte{7}, 253)},
		"L_Data.ind", "29003CE011050A03FE0080" + strings.Repeat("07", 253)},
}

func export(t *testing.T, format string, cut error) (out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	w := formatFlag{format}.writer(false, &o, &e)
	at := time.Date(2026, 11, 21, 8, 0, 0, 123456700, time.UTC)
	var telegrams []*knxfleetv1.Telegram
	for i, c := range exported {
		c.telegram.Building, c.telegram.Epoch, c.telegram.Number = "hq", 1, uint64(i)+10
		c.telegram.ReceivedAt = timestamppb.New(at.Add(time.Duration(i) * time.Second))
		telegrams = append(telegrams, c.telegram)
	}
	gaps := []*knxfleetv1.Gap{{Building: "hq", Epoch: 1, From: 3, To: 9, Count: 7, Cause: knxfleetv1.Gap_CAUSE_EXPIRED}}
	if err := writeAll(w, telegrams, gaps); err != nil {
		t.Fatal(err)
	}
	if err := w.end(cut); !errors.Is(err, cut) {
		t.Fatal(err)
	}
	return o.String(), e.String()
}

// The log is one that a parser reads, and each frame in it is one that a bus carries
// and that says the same as the telegram; also when it was cut short.
func TestExportForETS(t *testing.T) {
	for _, cut := range []error{nil, errors.New("the gateway is away")} {
		text, _ := export(t, "ets-xml", cut)
		type attributes struct {
			Timestamp      string `xml:",attr"`
			ConnectionName string `xml:",attr"`
			Service        string `xml:",attr"`
			FrameFormat    string `xml:",attr"`
			RawData        string `xml:",attr"`
		}
		var read struct {
			XMLName   xml.Name     `xml:"http://knx.org/xml/telegrams/01 CommunicationLog"`
			Telegrams []attributes `xml:"Telegram"`
		}
		d := xml.NewDecoder(strings.NewReader(text))
		if err := d.Decode(&read); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("after the document: %v", err)
		}
		if len(read.Telegrams) != len(exported) || read.Telegrams[0].Timestamp != "2026-11-21T08:00:00.1234567Z" || !strings.Contains(text, "GAP: 7 telegrams missing") {
			t.Fatalf("%d telegrams of %d in\n%s", len(read.Telegrams), len(exported), text)
		}
		for i, got := range read.Telegrams {
			want := exported[i]
			if got.Service != want.service || got.FrameFormat != "CommonEmi" || got.ConnectionName != "hq" || got.RawData != want.cemi {
				t.Errorf("telegram %d: %+v, want %s %s", i, got, want.service, want.cemi)
			}
			raw, err := hex.DecodeString(got.RawData)
			if err != nil {
				t.Fatal(err)
			}
			l, err := frame.ParseLData(raw)
			if err != nil || !bytes.Equal(l.Data, want.telegram.GetRaw()) && len(l.Data) > 0 || l.SixBit != want.telegram.GetSixBit() || l.Source.String() != want.telegram.GetSource() {
				t.Errorf("telegram %d: the frame is %+v, %v", i, l, err)
			}
		}
	}
}

func TestExportAsCSV(t *testing.T) {
	text, told := export(t, "csv", nil)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != len(exported)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if got, want := strings.Join(rows[1], "|"), `2026-11-21T08:00:00.1234567Z|hq|1|10|1.1.5|1/2/3|'=A1 "<&--|write|9.001|21.5|°C|0c33|unspecified|false|false`; got != want {
		t.Errorf("first row\n%s, want\n%s", got, want)
	}
	if !strings.Contains(told, "GAP: 7 telegrams missing") {
		t.Errorf("of the gap is told %q", told)
	}
}

// An error before anything was written leaves nothing.
func TestExportOfNothing(t *testing.T) {
	failed := errors.New("no such building")
	for _, format := range []string{"ets-xml", "csv", "jsonl", ""} {
		var out bytes.Buffer
		w := formatFlag{format}.writer(false, &out, io.Discard)
		if err := w.end(failed); !errors.Is(err, failed) || out.Len() > 0 {
			t.Errorf("%s: %v, %q", format, err, out.String())
		}
		w = formatFlag{format}.writer(false, &out, io.Discard)
		if err := w.end(nil); err != nil || (out.Len() > 0) != (format == "ets-xml" || format == "csv") {
			t.Errorf("%s, without telegrams: %v, %q", format, err, out.String())
		}
	}
}

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{"": "", "on": "on", "-20.3": "-20.3", "+1": "+1", "=1+1": "'=1+1", "@x": "'@x", "-x": "'-x"} {
		if got := harmless(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
