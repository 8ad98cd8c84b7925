package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/internal/simulator"
	"github.com/knxfleet/knxfleet/internal/simulator/knxserver"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// plight is something wrong with a KNX interface, and what its users notice.
type plight struct {
	name   string
	faults knxserver.Faults
	// event happens as the faults begin.
	event func(now time.Time, b *simulator.Building)
	// writes is what becomes of four writes, 2 s apart; the last stands for the others
	// too. None: of each something else, as it happens.
	writes []string
	// sights are the states with their reasons that a watcher is told of in this order,
	// before it is over. None: the building stays ONLINE, in one session, and no
	// telegram of the bus is missing.
	sights []string
	words  string // of the last one
	// every is the time between two telegrams of the bus; zero is 100 ms.
	every time.Duration
}

var (
	good    = []string{"CONFIRMED"}
	offline = []string{"offline"}

	ended = "CONNECTING SERVER_DISCONNECTED"
	full  = []string{ended, "BACKING_OFF SLOTS_FULL"}
)

func disconnect(now time.Time, b *simulator.Building) { b.KNX.Disconnect(now) }

var plights = []plight{
	{name: "negative confirmations", faults: knxserver.Faults{Confirmation: knxserver.ConfirmNegative}, writes: []string{"REJECTED"}},
	{name: "late confirmations", faults: knxserver.Faults{ConfirmationDelay: 4 * time.Second}, writes: []string{"UNCONFIRMED"}},
	{name: "missing confirmations", faults: knxserver.Faults{Confirmation: knxserver.ConfirmNever}, writes: []string{"UNCONFIRMED"}},
	{name: "confirmations without a source", faults: knxserver.Faults{AnonymousConfirmations: true}, writes: good},
	{name: "some ACKs lost", faults: knxserver.Faults{LoseAcks: 2}, writes: good, sights: []string{"CONNECTING ACK_MISSING"}},
	{name: "all ACKs lost", faults: knxserver.Faults{LoseAcks: 1}, sights: []string{"CONNECTING ACK_MISSING"}, words: "overloaded"},
	{name: "our ACKs lost", faults: knxserver.Faults{IgnoreAcks: 2}, writes: good, every: 1500 * time.Millisecond},
	{name: "duplicates", faults: knxserver.Faults{Duplicates: 1}, writes: good},
	{name: "wrong sequences", faults: knxserver.Faults{WrongSequence: 4}, sights: []string{"CONNECTING SEQUENCE_LOST"}, words: "connecting anew"},
	{name: "foreign channels", faults: knxserver.Faults{Foreign: 1}, writes: good},
	{name: "malformed frames", faults: knxserver.Faults{Malformed: 1}, writes: good},
	{name: "broken messages", faults: knxserver.Faults{Broken: 1}, writes: good},
	{name: "a disconnect", event: disconnect, writes: good, sights: []string{ended}, words: "reprogrammed"},
	{name: "no slot, told in short", faults: knxserver.Faults{Full: true}, event: disconnect, writes: offline, sights: full, words: "close another KNX client"},
	{name: "no slot, told at length", faults: knxserver.Faults{Full: true, LongRefusals: true}, event: disconnect, writes: offline, sights: full, words: "close another KNX client"},
	{name: "an address in use", faults: knxserver.Faults{Refuse: frame.StatusConnectionInUse, LongRefusals: true}, event: disconnect, writes: offline, sights: full, words: "0x2E"},
	{
		name: "silence", faults: knxserver.Faults{Silent: true}, writes: []string{"UNKNOWN", "offline"},
		sights: []string{"CONNECTING ACK_MISSING", "BACKING_OFF CONNECT_UNANSWERED"}, words: "power and network",
	},
	{
		name: "a freeze", faults: knxserver.Faults{Frozen: true}, writes: []string{"UNKNOWN", "offline"},
		sights: []string{"CONNECTING ACK_MISSING", "BACKING_OFF CONNECT_UNANSWERED"}, words: "power and network",
	},
	{
		name: "a reboot", event: func(now time.Time, b *simulator.Building) { b.KNX.Reboot(now, 3*time.Second) },
		writes: []string{"UNKNOWN", "CONFIRMED"}, sights: []string{"CONNECTING ACK_MISSING"},
	},
}

// Whatever is wrong with the interface: a watcher is told, a writer is told what the
// bus said, nobody gets a telegram twice, none that we acknowledged is missing, and
// when it is over all is as before.
func TestPlights(t *testing.T) {
	for _, style := range []knxserver.Style{knxserver.StyleKnxd, knxserver.StyleCalimero} {
		for _, p := range plights {
			t.Run(fmt.Sprintf("%s/%v", p.name, style), func(t *testing.T) {
				inWorld(t, knxserver.Config{Style: style, RecordLimit: 1000}, func(t *testing.T, w *world) { p.play(t, w) })
			})
		}
	}
}

func (p *plight) play(t *testing.T, w *world) {
	time.Sleep(15 * time.Second) // a session that has lasted
	injected, err := ParseAddressPattern("15/0/1")
	if err != nil {
		t.Fatal(err)
	}
	heard := collect(subscribe(t, w.hub, Filter{Addresses: []AddressPattern{injected}}, 0))
	sights := w.sights(t)
	w.do(0, func(now time.Time, b *simulator.Building) {
		b.KNX.SetFaults(now, p.faults)
		if p.event != nil {
			p.event(now, b)
		}
	})
	var bus sync.WaitGroup
	every := max(p.every, 100*time.Millisecond)
	bus.Go(func() { w.telegrams(20*time.Second, every) })
	time.Sleep(time.Second)
	for i := range 4 {
		told := w.outcome("on")
		if n := len(p.writes); n > 0 && told != p.writes[min(i, n-1)] {
			t.Errorf("the writer of write %d is told %s, want %s", i+1, told, p.writes[min(i, n-1)])
		}
		time.Sleep(2 * time.Second)
	}
	bus.Wait()
	synctest.Wait()
	p.see(t, sights())

	w.do(0, func(now time.Time, b *simulator.Building) { b.KNX.SetFaults(now, knxserver.Faults{}) })
	s := w.wait("hq", 2*time.Minute, "ONLINE, and to stay so", func(s Status) bool {
		return s.State == StateOnline && time.Since(s.Since) > 15*time.Second
	})
	if sessions := s.Counters.Session.Sessions; len(p.sights) == 0 && sessions != 1 {
		t.Errorf("%d sessions, want the first to live on", sessions)
	}
	before := len(heard())
	w.telegrams(2*time.Second, 100*time.Millisecond)
	time.Sleep(time.Second)
	if n := len(heard()) - before; n != 20 {
		t.Errorf("when it is over %d of 20 telegrams come", n)
	}
	_ = w.outcome("off") // an interface that never confirmed is not waited for, until it does
	time.Sleep(time.Second)
	if got := w.outcome("on"); got != "CONFIRMED" {
		t.Errorf("when it is over a write is %s", got)
	}
	w.judge(t, heard(), len(p.sights) == 0)
}

// see compares what a watcher was told.
func (p *plight) see(t *testing.T, told []sight) {
	t.Helper()
	if len(p.sights) == 0 {
		if len(told) > 0 {
			t.Errorf("a watcher is told %v, want nothing", told)
		}
		return
	}
	next := 0
	for _, s := range told {
		if s.what != p.sights[next] {
			continue
		}
		if next++; next == len(p.sights) {
			if !strings.Contains(s.message, p.words) {
				t.Errorf("%s says %q, want it to say %q", s.what, s.message, p.words)
			}
			return
		}
	}
	t.Errorf("a watcher is told %v, want %v", told, p.sights)
}

// telegrams lets a device of the bus send for a while.
func (w *world) telegrams(length, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < length; <-tick.C {
		w.do(0, func(now time.Time, b *simulator.Building) {
			n := b.KNX.Counts().Bus // makes each another one
			if _, err := b.KNX.Inject(now, knxserver.Telegram{Destination: 0x7801, Command: frame.GroupValueWrite, Data: []byte{byte(n >> 8), byte(n)}}); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// outcome writes, and says what the writer is told.
func (w *world) outcome(value string) string {
	written, err := w.fleet.GroupWrite(context.Background(), Write{Building: "hq", Address: "15/0/2", DPT: "1.001", Value: value, Within: time.Second})
	if _, ok := errors.AsType[*OfflineError](err); ok {
		return "offline"
	}
	if err != nil {
		return err.Error()
	}
	return written.Outcome.String()
}

// judge compares what a subscriber heard with what the referee saw.
func (w *world) judge(t *testing.T, heard []*Telegram, all bool) {
	t.Helper()
	times := map[string]int{}
	for _, tg := range heard {
		raw := fmt.Sprintf("%x", tg.Message().GetRaw())
		if times[raw]++; times[raw] > 1 {
			t.Errorf("telegram %s came %d times", raw, times[raw])
		}
	}
	w.do(0, func(_ time.Time, b *simulator.Building) {
		record := b.KNX.TakeRecord()
		content := map[uint64]string{}
		for _, bus := range record.Bus {
			if raw := fmt.Sprintf("%x", bus.LData.Data); bus.Origin == knxserver.FromInjection {
				content[bus.Number] = raw
				if all && times[raw] == 0 {
					t.Errorf("telegram %s is missing", raw)
				}
			}
		}
		for _, d := range record.Deliveries {
			if raw, ok := content[d.Number]; ok && d.Outcome == knxserver.Acked && times[raw] == 0 {
				t.Errorf("telegram %s was acknowledged, and is missing", raw)
			}
		}
		if n := len(b.KNX.Channels()); n != 1 {
			t.Errorf("%d slots of the interface are taken, want 1", n)
		}
	})
}

// sight is what a watcher is told of a building that is not ONLINE.
type sight struct{ what, message string }

// sights begins to note them.
func (w *world) sights(t *testing.T) (told func() []sight) {
	var mu sync.Mutex
	var all []sight
	watcher := w.fleet.Watch(Moment{})
	t.Cleanup(watcher.Close)
	go func() {
		for {
			changes, err := watcher.Next(context.Background())
			if err != nil {
				return
			}
			mu.Lock()
			for _, c := range changes {
				if s := c.View.Status; c.Kind != ChangeSnapshotEnd && s.State != StateOnline {
					all = append(all, sight{fmt.Sprint(s.State, " ", s.Reason), s.Message})
				}
			}
			mu.Unlock()
		}
	}()
	return func() []sight {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}
