package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type readCmd struct {
	client
	priorityFlag

	Building string        `arg:"" help:"Id of the building."`
	Address  string        `arg:"" help:"Group address, such as 1/2/3, or its name."`
	DPT      string        `help:"Datapoint type to decode with; without it that of the building's group address table." placeholder:"9.001"`
	Timeout  time.Duration `help:"How long to wait for the answer." default:"5s"`
	MaxAge   time.Duration `help:"Take the last value, without asking the bus, if it is at most this old." default:"0s"`
}

// Run prints the value that a device answers with.
func (c *readCmd) Run(ctx context.Context, s *streams) error {
	request := &knxfleetv1.GroupReadRequest{
		Building: c.Building, GroupAddress: c.Address, Dpt: c.DPT, Timeout: durationpb.New(c.Timeout), Priority: c.priority(),
	}
	if c.MaxAge != 0 {
		request.MaxAge = durationpb.New(c.MaxAge)
	}
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		read, err := telegrams.GroupRead(ctx, request)
		if err != nil {
			return err
		}
		if c.json() {
			return printJSON(s.out, read)
		}
		text := telegramValue(read.GetTelegram())
		if read.GetCached() {
			text += " [" + time.Since(read.GetTelegram().GetReceivedAt().AsTime()).Round(time.Second).String() + " ago]"
		}
		_, err = fmt.Fprintln(s.out, text)
		return err
	})
}
