package fleet

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/ets"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// kitchen is a table with one of everything.
func kitchen(style frame.Style) ets.Table {
	return ets.Table{Style: style, Entries: []ets.Entry{
		{Address: 0x0A01, Name: "Kitchen light", Type: dpt.ID{Main: 1, Sub: 1}},
		{Address: 0x0A02, Name: "Kitchen dimmer", Type: dpt.ID{Main: 5, Sub: 1}},
		{Address: 0x0A03, Name: "Kitchen temperature", Type: dpt.ID{Main: 9, Sub: 1}},
		{Address: 0x0A04, Name: "Twin"},
		{Address: 0x0A05, Name: "Twin", Type: dpt.ID{Main: 9, Sub: dpt.Generic}},
		{Address: 0x0A06, Name: "Strange", Type: dpt.ID{Main: 999, Sub: 1}},
		{Address: 0x0A07, Type: dpt.ID{Main: 1, Sub: 1}},
	}}
}

func TestInterpret(t *testing.T) {
	const write, read, response = frame.GroupValueWrite, frame.GroupValueRead, frame.GroupValueResponse
	table := tables.New(kitchen(frame.StyleTwoLevel))
	type m = knxfleetv1.Telegram
	for name, c := range map[string]struct {
		table *tables.Table
		t     journal.Telegram
		want  *m
	}{
		"no table":      {nil, journal.Telegram{Destination: 0x0A03, Command: write, Raw: []byte{0x0c, 0x33}}, &m{Destination: "1/2/3"}},
		"not in it":     {table, journal.Telegram{Destination: 0x0A09, Command: write, Raw: []byte{1}}, &m{Destination: "1/521"}},
		"a temperature": {table, journal.Telegram{Destination: 0x0A03, Command: write, Raw: []byte{0x0c, 0x33}}, &m{Destination: "1/515", Name: "Kitchen temperature", Dpt: "9.001", Value: "21.5", Unit: "°C"}},
		"a response":    {table, journal.Telegram{Destination: 0x0A01, Command: response, Raw: []byte{1}, SixBit: true}, &m{Destination: "1/513", Name: "Kitchen light", Dpt: "1.001", Value: "on"}},
		"a read":        {table, journal.Telegram{Destination: 0x0A01, Command: read, SixBit: true}, &m{Destination: "1/513", Name: "Kitchen light", Dpt: "1.001"}},
		"without type":  {table, journal.Telegram{Destination: 0x0A04, Command: write, Raw: []byte{1}}, &m{Destination: "1/516", Name: "Twin"}},
		"main type":     {table, journal.Telegram{Destination: 0x0A05, Command: write, Raw: []byte{0x0c, 0x33}}, &m{Destination: "1/517", Name: "Twin", Dpt: "9", Value: "21.5"}},
		"without name":  {table, journal.Telegram{Destination: 0x0A07, Command: write, Raw: []byte{0}, SixBit: true}, &m{Destination: "1/519", Dpt: "1.001", Value: "off"}},
		"invalid": {table, journal.Telegram{Destination: 0x0A03, Command: write, Raw: []byte{0x7f, 0xff}}, &m{
			Destination: "1/515", Name: "Kitchen temperature", Dpt: "9.001", Invalid: true, DecodeError: "7fff means nothing in datapoint type 9.001",
		}},
		"too short": {table, journal.Telegram{Destination: 0x0A03, Command: write, Raw: []byte{7}}, &m{
			Destination: "1/515", Name: "Kitchen temperature", Dpt: "9.001", DecodeError: "want 2",
		}},
		"a byte for a bit": {table, journal.Telegram{Destination: 0x0A01, Command: write, Raw: []byte{1}}, &m{
			Destination: "1/513", Name: "Kitchen light", Dpt: "1.001", DecodeError: "as bytes (1)",
		}},
		"a bit for a byte": {table, journal.Telegram{Destination: 0x0A02, Command: write, Raw: []byte{1}, SixBit: true}, &m{
			Destination: "1/514", Name: "Kitchen dimmer", Dpt: "5.001", DecodeError: "in six bits",
		}},
		"a type of the future": {table, journal.Telegram{Destination: 0x0A06, Command: write, Raw: []byte{1}}, &m{
			Destination: "1/518", Name: "Strange", Dpt: "999.001", DecodeError: "999.001 is not known",
		}},
	} {
		got := m{Kind: kindOf(c.t.Command), Raw: c.t.Raw, SixBit: c.t.SixBit}
		interpret(&got, c.table, c.t.Destination)
		got.Kind, got.Raw, got.SixBit = 0, nil, false
		// Of a decode error only a part is given here.
		if !strings.Contains(got.GetDecodeError(), c.want.GetDecodeError()) || (got.GetDecodeError() == "") != (c.want.GetDecodeError() == "") {
			t.Errorf("%s: decode error %q, want %q", name, got.GetDecodeError(), c.want.GetDecodeError())
		}
		c.want.DecodeError = got.GetDecodeError()
		if !proto.Equal(&got, c.want) {
			t.Errorf("%s: %v\nwant %v", name, &got, c.want)
		}
	}
}

// What the bus says is told with names and values from the first telegram on, and
// with those of a new table as soon as there is one; the site goes on.
func TestTableSwapsWhileTheSiteRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1, knxserver.Config{})
		w.tables.put("a", kitchen(frame.StyleThreeLevel))
		all, lights := subscribe(t, w.hub, Filter{}, 0), subscribe(t, w.hub, Filter{Names: []NamePattern{namePattern(t, "*LIGHT")}}, 0)
		w.add("a", "b")
		w.online("a", "b")
		inject := func(i int, destination frame.GroupAddress, sixBit bool, data ...byte) {
			w.do(i, func(now time.Time, b *simulator.Building) {
				if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: destination, Command: frame.GroupValueWrite, Data: data, SixBit: sixBit}); err != nil {
					t.Error(err)
				}
			})
		}
		heard := func(s *Subscription) *knxfleetv1.Telegram {
			batch := next(t, s)
			if len(batch.telegrams) != 1 {
				t.Fatalf("%d telegrams", len(batch.telegrams))
			}
			return batch.telegrams[0].Message()
		}
		inject(0, 0x0A03, false, 0x0c, 0x33)
		if m := heard(all); m.GetDestination() != "1/2/3" || m.GetName() != "Kitchen temperature" || m.GetValue() != "21.5" || m.GetUnit() != "°C" || m.GetDpt() != "9.001" {
			t.Errorf("with the table: %v", m)
		}
		inject(0, 0x0A01, true, 1)
		if m, same := heard(all), heard(lights); !proto.Equal(m, same) || m.GetValue() != "on" {
			t.Errorf("by its name: %v and %v, want the same for all", m, same)
		}
		inject(1, 0x0A03, false, 0x0c, 0x33)
		if m := heard(all); m.GetBuilding() != "b" || m.GetName() != "" || m.GetValue() != "" || m.GetDpt() != "" {
			t.Errorf("the other building: %v, want nothing of the first one's table", m)
		}
		before, _ := w.fleet.View("a")

		file := kitchen(frame.StyleFree)
		file.Entries[2].Name, file.Entries[2].Type = "Stove", dpt.ID{Main: 7, Sub: 1}
		w.tables.put("a", file)
		inject(0, 0x0A03, false, 0x0c, 0x33)
		if m := heard(all); m.GetDestination() != "2563" || m.GetName() != "Stove" || m.GetDpt() != "7.001" || m.GetValue() != "3123" {
			t.Errorf("with the new table: %v", m)
		}
		if after, _ := w.fleet.View("a"); after.Status.Epoch != before.Status.Epoch {
			t.Error("the site started anew for it")
		}
		w.stop()
	})
}

// A store that does not answer takes the names away, and nothing else; they come
// when it does.
func TestTableComesWhenTheStoreDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knxserver.Config{})
		w.tables.put("a", kitchen(0))
		failure := error(&registry.BuildingError{ID: "a", Cause: registry.ErrUnavailable})
		w.tables.failure.Store(&failure)
		s := subscribe(t, w.hub, Filter{}, 0)
		w.add("a")
		w.online("a")
		for _, want := range []string{"", "Kitchen light"} {
			w.do(0, func(now time.Time, b *simulator.Building) {
				if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: 0x0A01, Command: frame.GroupValueWrite, Data: []byte{1}, SixBit: true}); err != nil {
					t.Error(err)
				}
			})
			if m := next(t, s).telegrams[0].Message(); m.GetName() != want || m.GetDestination() != "1/2/1" {
				t.Errorf("%v, want name %q", m, want)
			}
			w.tables.failure.Store(nil)
			time.Sleep(tableRetry + time.Second)
		}
		w.stop()
	})
}

// Writes by name and with the table's type arrive as those by address and type.
func TestWriteByTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knxserver.Config{RecordLimit: 100})
		w.tables.put("a", kitchen(0))
		w.add("a")
		w.online("a")
		for name, c := range map[string]struct {
			write       Write
			destination frame.GroupAddress
			data        string
			sixBit      bool
		}{
			"type of the table":      {Write{Address: "1/2/3", Value: "21,5 °C"}, 0x0A03, "\x0c\x33", false},
			"name":                   {Write{Address: "Kitchen light", Value: "on"}, 0x0A01, "\x01", true},
			"own type":               {Write{Address: "Kitchen light", Value: "100", DPT: "5.001"}, 0x0A01, "\xff", false},
			"raw of the table":       {Write{Address: "1/2/1", Raw: []byte{1}}, 0x0A01, "\x01", true},
			"raw of own type":        {Write{Address: "1/2/1", Raw: []byte{1}, DPT: "5.010"}, 0x0A01, "\x01", false},
			"raw of no type":         {Write{Address: "1/2/4", Raw: []byte{1, 2, 3}}, 0x0A04, "\x01\x02\x03", false},
			"raw of an unknown type": {Write{Address: "Strange", Raw: []byte{7}}, 0x0A06, "\x07", false},
		} {
			c.write.Building, c.write.Within = "a", time.Second
			if outcome, err := w.fleet.GroupWrite(t.Context(), c.write); outcome.Outcome != session.Confirmed && outcome.Outcome != session.Rejected || err != nil {
				t.Errorf("%s: %v, %v", name, outcome, err)
			}
			w.do(0, func(_ time.Time, b *simulator.Building) {
				bus := b.KNX.TakeRecord().Bus
				if len(bus) != 1 || frame.GroupAddress(bus[0].LData.Destination) != c.destination || string(bus[0].LData.Data) != c.data || bus[0].LData.SixBit != c.sixBit {
					t.Errorf("%s: arrived as %+v", name, bus)
				}
			})
		}
		w.stop()
	})
}

func TestWrongWritesByTable(t *testing.T) {
	full, empty := &memoryTables{}, &memoryTables{}
	full.put("a", kitchen(frame.StyleTwoLevel))
	down := &memoryTables{}
	failure := error(&registry.BuildingError{ID: "a", Cause: registry.ErrUnavailable})
	down.failure.Store(&failure)
	for name, c := range map[string]struct {
		tables      Tables
		write       Write
		field, text string
	}{
		"two of a name":           {full, Write{Address: "Twin", Value: "1"}, "group_address", "2 group addresses (1/516, 1/517); give the address"},
		"no such name":            {full, Write{Address: "Cellar", Value: "1"}, "group_address", "no group address of the building has the name \"Cellar\""},
		"another case":            {full, Write{Address: "kitchen LIGHT", Value: "1"}, "group_address", `there is "Kitchen light" (1/513)`},
		"an address out of range": {full, Write{Address: "32/0/1", Value: "1"}, "group_address", "main group"},
		"a pattern":               {full, Write{Address: "1/2/*", Value: "1"}, "group_address", "sub group"},
		"no address":              {full, Write{Value: "1"}, "group_address", "is missing"},
		"a name without a table":  {empty, Write{Address: "Cellar", Value: "1"}, "group_address", "no group address table yet"},
		"a name without tables":   {noTables{}, Write{Address: "Cellar", Value: "1"}, "group_address", "no group address table yet"},
		"no type":                 {full, Write{Address: "1/2/4", Value: "1"}, "dpt", "is missing"},
		"not in the table":        {full, Write{Address: "1/2/99", Value: "1"}, "dpt", "is missing"},
		"an unknown type":         {full, Write{Address: "Strange", Value: "1"}, "dpt", "999.001"},
		"a value of another type": {full, Write{Address: "Kitchen light", Value: "21.5"}, "value", "neither"},
		"raw of another type":     {full, Write{Address: "Kitchen light", Raw: []byte{1, 2}}, "raw", "another dpt overrides"},
		"raw with a wrong type":   {full, Write{Address: "Kitchen light", Raw: []byte{1}, DPT: "light"}, "dpt", "light"},
	} {
		c.write.Building = "a"
		_, err := c.write.encode(context.Background(), c.tables)
		var field *registry.FieldError
		if !errors.As(err, &field) || field.Field != c.field || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %s with %q", name, err, c.field, c.text)
		}
	}
	// Only what needs the table fails with its store.
	for name, c := range map[string]struct {
		write Write
		fails bool
	}{
		"all given":   {Write{Address: "1/2/3", Value: "1", DPT: "9.001"}, false},
		"raw":         {Write{Address: "1/2/3", Raw: []byte{1}}, false},
		"by name":     {Write{Address: "Kitchen light", Raw: []byte{1}}, true},
		"by its type": {Write{Address: "1/2/3", Value: "1"}, true},
	} {
		c.write.Building = "a"
		if _, err := c.write.encode(context.Background(), down); c.fails != errors.Is(err, registry.ErrUnavailable) || !c.fails && err != nil {
			t.Errorf("store down, %s: %v", name, err)
		}
	}
}

func namePattern(t *testing.T, text string) NamePattern {
	t.Helper()
	p, err := ParseNamePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilterByWhatTheTelegramSays(t *testing.T) {
	tg := telegram("a", 1)
	tg.Source = 0x1105
	tg.Name, tg.Kind = "Kitchen light", knxfleetv1.Telegram_KIND_WRITE
	unnamed := telegram("a", 2)
	source := func(text string) SourcePattern {
		p, err := ParseSourcePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, c := range map[string]struct {
		filter        Filter
		want, without bool
	}{
		"a name":          {Filter{Names: []NamePattern{namePattern(t, "*bath*"), namePattern(t, "kitchen*")}}, true, false},
		"any name":        {Filter{Names: []NamePattern{namePattern(t, "*")}}, true, false},
		"another name":    {Filter{Names: []NamePattern{namePattern(t, "*bath*")}}, false, false},
		"a kind":          {Filter{Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_READ, knxfleetv1.Telegram_KIND_WRITE}}, true, false},
		"another kind":    {Filter{Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_READ}}, false, false},
		"a source":        {Filter{Sources: []SourcePattern{source("9.9.9"), source("1.1.*")}}, true, false},
		"another source":  {Filter{Sources: []SourcePattern{source("1.2.*")}}, false, false},
		"no source":       {Filter{Sources: []SourcePattern{source("0.0.0")}}, false, true},
		"name, not kind":  {Filter{Names: []NamePattern{namePattern(t, "*")}, Kinds: []knxfleetv1.Telegram_Kind{knxfleetv1.Telegram_KIND_READ}}, false, false},
		"name and source": {Filter{Names: []NamePattern{namePattern(t, "*")}, Sources: []SourcePattern{source("1.1.5")}}, true, false},
	} {
		if c.filter.Match(tg) != c.want || c.filter.Match(unnamed) != c.without {
			t.Errorf("%s: %v and %v, want %v and %v", name, c.filter.Match(tg), c.filter.Match(unnamed), c.want, c.without)
		}
	}
}

// What a telegram costs on its way through the site: the telegram itself, its
// encoded form, and the texts of its addresses and value.
func TestTelegramAllocations(t *testing.T) {
	heard := journal.Telegram{ReceivedAt: time.Now(), Source: 0x1105, Destination: 0x0A03, Command: frame.GroupValueWrite, Raw: []byte{0x0c, 0x33}}
	for name, c := range map[string]struct {
		table *tables.Table
		most  float64
	}{"without table": {nil, 4}, "with table": {tables.New(kitchen(0)), 7}} {
		var e encoder
		got := testing.AllocsPerRun(1000, func() { e.telegram("a", nil, c.table, &heard) })
		if got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.most)
		}
	}
}

func BenchmarkTelegram(b *testing.B) {
	heard := journal.Telegram{ReceivedAt: time.Now(), Source: 0x1105, Destination: 0x0A03, Command: frame.GroupValueWrite, Raw: []byte{0x0c, 0x33}}
	for name, table := range map[string]*tables.Table{"without table": nil, "with table": tables.New(kitchen(0))} {
		b.Run(name, func(b *testing.B) {
			var e encoder
			b.ReportAllocs()
			for b.Loop() {
				e.telegram("a", nil, table, &heard)
			}
		})
	}
}
