package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsWatchCmd struct {
	client

	IDs       []string      `arg:"" optional:"" name:"id" help:"Only these buildings."`
	Selector  string        `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
	Reconnect bool          `help:"Go on when the gateway was away, with what was missed meanwhile."`
	For       time.Duration `help:"End after this long; 0 goes on until interrupted." default:"0s"`
}

// Run prints changes as they come.
func (c *buildingsWatchCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := lasting(ctx, c.For)
	defer cancel()
	request := &knxfleetv1.WatchBuildingsRequest{Buildings: c.IDs, LabelSelector: c.Selector}
	printer := changePrinter{w: s.out, last: make(map[string]*knxfleetv1.Building)}
	show := printer.print
	if c.json() {
		show = func(change *knxfleetv1.BuildingChange) error { return printJSON(s.out, change) }
	}
	told := &toldBuildings{show: show}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		for {
			begun, err := c.follow(ctx, buildings, request, told)
			// One that was too slow goes on; one that is refused does not.
			again := status.Code(err) == codes.Unavailable || begun && status.Code(err) == codes.ResourceExhausted
			if !c.Reconnect || ctx.Err() != nil || !again {
				return ended(ctx, err)
			}
			fmt.Fprintln(s.err, "knxfleet: the watch broke; going on with it:", describe(err))
		}
	})
}

// follow reads one watch to its end, and has the request go on after it.
func (c *buildingsWatchCmd) follow(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, request *knxfleetv1.WatchBuildingsRequest, told *toldBuildings) (begun bool, err error) {
	watch, err := buildings.WatchBuildings(ctx, request, grpc.WaitForReady(c.Reconnect))
	if err != nil {
		return false, err
	}
	told.begin()
	for {
		response, err := watch.Recv()
		if err != nil {
			return begun, err
		}
		begun = true
		if err := told.take(response); err != nil {
			return true, err
		}
		if token := response.GetResumeToken(); token != "" {
			request.ResumeToken = token
		}
	}
}

// toldBuildings are the buildings that a client was told of, over several watches.
type toldBuildings struct {
	show func(*knxfleetv1.BuildingChange) error

	known map[string]bool
	// Of a watch that begins with a snapshot: what was known before, and is not in it
	// so far.
	doubtful map[string]bool
	complete bool
}

// begin begins a watch.
func (b *toldBuildings) begin() {
	if b.known == nil {
		b.known = make(map[string]bool)
	}
	b.doubtful, b.complete = maps.Clone(b.known), false
}

// take shows a response, and after a snapshot those buildings of an earlier watch that
// are not in it.
func (b *toldBuildings) take(response *knxfleetv1.WatchBuildingsResponse) error {
	for _, change := range response.GetChanges() {
		id := change.GetBuilding().GetId()
		gone := change.GetKind() == knxfleetv1.BuildingChange_KIND_DELETED
		known := b.known[id]
		delete(b.doubtful, id)
		delete(b.known, id)
		if !gone {
			b.known[id] = true
		} else if !known {
			continue // a resumed watch tells of more
		}
		if err := b.show(change); err != nil {
			return err
		}
	}
	if b.complete || !response.GetSnapshotComplete() {
		return nil
	}
	b.complete = true
	if response.GetResumed() {
		return nil // nothing else changed
	}
	for _, id := range slices.Sorted(maps.Keys(b.doubtful)) {
		delete(b.known, id)
		if err := b.show(&knxfleetv1.BuildingChange{Kind: knxfleetv1.BuildingChange_KIND_DELETED, Building: &knxfleetv1.Building{Id: id}}); err != nil {
			return err
		}
	}
	return nil
}

// changePrinter prints what a person sees of changes: lines in the order of their times,
// and none that repeats what stands there already.
type changePrinter struct {
	w    io.Writer
	last map[string]*knxfleetv1.Building // as printed last, by id
}

func (p *changePrinter) print(change *knxfleetv1.BuildingChange) error {
	b := change.GetBuilding()
	before := p.last[b.GetId()]
	if change.GetKind() == knxfleetv1.BuildingChange_KIND_DELETED {
		delete(p.last, b.GetId())
		return p.line(b.GetId(), "DELETED")
	}
	p.last[b.GetId()] = b
	if before != nil && before.GetGeneration() != b.GetGeneration() {
		if err := p.line(b.GetId(), "CHANGED      "+changedFields(before, b)); err != nil {
			return err
		}
	}
	was, is := before.GetStatus(), b.GetStatus()
	if before != nil && was.GetState() == is.GetState() && was.GetReason() == is.GetReason() && was.GetMessage() == is.GetMessage() {
		return nil
	}
	text := fmt.Sprintf("%-11s  %s  %s", shortState(is.GetState()), is.GetReason(), is.GetMessage())
	if before == nil && is.GetSince() != nil {
		text += fmt.Sprintf("  (since %s)", is.GetSince().AsTime().Local().Format(time.DateTime))
	}
	return p.line(b.GetId(), text)
}

// line prints a line with the time of now: that of the change, as far as a person cares,
// and never before that of the line above.
func (p *changePrinter) line(id, text string) error {
	_, err := fmt.Fprintf(p.w, "%s  %-20s  %s\n", time.Now().Format(clockFormat), id, text)
	return err
}

// changedFields names what of a building's configuration is different.
func changedFields(before, after *knxfleetv1.Building) string {
	changes := diff(fields(before, true), fields(after, true))
	if len(changes) == 0 {
		return "tunnel.presharedKey" // the one change that does not show
	}
	names := make([]string, len(changes))
	for i, change := range changes {
		names[i] = change.Field
	}
	return strings.Join(names, ", ")
}
