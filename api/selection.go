package api

import (
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/knxfleet/knxfleet/fleet/registry"
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

func (s *selection) match(b *knxfleetv1.Building) bool {
	return (s.ids == nil || s.ids[b.GetId()]) &&
		(s.labels == nil || s.labels.Matches(labels.Set(b.GetLabels()))) &&
		(len(s.states) == 0 || slices.Contains(s.states, b.GetStatus().GetState()))
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

// paginate cuts one page out of buildings that are sorted by id. The token is the
// last id of the page before, so buildings may come and go between pages. A page
// ends early before it is too large for its client. complete, unless nil, makes
// whole what is on the page: buildings need no more than id, labels and status to
// be selected, and there may be thousands of them.
func paginate(buildings []*knxfleetv1.Building, size int32, token string, complete func(*knxfleetv1.Building) *knxfleetv1.Building) (page []*knxfleetv1.Building, next string, err error) {
	most, err := pageSize(size)
	if err != nil {
		return nil, "", err
	}
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || token != "" && registry.ValidateID(string(after)) != nil {
		return nil, "", invalid("page_token", "is none of ours; send back next_page_token as it came")
	}
	start := 0
	if len(after) > 0 {
		at, found := slices.BinarySearchFunc(buildings, string(after), func(b *knxfleetv1.Building, id string) int {
			return strings.Compare(b.GetId(), id)
		})
		if start = at; found {
			start++
		}
	}
	page = slices.Clone(buildings[start:min(start+most, len(buildings))])
	if complete != nil {
		for i, b := range page {
			page[i] = complete(b)
		}
	}
	page = page[:fitting(page)]
	if start+len(page) < len(buildings) {
		next = base64.RawURLEncoding.EncodeToString([]byte(page[len(page)-1].GetId()))
	}
	return page, next, nil
}
