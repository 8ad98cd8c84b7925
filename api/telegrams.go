package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Limits and defaults of the contract.
const (
	maxFilterBuildings = 10_000
	maxFilterAddresses = 1_000
	maxFilterSources   = 1_000
	maxFilterNames     = 100
)

// telegramService implements knxfleet.v1.TelegramService.
type telegramService struct {
	knxfleetv1.UnimplementedTelegramServiceServer

	registry *registry.Registry
	fleet    *fleet.Fleet
	gaps     *gapCounts
	replays  *replays
	batches  chan struct{} // a place for each batch under way; full: refused
	log      zerolog.Logger
}

// selecting is the part of a request that selects telegrams.
type selecting interface {
	GetBuildings() []string
	GetLabelSelector() string
	GetGroupAddresses() []string
	GetNames() []string
}

// filter reads it, with kinds and sources where the request has them.
func (s *telegramService) filter(ctx context.Context, request selecting) (fleet.Filter, error) {
	var filter fleet.Filter
	if len(request.GetBuildings()) > maxFilterBuildings {
		return filter, invalid("buildings", "has %d entries; at most %d", len(request.GetBuildings()), maxFilterBuildings)
	}
	if ids := request.GetBuildings(); len(ids) > 0 {
		filter.Buildings = make(map[string]bool, len(ids))
		for _, id := range ids {
			if _, err := findBuilding(ctx, s.registry, "buildings", id); err != nil {
				return filter, err
			}
			filter.Buildings[id] = true
		}
	}
	var err error
	if filter.Labels, err = selector(request.GetLabelSelector()); err != nil {
		return filter, err
	}
	if filter.Addresses, err = addressPatterns(request.GetGroupAddresses(), maxFilterAddresses); err != nil {
		return filter, err
	}
	if filter.Names, err = namePatterns(request.GetNames(), maxFilterNames); err != nil {
		return filter, err
	}
	more, ok := request.(interface {
		GetSources() []string
		GetKinds() []knxfleetv1.Telegram_Kind
	})
	if !ok {
		return filter, nil
	}
	if filter.Sources, err = patterns("sources", more.GetSources(), maxFilterSources, fleet.ParseSourcePattern); err != nil {
		return filter, err
	}
	filter.Kinds, err = kinds(more.GetKinds())
	return filter, err
}

// kinds checks kinds of telegrams; the unspecified one is no filter.
func kinds(asked []knxfleetv1.Telegram_Kind) ([]knxfleetv1.Telegram_Kind, error) {
	var selected []knxfleetv1.Telegram_Kind
	for _, k := range asked {
		switch _, known := knxfleetv1.Telegram_Kind_name[int32(k)]; {
		case !known:
			return nil, invalid("kinds", "%d is no kind; want READ, RESPONSE or WRITE", k)
		case k != knxfleetv1.Telegram_KIND_UNSPECIFIED && !slices.Contains(selected, k):
			selected = append(selected, k)
		}
	}
	return selected, nil
}

// selector reads a label selector; empty selects all and is nil.
func selector(text string) (labels.Selector, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // nil is "no selection", as in fleet.Filter
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, invalid("label_selector", "%w; want a form such as region=south,tier!=test", err)
	}
	return selector, nil
}

// findBuilding finds a building that a request names in the field.
func findBuilding(ctx context.Context, buildings *registry.Registry, field, id string) (registry.Building, error) {
	b, err := buildings.Get(ctx, id)
	if wrong, ok := errors.AsType[*registry.FieldError](err); ok {
		return b, &registry.FieldError{Field: field, Problem: wrong.Problem}
	}
	return b, err
}

// durationIn checks an optional duration.
func durationIn(field string, d *durationpb.Duration, otherwise, least, most time.Duration) (time.Duration, error) {
	if d == nil {
		return otherwise, nil
	}
	if v := d.AsDuration(); d.IsValid() && v >= least && v <= most {
		return v, nil
	}
	return 0, invalid(field, "must be %v to %v", least, most)
}
