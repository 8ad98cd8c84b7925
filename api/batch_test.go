package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// A batch that cannot be tried at all is an error; else each write has its own
// result, in the order of the items and then by building.
func TestBatch(t *testing.T) {
	g := start(t)
	g.create(t, g.building("north", "region=north"))
	for _, id := range []string{"south-b", "south-a"} {
		b := g.building(id, "region=south")
		b.Disabled = true
		g.create(t, b)
	}
	g.eventually(t, "north", func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_HANDSHAKING })
	for _, id := range []string{"south-a", "south-b"} {
		g.eventually(t, id, func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == knxfleetv1.State_STATE_DISABLED })
	}
	item := func(building, value string) *knxfleetv1.GroupWriteItem {
		return &knxfleetv1.GroupWriteItem{Building: building, GroupAddress: "1/2/3", Dpt: "1.001", Value: value}
	}
	for _, validateOnly := range []bool{false, true} {
		answer, err := g.telegrams.BatchGroupWrite(t.Context(), &knxfleetv1.BatchGroupWriteRequest{
			Items:         []*knxfleetv1.GroupWriteItem{item("", "on"), item("north", "maybe"), item("nowhere", "on"), item("north", "on")},
			LabelSelector: "region=south", ValidateOnly: validateOnly,
		})
		noError(t, err)
		var got []string
		for _, r := range answer.GetResults() {
			if r.GetOutcome() != knxfleetv1.Outcome_OUTCOME_UNSPECIFIED || r.GetGroupAddress() != "1/2/3" || r.GetError().GetMessage() == "" {
				t.Errorf("result %v", r)
			}
			got = append(got, fmt.Sprint(r.GetItem(), " ", r.GetBuilding(), " ", r.GetError().GetCode(), " ", r.GetError().GetReason()))
		}
		want := []string{
			"0 south-a FAILED_PRECONDITION BUILDING_NOT_ONLINE", "0 south-b FAILED_PRECONDITION BUILDING_NOT_ONLINE",
			"1 north INVALID_ARGUMENT INVALID_FIELD", "2 nowhere NOT_FOUND BUILDING_NOT_FOUND", "3 north FAILED_PRECONDITION BUILDING_NOT_ONLINE",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("results\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	many := make([]*knxfleetv1.GroupWriteItem, 1001)
	for i := range many {
		many[i] = item("north", "on")
	}
	for field, request := range map[string]*knxfleetv1.BatchGroupWriteRequest{
		"items":           {Items: many},
		"label_selector":  {Items: []*knxfleetv1.GroupWriteItem{item("", "on")}},
		"send_within":     {Items: many[:1], SendWithin: durationpb.New(time.Hour)},
		"priority":        {Items: many[:1], Priority: knxfleetv1.Priority_PRIORITY_SYSTEM},
		"idempotency_key": {Items: many[:1], IdempotencyKey: strings.Repeat("é", 65)},
	} {
		_, err := g.telegrams.BatchGroupWrite(t.Context(), request)
		wrongField(t, err, field)
	}
	_, err := g.telegrams.BatchGroupWrite(t.Context(), &knxfleetv1.BatchGroupWriteRequest{})
	wrongField(t, err, "items")
	_, err = g.telegrams.BatchGroupWrite(t.Context(), &knxfleetv1.BatchGroupWriteRequest{Items: []*knxfleetv1.GroupWriteItem{item("", "on")}, LabelSelector: "region=east"})
	wrongField(t, err, "label_selector")

	// One key, two requests.
	keyed := &knxfleetv1.BatchGroupWriteRequest{Items: many[:1], IdempotencyKey: "k"}
	first, err := g.telegrams.BatchGroupWrite(t.Context(), keyed)
	noError(t, err)
	again, err := g.telegrams.BatchGroupWrite(t.Context(), keyed)
	noError(t, err)
	if first.GetReplayed() || !again.GetReplayed() || len(again.GetResults()) != 1 {
		t.Errorf("first %v\nagain %v", first, again)
	}
	keyed.ValidateOnly = true
	_, err = g.telegrams.BatchGroupWrite(t.Context(), keyed)
	refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "idempotency key")
}

func TestReadNamesTheWrongField(t *testing.T) {
	g := start(t)
	b := g.building("hq")
	b.Disabled = true
	g.create(t, b)
	for field, spoil := range map[string]func(*knxfleetv1.GroupReadRequest){
		"building":      func(r *knxfleetv1.GroupReadRequest) { r.Building = "" },
		"group_address": func(r *knxfleetv1.GroupReadRequest) { r.GroupAddress = "1/2/*" },
		"dpt":           func(r *knxfleetv1.GroupReadRequest) { r.Dpt = "99.001" },
		"timeout":       func(r *knxfleetv1.GroupReadRequest) { r.Timeout = durationpb.New(2 * time.Minute) },
		"max_age":       func(r *knxfleetv1.GroupReadRequest) { r.MaxAge = durationpb.New(-1) },
		"priority":      func(r *knxfleetv1.GroupReadRequest) { r.Priority = knxfleetv1.Priority_PRIORITY_SYSTEM },
	} {
		r := &knxfleetv1.GroupReadRequest{Building: "hq", GroupAddress: "1/2/3"}
		spoil(r)
		_, err := g.telegrams.GroupRead(t.Context(), r)
		wrongField(t, err, field)
	}
	_, err := g.telegrams.GroupRead(t.Context(), &knxfleetv1.GroupReadRequest{Building: "hq", GroupAddress: "1/2/3", MaxAge: durationpb.New(time.Hour)})
	refused(t, err, codes.FailedPrecondition, "BUILDING_NOT_ONLINE", "hq")
	_, err = g.telegrams.GroupRead(t.Context(), &knxfleetv1.GroupReadRequest{Building: "nowhere", GroupAddress: "1/2/3"})
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
}
