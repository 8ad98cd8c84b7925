package api

import (
	"context"
	"errors"
	"time"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Limits and defaults of the contract.
const (
	defaultReadTimeout = 5 * time.Second
	minReadTimeout     = 100 * time.Millisecond
	maxReadTimeout     = time.Minute
)

func (s *telegramService) GroupRead(ctx context.Context, request *knxfleetv1.GroupReadRequest) (*knxfleetv1.GroupReadResponse, error) {
	timeout, err := durationIn("timeout", request.GetTimeout(), defaultReadTimeout, minReadTimeout, maxReadTimeout)
	if err != nil {
		return nil, err
	}
	priority, err := priorityOf(request.GetPriority())
	if err != nil {
		return nil, err
	}
	read := fleet.Read{
		Building: request.GetBuilding(),
		Address:  request.GetGroupAddress(),
		DPT:      request.GetDpt(),
		Timeout:  timeout,
		Priority: priority,
		Client:   clientOf(ctx),
	}
	if d := request.GetMaxAge(); d != nil {
		if read.MaxAge = d.AsDuration(); !d.IsValid() || read.MaxAge < 0 {
			return nil, invalid("max_age", "is no time that has passed; want 0s or more")
		}
	}
	building, err := findBuilding(ctx, s.registry, "building", request.GetBuilding())
	if err != nil {
		return nil, err
	}
	answer, err := s.fleet.GroupRead(ctx, read)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, notYet(building)
	}
	if err != nil {
		return nil, err
	}
	return &knxfleetv1.GroupReadResponse{Telegram: answer.Telegram, Cached: answer.Cached, Shared: answer.Shared}, nil
}
