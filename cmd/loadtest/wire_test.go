package main

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// The field numbers here are those of the contract.
func TestResponsesAreRead(t *testing.T) {
	message := &knxfleetv1.StreamTelegramsResponse{
		Telegrams: []*knxfleetv1.Telegram{
			{Building: "b1", Epoch: 3, Number: 4, ReceivedAt: timestamppb.Now(), Raw: stamp.Append(nil, 5), Value: "5", HopCount: 6},
			{Building: "b2", Epoch: 1, Number: 9, Raw: []byte{1}},
		},
		Gap:         &knxfleetv1.Gap{Building: "b1", Epoch: 7, From: 8, To: 9, Count: 2},
		ResumeToken: "token",
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	r := make(response, 0, 1)
	if err := (rawCodec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(encoded[:3]), mem.SliceBuffer(encoded[3:])}, &r); err != nil {
		t.Fatal(err)
	}
	var telegrams []seen
	missing, err := r.each(func(encoded []byte) {
		s, err := look(encoded)
		if err != nil {
			t.Error(err)
		}
		telegrams = append(telegrams, s)
	})
	if err != nil || missing != 2 || len(telegrams) != 2 {
		t.Fatalf("%d telegrams, %d missing, %v", len(telegrams), missing, err)
	}
	if s := telegrams[0]; string(s.building) != "b1" || s.epoch != 3 || s.number != 4 || s.sent != 5 {
		t.Errorf("the first is %+v", s)
	}
	if s := telegrams[1]; string(s.building) != "b2" || s.sent != 0 {
		t.Errorf("the second is %+v", s)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte{})
	encoded, err := proto.Marshal(&knxfleetv1.StreamTelegramsResponse{Telegrams: []*knxfleetv1.Telegram{{Building: "b", Raw: []byte("12345678")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = response(b).each(func(encoded []byte) { _, _ = look(encoded) })
	})
}

// A ledger tells what is lost from what comes twice or in disorder.
func TestLedger(t *testing.T) {
	l := ledger{}
	note := func(building string, epoch, number uint64, sent int64) {
		l.note(seen{[]byte(building), epoch, number, sent})
	}
	note("a", 1, 5, 100)
	note("a", 1, 6, 200)
	note("a", 2, 1, 300) // the site has started anew
	note("b", 1, 1, 100)
	if l["a"].Telegrams != 3 || l["b"].Telegrams != 1 || l["a"].Disorder+l["b"].Disorder != 0 {
		t.Errorf("%+v, %+v", l["a"], l["b"])
	}
	note("b", 1, 3, 200) // 2 is missing
	note("b", 1, 3, 200) // twice
	if l["b"].Disorder != 2 {
		t.Errorf("%+v", l["b"])
	}
}
