package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type monitorCmd struct {
	client

	Building string        `arg:"" help:"Id of the building."`
	DataOnly bool          `help:"Leave out acknowledgements."`
	For      time.Duration `help:"End after this long; 0 goes on until interrupted." default:"0s"`
}

// Run prints frames as they come, a line each.
func (c *monitorCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := lasting(ctx, c.For)
	defer cancel()
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		stream, err := telegrams.StreamBusMonitor(ctx, &knxfleetv1.StreamBusMonitorRequest{Building: c.Building, DataOnly: c.DataOnly})
		if err != nil {
			return ended(ctx, err)
		}
		for {
			response, err := stream.Recv()
			if err != nil {
				return ended(ctx, err)
			}
			if n := response.GetDropped(); n > 0 {
				fmt.Fprintf(s.err, "knxfleet: %d frames were dropped: they were read too slowly\n", n)
			}
			for _, f := range response.GetFrames() {
				if err := c.print(s.out, f); err != nil {
					return err
				}
			}
		}
	})
}

func (c *monitorCmd) print(out io.Writer, f *knxfleetv1.BusMonitorFrame) error {
	if c.json() {
		return printJSON(out, f)
	}
	line := fmt.Sprintf("%s  %d  %-7s", f.GetReceivedAt().AsTime().Local().Format(clockFormat), f.GetSequence(), f.GetType())
	if f.GetType() == "DATA" {
		value := strings.TrimSpace(f.GetValue() + " " + f.GetUnit())
		if f.GetName() != "" {
			value = strings.TrimSpace(value + " (" + f.GetName() + ")")
		}
		line += fmt.Sprintf("  %-9s → %-9s  %-18s  %s", f.GetSource(), f.GetDestination(), f.GetService(), value)
	}
	line = strings.TrimRight(line, " ") + "  " + hex.EncodeToString(f.GetRaw())
	for _, wrong := range []struct {
		is   bool
		text string
	}{{f.GetLost(), "lost frames before"}, {f.GetFrameError(), "frame error"}, {f.GetBitError(), "bit error"}, {f.GetParityError(), "parity error"}} {
		if wrong.is {
			line += " [" + wrong.text + "]"
		}
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
