package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Limits and defaults of the contract.
const (
	defaultSendWithin = 10 * time.Second
	minSendWithin     = 100 * time.Millisecond
	maxSendWithin     = 5 * time.Minute
	// answerWithin is how long a write that was sent may take to be answered: two
	// ACKs and a confirmation, and a margin.
	answerWithin = 10 * time.Second
)

func (s *telegramService) GroupWrite(ctx context.Context, request *knxfleetv1.GroupWriteRequest) (*knxfleetv1.GroupWriteResponse, error) {
	within, err := durationIn("send_within", request.GetSendWithin(), defaultSendWithin, minSendWithin, maxSendWithin)
	if err != nil {
		return nil, err
	}
	priority, err := priorityOf(request.GetPriority())
	if err != nil {
		return nil, err
	}
	building, err := findBuilding(ctx, s.registry, "building", request.GetBuilding())
	if err != nil {
		return nil, err
	}
	write := fleet.Write{
		Building: request.GetBuilding(),
		Address:  request.GetGroupAddress(),
		DPT:      request.GetDpt(),
		Value:    request.GetValue(),
		Raw:      request.GetRaw(),
		SixBit:   request.GetSixBit(),
		Priority: priority,
		Within:   within,
		Client:   clientOf(ctx),
	}
	answer := &knxfleetv1.GroupWriteResponse{}
	replayed, err := s.replays.once(ctx, request, within+answerWithin, answer, func(ctx context.Context) error {
		written, err := s.fleet.GroupWrite(ctx, write)
		if errors.Is(err, registry.ErrNotFound) {
			return notYet(building)
		}
		if err == nil {
			writtenToProto(written, answer)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	answer.Replayed = replayed
	return answer, nil
}

// notYet is of a building that was created a moment ago, so that the fleet has not
// heard of it yet.
func notYet(building registry.Building) error {
	return &fleet.OfflineError{Building: building.ID, Status: fleet.NewBuilding(building)}
}

func writtenToProto(w fleet.Written, answer *knxfleetv1.GroupWriteResponse) {
	answer.Outcome, answer.Waited, answer.Pacing = outcomeOf(w.Outcome), durationpb.New(w.Waited), pacingToProto(w.Pacing)
	if w.Telegram != nil {
		answer.Telegram = w.Telegram.Message()
	}
}

// clientOf names who calls, for the turns at a bus: the connection, and of REST
// calls, which all come over one, the address that called.
func clientOf(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	if from.Addr.Network() != restNetwork {
		return from.Addr.String()
	}
	// The gateway appends the address that called it to what that says of itself.
	forwarded := metadata.ValueFromIncomingContext(ctx, "x-forwarded-for")
	if len(forwarded) == 0 {
		return restNetwork
	}
	return restNetwork + " " + lastOf(forwarded[len(forwarded)-1])
}

// restNetwork is what the pipe behind the REST gateway calls itself.
const restNetwork = "bufconn"

func lastOf(list string) string { return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:]) }

func priorityOf(p knxfleetv1.Priority) (frame.Priority, error) {
	switch p {
	case knxfleetv1.Priority_PRIORITY_UNSPECIFIED, knxfleetv1.Priority_PRIORITY_LOW:
		return frame.PriorityLow, nil
	case knxfleetv1.Priority_PRIORITY_NORMAL:
		return frame.PriorityNormal, nil
	case knxfleetv1.Priority_PRIORITY_URGENT:
		return frame.PriorityUrgent, nil
	default:
		return 0, invalid("priority", "%v is not for group telegrams of ours; want LOW, NORMAL or URGENT", p)
	}
}

func outcomeOf(o session.Outcome) knxfleetv1.Outcome {
	switch o {
	case session.Confirmed:
		return knxfleetv1.Outcome_OUTCOME_CONFIRMED
	case session.Rejected:
		return knxfleetv1.Outcome_OUTCOME_REJECTED
	case session.Unconfirmed:
		return knxfleetv1.Outcome_OUTCOME_UNCONFIRMED
	default:
		return knxfleetv1.Outcome_OUTCOME_UNKNOWN
	}
}
