package main

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// formatFlag is that of commands that print telegrams.
type formatFlag struct {
	Format string `help:"Print for another program: ets-xml (the log that the group monitor of ETS opens), csv, jsonl." enum:",ets-xml,csv,jsonl" default:"" placeholder:"FORMAT"`
}

// telegramWriter writes telegrams, and what is missing among them.
type telegramWriter interface {
	telegram(t *knxfleetv1.Telegram) error
	gap(g *knxfleetv1.Gap) error
	// end makes whole what was written, also if it was cut short by err, which it
	// returns. Nothing is written if there was nothing but an error.
	end(err error) error
}

// writer is the one of the format asked for. Where gaps have no place in a format,
// they are told on errOut.
func (f formatFlag) writer(json bool, out, errOut io.Writer) telegramWriter {
	switch f.Format {
	case "ets-xml":
		return &etsWriter{out: out}
	case "csv":
		return &csvWriter{out: csv.NewWriter(out), gaps: &telegramPrinter{out: errOut}}
	case "jsonl":
		json = true
	}
	return &telegramPrinter{out: out, json: json}
}

// writeAll writes telegrams, and before each the gaps that it comes after.
func writeAll(w telegramWriter, telegrams []*knxfleetv1.Telegram, gaps []*knxfleetv1.Gap) error {
	for _, t := range telegrams {
		var later []*knxfleetv1.Gap
		for _, g := range gaps {
			if !precedes(g, t) {
				later = append(later, g)
			} else if err := w.gap(g); err != nil {
				return err
			}
		}
		gaps = later
		if err := w.telegram(t); err != nil {
			return err
		}
	}
	for _, g := range gaps {
		if err := w.gap(g); err != nil {
			return err
		}
	}
	return nil
}

func precedes(g *knxfleetv1.Gap, t *knxfleetv1.Telegram) bool {
	return g.GetBuilding() == "" || g.GetBuilding() == t.GetBuilding() &&
		(g.GetEpoch() < t.GetEpoch() || g.GetEpoch() == t.GetEpoch() && g.GetTo() < t.GetNumber())
}

// etsWriter writes the telegram log of ETS. Each telegram is a whole line, and end
// closes the document, so that also what was interrupted is valid.
type etsWriter struct {
	out    io.Writer
	opened bool
	last   time.Time // of the last telegram
}

// etsTime is how ETS writes times, in UTC.
const etsTime = "2006-01-02T15:04:05.0000000Z"

func (w *etsWriter) open() error {
	if w.opened {
		return nil
	}
	w.opened = true
	_, err := io.WriteString(w.out, xml.Header+`<CommunicationLog xmlns="http://knx.org/xml/telegrams/01">`+"\n")
	return err
}

func (w *etsWriter) telegram(t *knxfleetv1.Telegram) error {
	cemi, err := cemiOf(t)
	if err != nil {
		return fmt.Errorf("telegram %d of epoch %d of building %s: %w", t.GetNumber(), t.GetEpoch(), t.GetBuilding(), err)
	}
	w.last = t.GetReceivedAt().AsTime()
	if err := w.open(); err != nil {
		return err
	}
	line := struct {
		XMLName        xml.Name `xml:"Telegram"`
		Timestamp      string   `xml:",attr"`
		ConnectionName string   `xml:",attr"`
		Service        string   `xml:",attr"`
		FrameFormat    string   `xml:",attr"`
		RawData        string   `xml:",attr"`
	}{
		Timestamp: w.last.UTC().Format(etsTime), ConnectionName: t.GetBuilding(), Service: cemi.Message.String(),
		FrameFormat: "CommonEmi", RawData: strings.ToUpper(hex.EncodeToString(cemi.Append(nil))),
	}
	text, err := xml.Marshal(line)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "  %s\n", text)
	return err
}

func (w *etsWriter) gap(g *knxfleetv1.Gap) error {
	if err := w.open(); err != nil {
		return err
	}
	// What is in it has no "--", which would end a comment.
	_, err := fmt.Fprintf(w.out, "  <!-- %s -->\n", strings.ReplaceAll(gapText(g), "--", "-"))
	return err
}

func (w *etsWriter) end(cut error) error {
	if cut != nil && !w.opened {
		return cut
	}
	if err := w.open(); err != nil {
		return errors.Join(cut, err)
	}
	stop := ""
	if !w.last.IsZero() {
		stop = fmt.Sprintf("  <RecordStop Timestamp=%q />\n", w.last.UTC().Format(etsTime))
	}
	_, err := io.WriteString(w.out, stop+"</CommunicationLog>\n")
	return errors.Join(cut, err)
}

// cemiOf is the frame that brought a telegram, as far as the telegram tells:
// L_Data.ind, and L_Data.con for one of ours.
func cemiOf(t *knxfleetv1.Telegram) (frame.LData, error) {
	l := frame.LData{
		Message: frame.LDataInd, Priority: priorities[t.GetPriority()], HopCount: frame.DefaultHopCount, Group: true,
		Repeated: t.GetRepeated(), Data: t.GetRaw(), SixBit: t.GetSixBit(),
	}
	if t.GetSentByGateway() {
		l.Message = frame.LDataCon
	}
	if hops := t.GetHopCount(); hops > 0 {
		l.HopCount = uint8(min(hops, 7))
	}
	source, err := frame.ParseIndividualAddress(t.GetSource())
	if err != nil {
		return l, err
	}
	destination, err := frame.ParseGroupAddress(t.GetDestination())
	if err != nil {
		return l, err
	}
	l.Source, l.Destination = source, uint16(destination)
	switch t.GetKind() {
	case knxfleetv1.Telegram_KIND_READ:
		l.APCI, l.Data, l.SixBit = frame.GroupValueRead, nil, false
	case knxfleetv1.Telegram_KIND_RESPONSE:
		l.APCI = frame.GroupValueResponse
	case knxfleetv1.Telegram_KIND_WRITE:
		l.APCI = frame.GroupValueWrite
	default:
		return l, errors.New("its kind is not known to this version")
	}
	return l, nil
}

var priorities = map[knxfleetv1.Priority]frame.Priority{
	knxfleetv1.Priority_PRIORITY_UNSPECIFIED: frame.PriorityLow,
	knxfleetv1.Priority_PRIORITY_LOW:         frame.PriorityLow,
	knxfleetv1.Priority_PRIORITY_NORMAL:      frame.PriorityNormal,
	knxfleetv1.Priority_PRIORITY_URGENT:      frame.PriorityUrgent,
	knxfleetv1.Priority_PRIORITY_SYSTEM:      frame.PrioritySystem,
}

// csvWriter writes a row for each telegram, under a header.
type csvWriter struct {
	out    *csv.Writer
	gaps   *telegramPrinter
	opened bool
}

var csvHeader = []string{
	"received_at", "building", "epoch", "number", "source", "destination", "name", "kind", "dpt", "value", "unit", "raw", "priority", "ours", "initial",
}

func (w *csvWriter) open() error {
	if w.opened {
		return nil
	}
	w.opened = true
	return w.out.Write(csvHeader)
}

func (w *csvWriter) telegram(t *knxfleetv1.Telegram) error {
	row := []string{
		t.GetReceivedAt().AsTime().Format(time.RFC3339Nano), t.GetBuilding(), strconv.FormatUint(t.GetEpoch(), 10), strconv.FormatUint(t.GetNumber(), 10),
		t.GetSource(), t.GetDestination(), harmless(t.GetName()), shortKind(t.GetKind()), t.GetDpt(), harmless(t.GetValue()), t.GetUnit(), hex.EncodeToString(t.GetRaw()),
		strings.ToLower(strings.TrimPrefix(t.GetPriority().String(), "PRIORITY_")), strconv.FormatBool(t.GetSentByGateway()), strconv.FormatBool(t.GetInitial()),
	}
	if err := errors.Join(w.open(), w.out.Write(row)); err != nil {
		return err
	}
	w.out.Flush() // whole lines, as they come
	return w.out.Error()
}

// harmless keeps a spreadsheet from taking a text for a formula. Numbers stay.
func harmless(text string) string {
	if text == "" || !slices.Contains([]byte("=+-@\t\r"), text[0]) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

func (w *csvWriter) gap(g *knxfleetv1.Gap) error { return w.gaps.gap(g) }

func (w *csvWriter) end(cut error) error {
	if cut != nil {
		return cut // what was written is whole
	}
	err := w.open()
	w.out.Flush()
	return errors.Join(err, w.out.Error())
}
