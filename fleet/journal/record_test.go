package journal

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

func drawRecord(t *rapid.T) record {
	r := record{
		kind:     rapid.SampledFrom([]kind{kindBegin, kindTelegram, kindGap, kindEnd}).Draw(t, "kind"),
		Position: Position{rapid.Uint64Range(1, maxNumber).Draw(t, "epoch"), rapid.Uint64Range(1, maxNumber).Draw(t, "number")},
		stamp:    rapid.Int64Range(0, math.MaxInt64).Draw(t, "stamp"),
	}
	r.before = rapid.Int64Range(0, r.stamp).Draw(t, "before")
	r.low = rapid.Int64Range(0, r.stamp).Draw(t, "low")
	switch r.kind {
	case kindBegin:
		r.Number = 0
		r.previous = rapid.Uint64Range(0, r.Epoch-1).Draw(t, "previous")
		r.unclean, r.first, r.genesis = rapid.Bool().Draw(t, "unclean"), rapid.Bool().Draw(t, "first"), rapid.Bool().Draw(t, "genesis")
		r.run = rapid.Uint32().Draw(t, "run")
	case kindTelegram:
		r.telegram = Telegram{
			Position: r.Position, Stamp: r.stamp,
			ReceivedAt:  time.Unix(0, rapid.Int64Range(0, math.MaxInt64).Draw(t, "received")),
			Source:      frame.IndividualAddress(rapid.Uint16().Draw(t, "source")),
			Destination: frame.GroupAddress(rapid.Uint16().Draw(t, "destination")),
			Command:     rapid.SampledFrom([]frame.APCI{frame.GroupValueRead, frame.GroupValueResponse, frame.GroupValueWrite}).Draw(t, "command"),
			Raw:         rapid.SliceOfN(rapid.Byte(), 0, MaxRaw).Draw(t, "raw"),
			SixBit:      rapid.Bool().Draw(t, "six bit"),
			Own:         rapid.Bool().Draw(t, "own"),
			Initial:     rapid.Bool().Draw(t, "initial"),
			Priority:    frame.Priority(rapid.IntRange(0, 3).Draw(t, "priority")),
		}
	case kindGap:
		r.from = rapid.Uint64Range(1, r.Number).Draw(t, "from")
		r.firstStamp = rapid.Int64Range(0, r.stamp).Draw(t, "first stamp")
		r.cause = Cause(rapid.Byte().Draw(t, "cause"))
	case kindEnd:
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		data := r.encode()
		got, err := decodeRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.telegram.Raw) == 0 && len(r.telegram.Raw) == 0 {
			got.telegram.Raw, r.telegram.Raw = nil, nil
		}
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("\n%+v became\n%+v", r, got)
		}
		if cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut"); r.kind != kindTelegram {
			if _, err := decodeRecord(data[:cut]); err == nil {
				t.Fatalf("%d of %d bytes were read as a record", cut, len(data))
			}
		}
	})
}

// A typical telegram is small: what is stored a thousand times a second counts.
func TestRecordSize(t *testing.T) {
	now := time.Now().UnixNano()
	r := record{
		kind: kindTelegram, Position: Position{12_345, 1_000_000}, stamp: now, before: now - int64(time.Second), low: now - int64(10*time.Millisecond),
		telegram: Telegram{ReceivedAt: time.Unix(0, now-20_000), Source: 0x1105, Destination: 0x0A03, Command: frame.GroupValueWrite, Raw: []byte{0x0C, 0x33}},
	}
	if n := len(r.encode()); n > 36 {
		t.Errorf("%d bytes, want at most 36", n)
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range []record{
		{kind: kindBegin, Position: Position{Epoch: 7}, stamp: 9, before: 9, low: 3, previous: 5, unclean: true, run: 1},
		{kind: kindTelegram, Position: Position{7, 1}, stamp: 9, before: 8, low: 3, telegram: Telegram{Raw: []byte{1}, Command: frame.GroupValueWrite}},
		{kind: kindGap, Position: Position{7, 4}, stamp: 9, before: 8, low: 3, from: 2, firstStamp: 5, cause: CauseFailed},
		{kind: kindEnd, Position: Position{7, 4}, stamp: 9, before: 8, low: 3},
	} {
		f.Add(r.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err != nil {
			return
		}
		again, err := decodeRecord(r.encode())
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if !bytes.Equal(again.encode(), r.encode()) {
			t.Fatalf("%+v became %+v", r, again)
		}
		// Whatever a damaged store gives, a stream can go on.
		v := everything()
		c := newCore(cursor{mark: Mark{Epoch: 5, Stamp: 5}}, v.Identify, v.Restore)
		snap := &snapshot{mark: Mark{Epoch: 8, Stamp: 100}, last: 99, buildings: map[string]known{
			"hq": {head: Position{8, 2}, stamp: 99, begin: record{kind: kindBegin, Position: Position{Epoch: 8}, stamp: 97, before: 97}},
		}}
		c.begin(snap)
		c.record("hq", &r)
		c.record("hq", &again)
		c.finish(snap)
		for range 10 {
			c.take(1)
		}
		token, _ := c.told.encode("", MaxToken)
		if _, err := decodeCursor("", token); err != nil || c.waiting() > 0 {
			t.Fatalf("after %+v: %v, %d items wait", r, err, c.waiting())
		}
	})
}
