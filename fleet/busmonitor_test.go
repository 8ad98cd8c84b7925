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
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// listener listens to a bus, and keeps what it hears.
type listener struct {
	stop func() error

	mu      sync.Mutex
	frames  []string
	dropped uint64
	calls   int
	slow    chan struct{} // full: it takes no response
}

func (w *world) listen(dataOnly bool) *listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{slow: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() {
		ended <- w.fleet.MonitorBus(ctx, Monitor{Building: "hq", DataOnly: dataOnly, Silence: time.Minute}, func(frames []*knxfleetv1.BusMonitorFrame, dropped uint64) error {
			l.slow <- struct{}{}
			defer func() { <-l.slow }()
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, f := range frames {
				l.frames = append(l.frames, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", f.GetType(), f.GetDestination(), f.GetService(), f.GetValue(), f.GetName())))
			}
			l.dropped += dropped
			l.calls++
			return nil
		})
	}()
	l.stop = func() error { cancel(); return <-ended }
	return l
}

func (l *listener) told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.frames, "\n")
}

// A busmonitor hears the frames of the bus decoded, with acknowledgements, while
// telegrams and writes go on in the building's own session.
func TestBusmonitor(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		all := w.listen(false)
		time.Sleep(time.Second)
		if n := all.told(); n != 1 {
			t.Errorf("told %d times that it listens, want once", n)
		}
		if err := w.listen(false).stop(); !errors.Is(err, ErrMonitored) {
			t.Errorf("a second one: %v", err)
		}
		w.faults(knxserver.Faults{Busies: 2})
		for _, value := range []string{"on", "off"} {
			if written, err := w.fleet.GroupWrite(t.Context(), Write{Building: "hq", Address: "1/2/1", Value: value, Within: time.Second}); err != nil || written.Outcome != session.Confirmed {
				t.Error(written, err)
			}
		}
		if _, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "1/2/3", Timeout: time.Second}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := all.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		want := `DATA 1/2/1 GroupValueWrite on Kitchen light
ACK
DATA 1/2/1 GroupValueWrite off Kitchen light
BUSY
DATA 1/2/1 GroupValueWrite off Kitchen light
ACK
DATA 1/2/3 GroupValueRead  Kitchen temperature
ACK
DATA 1/2/3 GroupValueResponse 21.5 Kitchen temperature
BUSY
DATA 1/2/3 GroupValueResponse 21.5 Kitchen temperature
ACK`
		if got := all.heard(); got != want {
			t.Errorf("heard\n%s\nwant\n%s", got, want)
		}
		// The slot is free again.
		data := w.listen(true)
		time.Sleep(time.Second)
		if _, err := w.fleet.GroupRead(t.Context(), Read{Building: "hq", Address: "1/2/3", Timeout: time.Second}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := data.heard(); strings.Contains(got, "ACK") || strings.Count(got, "DATA") < 2 {
			t.Errorf("without acknowledgements: %s", got)
		}
		w.desired.remove("hq")
		if err := data.stop(); err == nil {
			t.Error("it ended without an error when the building stopped")
		}
	})
}

func TestBusmonitorRefused(t *testing.T) {
	for name, c := range map[string]struct {
		slots int
		none  bool
		want  error
	}{"no slot": {1, false, ErrNoSlot}, "no busmonitor": {4, true, ErrNoBusmonitor}} {
		t.Run(name, func(t *testing.T) {
			knx := lit(t)
			knx.Slots, knx.NoBusmonitor = c.slots, c.none
			inWorld(t, knx, func(t *testing.T, w *world) {
				l := w.listen(false)
				time.Sleep(5 * time.Second)
				if err := l.stop(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "hq") {
					t.Errorf("%v, want %v", err, c.want)
				}
				if v, _ := w.fleet.View("hq"); v.Status.State != StateOnline {
					t.Errorf("the building is %s", v.Status.State)
				}
			})
		})
	}
}

// What a client reads too slowly is dropped beyond the queue, and counted.
func TestSlowBusmonitor(t *testing.T) {
	inWorld(t, lit(t), func(t *testing.T, w *world) {
		l := w.listen(false)
		time.Sleep(time.Second)
		l.slow <- struct{}{} // it takes no response until this is taken out
		const telegrams = 2300
		for range telegrams {
			time.Sleep(25 * time.Millisecond)
			w.do(0, func(now time.Time, b *simulator.Building) {
				if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: 0x0A01, Command: frame.GroupValueWrite, Data: []byte{1}, SixBit: true}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(5 * time.Second)
		<-l.slow
		time.Sleep(time.Second)
		synctest.Wait()
		l.mu.Lock()
		if got := uint64(len(l.frames)) + l.dropped; len(l.frames) < monitorQueue || len(l.frames) > monitorQueue+monitorBatch || got < 2*telegrams-200 {
			t.Errorf("%d frames and %d dropped of %d", len(l.frames), l.dropped, 2*telegrams)
		}
		l.mu.Unlock()
		_ = l.stop()
	})
}
