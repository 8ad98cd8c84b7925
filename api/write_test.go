package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// A write that asks for something impossible is told so, whatever the building's
// state; the state comes last.
func TestWriteNamesTheWrongField(t *testing.T) {
	g := start(t)
	b := g.building("hq")
	b.Disabled = true
	g.create(t, b)
	good := func() *knxfleetv1.GroupWriteRequest {
		return &knxfleetv1.GroupWriteRequest{Building: "hq", GroupAddress: "1/2/3", Dpt: "1.001", Value: "on"}
	}
	for _, c := range []struct {
		name, field string
		spoil       func(w *knxfleetv1.GroupWriteRequest)
	}{
		{"no building", "building", func(w *knxfleetv1.GroupWriteRequest) { w.Building = "" }},
		{"no building id", "building", func(w *knxfleetv1.GroupWriteRequest) { w.Building = "../hq" }},
		{"no address", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "" }},
		{"a main group out of range", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "32/0/1" }},
		{"a middle group out of range", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "1/8/1" }},
		{"a subgroup out of range", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "1/2/256" }},
		{"a pattern for an address", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "1/2/*" }},
		{"the broadcast address", "group_address", func(w *knxfleetv1.GroupWriteRequest) { w.GroupAddress = "0/0/0" }},
		{"a value that does not fit", "value", func(w *knxfleetv1.GroupWriteRequest) { w.Dpt, w.Value = "9.001", "700000" }},
		{"a value of another type", "value", func(w *knxfleetv1.GroupWriteRequest) { w.Value = "21.5" }},
		{"a type that does not exist", "dpt", func(w *knxfleetv1.GroupWriteRequest) { w.Dpt = "99.001" }},
		{"a type that is none", "dpt", func(w *knxfleetv1.GroupWriteRequest) { w.Dpt = "temperature" }},
		{"value and raw", "raw", func(w *knxfleetv1.GroupWriteRequest) { w.Raw = []byte{1} }},
		{"neither value nor raw", "value", func(w *knxfleetv1.GroupWriteRequest) { w.Value = "" }},
		{"too many bytes", "raw", func(w *knxfleetv1.GroupWriteRequest) { w.Value, w.Raw = "", make([]byte, 254) }},
		{"two bytes as six bits", "raw", func(w *knxfleetv1.GroupWriteRequest) { w.Value, w.Raw, w.SixBit = "", []byte{1, 2}, true }},
		{"seven bits as six", "raw", func(w *knxfleetv1.GroupWriteRequest) { w.Value, w.Raw, w.SixBit = "", []byte{0x40}, true }},
		{"system priority", "priority", func(w *knxfleetv1.GroupWriteRequest) { w.Priority = knxfleetv1.Priority_PRIORITY_SYSTEM }},
		{"unknown priority", "priority", func(w *knxfleetv1.GroupWriteRequest) { w.Priority = 17 }},
		{"no time to wait", "send_within", func(w *knxfleetv1.GroupWriteRequest) { w.SendWithin = durationpb.New(0) }},
		{"too long to wait", "send_within", func(w *knxfleetv1.GroupWriteRequest) { w.SendWithin = durationpb.New(5*time.Minute + time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := good()
			c.spoil(w)
			_, err := g.telegrams.GroupWrite(t.Context(), w)
			wrongField(t, err, c.field)
			info, _ := refused(t, err, codes.InvalidArgument, "INVALID_FIELD", "")
			if want := map[bool]string{true: "hq"}[w.GetBuilding() == "hq"]; info.GetMetadata()["building"] != want {
				t.Errorf("metadata %v, want building %q", info.GetMetadata(), want)
			}
		})
	}
	w := good()
	w.IdempotencyKey = strings.Repeat("x", 65)
	_, err := g.telegrams.GroupWrite(t.Context(), w)
	wrongField(t, err, "idempotency_key")
	w = good()
	w.Building = "nowhere"
	_, err = g.telegrams.GroupWrite(t.Context(), w)
	refused(t, err, codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
}

// Writes that are all right reach the building's state, which is in the way.
func TestWriteToABuildingThatIsNotOnline(t *testing.T) {
	g := start(t)
	g.create(t, g.building("calling"))
	off := g.building("off")
	off.Disabled = true
	g.create(t, off)
	is := func(want knxfleetv1.State) func(s *knxfleetv1.BuildingStatus) bool {
		return func(s *knxfleetv1.BuildingStatus) bool { return s.GetState() == want }
	}
	g.eventually(t, "calling", is(knxfleetv1.State_STATE_HANDSHAKING))
	g.eventually(t, "off", is(knxfleetv1.State_STATE_DISABLED))
	for building, state := range map[string]string{"calling": "HANDSHAKING", "off": "DISABLED"} {
		for _, w := range []*knxfleetv1.GroupWriteRequest{
			{GroupAddress: "1/2/3", Dpt: "1.001", Value: "on"},
			{GroupAddress: "1/515", Dpt: "9.001", Value: "-20.3 °C"},
			{GroupAddress: "2563", Raw: make([]byte, 253)},
			{GroupAddress: "1/2/3", Raw: []byte{0x3F}, SixBit: true, Priority: knxfleetv1.Priority_PRIORITY_URGENT},
			{GroupAddress: "1/2/3", Raw: []byte{1}, SendWithin: durationpb.New(5 * time.Minute)},
		} {
			w.Building = building
			_, err := g.telegrams.GroupWrite(t.Context(), w)
			info, _ := refused(t, err, codes.FailedPrecondition, "BUILDING_NOT_ONLINE", state)
			if info.GetMetadata()["building"] != building {
				t.Errorf("metadata %v, want the building", info.GetMetadata())
			}
		}
	}
}

// A building that was created a moment ago, of which the fleet has not heard yet,
// is there all the same.
func TestWriteRightAfterCreation(t *testing.T) {
	g := startWith(t, setup{fleetAsleep: true})
	g.create(t, g.building("hq"))
	_, err := g.telegrams.GroupWrite(t.Context(), &knxfleetv1.GroupWriteRequest{Building: "hq", GroupAddress: "1/2/3", Raw: []byte{1}})
	refused(t, err, codes.FailedPrecondition, "BUILDING_NOT_ONLINE", "WAITING")
	got, err := g.buildings.GetBuilding(t.Context(), &knxfleetv1.GetBuildingRequest{Id: "hq"})
	noError(t, err)
	if s := got.GetBuilding().GetStatus(); s.GetState() != knxfleetv1.State_STATE_WAITING || s.GetObservedGeneration() != 0 {
		t.Errorf("status %v, want WAITING with nothing observed", s)
	}
}
