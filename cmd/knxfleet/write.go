package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// priorityFlag is that of commands that send.
type priorityFlag struct {
	Priority string `help:"Priority on the bus: low, normal, urgent." enum:"low,normal,urgent" default:"low"`
}

func (f priorityFlag) priority() knxfleetv1.Priority {
	return knxfleetv1.Priority(knxfleetv1.Priority_value["PRIORITY_"+strings.ToUpper(f.Priority)])
}

type writeCmd struct {
	client
	priorityFlag

	What     []text        `arg:"" optional:"" name:"building address value" help:"Id of the building; then a group address, such as 1/2/3, or its name, and the value as people write it: on, 21.5, -20.3, '50 %', 2026-11-21. More pairs of address and value may follow. With --selector there is no building."`
	Selector string        `short:"l" help:"Write in all buildings with these labels." placeholder:"KEY=VALUE,…"`
	File     string        `short:"f" help:"Write what the lines of this file say: building, address and value between tabs, or JSON objects with building, groupAddress, dpt and value; - is standard input." placeholder:"FILE"`
	DPT      string        `help:"Datapoint type of the value; without it that of the building's group address table." placeholder:"1.001"`
	Raw      string        `help:"Bytes in hex instead of a value." placeholder:"HEX"`
	SixBit   bool          `help:"With --raw: the value has six bits or less."`
	Within   time.Duration `help:"How long each may wait for its turn." default:"10s"`
	Key      string        `help:"Idempotency key: the same command with the same key, within 10 minutes, writes nothing and gives the first one's answer." placeholder:"TEXT"`
	DryRun   bool          `help:"Only check what would be written."`
}

// Run writes one value, or many.
func (c *writeCmd) Run(ctx context.Context, s *streams) error {
	items, err := c.items(s.in)
	if err != nil {
		return err
	}
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		if len(items) == 1 && c.Selector == "" && c.File == "" && !c.DryRun {
			return c.one(ctx, telegrams, items[0], s.out)
		}
		return c.many(ctx, telegrams, items, s.out)
	})
}

// items reads what to write.
func (c *writeCmd) items(in io.Reader) ([]*knxfleetv1.GroupWriteItem, error) {
	rest := c.What
	building := ""
	if c.File != "" {
		if len(rest) > 0 || c.Raw != "" || c.Selector != "" {
			return nil, usagef("--file says what to write; give no addresses, --raw and --selector beside it")
		}
		return c.fromFile(in)
	}
	if c.Selector == "" {
		if len(rest) == 0 {
			return nil, usagef("want a building, a group address and a value (or --selector, or --file)")
		}
		building, rest = string(rest[0]), rest[1:]
	}
	if len(rest) == 0 {
		return nil, usagef("want a group address and a value")
	}
	if c.Raw != "" {
		if len(rest) != 1 {
			return nil, usagef("want either a value or --raw, and with --raw one group address")
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(c.Raw, " ", ""))
		if err != nil {
			return nil, usagef("--raw %q: want bytes in hex, such as 0c1a", c.Raw)
		}
		return []*knxfleetv1.GroupWriteItem{{Building: building, GroupAddress: string(rest[0]), Dpt: c.DPT, Raw: raw, SixBit: c.SixBit}}, nil
	}
	if len(rest)%2 != 0 {
		return nil, usagef("no value after %s: want either a value or --raw", rest[len(rest)-1])
	}
	var items []*knxfleetv1.GroupWriteItem
	for pair := range slices.Chunk(rest, 2) {
		items = append(items, &knxfleetv1.GroupWriteItem{
			Building: building, GroupAddress: string(pair[0]), Dpt: c.DPT, Value: string(pair[1]), SixBit: c.SixBit,
		})
	}
	return items, nil
}

// maxFileItems bounds a file of writes.
const maxFileItems = 100_000

func (c *writeCmd) fromFile(in io.Reader) ([]*knxfleetv1.GroupWriteItem, error) {
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, usageError{err}
		}
		defer file.Close() // was only read
		in = file
	}
	var items []*knxfleetv1.GroupWriteItem
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		item, err := parseItem(line)
		if err != nil {
			return nil, usagef("%s line %d: %w", c.File, number, err)
		}
		if item.GetDpt() == "" {
			item.Dpt = c.DPT
		}
		if items = append(items, item); len(items) > maxFileItems {
			return nil, usagef("%s: more than %d lines", c.File, maxFileItems)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usagef("%s: %w", c.File, err)
	}
	if len(items) == 0 {
		return nil, usagef("%s: nothing to write in it", c.File)
	}
	return items, nil
}

func parseItem(line string) (*knxfleetv1.GroupWriteItem, error) {
	item := &knxfleetv1.GroupWriteItem{}
	if strings.HasPrefix(line, "{") {
		if err := protojson.Unmarshal([]byte(line), item); err != nil {
			return nil, fmt.Errorf("no write: %w", err)
		}
	} else {
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%d fields between tabs; want building, group address and value", len(fields))
		}
		item.Building, item.GroupAddress, item.Value = strings.TrimSpace(fields[0]), strings.TrimSpace(fields[1]), strings.TrimSpace(fields[2])
	}
	if item.GetBuilding() == "" {
		return nil, fmt.Errorf("the building is missing")
	}
	return item, nil
}

func (c *writeCmd) one(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, item *knxfleetv1.GroupWriteItem, out io.Writer) error {
	written, err := telegrams.GroupWrite(ctx, &knxfleetv1.GroupWriteRequest{
		Building: item.GetBuilding(), GroupAddress: item.GetGroupAddress(), Dpt: item.GetDpt(), Value: item.GetValue(), Raw: item.GetRaw(), SixBit: item.GetSixBit(),
		Priority: c.priority(), SendWithin: durationpb.New(c.Within), IdempotencyKey: c.Key,
	})
	if err != nil {
		return err
	}
	if c.json() {
		err = printJSON(out, written)
	} else {
		_, err = fmt.Fprintln(out, shortOutcome(written.GetOutcome())+replayedMark(written.GetReplayed()))
	}
	if err != nil {
		return err
	}
	if written.GetOutcome() != knxfleetv1.Outcome_OUTCOME_CONFIRMED {
		return fmt.Errorf("the write was sent, but not confirmed by the bus: %s", shortOutcome(written.GetOutcome()))
	}
	return nil
}

func replayedMark(replayed bool) string {
	if replayed {
		return " (an earlier answer; nothing was written now)"
	}
	return ""
}

// itemsAtOnce is how many writes go in one call.
const itemsAtOnce = 1000

// many prints what became of each write. It fails if one was not confirmed.
func (c *writeCmd) many(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, items []*knxfleetv1.GroupWriteItem, out io.Writer) error {
	var rows [][]string
	failed, total := 0, 0
	for part := range slices.Chunk(items, itemsAtOnce) {
		request := &knxfleetv1.BatchGroupWriteRequest{
			Items: part, LabelSelector: c.Selector, Priority: c.priority(), SendWithin: durationpb.New(c.Within), ValidateOnly: c.DryRun, IdempotencyKey: c.Key,
		}
		if c.Key != "" && total > 0 {
			request.IdempotencyKey = fmt.Sprintf("%s+%d", c.Key, total)
		}
		written, err := telegrams.BatchGroupWrite(ctx, request)
		if err != nil {
			return err
		}
		for _, r := range written.GetResults() {
			total++
			if r.GetError() != nil || !c.DryRun && r.GetOutcome() != knxfleetv1.Outcome_OUTCOME_CONFIRMED {
				failed++
			}
			if c.json() {
				if err := printJSON(out, r); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{r.GetBuilding(), r.GetGroupAddress(), part[r.GetItem()].GetValue(), c.itemOutcome(r) + replayedMark(written.GetReplayed())})
		}
	}
	if !c.json() {
		if err := printTable(out, []string{"BUILDING", "ADDRESS", "VALUE", "OUTCOME"}, rows); err != nil {
			return err
		}
	}
	switch {
	case failed > 0 && c.DryRun:
		return fmt.Errorf("%d of %d writes would not be sent", failed, total)
	case failed > 0:
		return fmt.Errorf("%d of %d writes were not confirmed by the bus", failed, total)
	}
	return nil
}

func (c *writeCmd) itemOutcome(r *knxfleetv1.GroupWriteResult) string {
	switch {
	case r.GetError() != nil:
		return r.GetError().GetReason() + ": " + r.GetError().GetMessage()
	case c.DryRun:
		return "OK"
	}
	return shortOutcome(r.GetOutcome())
}

func shortOutcome(o knxfleetv1.Outcome) string { return strings.TrimPrefix(o.String(), "OUTCOME_") }
