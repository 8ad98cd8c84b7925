package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
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
	told := &toldBuildings{show: func(change *knxfleetv1.BuildingChange) error { return c.print(s.out, change) }}
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

func (c *buildingsWatchCmd) print(w io.Writer, change *knxfleetv1.BuildingChange) error {
	if c.json() {
		return printJSON(w, change)
	}
	b := change.GetBuilding()
	if change.GetKind() == knxfleetv1.BuildingChange_KIND_DELETED {
		_, err := fmt.Fprintf(w, "%s  %-20s  DELETED\n", time.Now().Format(clockFormat), b.GetId())
		return err
	}
	status := b.GetStatus()
	_, err := fmt.Fprintf(w, "%s  %-20s  %-11s  %s  %s\n", status.GetSince().AsTime().Local().Format(clockFormat),
		b.GetId(), shortState(status.GetState()), status.GetReason(), status.GetMessage())
	return err
}
