package fleet

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Telegram is one group telegram of one building on its way to subscribers. It
// is shared by all of them and never changes.
type Telegram struct {
	// Building, Epoch and Number identify the telegram for good; Number counts
	// from 1 within the epoch.
	Building      string
	Epoch, Number uint64
	// Stamp is the journal's; see [journal.Telegram].
	Stamp int64
	// Labels are the building's when the telegram was seen; of one from the journal,
	// those of now.
	Labels map[string]string
	// Source is the sender, Destination the group address.
	Source      frame.IndividualAddress
	Destination frame.GroupAddress
	Kind        knxfleetv1.Telegram_Kind
	// Name is that of the group address; empty if the table has none.
	Name string
	// Encoded is the telegram as clients get it, made once for all of them: see
	// Encode.
	Encoded []byte
}

// telegramsField is the tag of StreamTelegramsResponse.telegrams, which
// ListTelegramsResponse.telegrams shares.
const telegramsField = 1

// Encode gives a telegram as it stands in the binary form of a
// StreamTelegramsResponse: field 1 with its tag and length, so that several, one
// after the other, are the telegrams of a response.
func Encode(m *knxfleetv1.Telegram) []byte {
	size := proto.Size(m)
	b := make([]byte, 0, protowire.SizeTag(telegramsField)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, telegramsField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		// Only a string that is not UTF-8 can be refused, and frames and tables give none.
		panic("encode a telegram: " + err.Error())
	}
	return b
}

// Message decodes the telegram.
func (t *Telegram) Message() *knxfleetv1.Telegram {
	m := &knxfleetv1.Telegram{}
	_, _, tag := protowire.ConsumeTag(t.Encoded)
	if tag < 0 {
		return m
	}
	body, n := protowire.ConsumeBytes(t.Encoded[tag:])
	if n < 0 || proto.Unmarshal(body, m) != nil {
		return &knxfleetv1.Telegram{} // not reached: Encode made it
	}
	return m
}

// encoder makes telegrams. It belongs to one goroutine, and saves it the garbage of
// a message for each.
type encoder struct {
	message knxfleetv1.Telegram
	at      timestamppb.Timestamp
}

// telegram makes a telegram with what the building's table knows of it at this
// moment.
func (e *encoder) telegram(building string, labels map[string]string, table *tables.Table, t *journal.Telegram) *Telegram {
	m := &e.message
	proto.Reset(m)
	e.at.Seconds, e.at.Nanos = t.ReceivedAt.Unix(), int32(t.ReceivedAt.Nanosecond())
	m.Building, m.Epoch, m.Number, m.ReceivedAt = building, t.Epoch, t.Number, &e.at
	m.Source, m.Kind, m.Priority = t.Source.String(), kindOf(t.Command), priorityOf(t.Priority)
	m.Raw, m.SixBit, m.SentByGateway = t.Raw, t.SixBit, t.Own
	m.Initial = t.Initial
	interpret(m, table, t.Destination)
	return &Telegram{
		Building: building, Epoch: t.Epoch, Number: t.Number, Stamp: t.Stamp, Labels: labels,
		Source: t.Source, Destination: t.Destination, Kind: m.GetKind(), Name: m.GetName(), Encoded: Encode(m),
	}
}

// received is a telegram from the bus as the journal keeps it.
func received(position journal.Position, t *knxbridge.Telegram) journal.Telegram {
	return journal.Telegram{
		Position: position, ReceivedAt: t.At, Source: t.Source, Destination: t.Destination, Command: t.Command,
		Raw: t.Data, SixBit: t.SixBit, Own: t.Own, Priority: t.Priority,
	}
}

// identify is what the journal has to know of a live telegram.
func identify(t *Telegram) journal.Identity {
	return journal.Identity{Building: t.Building, Position: journal.Position{Epoch: t.Epoch, Number: t.Number}, Stamp: t.Stamp}
}

func kindOf(command frame.APCI) knxfleetv1.Telegram_Kind {
	switch command {
	case frame.GroupValueRead:
		return knxfleetv1.Telegram_KIND_READ
	case frame.GroupValueResponse:
		return knxfleetv1.Telegram_KIND_RESPONSE
	case frame.GroupValueWrite:
		return knxfleetv1.Telegram_KIND_WRITE
	default:
		return knxfleetv1.Telegram_KIND_UNSPECIFIED
	}
}

func priorityOf(p frame.Priority) knxfleetv1.Priority {
	switch p {
	case frame.PriorityLow:
		return knxfleetv1.Priority_PRIORITY_LOW
	case frame.PriorityNormal:
		return knxfleetv1.Priority_PRIORITY_NORMAL
	case frame.PriorityUrgent:
		return knxfleetv1.Priority_PRIORITY_URGENT
	case frame.PrioritySystem:
		return knxfleetv1.Priority_PRIORITY_SYSTEM
	default:
		return knxfleetv1.Priority_PRIORITY_UNSPECIFIED
	}
}

// size is what a telegram takes in a queue: about what it holds in memory, although
// queues share it.
func (t *Telegram) size() int { return telegramOverhead + len(t.Encoded) }

// telegramOverhead is a Telegram's own size and that of a queue's place for it.
const telegramOverhead = 256

// age is how long ago a telegram was received; never negative, as clocks may be set.
func age(now time.Time, t *journal.Telegram) time.Duration { return max(now.Sub(t.ReceivedAt), 0) }
