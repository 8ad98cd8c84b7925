package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// buildingService implements knxfleet.v1.BuildingService.
type buildingService struct {
	knxfleetv1.UnimplementedBuildingServiceServer

	registry *registry.Registry
	tables   *tables.Store
	fleet    *fleet.Fleet
	imports  *imports
	keys     registry.PublicKeys
	log      zerolog.Logger

	tunnelEndpoint string // where routers reach the gateway; empty: not known
}

func (s *buildingService) CreateBuilding(ctx context.Context, request *knxfleetv1.CreateBuildingRequest) (*knxfleetv1.CreateBuildingResponse, error) {
	building, warnings, err := fromProto(request.GetBuilding())
	if err != nil {
		return nil, err
	}
	if request.GetValidateOnly() {
		building.SetDefaults()
		if err := building.Validate(); err != nil {
			return nil, err
		}
		switch _, err := s.registry.Get(ctx, building.ID); {
		case err == nil:
			return nil, &registry.BuildingError{ID: building.ID, Cause: registry.ErrExists}
		case !errors.Is(err, registry.ErrNotFound):
			return nil, err
		}
	} else if building, err = s.registry.Create(ctx, building); err != nil {
		return nil, err
	}
	warnings = s.warnOfSharedKeys(warnings, building)
	return &knxfleetv1.CreateBuildingResponse{Building: s.view(building), Warnings: warnings}, nil
}

// warnOfSharedKeys adds a warning if another building has the same keys: it may be wanted for
// a while, such as when a building gets another id.
func (s *buildingService) warnOfSharedKeys(warnings []*knxfleetv1.Warning, b registry.Building) []*knxfleetv1.Warning {
	other, shares := s.registry.SharesKeys(b)
	if !shares {
		return warnings
	}
	return append(warnings, &knxfleetv1.Warning{Subject: "tunnel.private_key", Message: fmt.Sprintf(
		"belongs to building %s too, with the same router: only the older of the two that are enabled runs; give this one a key and a peer on the router of its own", other)})
}

func (s *buildingService) GetBuilding(ctx context.Context, request *knxfleetv1.GetBuildingRequest) (*knxfleetv1.GetBuildingResponse, error) {
	building, err := s.registry.Get(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	view := s.view(building)
	view.Status.Journal = s.kept(ctx, building.ID, true)
	return &knxfleetv1.GetBuildingResponse{Building: view}, nil
}

func (s *buildingService) DeleteBuilding(ctx context.Context, request *knxfleetv1.DeleteBuildingRequest) (*knxfleetv1.DeleteBuildingResponse, error) {
	revision, err := registry.ParseEtag(request.GetEtag())
	if err != nil {
		return nil, err
	}
	if err := s.registry.Delete(ctx, request.GetId(), revision); err != nil {
		return nil, err
	}
	s.keys.Forget(request.GetId())
	// The building is gone, whatever comes of its table; the next start removes what
	// is left of it.
	if err := s.tables.Delete(ctx, request.GetId()); err != nil {
		s.log.Warn().Err(err).Str("building", request.GetId()).Msg("the group address table of a deleted building is left until the next start")
	}
	return &knxfleetv1.DeleteBuildingResponse{}, nil
}

func (s *buildingService) EnableBuilding(ctx context.Context, request *knxfleetv1.EnableBuildingRequest) (*knxfleetv1.EnableBuildingResponse, error) {
	building, err := s.setEnabled(ctx, request.GetId(), request.GetEtag(), true)
	if err != nil {
		return nil, err
	}
	return &knxfleetv1.EnableBuildingResponse{Building: building}, nil
}

func (s *buildingService) DisableBuilding(ctx context.Context, request *knxfleetv1.DisableBuildingRequest) (*knxfleetv1.DisableBuildingResponse, error) {
	building, err := s.setEnabled(ctx, request.GetId(), request.GetEtag(), false)
	if err != nil {
		return nil, err
	}
	return &knxfleetv1.DisableBuildingResponse{Building: building}, nil
}

func (s *buildingService) setEnabled(ctx context.Context, id, etag string, enabled bool) (*knxfleetv1.Building, error) {
	revision, err := registry.ParseEtag(etag)
	if err != nil {
		return nil, err
	}
	building, err := s.registry.Update(ctx, id, revision, func(b *registry.Building) error {
		b.Enabled = enabled
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.view(building), nil
}

func (s *buildingService) ReconnectBuilding(ctx context.Context, request *knxfleetv1.ReconnectBuildingRequest) (*knxfleetv1.ReconnectBuildingResponse, error) {
	building, err := s.registry.Get(ctx, request.GetId())
	switch {
	case err != nil:
		return nil, err
	case !building.Enabled:
		return nil, &registry.BuildingError{ID: building.ID, Cause: fleet.ErrDisabled}
	}
	err = s.fleet.Reconnect(ctx, building.ID, request.GetTunnel())
	if err != nil && !errors.Is(err, registry.ErrNotFound) { // which was created a moment ago, and is about to start
		return nil, err
	}
	return &knxfleetv1.ReconnectBuildingResponse{Building: s.view(building)}, nil
}

// view is a building as it is kept, with its status. One that the fleet has not
// heard of yet is about to start.
func (s *buildingService) view(b registry.Building) *knxfleetv1.Building {
	return toProto(b, s.keys.Of(b).String(), s.status(b))
}

func (s *buildingService) status(b registry.Building) fleet.Status {
	v, ok := s.fleet.View(b.ID)
	if !ok {
		return fleet.NewBuilding(b)
	}
	return v.Status
}

// kept is what a building takes in the journal; nil when that cannot be told.
func (s *buildingService) kept(ctx context.Context, id string, oldest bool) *knxfleetv1.JournalUsage {
	kept, ok := s.fleet.Kept(ctx, id, oldest)
	if !ok {
		return nil
	}
	return &knxfleetv1.JournalUsage{Bytes: kept.Bytes, Telegrams: kept.Telegrams, OldestAt: timestamp(kept.Oldest)}
}
