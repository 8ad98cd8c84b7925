package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// MaxRaw is the longest value of a telegram, in bytes: an extended frame's APDU
// without its APCI (KNX 03_03_02 Data Link Layer).
const MaxRaw = 253

// Telegram is one group telegram as the journal keeps it: what the bus said.
// Names, types and values are not kept; whoever reads applies the building's
// present table.
type Telegram struct {
	Position
	// Stamp is when it was written, in nanoseconds since 1970, strictly rising over
	// all buildings of a process. Write sets it.
	Stamp int64
	// ReceivedAt is when the gateway took it from the network.
	ReceivedAt  time.Time
	Source      frame.IndividualAddress
	Destination frame.GroupAddress
	// Command is frame.GroupValueRead, GroupValueResponse or GroupValueWrite.
	Command frame.APCI
	// Raw is the value, at most MaxRaw bytes. It is shared and must not change.
	Raw []byte
	// SixBit: the value travelled in the APCI's octet.
	SixBit bool
	// Own: this gateway sent it.
	Own bool
	// Initial: it answers a read that followed the start of a session.
	Initial  bool
	Priority frame.Priority
}

// Cause is why telegrams are missing. The values are stored.
type Cause uint8

// The causes. They are those of the contract (Gap.Cause).
const (
	// CauseSlow: the subscriber read too slowly, and they could not be read again.
	CauseSlow Cause = 1
	// CauseExpired: they are older than what the journal keeps.
	CauseExpired Cause = 2
	// CauseFailed: the journal could not write them, or its store was damaged.
	CauseFailed Cause = 3
	// CauseUncleanEnd: the gateway ended without warning; what it had received last
	// may be lost.
	CauseUncleanEnd Cause = 4
	// CauseOff: no journal is kept.
	CauseOff Cause = 5
)

// Gap says that telegrams of a building are missing at this place: between what
// was told of the building before and what is told next.
//
// A gap without a building says that a stream begins, or goes on, before what the
// journal keeps (CauseExpired), or that a replay broke off (CauseFailed), so that
// telegrams of any building may be missing. Where it is known of which, gaps of these
// buildings follow.
type Gap struct {
	Building string
	// Epoch is where they are missing. 0: not known, one before the next telegram's.
	Epoch uint64
	// From and To are the numbers of the first and the last. 0: not known.
	From, To uint64
	// Count is how many are missing. 0: not known, perhaps none.
	Count uint64
	Cause Cause
}

// kind is what a record tells. The values are stored.
type kind uint8

const (
	kindBegin    kind = 1 // an epoch begins
	kindTelegram kind = 2
	kindGap      kind = 3 // telegrams that could not be written
	kindEnd      kind = 4 // the epoch ended in order
)

// record is one entry of the log.
type record struct {
	kind kind
	// epoch and number: of the telegram, of the last telegram in the gap, of the last
	// telegram of the epoch; a begin has number 0.
	Position
	// stamp is the telegram's, or that of the last one in the gap, or the record's own.
	stamp int64
	// before is the stamp of what came before it in the building's epoch: of the
	// telegram with the number before (for a gap, the number before from), or of the
	// epoch's begin. A begin has its own stamp here.
	before int64
	// low is a watermark of the whole process: what is stored after this record has
	// no lower stamp.
	low int64

	telegram Telegram // of kindTelegram; Position and Stamp are set in memory only

	// Of a gap: number and stamp of the first telegram in it.
	from       uint64
	firstStamp int64
	cause      Cause

	// Of a begin: the epoch before, 0 if none is known; whether that one may lack its
	// end; the process that wrote it; whether it is the building's first in that
	// process.
	previous uint64
	unclean  bool
	run      uint32
	first    bool
	// genesis: nothing was ever stored before it.
	genesis bool
}

// firstNumber is the number of the first telegram that the record tells of.
func (r *record) firstNumber() uint64 {
	switch r.kind {
	case kindGap:
		return r.from
	case kindEnd:
		return r.Number + 1
	default:
		return r.Number
	}
}

// order compares places in a building's log.
func (r *record) order(o *record) int {
	place := func(r *record) (Position, bool) {
		return Position{r.Epoch, r.firstNumber()}, r.kind == kindEnd
	}
	a, aEnd := place(r)
	b, bEnd := place(o)
	if c := a.Compare(b); c != 0 || aEnd == bEnd {
		return c
	}
	if aEnd {
		return 1
	}
	return -1
}

const (
	recordVersion = 1
	// recordRoom is what a telegram takes beside its value, in bytes, or a little more.
	recordRoom = 48

	flagSixBit   = 1 << 0
	flagOwn      = 1 << 1
	priorityBits = 2 // two bits from here on
	commandBits  = 4 // two bits from here on
	flagInitial  = 1 << 6
	telegramMask = 1<<7 - 1

	flagUnclean = 1 << 0
	flagFirst   = 1 << 1
	flagGenesis = 1 << 2
	beginMask   = 1<<3 - 1

	// maxNumber bounds numbers and epochs, so that one more is always a number.
	maxNumber = 1 << 62
)

// encode encodes the record:
//
//	version (high four bits) and kind (low four)
//	epoch, number                      unsigned varints
//	stamp                              8 bytes, big endian
//	stamp-before, stamp-low            unsigned varints
//	begin:    flags, previous (unsigned varint), run (4 bytes)
//	telegram: flags, received-stamp (signed varint), source, destination (2 bytes
//	          each), raw (the rest)
//	gap:      number-from, stamp-firstStamp (unsigned varints), cause
func (r *record) encode() []byte {
	dst := append(make([]byte, 0, recordRoom+len(r.telegram.Raw)), recordVersion<<4|byte(r.kind))
	dst = binary.AppendUvarint(dst, r.Epoch)
	dst = binary.AppendUvarint(dst, r.Number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.stamp))
	dst = binary.AppendUvarint(dst, uint64(r.stamp-r.before))
	dst = binary.AppendUvarint(dst, uint64(r.stamp-r.low))
	switch r.kind {
	case kindBegin:
		var flags byte
		if r.unclean {
			flags |= flagUnclean
		}
		if r.first {
			flags |= flagFirst
		}
		if r.genesis {
			flags |= flagGenesis
		}
		dst = append(dst, flags)
		dst = binary.AppendUvarint(dst, r.previous)
		dst = binary.BigEndian.AppendUint32(dst, r.run)
	case kindTelegram:
		t := &r.telegram
		flags := byte(t.Priority&3)<<priorityBits | byte(t.Command>>6&3)<<commandBits
		if t.SixBit {
			flags |= flagSixBit
		}
		if t.Own {
			flags |= flagOwn
		}
		if t.Initial {
			flags |= flagInitial
		}
		dst = append(dst, flags)
		dst = binary.AppendVarint(dst, t.ReceivedAt.UnixNano()-r.stamp)
		dst = binary.BigEndian.AppendUint16(dst, uint16(t.Source))
		dst = binary.BigEndian.AppendUint16(dst, uint16(t.Destination))
		dst = append(dst, t.Raw...)
	case kindGap:
		dst = binary.AppendUvarint(dst, r.Number-r.from)
		dst = binary.AppendUvarint(dst, uint64(r.stamp-r.firstStamp))
		dst = append(dst, byte(r.cause))
	case kindEnd:
	}
	return dst
}

var (
	errRecordShort   = errors.New("record ends too early")
	errRecordLong    = errors.New("record is too long")
	errRecordInvalid = errors.New("record has a value out of range")
)

// fields takes a record apart; after the first failure everything is zero.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.rest = nil
}

func (f *fields) bytes(n int) []byte {
	if len(f.rest) < n {
		f.fail(errRecordShort)
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte { return f.bytes(1)[0] }

func (f *fields) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(f.rest)
	switch {
	case n <= 0:
		f.fail(errRecordShort)
		return 0
	case v > most:
		f.fail(errRecordInvalid)
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail(errRecordShort)
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// decodeRecord reads what encode wrote. The record shares data.
func decodeRecord(data []byte) (record, error) {
	f := fields{rest: data}
	head := f.byte()
	if head>>4 != recordVersion && f.err == nil {
		return record{}, fmt.Errorf("record of version %d: this program knows version %d", head>>4, recordVersion)
	}
	r := record{kind: kind(head & 0xF)}
	r.Epoch = f.uvarint(maxNumber)
	r.Number = f.uvarint(maxNumber)
	r.stamp = int64(binary.BigEndian.Uint64(f.bytes(8)))
	if r.stamp < 0 {
		return record{}, errRecordInvalid
	}
	r.before = r.stamp - int64(f.uvarint(uint64(r.stamp)))
	r.low = r.stamp - int64(f.uvarint(uint64(r.stamp)))
	switch r.kind {
	case kindBegin:
		r.begin(&f)
	case kindTelegram:
		r.takeTelegram(&f)
	case kindGap:
		if r.Number == 0 {
			return record{}, errRecordInvalid
		}
		r.from = r.Number - f.uvarint(r.Number-1)
		r.firstStamp = r.stamp - int64(f.uvarint(uint64(r.stamp)))
		r.cause = Cause(f.byte())
	case kindEnd:
	default:
		return record{}, fmt.Errorf("record of unknown kind %d", r.kind)
	}
	if len(f.rest) > 0 {
		f.fail(errRecordLong)
	}
	if f.err == nil && r.Epoch == 0 {
		f.fail(errRecordInvalid)
	}
	if f.err != nil {
		return record{}, f.err
	}
	return r, nil
}

func (r *record) begin(f *fields) {
	flags := f.byte()
	r.unclean, r.first, r.genesis = flags&flagUnclean != 0, flags&flagFirst != 0, flags&flagGenesis != 0
	r.previous = f.uvarint(maxNumber)
	r.run = binary.BigEndian.Uint32(f.bytes(4))
	if flags&^beginMask != 0 || r.Number != 0 || r.previous >= max(r.Epoch, 1) {
		f.fail(errRecordInvalid)
	}
}

func (r *record) takeTelegram(f *fields) {
	flags := f.byte()
	t := &r.telegram
	t.Position, t.Stamp = r.Position, r.stamp
	t.SixBit, t.Own, t.Initial = flags&flagSixBit != 0, flags&flagOwn != 0, flags&flagInitial != 0
	t.Priority = frame.Priority(flags >> priorityBits & 3)
	t.Command = frame.APCI(flags>>commandBits&3) << 6
	t.ReceivedAt = time.Unix(0, r.stamp+f.varint())
	t.Source = frame.IndividualAddress(binary.BigEndian.Uint16(f.bytes(2)))
	t.Destination = frame.GroupAddress(binary.BigEndian.Uint16(f.bytes(2)))
	t.Raw = slices.Clip(f.rest)
	f.rest = nil
	if flags&^telegramMask != 0 || t.Command > frame.GroupValueWrite || r.Number == 0 || len(t.Raw) > MaxRaw {
		f.fail(errRecordInvalid)
	}
}
