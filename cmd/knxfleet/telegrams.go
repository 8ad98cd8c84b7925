package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type watchCmd struct {
	client

	Buildings []string      `arg:"" optional:"" name:"building" help:"Only these buildings."`
	Selector  string        `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
	Group     []string      `short:"g" help:"Only these group addresses; wildcards such as 1/2/* and 1/*/*." placeholder:"ADDRESS"`
	Name      []string      `short:"n" sep:"none" help:"Only group addresses with these names; * stands for any text: '*light*'." placeholder:"NAME"`
	For       time.Duration `help:"End after this long; 0 goes on until interrupted." default:"0s"`
}

func (c *watchCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := lasting(ctx, c.For)
	defer cancel()
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		stream, err := telegrams.StreamTelegrams(ctx, &knxfleetv1.StreamTelegramsRequest{
			Buildings: c.Buildings, LabelSelector: c.Selector, GroupAddresses: c.Group, Names: c.Name,
		})
		if err != nil {
			return err
		}
		for {
			response, err := stream.Recv()
			if err != nil {
				return ended(ctx, err)
			}
			if err := c.print(s.out, response); err != nil {
				return err
			}
		}
	})
}

func (c *watchCmd) print(w io.Writer, response *knxfleetv1.StreamTelegramsResponse) error {
	for _, t := range response.GetTelegrams() {
		if err := c.printTelegram(w, t); err != nil {
			return err
		}
	}
	gap := response.GetGap()
	if gap == nil {
		return nil
	}
	if c.json() {
		return printJSON(w, gap)
	}
	cause := strings.TrimPrefix(gap.GetCause().String(), "CAUSE_")
	_, err := fmt.Fprintf(w, "%s  GAP: %d telegrams missing (%s)\n", gap.GetBuilding(), gap.GetCount(), cause)
	return err
}

func (c *watchCmd) printTelegram(w io.Writer, t *knxfleetv1.Telegram) error {
	if c.json() {
		return printJSON(w, t)
	}
	_, err := fmt.Fprintf(w, "%s  %-20s  %-9s → %-9s  %-8s  %s\n", t.GetReceivedAt().AsTime().Local().Format(clockFormat),
		t.GetBuilding(), t.GetSource(), t.GetDestination(), shortKind(t.GetKind()), telegramValue(t))
	return err
}

func shortKind(k knxfleetv1.Telegram_Kind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

// telegramValue is the value with its unit and name where they are known, and
// the bytes where they are not.
func telegramValue(t *knxfleetv1.Telegram) string {
	var parts []string
	switch {
	case t.GetKind() == knxfleetv1.Telegram_KIND_READ:
	case t.GetValue() != "":
		parts = append(parts, t.GetValue(), t.GetUnit())
	case t.GetInvalid():
		parts = append(parts, "invalid", "0x"+hex.EncodeToString(t.GetRaw()))
	default:
		parts = append(parts, "0x"+hex.EncodeToString(t.GetRaw()))
	}
	if t.GetName() != "" {
		parts = append(parts, "("+t.GetName()+")")
	}
	if t.GetSentByGateway() {
		parts = append(parts, "[ours]")
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

type writeCmd struct {
	client

	Building string        `arg:"" help:"Id of the building."`
	Address  string        `arg:"" help:"Group address, such as 1/2/3, or its name."`
	Value    text          `arg:"" optional:"" help:"Value as people write it: on, 21.5, -20.3, '50 %', 2026-11-21."`
	DPT      string        `help:"Datapoint type of the value; without it that of the building's group address table." placeholder:"1.001"`
	Raw      string        `help:"Bytes in hex instead of a value." placeholder:"HEX"`
	SixBit   bool          `help:"With --raw: the value has six bits or less."`
	Within   time.Duration `help:"How long it may wait for its turn." default:"10s"`
}

func (c *writeCmd) Run(ctx context.Context, s *streams) error {
	request := &knxfleetv1.GroupWriteRequest{Building: c.Building, GroupAddress: c.Address, Dpt: c.DPT, Value: string(c.Value), SixBit: c.SixBit}
	if c.Raw != "" {
		raw, err := hex.DecodeString(strings.ReplaceAll(c.Raw, " ", ""))
		if err != nil {
			return usagef("--raw %q: want bytes in hex, such as 0c1a", c.Raw)
		}
		request.Raw = raw
	}
	if (c.Value == "") == (c.Raw == "") {
		return usagef("want either a value or --raw")
	}
	request.SendWithin = durationpb.New(c.Within)
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		written, err := telegrams.GroupWrite(ctx, request)
		if err != nil {
			return err
		}
		if c.json() {
			err = printJSON(s.out, written)
		} else {
			_, err = fmt.Fprintln(s.out, shortOutcome(written.GetOutcome()))
		}
		if err != nil {
			return err
		}
		if written.GetOutcome() != knxfleetv1.Outcome_OUTCOME_CONFIRMED {
			return fmt.Errorf("the write was sent, but not confirmed by the bus: %s", shortOutcome(written.GetOutcome()))
		}
		return nil
	})
}

func shortOutcome(o knxfleetv1.Outcome) string { return strings.TrimPrefix(o.String(), "OUTCOME_") }
