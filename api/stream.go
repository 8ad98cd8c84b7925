package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

const (
	defaultKeepalive = 15 * time.Second
	minKeepalive     = time.Second
	maxKeepalive     = 5 * time.Minute
)

// resumeTokenField is the tag of StreamTelegramsResponse.resume_token.
const resumeTokenField = 4

func (s *telegramService) StreamTelegrams(request *knxfleetv1.StreamTelegramsRequest, stream knxfleetv1.TelegramService_StreamTelegramsServer) error {
	ctx := stream.Context()
	filter, err := s.filter(ctx, request)
	if err != nil {
		return err
	}
	start, err := startOf(request)
	if err != nil {
		return err
	}
	keepalive, err := durationIn("keepalive_interval", request.GetKeepaliveInterval(), defaultKeepalive, minKeepalive, maxKeepalive)
	if err != nil {
		return err
	}
	telegrams, err := s.fleet.Follow(filter, start)
	if err != nil {
		return err
	}
	defer telegrams.Close()
	s.log.Debug().Msg("stream opened")
	// Headers go out now, so that a client knows that it misses nothing from here on.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	out := &responses{send: stream.SendMsg, gaps: s.gaps}
	parts, ctx := errgroup.WithContext(ctx)
	if request.GetSnapshot() {
		// Before anything else, but for buildings whose values have to be restored.
		rest, err := s.snapshot(ctx, filter, s.fleet.Selected(filter), out, true)
		if err != nil {
			return err
		}
		parts.Go(func() error { return s.restSnapshot(ctx, filter, rest, out) })
	}
	parts.Go(func() error { return telegrams.Run(ctx, keepalive, out.telegrams) })
	return parts.Wait()
}

// startOf reads where a stream begins.
func startOf(request *knxfleetv1.StreamTelegramsRequest) (start journal.Start, err error) {
	start.Token, start.Last = request.GetResumeToken(), int(request.GetLast())
	since := request.GetSince()
	switch {
	case start.Last > journal.MaxLast:
		return start, invalid("last", "is %d; want 1 to %d, or 0 to start live", start.Last, journal.MaxLast)
	case since != nil && (!since.IsValid() || since.AsTime().Before(time.Unix(0, 1))):
		return start, invalid("since", "is no time since 1970")
	case start.Token != "" && (since != nil || start.Last > 0):
		return start, invalid("resume_token", "goes on where a stream was; leave out since and last")
	case since != nil && start.Last > 0:
		return start, invalid("last", "and since contradict each other; give one of them")
	}
	if since != nil {
		start.Since = since.AsTime()
	}
	return start, nil
}

// responses sends what a stream has to tell. Safe for concurrent use.
type responses struct {
	gaps *gapCounts

	mu    sync.Mutex
	send  func(any) error
	parts encoded
	token []byte // the field; its memory is used again
}

// telegrams sends one response of the journal's.
func (r *responses) telegrams(from journal.Response[*fleet.Telegram]) error {
	switch {
	case from.Gap != nil:
		r.gaps.count(from.Gap)
		return r.message(&knxfleetv1.StreamTelegramsResponse{Gap: gapToProto(from.Gap), ResumeToken: from.Token})
	case len(from.Telegrams) == 0:
		return r.message(&knxfleetv1.StreamTelegramsResponse{Keepalive: &knxfleetv1.Keepalive{At: timestamppb.Now()}})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = r.parts[:0]
	for _, t := range from.Telegrams {
		r.parts = append(r.parts, t.Encoded)
	}
	r.token = protowire.AppendTag(r.token[:0], resumeTokenField, protowire.BytesType)
	r.token = protowire.AppendString(r.token, from.Token)
	r.parts = append(r.parts, r.token)
	err := r.send(&r.parts) // which copies them
	clear(r.parts)
	return err
}

func (r *responses) message(m *knxfleetv1.StreamTelegramsResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.send(m)
}

// restoreInterval is how often a snapshot's missing buildings are asked for again.
const restoreInterval = 200 * time.Millisecond

// snapshot sends the last values of buildings, and returns those that are still
// being restored. The first time it names these.
func (s *telegramService) snapshot(ctx context.Context, filter fleet.Filter, buildings []string, out *responses, first bool) (restoring []string, err error) {
	response := &knxfleetv1.StreamTelegramsResponse{}
	flush := func() error {
		if len(response.GetTelegrams())+len(response.GetRestoring()) == 0 {
			return nil
		}
		err := out.message(response)
		response = &knxfleetv1.StreamTelegramsResponse{}
		return err
	}
	for _, id := range buildings {
		values, pending, err := s.fleet.GroupValues(ctx, id, filter)
		switch {
		case err != nil:
			// What cannot be restored now is not waited for; ListGroupValues says why.
			s.log.Warn().Err(err).Str("building", id).Msg("last values not restored")
		case pending:
			restoring = append(restoring, id)
			continue
		}
		for _, v := range values {
			response.Telegrams = append(response.Telegrams, v.Telegram)
			if len(response.GetTelegrams()) == journal.MaxBatch {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
	}
	if first {
		response.Restoring = restoring
	}
	return restoring, flush()
}

// restSnapshot sends the last values of buildings that were still being restored,
// as they come.
func (s *telegramService) restSnapshot(ctx context.Context, filter fleet.Filter, buildings []string, out *responses) error {
	again := time.NewTicker(restoreInterval)
	defer again.Stop()
	for len(buildings) > 0 {
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		if buildings, err = s.snapshot(ctx, filter, buildings, out, false); err != nil {
			return err
		}
	}
	return nil
}

func gapToProto(g *journal.Gap) *knxfleetv1.Gap {
	return &knxfleetv1.Gap{
		Building: g.Building, Epoch: g.Epoch, From: g.From, To: g.To, Count: g.Count,
		Cause: knxfleetv1.Gap_Cause(g.Cause), // the values are the contract's
	}
}
