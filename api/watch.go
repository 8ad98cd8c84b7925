package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func (s *buildingService) WatchBuildings(request *knxfleetv1.WatchBuildingsRequest, stream knxfleetv1.BuildingService_WatchBuildingsServer) error {
	selected, err := newSelection(request.GetBuildings(), request.GetLabelSelector(), request.GetStates())
	if err != nil {
		return err
	}
	w := watcher{selected: selected, keys: &s.keys, filter: filterOf(request), told: make(map[string]bool)}
	after, err := w.parse(request.GetResumeToken())
	if err != nil {
		return err
	}
	// What was acknowledged before the watch belongs into its snapshot.
	s.fleet.Hear(stream.Context(), s.registry.Written())
	watch := s.fleet.Watch(after)
	defer watch.Close()
	for sent := time.Now(); ; {
		responses, err := w.next(stream.Context(), watch, sent.Add(watchKeepalive))
		if err != nil {
			return err
		}
		for _, response := range responses {
			if err := stream.Send(response); err != nil {
				return err
			}
			sent = time.Now()
		}
	}
}

// watchKeepalive is how long a watch may be silent.
const watchKeepalive = 30 * time.Second

// watcher turns the fleet's changes into those of one client's selection.
type watcher struct {
	selected selection
	keys     *registry.PublicKeys
	filter   uint32          // of the selection, for tokens
	told     map[string]bool // buildings that the client knows of, or may know of
	complete bool            // the snapshot is, or what was missed
	resumed  bool            // there was no snapshot
	reached  fleet.Moment    // after what was told
}

// next waits for changes and gives what the client is to be told of them, which
// may be nothing; at the deadline a sign of life.
func (w *watcher) next(ctx context.Context, watch *fleet.Watcher, deadline time.Time) ([]*knxfleetv1.WatchBuildingsResponse, error) {
	waitCtx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	changes, err := watch.Next(waitCtx)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return []*knxfleetv1.WatchBuildingsResponse{w.response(nil)}, nil
	}
	return w.respond(changes), err
}

// respond turns changes into as many responses as their size asks for. Only the last
// one says how far the client then is: it was not told all before it.
func (w *watcher) respond(changes []fleet.Change) []*knxfleetv1.WatchBuildingsResponse {
	before := w.complete
	var tell []*knxfleetv1.BuildingChange
	completed := false
	if n := slices.IndexFunc(changes, isResumed); n >= 0 {
		w.resumed = true
		w.recall(changes[:n])
	}
	for _, c := range changes {
		switch c.Kind {
		case fleet.ChangeSnapshotEnd, fleet.ChangeResumed:
			completed = true
		default:
			if change := w.change(c); change != nil {
				tell = append(tell, change)
			}
		}
		w.reached = c.Moment
	}
	w.complete = w.complete || completed
	var responses []*knxfleetv1.WatchBuildingsResponse
	for len(tell) > 0 || completed && len(responses) == 0 {
		n := fitting(tell)
		responses = append(responses, &knxfleetv1.WatchBuildingsResponse{Changes: tell[:n], SnapshotComplete: before, Resumed: w.resumed})
		tell = tell[n:]
	}
	if len(responses) > 0 {
		last := &responses[len(responses)-1]
		*last = w.response((*last).GetChanges())
	}
	return responses
}

func isResumed(c fleet.Change) bool { return c.Kind == fleet.ChangeResumed }

// recall notes of which buildings a client may know that resumes: for those that
// changed meanwhile it is not known whether they were selected, and to be told that an
// unknown one is gone harms nobody.
func (w *watcher) recall(missed []fleet.Change) {
	for _, c := range missed {
		id := c.View.Building.ID
		if w.selected.names(id) && c.Kind != fleet.ChangeCreated {
			w.told[id] = c.Kind != fleet.ChangeKept || w.selected.match(toProto(c.View.Building, w.keys.Of(c.View.Building).String(), c.View.Status))
		}
	}
}

func (w *watcher) response(changes []*knxfleetv1.BuildingChange) *knxfleetv1.WatchBuildingsResponse {
	r := &knxfleetv1.WatchBuildingsResponse{Changes: changes, SnapshotComplete: w.complete, Resumed: w.resumed}
	if w.complete {
		r.ResumeToken = w.token()
	}
	return r
}

func (w *watcher) change(c fleet.Change) *knxfleetv1.BuildingChange {
	id := c.View.Building.ID
	if c.Kind == fleet.ChangeKept {
		return nil
	}
	var building *knxfleetv1.Building
	if c.Kind != fleet.ChangeDeleted {
		building = toProto(c.View.Building, w.keys.Of(c.View.Building).String(), c.View.Status)
	}
	matches := building != nil && w.selected.match(building)
	known := w.told[id]
	switch {
	case !matches && !known:
		return nil
	case !matches:
		delete(w.told, id)
		return &knxfleetv1.BuildingChange{Kind: knxfleetv1.BuildingChange_KIND_DELETED, Building: &knxfleetv1.Building{Id: id}}
	}
	w.told[id] = true
	kind := knxfleetv1.BuildingChange_KIND_UPDATED
	switch {
	case c.Kind == fleet.ChangeSnapshot:
		kind = knxfleetv1.BuildingChange_KIND_SNAPSHOT
	case !known:
		kind = knxfleetv1.BuildingChange_KIND_CREATED
	}
	return &knxfleetv1.BuildingChange{Kind: kind, Building: building}
}

// The parts of a resume token: its format, the filters of its watch, and the moment.
const (
	watchTokenFormat = 1
	watchTokenLength = 1 + 4 + 8 + 8
)

func (w *watcher) token() string {
	token := append(make([]byte, 0, watchTokenLength), watchTokenFormat)
	token = binary.BigEndian.AppendUint32(token, w.filter)
	token = binary.BigEndian.AppendUint64(token, w.reached.Board)
	token = binary.BigEndian.AppendUint64(token, w.reached.Version)
	return base64.RawURLEncoding.EncodeToString(token)
}

// parse gives the moment of a token; none for a token of another watch, or of another
// version of the gateway, which begin with a snapshot.
func (w *watcher) parse(token string) (fleet.Moment, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	switch {
	case token == "":
		return fleet.Moment{}, nil
	case err != nil || len(raw) == 0 || raw[0] == watchTokenFormat && len(raw) != watchTokenLength:
		return fleet.Moment{}, invalid("resume_token", "is none of ours; send back resume_token as it came, or nothing")
	case raw[0] != watchTokenFormat || binary.BigEndian.Uint32(raw[1:]) != w.filter:
		return fleet.Moment{}, nil
	}
	return fleet.Moment{Board: binary.BigEndian.Uint64(raw[5:]), Version: binary.BigEndian.Uint64(raw[13:])}, nil
}

// filterOf is a checksum of a request's filters.
func filterOf(request *knxfleetv1.WatchBuildingsRequest) uint32 {
	filters := &knxfleetv1.WatchBuildingsRequest{
		Buildings: request.GetBuildings(), LabelSelector: request.GetLabelSelector(), States: request.GetStates(),
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(filters)
	if err != nil {
		return 0 // which no other request has either: only broken UTF-8 fails
	}
	return crc32.ChecksumIEEE(raw)
}
