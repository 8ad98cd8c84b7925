package api

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/labels"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Pages of every list (see the contract at BuildingService).
const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// maxResponse is how large an answer with many buildings may be, in bytes, before
// the last of them is added. gRPC clients take 4 MiB unless told otherwise, and
// one building has at most some 20 KiB.
const maxResponse = 2 << 20

// fitting is how many of the messages one answer takes; of a non-empty list at
// least one.
func fitting[M proto.Message](messages []M) int {
	size := 0
	for i, m := range messages {
		if size >= maxResponse {
			return i
		}
		size += proto.Size(m)
	}
	return len(messages)
}

// selection is the part of a request that selects buildings.
type selection struct {
	ids    map[string]bool
	labels labels.Selector
	states []knxfleetv1.State
}

func newSelection(ids []string, labelSelector string, states []knxfleetv1.State) (selection, error) {
	var s selection
	if len(ids) > maxFilterBuildings {
		return s, invalid("buildings", "has %d entries; at most %d", len(ids), maxFilterBuildings)
	}
	if len(ids) > 0 {
		s.ids = make(map[string]bool, len(ids))
		for _, id := range ids {
			s.ids[id] = true
		}
	}
	for _, state := range states {
		if _, known := knxfleetv1.State_name[int32(state)]; !known {
			return s, invalid("states", "%d is no state; want those of the enumeration State", state)
		}
		if state != knxfleetv1.State_STATE_UNSPECIFIED { // which is no filter
			s.states = append(s.states, state)
		}
	}
	var err error
	s.labels, err = selector(labelSelector)
	return s, err
}

// names reports whether a building of that id may be selected.
func (s *selection) names(id string) bool { return s.ids == nil || s.ids[id] }

func (s *selection) match(b *knxfleetv1.Building) bool {
	return s.matchParts(b.GetId(), b.GetLabels(), b.GetStatus().GetState())
}

// matchParts is match without a building made for it.
func (s *selection) matchParts(id string, of map[string]string, state knxfleetv1.State) bool {
	return s.names(id) &&
		(s.labels == nil || s.labels.Matches(labels.Set(of))) &&
		(len(s.states) == 0 || slices.Contains(s.states, state))
}

// pageSize is how many entries a page has at most.
func pageSize(asked int32) (int, error) {
	switch {
	case asked < 0:
		return 0, invalid("page_size", "is %d; want 0 to %d", asked, maxPageSize)
	case asked == 0:
		return defaultPageSize, nil
	default:
		return min(int(asked), maxPageSize), nil
	}
}
