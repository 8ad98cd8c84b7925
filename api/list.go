package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func (s *buildingService) ListBuildings(ctx context.Context, request *knxfleetv1.ListBuildingsRequest) (*knxfleetv1.ListBuildingsResponse, error) {
	selected, err := newSelection(nil, request.GetLabelSelector(), request.GetStates())
	if err != nil {
		return nil, err
	}
	order, err := newOrder(request.GetOrderBy())
	if err != nil {
		return nil, err
	}
	most, err := pageSize(request.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, err := order.after(request)
	if err != nil {
		return nil, err
	}
	buildings, err := s.registry.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	// A status costs more than the rest: where neither filter nor order asks for it, only
	// the page's are taken.
	byStatus := order.byStatus || len(request.GetStates()) > 0
	unknown := &fleet.Status{}
	rows := make([]row, 0, len(buildings))
	for i := range buildings {
		r, status := row{building: &buildings[i]}, unknown
		if byStatus {
			now := s.status(*r.building)
			r.status, status = &now, &now
		}
		if selected.matchParts(r.building.ID, r.building.Labels, stateToProto(status.State)) {
			r.place = place{Key: order.key(r.building, status), ID: r.building.ID}
			rows = append(rows, r)
		}
	}
	page, last := order.page(rows, after, most, func(r row) *knxfleetv1.Building {
		if !byStatus {
			status := s.status(*r.building)
			r.status = &status
		}
		b := toProto(*r.building, s.keys.Of(*r.building).String(), *r.status)
		b.Status.Journal = s.kept(ctx, b.GetId(), false)
		return b
	})
	response := &knxfleetv1.ListBuildingsResponse{Buildings: page, TotalSize: int32(len(rows))}
	if last != nil {
		response.NextPageToken = last.token(request)
	}
	return response, nil
}

// row is a building in a list that is being made.
type row struct {
	place

	building *registry.Building
	status   *fleet.Status // nil: not known yet
}

// place is where a building stands in a list. A page token is the place of the
// page's last building, so that buildings may come and go between pages; one
// whose key changes between two pages may come on both or on none.
type place struct {
	Key string `json:"k,omitempty"`
	ID  string `json:"i"`
}

// order is the order of a list; the id decides between equal keys.
type order struct {
	ordering

	reverse bool
}

// ordering is a key as text that sorts as the value does; byStatus says that it is one
// of the status.
type ordering struct {
	key      func(*registry.Building, *fleet.Status) string
	byStatus bool
}

// orders are the keys of order_by.
var orders = map[string]ordering{
	"id":               {key: func(*registry.Building, *fleet.Status) string { return "" }},
	"display_name":     {key: func(b *registry.Building, _ *fleet.Status) string { return strings.ToLower(b.DisplayName) }},
	"state":            {key: func(_ *registry.Building, s *fleet.Status) string { return fmt.Sprintf("%02d", s.State) }, byStatus: true},
	"since":            {key: func(_ *registry.Building, s *fleet.Status) string { return timeKey(s.Since) }, byStatus: true},
	"created_at":       {key: func(b *registry.Building, _ *fleet.Status) string { return timeKey(b.CreatedAt) }},
	"updated_at":       {key: func(b *registry.Building, _ *fleet.Status) string { return timeKey(b.UpdatedAt) }},
	"last_telegram_at": {key: func(_ *registry.Building, s *fleet.Status) string { return timeKey(s.LastTelegramAt) }, byStatus: true},
}

// timeKey puts a time that never was before all others.
func timeKey(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%020d", t.UnixNano())
}

func newOrder(text string) (order, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return order{ordering: orders["id"]}, nil
	}
	key, known := orders[fields[0]]
	reverse := len(fields) == 2 && fields[1] == "desc"
	if !known || len(fields) > 1 && !reverse {
		return order{}, invalid("order_by", "%s is no order; want one of id, display_name, state, since, created_at, updated_at and last_telegram_at, with \" desc\" for the reverse", registry.Quote(text))
	}
	return order{ordering: key, reverse: reverse}, nil
}

func (o order) compare(a, b place) int {
	c := cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	if o.reverse {
		return -c
	}
	return c
}

// page cuts out what follows a place, at most so many, makes the buildings of it, and
// returns its last place if there is more. It ends early before it is too large for its client.
func (o order) page(rows []row, after *place, most int, build func(row) *knxfleetv1.Building) (page []*knxfleetv1.Building, last *place) {
	slices.SortFunc(rows, func(a, b row) int { return o.compare(a.place, b.place) })
	if after != nil {
		start, found := slices.BinarySearchFunc(rows, *after, func(r row, p place) int { return o.compare(r.place, p) })
		if found {
			start++
		}
		rows = rows[start:]
	}
	for _, r := range rows[:min(most, len(rows))] {
		page = append(page, build(r))
	}
	page = page[:fitting(page)]
	if len(page) < len(rows) {
		last = &rows[len(page)-1].place
	}
	return page, last
}

// after reads the request's token: the place that the page follows, nil for the
// first page.
func (o order) after(request *knxfleetv1.ListBuildingsRequest) (*place, error) {
	token := request.GetPageToken()
	if token == "" {
		return nil, nil //nolint:nilnil // the first page follows no place
	}
	var p place
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < 8 || json.Unmarshal(raw[8:], &p) != nil || registry.ValidateID(p.ID) != nil {
		return nil, invalid("page_token", "is none of ours; send back next_page_token as it came")
	}
	if binary.BigEndian.Uint64(raw) != requestHash(request) {
		return nil, invalid("page_token", "belongs to another list; send it with the same label_selector, states and order_by as the page before")
	}
	return &p, nil
}

func (p place) token(request *knxfleetv1.ListBuildingsRequest) string {
	text, err := json.Marshal(p)
	if err != nil {
		return "" // not reached: two strings
	}
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, requestHash(request)), text...))
}

// requestHash tells lists apart. It guards against mistakes and no more.
func requestHash(request *knxfleetv1.ListBuildingsRequest) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %v %q", request.GetLabelSelector(), request.GetStates(), strings.Fields(request.GetOrderBy()))
	return h.Sum64()
}
