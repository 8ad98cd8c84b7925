package api

import (
	"errors"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func (s *telegramService) StreamBusMonitor(request *knxfleetv1.StreamBusMonitorRequest, stream knxfleetv1.TelegramService_StreamBusMonitorServer) error {
	building, err := findBuilding(stream.Context(), s.registry, "building", request.GetBuilding())
	if err != nil {
		return err
	}
	monitor := fleet.Monitor{Building: building.ID, DataOnly: request.GetDataOnly(), Silence: defaultKeepalive}
	err = s.fleet.MonitorBus(stream.Context(), monitor, func(frames []*knxfleetv1.BusMonitorFrame, dropped uint64) error {
		return stream.Send(&knxfleetv1.StreamBusMonitorResponse{Frames: frames, Dropped: dropped})
	})
	if errors.Is(err, registry.ErrNotFound) {
		err = notYet(building)
	}
	return aboutBuilding(err, building.ID)
}
