package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// selectFlags select telegrams, of the past as of the present.
type selectFlags struct {
	Buildings []string `arg:"" optional:"" name:"building" help:"Only these buildings."`
	Selector  string   `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
	Group     []string `short:"g" help:"Only these group addresses; wildcards such as 1/2/* and 1/*/*." placeholder:"ADDRESS"`
	Name      []string `short:"n" sep:"none" help:"Only group addresses with these names; * stands for any text: '*light*'." placeholder:"NAME"`
	Source    []string `help:"Only these senders; wildcards such as 1.1.*." placeholder:"ADDRESS"`
	Kind      []string `help:"Only these kinds of telegrams: read, response, write." enum:"read,response,write" placeholder:"KIND"`
}

func (f *selectFlags) kinds() []knxfleetv1.Telegram_Kind {
	kinds := make([]knxfleetv1.Telegram_Kind, len(f.Kind))
	for i, k := range f.Kind {
		kinds[i] = knxfleetv1.Telegram_Kind(knxfleetv1.Telegram_Kind_value["KIND_"+strings.ToUpper(k)])
	}
	return kinds
}

type historyCmd struct {
	client
	selectFlags
	formatFlag

	Since moment `help:"From then on: 2h ago as 2h, or a time such as 2026-11-21T08:00:00+01:00. Without it, only the newest --limit." placeholder:"WHEN"`
	Until moment `help:"Up to then." placeholder:"WHEN"`
	Limit int    `help:"How many telegrams at most; 0: all. Default: 100 without --since, all with it." default:"-1"`
}

// pageOfHistory is how many telegrams are asked for at once.
const pageOfHistory = 1000

// Run prints telegrams of the past, oldest first. As JSON lines it is an export, which
// replay reads.
func (c *historyCmd) Run(ctx context.Context, s *streams) error {
	now := time.Now()
	request := &knxfleetv1.ListTelegramsRequest{
		Buildings: c.Buildings, LabelSelector: c.Selector, GroupAddresses: c.Group, Names: c.Name, Sources: c.Source, Kinds: c.kinds(),
		Since: c.Since.at(now), Until: c.Until.at(now),
	}
	limit := c.Limit
	newest := request.GetSince() == nil && limit != 0
	if limit < 0 {
		limit = 0
		if newest {
			limit = 100
		}
	}
	if newest {
		request.OrderBy = "received_at desc"
	}
	out := bufio.NewWriter(s.out)
	show := c.writer(c.json(), out, s.err)
	err := c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		if newest {
			return c.newest(ctx, telegrams, request, limit, show)
		}
		return c.oldest(ctx, telegrams, request, limit, show)
	})
	return errors.Join(show.end(err), out.Flush())
}

// oldest prints pages as they come.
func (c *historyCmd) oldest(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, request *knxfleetv1.ListTelegramsRequest, limit int, show telegramWriter) error {
	for printed := 0; ; {
		request.PageSize = pageOfHistory
		if limit > 0 {
			request.PageSize = int32(min(pageOfHistory, limit-printed))
		}
		page, err := telegrams.ListTelegrams(ctx, request)
		if err != nil {
			return err
		}
		if err := writeAll(show, page.GetTelegrams(), page.GetGaps()); err != nil {
			return err
		}
		printed += len(page.GetTelegrams())
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" || limit > 0 && printed >= limit {
			return nil
		}
	}
}

// newest collects the newest telegrams, and prints them when it has them all.
func (c *historyCmd) newest(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient, request *knxfleetv1.ListTelegramsRequest, limit int, show telegramWriter) error {
	var all []*knxfleetv1.Telegram
	var gaps []*knxfleetv1.Gap
	for len(all) < limit {
		request.PageSize = int32(min(pageOfHistory, limit-len(all)))
		page, err := telegrams.ListTelegrams(ctx, request)
		if err != nil {
			return err
		}
		all, gaps = append(all, page.GetTelegrams()...), append(gaps, page.GetGaps()...)
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			break
		}
	}
	slices.Reverse(all)
	return writeAll(show, all, gaps)
}

type replayCmd struct {
	Output string  `short:"o" help:"Output: table for people, json for programs." enum:"table,json" default:"table"`
	File   string  `arg:"" optional:"" help:"JSON lines of history or watch; without it, standard input." placeholder:"FILE"`
	Speed  float64 `help:"How many times faster than it happened; 0: at once." default:"0"`
}

// maxLine bounds a line of an export: a telegram is far smaller.
const maxLine = 1 << 20

// Run prints telegrams of an export as watch does, in the time between them if that
// is asked for. It asks no gateway and sends nothing to any bus.
func (c *replayCmd) Run(ctx context.Context, s *streams) (err error) {
	if c.Speed < 0 {
		return usagef("--speed %v: want 0 or more", c.Speed)
	}
	in := s.in
	if c.File != "" && c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return usageError{err}
		}
		defer file.Close() // was only read
		in = file
	}
	show := &telegramPrinter{out: s.out, json: c.Output == "json"}
	var before time.Time
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		text := lines.Bytes()
		if len(strings.TrimSpace(string(text))) == 0 {
			continue
		}
		t, gap, err := parseExported(text)
		if err != nil {
			return usagef("line %d: %w", number, err)
		}
		if gap != nil {
			err = show.gap(gap)
		} else {
			at := t.GetReceivedAt().AsTime()
			if err := c.pause(ctx, before, at); err != nil {
				return nil
			}
			before = at
			err = show.telegram(t)
		}
		if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return usagef("not an export: %w", err)
	}
	return nil
}

// parseExported reads a line: a telegram, or a gap.
func parseExported(line []byte) (*knxfleetv1.Telegram, *knxfleetv1.Gap, error) {
	var t knxfleetv1.Telegram
	if err := protojson.Unmarshal(line, &t); err == nil && t.GetNumber() > 0 {
		return &t, nil, nil
	}
	var gap knxfleetv1.Gap
	if err := protojson.Unmarshal(line, &gap); err == nil && gap.GetCause() != knxfleetv1.Gap_CAUSE_UNSPECIFIED {
		return nil, &gap, nil
	}
	return nil, nil, errors.New("no telegram; want a line of `knxfleet history -o json` or `knxfleet watch -o json`")
}

// pause waits as long as there was between two telegrams, at the speed asked for.
func (c *replayCmd) pause(ctx context.Context, before, at time.Time) error {
	if c.Speed == 0 || before.IsZero() || !at.After(before) {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(at.Sub(before)) / c.Speed))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type valuesCmd struct {
	client

	Buildings []string `arg:"" optional:"" name:"building" help:"Only these buildings."`
	Selector  string   `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
	Group     []string `short:"g" help:"Only these group addresses; wildcards such as 1/2/* and 1/*/*." placeholder:"ADDRESS"`
	Name      []string `short:"n" sep:"none" help:"Only group addresses with these names; * stands for any text: '*light*'." placeholder:"NAME"`
}

// restorePause is the wait for values that are still being restored.
const restorePause = 200 * time.Millisecond

// Run prints the last value of each group address.
func (c *valuesCmd) Run(ctx context.Context, s *streams) error {
	return c.withTelegrams(func(telegrams knxfleetv1.TelegramServiceClient) error {
		all, err := c.collect(ctx, telegrams)
		if err != nil {
			return err
		}
		rows := make([][]string, 0, len(all))
		for _, v := range all {
			if c.json() {
				if err := printJSON(s.out, v); err != nil {
					return err
				}
				continue
			}
			mark := ""
			if v.GetTelegram().GetStale() {
				mark = "stale"
			}
			rows = append(rows, []string{
				v.GetTelegram().GetBuilding(), v.GetTelegram().GetDestination(), telegramValue(v.GetTelegram()),
				v.GetAge().AsDuration().Round(time.Second).String(), mark,
			})
		}
		if c.json() {
			return nil
		}
		return printTable(s.out, []string{"BUILDING", "ADDRESS", "VALUE", "AGE", ""}, rows)
	})
}

// collect asks until nothing is being restored any more.
func (c *valuesCmd) collect(ctx context.Context, telegrams knxfleetv1.TelegramServiceClient) ([]*knxfleetv1.GroupValue, error) {
	for {
		request := &knxfleetv1.ListGroupValuesRequest{
			Buildings: c.Buildings, LabelSelector: c.Selector, GroupAddresses: c.Group, Names: c.Name, PageSize: pageOfHistory,
		}
		var all []*knxfleetv1.GroupValue
		restoring := 0
		for {
			page, err := telegrams.ListGroupValues(ctx, request)
			if err != nil {
				return nil, err
			}
			all = append(all, page.GetGroupValues()...)
			restoring += len(page.GetRestoring())
			if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
				break
			}
		}
		if restoring == 0 {
			return all, nil
		}
		select {
		case <-time.After(restorePause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// moment is a point in time as people type it.
type moment struct {
	ago  time.Duration
	when time.Time
}

// UnmarshalText implements encoding.TextUnmarshaler for kong.
func (m *moment) UnmarshalText(text []byte) error {
	if ago, err := time.ParseDuration(string(text)); err == nil && ago >= 0 {
		*m = moment{ago: max(ago, 1)}
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if when, err := time.ParseInLocation(layout, string(text), time.Local); err == nil {
			*m = moment{when: when}
			return nil
		}
	}
	return fmt.Errorf("%q: want how long ago, such as 2h, or a time such as 2026-11-21T08:00:00+01:00 or 2026-11-21", text)
}

// at is the moment as a timestamp; nil when none was given.
func (m moment) at(now time.Time) *timestamppb.Timestamp {
	switch {
	case m.ago > 0:
		return timestamppb.New(now.Add(-m.ago))
	case m.when.IsZero():
		return nil
	}
	return timestamppb.New(m.when)
}

// telegramPrinter prints telegrams and gaps a line each.
type telegramPrinter struct {
	out  io.Writer
	json bool
}

func (p *telegramPrinter) gap(gap *knxfleetv1.Gap) error {
	if p.json {
		return printJSON(p.out, gap)
	}
	_, err := fmt.Fprintln(p.out, gapText(gap))
	return err
}

func (p *telegramPrinter) end(err error) error { return err }

// gapText says for people what is missing.
func gapText(gap *knxfleetv1.Gap) string {
	building, count := gap.GetBuilding(), "an unknown number of"
	if building == "" {
		building = "all buildings"
	}
	if gap.GetCount() > 0 {
		count = fmt.Sprint(gap.GetCount())
	}
	return fmt.Sprintf("%s  GAP: %s telegrams missing (%s)", building, count, strings.TrimPrefix(gap.GetCause().String(), "CAUSE_"))
}

func (p *telegramPrinter) telegram(t *knxfleetv1.Telegram) error {
	if p.json {
		return printJSON(p.out, t)
	}
	format := clockFormat
	if at := t.GetReceivedAt().AsTime(); time.Since(at) > 12*time.Hour {
		format = time.DateTime
	}
	_, err := fmt.Fprintf(p.out, "%s  %-20s  %-9s → %-9s  %-8s  %s\n", t.GetReceivedAt().AsTime().Local().Format(format),
		t.GetBuilding(), t.GetSource(), t.GetDestination(), shortKind(t.GetKind()), telegramValue(t))
	return err
}
