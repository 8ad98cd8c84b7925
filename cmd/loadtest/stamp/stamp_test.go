package stamp_test

import (
	"slices"
	"testing"

	"github.com/knxfleet/knxfleet/cmd/loadtest/stamp"
)

func TestStamp(t *testing.T) {
	sent := stamp.Now()
	frame := stamp.Append([]byte("a frame's header"), sent)
	if got, ok := stamp.Read(frame); !ok || got != sent {
		t.Errorf("got %d (%v), want %d", got, ok, sent)
	}
	if _, ok := stamp.Read(frame[:stamp.Size-1]); ok {
		t.Error("a short frame has a stamp")
	}
	if later := stamp.Now(); later < sent {
		t.Errorf("%d came before %d", later, sent)
	}
}

func TestAges(t *testing.T) {
	var ages stamp.Ages
	ages.Add(1)
	ages.Measure(true)
	ages.Add(3)
	ages.Add(5)
	if got := ages.Take(); !slices.Equal(got, []int64{3, 5}) {
		t.Errorf("took %v", got)
	}
	ages.Measure(false)
	ages.Add(7)
	if got := ages.Take(); len(got) != 0 {
		t.Errorf("took %v twice", got)
	}
}
