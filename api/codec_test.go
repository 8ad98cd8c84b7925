package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/journal"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// A response costs the same few allocations however many telegrams it has, and is
// what a client's decoder takes.
func TestResponseAllocations(t *testing.T) {
	var telegrams []*fleet.Telegram
	for n := range uint64(30) {
		m := &knxfleetv1.Telegram{Building: "hq", Epoch: 1, Number: n + 1, Raw: []byte{1}}
		telegrams = append(telegrams, &fleet.Telegram{Encoded: fleet.Encode(m)})
	}
	c := newCodec()
	var got knxfleetv1.StreamTelegramsResponse
	decode := true
	out := &responses{send: func(m any) error {
		data, err := c.Marshal(m)
		if err != nil {
			return err
		}
		defer data.Free()
		if decode {
			return proto.Unmarshal(data.Materialize(), &got)
		}
		return nil
	}}
	send := func() {
		if err := out.telegrams(journal.Response[*fleet.Telegram]{Telegrams: telegrams, Token: "after that"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second in the memory of the first
		send()
		if n := len(got.GetTelegrams()); n != 30 || got.GetTelegrams()[29].GetNumber() != 30 || got.GetResumeToken() != "after that" {
			t.Fatalf("%d telegrams came, and the token %q", n, got.GetResumeToken())
		}
	}
	if decode = false; raceEnabled {
		return // pools lose buffers on purpose
	}
	if n := testing.AllocsPerRun(100, send); n > 3 {
		t.Errorf("%v allocations for a response, want at most 3", n)
	}
}
