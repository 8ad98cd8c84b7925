package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// changesTake is how long a change may show its effect.
const changesTake = 5 * time.Second

// changed is how many buildings are changed.
const changed = 2

// life is what would show that a building was touched.
type life struct{ epoch, reconnects uint64 }

// lives are those of all buildings.
func (h *holding) lives(ctx context.Context) (map[string]life, error) {
	all := make(map[string]life, h.Buildings)
	request := &knxfleetv1.ListBuildingsRequest{PageSize: 1000}
	for {
		page, err := h.scene.gateway.buildings.ListBuildings(ctx, request)
		if err != nil {
			return nil, h.scene.gateway.explain(fmt.Errorf("list buildings: %w", err))
		}
		for _, b := range page.GetBuildings() {
			all[b.GetId()] = life{b.GetStatus().GetEpoch(), b.GetStatus().GetCounters().GetReconnects()}
		}
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			return all, nil
		}
	}
}

// change changes a label of one building and lets another connect anew while the others
// have telegrams, and then disables and enables all.
func (h *holding) change(ctx context.Context) error {
	if h.Buildings <= changed {
		return h.switchAll(ctx)
	}
	sc := h.scene
	subscriber, err := h.subscribe(ctx)
	if err != nil {
		return err
	}
	others := *sc.knxfleet
	others.buildings.First = changed + 1
	before, err := h.lives(ctx)
	if err != nil {
		return err
	}
	begin, err := sc.read(ctx, &others, subscriber)
	if err != nil {
		return err
	}
	if err := sc.load(ctx, &others, float64(h.Buildings)/h.Every.Seconds()); err != nil {
		return err
	}
	if _, err := sc.gateway.buildings.UpdateBuilding(ctx, &knxfleetv1.UpdateBuildingRequest{
		Building:   &knxfleetv1.Building{Id: buildingID(1), Labels: map[string]string{"changed": "yes"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	}); err != nil {
		return sc.gateway.explain(fmt.Errorf("change a label: %w", err))
	}
	if _, err := sc.gateway.buildings.ReconnectBuilding(ctx, &knxfleetv1.ReconnectBuildingRequest{Id: buildingID(2)}); err != nil {
		return sc.gateway.explain(fmt.Errorf("reconnect a building: %w", err))
	}
	if err := pause(ctx, changesTake); err != nil {
		return err
	}
	all, err := h.settle(ctx, &others, subscriber, begin)
	if err != nil {
		return err
	}
	after, err := h.lives(ctx)
	if err != nil {
		return err
	}
	touched := 0.0
	for id, life := range after {
		if id != buildingID(2) && life != before[id] {
			touched++
		}
	}
	h.mark("a label and a reconnect: other buildings touched", "1", touched, 0)
	h.mark("telegrams lost meanwhile", "1", all.Offered-all.Delivered, 0)
	return errors.Join(subscriber.stop(), h.switchAll(ctx))
}

// switchAll disables all buildings, and enables them.
func (h *holding) switchAll(ctx context.Context) error {
	sc := h.scene
	each := func(do func(ctx context.Context, id string) error) (time.Duration, error) {
		began := time.Now()
		switching, ctx := errgroup.WithContext(ctx)
		switching.SetLimit(creators)
		for n := 1; n <= h.Buildings; n++ {
			switching.Go(func() error { return do(ctx, buildingID(n)) })
		}
		err := switching.Wait()
		return time.Since(began), sc.gateway.explain(err)
	}
	began := time.Now()
	called, err := each(func(ctx context.Context, id string) error {
		_, err := sc.gateway.buildings.DisableBuilding(ctx, &knxfleetv1.DisableBuildingRequest{Id: id})
		return err
	})
	if err != nil {
		return err
	}
	off, err := every(ctx, openPoll, sc.openPatience(), func() (bool, error) {
		families, err := scrape(ctx, sc.gateway.metrics())
		return err == nil && int(gaugeOf(families, "knxfleet_buildings", "disabled")) == h.Buildings, err
	})
	if err != nil {
		return err
	}
	if !off {
		return sc.gateway.explain(errors.New("some buildings go on although they are disabled"))
	}
	h.see("all disabled: calls answered after", "s", called.Seconds())
	h.see("all disabled: done after", "s", time.Since(began).Seconds())
	sc.knxfleet.open = func(ctx context.Context) error {
		_, err := each(func(ctx context.Context, id string) error {
			_, err := sc.gateway.buildings.EnableBuilding(ctx, &knxfleetv1.EnableBuildingRequest{Id: id})
			return err
		})
		return err
	}
	_, wall, _, err := sc.bringUp(ctx, sc.knxfleet)
	h.see("all enabled: ONLINE after", "s", wall.Seconds())
	return err
}
