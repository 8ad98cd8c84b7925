package fleet

import (
	"google.golang.org/protobuf/types/known/timestamppb"

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
	// Labels are the building's when the telegram was seen.
	Labels map[string]string
	// Source is the sender, Destination the group address.
	Source      frame.IndividualAddress
	Destination frame.GroupAddress
	// Message is the telegram as clients get it, made once for all of them.
	Message *knxfleetv1.Telegram
}

// newTelegram makes a telegram with what the building's table knows of it at this
// moment.
func newTelegram(building string, epoch, number uint64, labels map[string]string, table *tables.Table, t knxbridge.Telegram) *Telegram {
	telegram := &Telegram{
		Building: building, Epoch: epoch, Number: number, Labels: labels, Source: t.Source, Destination: t.Destination,
		Message: &knxfleetv1.Telegram{
			Building:      building,
			Epoch:         epoch,
			Number:        number,
			ReceivedAt:    timestamppb.New(t.At),
			Source:        t.Source.String(),
			Kind:          kindOf(t.Command),
			Raw:           t.Data,
			SixBit:        t.SixBit,
			SentByGateway: t.Own,
		},
	}
	interpret(telegram.Message, table, t)
	return telegram
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
