package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// lit is a bus with a light, its status, and twenty sensors, which are quiet unless
// they are asked.
func lit(t *testing.T) knxserver.Config {
	t.Helper()
	objects := []knxserver.Object{
		{Address: 0x0A01, Name: "light", DPT: dpt.ID{Main: 1, Sub: 1}, Kind: knxserver.Control, High: 1},
		{Address: 0x0A03, Name: "temperature", DPT: dpt.ID{Main: 9, Sub: 1}, Kind: knxserver.Sensor, Low: -20, High: 50, Start: 21.5, Step: 0.1, Decimals: 1},
	}
	for i := range 20 {
		objects = append(objects, knxserver.Object{
			Address: frame.GroupAddress(0x1000 + i), Name: "sensor", DPT: dpt.ID{Main: 9, Sub: 1}, Kind: knxserver.Sensor, High: 50, Start: float64(i), Step: 0.1, Decimals: 1,
		})
	}
	profile, err := knxserver.NewProfile(objects)
	if err != nil {
		t.Fatal(err)
	}
	return knxserver.Config{Profile: profile, RecordLimit: 1000}
}

// inWorld plays with one building that is online, and has the kitchen's table.
func inWorld(t *testing.T, knx knxserver.Config, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, knx)
		w.tables.put("hq", kitchen(frame.StyleThreeLevel))
		w.add("hq")
		w.online("hq")
		test(t, w)
		w.stop()
	})
}

// onTheBus gives the telegrams of one service that our gateway has sent.
func (w *world) onTheBus(command frame.APCI) (sent []knxserver.BusTelegram) {
	w.do(0, func(_ time.Time, b *simulator.Building) {
		for _, bus := range b.KNX.TakeRecord().Bus {
			if bus.Origin == knxserver.FromClient && bus.LData.APCI == command {
				sent = append(sent, bus)
			}
		}
	})
	return sent
}

// faults sets what is wrong with the interface.
func (w *world) faults(f knxserver.Faults) {
	w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, f) })
}

func TestGroupRead(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		for name, c := range map[string]struct {
			read Read
			want string
		}{
			"by address":      {Read{Address: "1/2/3"}, "1/2/3 9.001 21.5 °C Kitchen temperature"},
			"by name":         {Read{Address: "Kitchen light"}, "1/2/1 1.001 off  Kitchen light"},
			"as another type": {Read{Address: "1/2/3", DPT: "7.001"}, "1/2/3 7.001 3123 pulses Kitchen temperature"},
		} {
			c.read.Building, c.read.Timeout = "hq", 5*time.Second
			answer, err := w.fleet.GroupRead(t.Context(), c.read)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			m := answer.Telegram
			got := fmt.Sprintf("%s %s %s %s %s", m.GetDestination(), m.GetDpt(), m.GetValue(), m.GetUnit(), m.GetName())
			if got != c.want || m.GetKind() != knxfleetv1.Telegram_KIND_RESPONSE || answer.Cached || answer.Shared || m.GetInitial() {
				t.Errorf("%s: %q, %v, want %q", name, got, answer, c.want)
			}
		}
	})
}

// Many who ask at the same time for the same share one telegram; what the answer of
// a read that somebody else sent says counts too.
func TestSharedRead(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		var readers sync.WaitGroup
		for i := range 50 {
			readers.Go(func() {
				answer, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "1/2/3", Timeout: 5 * time.Second, Client: fmt.Sprint(i)})
				if err != nil || answer.Telegram.GetValue() != "21.5" || !answer.Shared {
					t.Errorf("%v, %v", answer, err)
				}
			})
		}
		readers.Wait()
		if sent := w.onTheBus(frame.GroupValueRead); len(sent) != 1 {
			t.Errorf("%d reads were sent, want 1", len(sent))
		}
	})
}

// One that gives up early leaves the read to those who have more patience.
func TestReadsEndOneByOne(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		var readers sync.WaitGroup
		for _, patience := range []time.Duration{time.Second, 3 * time.Second} {
			readers.Go(func() {
				began := time.Now()
				_, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "9/7/1", Timeout: patience})
				unanswered, ok := errors.AsType[*NoAnswerError](err)
				if !ok || time.Since(began) != patience || unanswered.Outcome != session.Confirmed || !strings.Contains(err.Error(), "9/7/1") {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		}
		readers.Wait()
		if sent := w.onTheBus(frame.GroupValueRead); len(sent) != 1 {
			t.Errorf("%d reads were sent, want 1", len(sent))
		}
	})
}

// At most two reads are on the bus without an answer; those that wait are told when
// their time is over, and that nothing was sent.
func TestReadsTakeTurns(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		var readers sync.WaitGroup
		var mu sync.Mutex
		unanswered, unsent := 0, 0
		for i := range 5 {
			patience := 3 * time.Second
			if i >= 2 { // those that wait give up before the first two do
				synctest.Wait()
				patience = 2 * time.Second
			}
			readers.Go(func() {
				_, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: fmt.Sprintf("9/7/%d", 1+i), Timeout: patience})
				mu.Lock()
				defer mu.Unlock()
				if _, ok := errors.AsType[*NoAnswerError](err); ok {
					unanswered++
				}
				if errors.Is(err, ErrTooLate) {
					unsent++
				}
			})
		}
		readers.Wait()
		if sent := w.onTheBus(frame.GroupValueRead); len(sent) != 2 || unanswered != 2 || unsent != 3 {
			t.Errorf("%d reads were sent, %d unanswered, %d not sent; want 2, 2 and 3", len(sent), unanswered, unsent)
		}
	})
}

// A device that answers 20 addresses at once gives all, two at a time.
func TestManyReads(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		var readers sync.WaitGroup
		began := time.Now()
		for i := range 20 {
			readers.Go(func() {
				answer, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: fmt.Sprint(0x1000 + i), DPT: "9.001", Timeout: 5 * time.Second})
				if err != nil || answer.Telegram.GetValue() != fmt.Sprint(i) {
					t.Errorf("sensor %d: %v, %v", i, answer.Telegram, err)
				}
			})
		}
		readers.Wait()
		if took := time.Since(began); took < 950*time.Millisecond || took > 2*time.Second {
			t.Errorf("20 reads took %v, want about a second at 20 a second", took)
		}
	})
}

func TestReadMaxAge(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		read := Read{Building: "hq", Address: "1/2/3", Timeout: time.Second, MaxAge: time.Minute}
		if _, err := w.fleet.GroupRead(t.Context(), read); err != nil { // from now on the values are followed
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if answer, err := w.fleet.GroupRead(t.Context(), read); err != nil || !answer.Cached || !answer.Telegram.GetInitial() || answer.Telegram.GetStale() || answer.Telegram.GetValue() != "21.5" {
			t.Errorf("half a minute later: %v, %v, want the last value", answer, err)
		}
		time.Sleep(31 * time.Second)
		if answer, err := w.fleet.GroupRead(t.Context(), read); err != nil || answer.Cached || answer.Telegram.GetInitial() {
			t.Errorf("a minute later: %v, %v, want the bus's answer", answer, err)
		}
		if sent := w.onTheBus(frame.GroupValueRead); len(sent) != 2 {
			t.Errorf("%d reads were sent, want 2", len(sent))
		}
	})
}

// Reads that wait when the building stops are told so at once.
func TestReadWhenTheSiteStops(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		var readers sync.WaitGroup
		began := time.Now()
		for i := range 4 {
			readers.Go(func() {
				if _, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: fmt.Sprintf("9/7/%d", 1+i), Timeout: time.Minute}); !errors.Is(err, ErrSiteStopped) {
					t.Errorf("%v", err)
				}
			})
		}
		time.Sleep(time.Second)
		w.desired.remove("hq")
		readers.Wait()
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("told after %v", took)
		}
	})
}

// A write tells what the bus said, the telegram that it became, and the queue.
func TestWritten(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		seen := collect(subscribe(t, w.hub, Filter{}, 0))
		written, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "Kitchen light", Value: "on", Priority: frame.PriorityUrgent, Within: time.Second})
		if err != nil || written.Outcome != session.Confirmed || written.Address != "1/2/1" {
			t.Fatal(written, err)
		}
		synctest.Wait()
		m := written.Telegram.Message()
		if all := seen(); len(all) == 0 || all[0] != written.Telegram || m.GetValue() != "on" || !m.GetSentByGateway() || m.GetPriority() != knxfleetv1.Priority_PRIORITY_URGENT {
			t.Errorf("the stream has %v, the write says %v", all, m)
		}
		if p := written.Pacing; p.Limit != 64 || p.PerSecond != 20 || p.Waiting != 0 || p.Dropped != 0 {
			t.Errorf("pacing %+v", p)
		}
		if sent := w.onTheBus(frame.GroupValueWrite); len(sent) != 1 || sent[0].LData.Priority != frame.PriorityUrgent {
			t.Errorf("on the bus: %+v", sent)
		}

		w.faults(knxserver.Faults{Confirmation: knxserver.ConfirmNegative})
		if written, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "1/2/1", Value: "off"}); err != nil || written.Outcome != session.Rejected || written.Telegram != nil {
			t.Errorf("rejected by the bus: %+v, %v", written, err)
		}
		// A confirmation that comes too late is a telegram of the stream, and of no write.
		w.faults(knxserver.Faults{ConfirmationDelay: 4 * time.Second})
		before := len(seen())
		if written, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "1/2/1", Value: "off"}); err != nil || written.Outcome != session.Unconfirmed || written.Telegram != nil {
			t.Errorf("confirmed too late: %+v, %v", written, err)
		}
		time.Sleep(2 * time.Second)
		if all := seen(); len(all) != before+1 {
			t.Errorf("%d telegrams more, want the late one", len(all)-before)
		}
	})
}

// What finds no place or does not come to its turn is counted, where one looks: at
// the building, and for all.
func TestDroppedIsCounted(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		w.faults(knxserver.Faults{Confirmation: knxserver.ConfirmNever})
		var writers sync.WaitGroup
		var mu sync.Mutex
		full, late := 0, 0
		for range 70 {
			writers.Go(func() {
				_, err := w.fleet.GroupWrite(context.Background(), Write{Building: "hq", Address: "1/2/1", Value: "on", Within: 2 * time.Second})
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, ErrQueueFull) {
					full++
				}
				if errors.Is(err, ErrTooLate) {
					late++
				}
			})
		}
		writers.Wait()
		view, _ := w.fleet.View("hq")
		p := view.Status.Counters.Pacing()
		if full < 5 || full > 6 || full+late != 69 || p.Dropped != 69 || w.fleet.Sent().Dropped != 69 || p.Waiting != 0 {
			t.Errorf("%d found it full, %d were late; the building counted %d, the fleet %d; %d wait", full, late, p.Dropped, w.fleet.Sent().Dropped, p.Waiting)
		}
	})
}
