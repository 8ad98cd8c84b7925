package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// telegram is one as a site publishes it.
func telegram(building string, number uint64, destination frame.GroupAddress, labels map[string]string) *fleet.Telegram {
	return &fleet.Telegram{
		Building: building, Epoch: 7, Number: number, Stamp: time.Now().UnixNano(), Labels: labels, Destination: destination, Kind: knxfleetv1.Telegram_KIND_WRITE,
		Encoded: fleet.Encode(&knxfleetv1.Telegram{
			Building: building, Epoch: 7, Number: number, ReceivedAt: timestamppb.Now(), Source: "1.1.5",
			Destination: destination.String(), Kind: knxfleetv1.Telegram_KIND_WRITE, Raw: []byte{0x0c, 0x1a},
		}),
	}
}

// subscribe opens a stream and returns when it sees every telegram from now on.
func (g *gateway) subscribe(t *testing.T, request *knxfleetv1.StreamTelegramsRequest) grpc.ServerStreamingClient[knxfleetv1.StreamTelegramsResponse] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := g.telegrams.StreamTelegrams(ctx, request)
	noError(t, err)
	_, err = stream.Header()
	noError(t, err)
	return stream
}

// read takes telegrams from a stream until there are n, as "building:number".
func read(t *testing.T, stream grpc.ServerStreamingClient[knxfleetv1.StreamTelegramsResponse], n int) string {
	t.Helper()
	var got []string
	for len(got) < n {
		response, err := stream.Recv()
		noError(t, err)
		for _, tg := range response.GetTelegrams() {
			got = append(got, fmt.Sprintf("%s:%d", tg.GetBuilding(), tg.GetNumber()))
		}
	}
	return strings.Join(got, " ")
}

func TestStreamGivesWhatItsFilterSelects(t *testing.T) {
	g := start(t)
	for _, id := range []string{"a", "b"} {
		b := g.building(id)
		b.Disabled = true
		g.create(t, b)
	}
	south, north := map[string]string{"region": "south"}, map[string]string{"region": "north"}
	publish := func() {
		g.hub.Publish(telegram("a", 1, 0x0A03, south)) // 1/2/3
		g.hub.Publish(telegram("a", 2, 0x0A04, south)) // 1/2/4
		g.hub.Publish(telegram("b", 1, 0x0A03, north))
		g.hub.Publish(telegram("b", 2, 0x1101, north)) // 2/1/1
	}
	for _, c := range []struct {
		name    string
		request *knxfleetv1.StreamTelegramsRequest
		want    string
	}{
		{"all", &knxfleetv1.StreamTelegramsRequest{}, "a:1 a:2 b:1 b:2"},
		{"a building", &knxfleetv1.StreamTelegramsRequest{Buildings: []string{"b"}}, "b:1 b:2"},
		{"labels", &knxfleetv1.StreamTelegramsRequest{LabelSelector: "region=south"}, "a:1 a:2"},
		{"addresses", &knxfleetv1.StreamTelegramsRequest{GroupAddresses: []string{"1/2/3", "2/*/*"}}, "a:1 b:1 b:2"},
		{"both", &knxfleetv1.StreamTelegramsRequest{Buildings: []string{"a", "b"}, LabelSelector: "region=north", GroupAddresses: []string{"1/*/*"}}, "b:1"},
	} {
		stream := g.subscribe(t, c.request)
		publish()
		if got := read(t, stream, len(strings.Fields(c.want))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	stream := g.subscribe(t, &knxfleetv1.StreamTelegramsRequest{})
	g.hub.Publish(telegram("a", 3, 0x0A03, nil))
	response, err := stream.Recv()
	noError(t, err)
	if tg := response.GetTelegrams()[0]; tg.GetSource() != "1.1.5" || tg.GetDestination() != "1/2/3" || tg.GetEpoch() != 7 ||
		tg.GetKind() != knxfleetv1.Telegram_KIND_WRITE || !slices.Equal(tg.GetRaw(), []byte{0x0c, 0x1a}) {
		t.Errorf("came as %v", tg)
	}
}

func TestStreamGivesSignsOfLife(t *testing.T) {
	g := start(t)
	stream := g.subscribe(t, &knxfleetv1.StreamTelegramsRequest{KeepaliveInterval: durationpb.New(time.Second)})
	began := time.Now()
	response, err := stream.Recv()
	noError(t, err)
	if at := response.GetKeepalive().GetAt(); at == nil || time.Since(at.AsTime()).Abs() > 10*time.Second || time.Since(began) < time.Second/2 {
		t.Errorf("after %v: %v, want a sign of life after 1 s", time.Since(began), response)
	}
	g.hub.Publish(telegram("a", 1, 1, nil))
	if got := read(t, stream, 1); got != "a:1" {
		t.Errorf("after it: %s", got)
	}
}

// A client that does not read for a while gets all there is, once and in order,
// or a gap in its place; then the stream goes on.
func TestSlowClientGetsItsGap(t *testing.T) {
	g := start(t)
	stream := g.subscribe(t, &knxfleetv1.StreamTelegramsRequest{})
	// Some 20 MB. 12 may wait for a stream: 4 in its queue, 4 that it was given from there,
	// and a response in the connection.
	const published = 5_000
	for i := range uint64(published) {
		tg := telegram("a", i+1, 1, nil)
		m := tg.Message()
		m.Raw = make([]byte, 4000)
		tg.Encoded = fleet.Encode(m)
		g.hub.Publish(tg)
	}
	next, gaps := uint64(1), 0
	for next <= published {
		response, err := stream.Recv()
		noError(t, err)
		if n := len(response.GetTelegrams()); n > journal.MaxBatch {
			t.Errorf("%d telegrams in one response", n)
		}
		for _, tg := range response.GetTelegrams() {
			if tg.GetNumber() != next {
				t.Fatalf("telegram %d, want %d", tg.GetNumber(), next)
			}
			next++
		}
		if gap := response.GetGap(); gap != nil {
			gaps++
			if gap.GetFrom() != next || gap.GetCount() != gap.GetTo()-gap.GetFrom()+1 {
				t.Fatalf("gap %v, want one from %d", gap, next)
			}
			next = gap.GetTo() + 1
		}
	}
	if gaps == 0 {
		t.Error("no gap: all that was published was kept for a client that does not read")
	}
	g.hub.Publish(telegram("a", published+1, 1, nil))
	if got := read(t, stream, 1); got != fmt.Sprintf("a:%d", published+1) {
		t.Errorf("after the gap: %s", got)
	}
}

func TestStreamRefusals(t *testing.T) {
	g := start(t)
	refusal := func(request *knxfleetv1.StreamTelegramsRequest) error {
		stream, err := g.telegrams.StreamTelegrams(t.Context(), request)
		noError(t, err)
		_, err = stream.Recv()
		return err
	}
	for _, c := range []struct {
		field   string
		request *knxfleetv1.StreamTelegramsRequest
	}{
		{"buildings", &knxfleetv1.StreamTelegramsRequest{Buildings: []string{"No Id"}}},
		{"buildings", &knxfleetv1.StreamTelegramsRequest{Buildings: make([]string, maxFilterBuildings+1)}},
		{"label_selector", &knxfleetv1.StreamTelegramsRequest{LabelSelector: "a in b"}},
		{"group_addresses", &knxfleetv1.StreamTelegramsRequest{GroupAddresses: []string{"1/2/3", "32/0/0"}}},
		{"group_addresses", &knxfleetv1.StreamTelegramsRequest{GroupAddresses: make([]string, maxFilterAddresses+1)}},
		{"names", &knxfleetv1.StreamTelegramsRequest{Names: []string{"*light*", ""}}},
		{"names", &knxfleetv1.StreamTelegramsRequest{Names: slices.Repeat([]string{"a"}, maxFilterNames+1)}},
		{"kinds", &knxfleetv1.StreamTelegramsRequest{Kinds: []knxfleetv1.Telegram_Kind{17}}},
		{"sources", &knxfleetv1.StreamTelegramsRequest{Sources: []string{"1.1.*", "1/1/5"}}},
		{"sources", &knxfleetv1.StreamTelegramsRequest{Sources: slices.Repeat([]string{"1.1.5"}, maxFilterSources+1)}},
		{"last", &knxfleetv1.StreamTelegramsRequest{Last: 10_001}},
		{"last", &knxfleetv1.StreamTelegramsRequest{Last: 1, Since: timestamppb.Now()}},
		{"since", &knxfleetv1.StreamTelegramsRequest{Since: &timestamppb.Timestamp{Seconds: -1}}},
		{"resume_token", &knxfleetv1.StreamTelegramsRequest{Last: 1, ResumeToken: "x"}},
		{"keepalive_interval", &knxfleetv1.StreamTelegramsRequest{KeepaliveInterval: durationpb.New(time.Second - 1)}},
		{"keepalive_interval", &knxfleetv1.StreamTelegramsRequest{KeepaliveInterval: durationpb.New(5*time.Minute + 1)}},
		{"keepalive_interval", &knxfleetv1.StreamTelegramsRequest{KeepaliveInterval: &durationpb.Duration{Seconds: 2, Nanos: -1}}},
	} {
		wrongField(t, refusal(c.request), c.field)
	}
	refused(t, refusal(&knxfleetv1.StreamTelegramsRequest{ResumeToken: "x"}), codes.InvalidArgument, "TOKEN_INVALID", "token")
	info, _ := refused(t, refusal(&knxfleetv1.StreamTelegramsRequest{Buildings: []string{"nowhere"}}), codes.NotFound, "BUILDING_NOT_FOUND", "nowhere")
	if info.GetMetadata()["building"] != "nowhere" {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	if n := g.hub.Stats().Subscribers; n != 0 {
		t.Errorf("%d subscribers left of refused streams", n)
	}
}
