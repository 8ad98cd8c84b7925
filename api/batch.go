package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Limits of the contract, and our own.
const (
	maxItems  = 1000
	maxWrites = 10_000 // once the label selector is applied
	// maxBatches is how many batches may be under way.
	maxBatches = 16
	// batchWidth is how many buildings one batch writes to at once. Each has one
	// write of it in its queue at a time, which is what keeps their order.
	batchWidth = 1000
	// batchPatience is how long a batch with an idempotency key goes on after its
	// client is gone.
	batchPatience = 10 * time.Minute
)

// errBatchesBusy: too many batches are under way.
var errBatchesBusy = fmt.Errorf("%d batches are under way, which is as many as there may be; try again when one is through", maxBatches)

func (s *telegramService) BatchGroupWrite(ctx context.Context, request *knxfleetv1.BatchGroupWriteRequest) (*knxfleetv1.BatchGroupWriteResponse, error) {
	within, err := durationIn("send_within", request.GetSendWithin(), defaultSendWithin, minSendWithin, maxSendWithin)
	if err != nil {
		return nil, err
	}
	priority, err := priorityOf(request.GetPriority())
	if err != nil {
		return nil, err
	}
	common := fleet.Write{Priority: priority, Within: within, Client: clientOf(ctx)}
	answer := &knxfleetv1.BatchGroupWriteResponse{}
	replayed, err := s.replays.once(ctx, request, batchPatience, answer, func(ctx context.Context) error {
		writes, err := s.expand(request, common)
		if err != nil {
			return err
		}
		select {
		case s.batches <- struct{}{}:
			defer func() { <-s.batches }()
		default:
			return errBatchesBusy
		}
		answer.Results = s.batch(ctx, writes, request.GetValidateOnly())
		return nil
	})
	if err != nil {
		return nil, err
	}
	answer.Replayed = replayed
	return answer, nil
}

// batchWrite is one write of a batch, and what became of it.
type batchWrite struct {
	write  fleet.Write
	result *knxfleetv1.GroupWriteResult
}

// expand makes writes of items: in their order, and then by building.
func (s *telegramService) expand(request *knxfleetv1.BatchGroupWriteRequest, common fleet.Write) ([]batchWrite, error) {
	items := request.GetItems()
	if len(items) == 0 || len(items) > maxItems {
		return nil, invalid("items", "has %d entries; want 1 to %d", len(items), maxItems)
	}
	var selected []string
	if slices.ContainsFunc(items, func(i *knxfleetv1.GroupWriteItem) bool { return i.GetBuilding() == "" }) {
		if request.GetLabelSelector() == "" {
			return nil, invalid("label_selector", "is missing: an item names no building; name one, or select buildings by their labels, such as region=south")
		}
		labels, err := selector(request.GetLabelSelector())
		if err != nil {
			return nil, err
		}
		selected = s.fleet.Selected(fleet.Filter{Labels: labels})
	}
	var writes []batchWrite
	for n, item := range items {
		buildings := selected
		if item.GetBuilding() != "" {
			buildings = []string{item.GetBuilding()}
		}
		if len(writes)+len(buildings) > maxWrites {
			return nil, invalid("items", "make more than %d writes in the buildings selected; send fewer items, or select fewer buildings", maxWrites)
		}
		for _, building := range buildings {
			w := common
			w.Building, w.Address, w.DPT = building, item.GetGroupAddress(), item.GetDpt()
			w.Value, w.Raw, w.SixBit = item.GetValue(), item.GetRaw(), item.GetSixBit()
			writes = append(writes, batchWrite{w, &knxfleetv1.GroupWriteResult{
				Item: uint32(n), Building: building, GroupAddress: item.GetGroupAddress(),
			}})
		}
	}
	if len(writes) == 0 {
		return nil, invalid("label_selector", "%s selects no building", registry.Quote(request.GetLabelSelector()))
	}
	return writes, nil
}

// batch writes to all buildings at once, and to each one thing after the other.
func (s *telegramService) batch(ctx context.Context, writes []batchWrite, validateOnly bool) []*knxfleetv1.GroupWriteResult {
	results := make([]*knxfleetv1.GroupWriteResult, len(writes))
	for i, w := range writes {
		results[i] = w.result
	}
	byBuilding := slices.Clone(writes)
	slices.SortStableFunc(byBuilding, func(a, b batchWrite) int { return cmp.Compare(a.write.Building, b.write.Building) })
	var buildings errgroup.Group
	buildings.SetLimit(batchWidth)
	for len(byBuilding) > 0 {
		n := slices.IndexFunc(byBuilding, func(w batchWrite) bool { return w.write.Building != byBuilding[0].write.Building })
		if n < 0 {
			n = len(byBuilding)
		}
		own := byBuilding[:n]
		byBuilding = byBuilding[n:]
		buildings.Go(func() error {
			s.batchOfOne(ctx, own, validateOnly)
			return nil
		})
	}
	_ = buildings.Wait() // each has its own result
	return results
}

// batchOfOne does what a batch has to do in one building.
func (s *telegramService) batchOfOne(ctx context.Context, writes []batchWrite, validateOnly bool) {
	building, missing := findBuilding(ctx, s.registry, "building", writes[0].write.Building)
	for _, w := range writes {
		err := missing
		switch {
		case err != nil:
		case validateOnly:
			var address string
			if address, err = s.fleet.CheckWrite(ctx, w.write); address != "" {
				w.result.GroupAddress = address
			}
		default:
			var written fleet.Written
			if written, err = s.fleet.GroupWrite(ctx, w.write); err == nil {
				w.result.GroupAddress, w.result.Outcome = written.Address, outcomeOf(written.Outcome)
			}
		}
		if errors.Is(err, registry.ErrNotFound) && missing == nil {
			err = notYet(building)
		}
		w.result.Error = itemError(err, w.write.Building)
	}
}

// itemError is an error as that of the call would be.
func itemError(err error, building string) *knxfleetv1.ItemError {
	if err == nil {
		return nil
	}
	s := status.Convert(toStatus(err, building))
	item := &knxfleetv1.ItemError{Code: code.Code(s.Code()).String(), Message: s.Message()}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			item.Reason = info.GetReason()
		}
	}
	return item
}
