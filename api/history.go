package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet/journal"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// maxHistoryBuildings is how many ids a list of telegrams may name.
const maxHistoryBuildings = 100

func (s *telegramService) ListTelegrams(ctx context.Context, request *knxfleetv1.ListTelegramsRequest) (*knxfleetv1.ListTelegramsResponse, error) {
	if n := len(request.GetBuildings()); n > maxHistoryBuildings {
		return nil, invalid("buildings", "has %d entries; at most %d", n, maxHistoryBuildings)
	}
	filter, err := s.filter(ctx, request)
	if err != nil {
		return nil, err
	}
	r := journal.Range{Page: request.GetPageToken()}
	if r.Limit, err = pageSize(request.GetPageSize()); err != nil {
		return nil, err
	}
	if r.Since, err = timeOf("since", request.GetSince()); err != nil {
		return nil, err
	}
	if r.Until, err = timeOf("until", request.GetUntil()); err != nil {
		return nil, err
	}
	if !r.Since.IsZero() && !r.Until.IsZero() && !r.Since.Before(r.Until) {
		return nil, invalid("until", "is not after since")
	}
	switch order := request.GetOrderBy(); order {
	case "", "received_at":
	case "received_at desc":
		r.Newest = true
	default:
		return nil, invalid("order_by", "%.80q is no order; want \"received_at\" or \"received_at desc\"", order)
	}
	page, err := s.fleet.History(ctx, filter, r)
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.ListTelegramsResponse{NextPageToken: page.Next}
	for _, t := range page.Telegrams {
		response.Telegrams = append(response.Telegrams, t.Message())
	}
	for i := range page.Gaps {
		response.Gaps = append(response.Gaps, gapToProto(&page.Gaps[i]))
	}
	return response, nil
}

// timeOf checks an optional time.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if at := t.AsTime(); t.IsValid() && at.After(time.Unix(0, 0)) {
		return at, nil
	}
	return time.Time{}, invalid(field, "is no time since 1970")
}

func (s *telegramService) ListGroupValues(ctx context.Context, request *knxfleetv1.ListGroupValuesRequest) (*knxfleetv1.ListGroupValuesResponse, error) {
	if n := len(request.GetBuildings()); n > maxPageSize {
		return nil, invalid("buildings", "has %d entries; at most %d", n, maxPageSize)
	}
	filter, err := s.filter(ctx, request)
	if err != nil {
		return nil, err
	}
	most, err := pageSize(request.GetPageSize())
	if err != nil {
		return nil, err
	}
	oldest, err := durationIn("max_age", request.GetMaxAge(), 0, time.Millisecond, maxAge)
	if err != nil {
		return nil, err
	}
	after, err := parseValuePage(request.GetPageToken())
	if err != nil {
		return nil, err
	}
	response := &knxfleetv1.ListGroupValuesResponse{}
	size := 0
	for _, id := range s.fleet.Selected(filter) {
		if id < after.building {
			continue
		}
		values, restoring, err := s.fleet.GroupValues(ctx, id, filter)
		if err != nil {
			return nil, err
		}
		if restoring {
			response.Restoring = append(response.Restoring, id)
		}
		for _, v := range values {
			if id == after.building && v.Address <= after.address || oldest > 0 && v.Age > oldest {
				continue
			}
			if len(response.GetGroupValues()) == most || size >= maxResponse {
				response.NextPageToken = after.token()
				return response, nil
			}
			value := v.Proto()
			size += proto.Size(value)
			response.GroupValues = append(response.GroupValues, value)
			after = valuePage{id, v.Address}
		}
	}
	return response, nil
}

// maxAge bounds max_age of values: longer than any journal.
const maxAge = 10 * 366 * 24 * time.Hour
