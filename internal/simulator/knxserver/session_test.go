package knxserver

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// packet is a datagram on its way.
type packet struct {
	at       time.Time
	order    int
	toServer bool
	data     []byte
}

type packets []packet

func (p packets) Len() int      { return len(p) }
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p packets) Less(i, j int) bool {
	if p[i].at.Equal(p[j].at) {
		return p[i].order < p[j].order
	}
	return p[i].at.Before(p[j].at)
}
func (p *packets) Push(x any) { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// link is how bad the network between the two is.
type link struct {
	loss, duplication float64
	delay, jitter     time.Duration // one way; packets overtake each other within the jitter
}

// game is the project's own session machine against a server, over a link, in
// virtual time.
type game struct {
	t      *testing.T
	rnd    *rand.Rand
	link   link
	server *Server
	client *session.Machine
	now    time.Time
	order  int
	on     packets

	injected, written uint32
	received          map[uint32]int // how often the client published the telegram with this content
	outcomes          map[uint32]session.Outcome
	online            time.Duration // of the client in all
	changed           time.Time
	state             session.State
	stopped           bool
}

const (
	injectedGroup frame.GroupAddress = 0x7801 // 15/0/1, in no profile
	writtenGroup  frame.GroupAddress = 0x7802
)

func newGame(t *testing.T, seed uint64, cfg Config, l link) *game {
	cfg.RecordLimit = 1 << 20
	g := &game{
		t: t, link: l, now: epoch,
		rnd:      rand.New(rand.NewPCG(seed, 1)),
		received: map[uint32]int{}, outcomes: map[uint32]session.Outcome{},
	}
	g.server = New(cfg, rand.New(rand.NewPCG(seed, 2)).Float64)
	g.client = session.New(session.Config{Control: serverAddr}, rand.New(rand.NewPCG(seed, 3)).Float64)
	g.server.Start(g.now)
	g.client.Start(g.now)
	g.drain()
	return g
}

func (g *game) send(toServer bool, data []byte) {
	copies := 1
	if g.rnd.Float64() < g.link.duplication {
		copies = 2
	}
	for range copies {
		if g.rnd.Float64() < g.link.loss {
			continue
		}
		delay := g.link.delay + time.Duration(g.rnd.Float64()*float64(g.link.jitter))
		g.order++
		heap.Push(&g.on, packet{g.now.Add(delay), g.order, toServer, slices.Clone(data)})
	}
}

func (g *game) drain() {
	for out, ok := g.server.Next(); ok; out, ok = g.server.Next() {
		if out.To == clientAddr {
			g.send(false, out.Payload)
		}
	}
	for out, ok := g.client.Next(); ok; out, ok = g.client.Next() {
		switch out := out.(type) {
		case session.Send:
			g.send(true, out.Datagram)
		case session.Telegram:
			if !out.Own && frame.GroupAddress(out.LData.Destination) == injectedGroup {
				g.received[binary.BigEndian.Uint32(out.LData.Data)]++
			}
		case session.Result:
			if _, again := g.outcomes[uint32(out.ID)]; again {
				g.t.Errorf("write %d has two results", out.ID)
			}
			g.outcomes[uint32(out.ID)] = out.Outcome
		case session.StateChanged:
			g.account()
			g.state = out.State
		case session.Stopped:
			g.stopped = true
		}
	}
}

func (g *game) account() {
	if g.state == session.StateOnline {
		g.online += g.now.Sub(g.changed)
	}
	g.changed = g.now
}

// play lets time pass, with telegrams on the bus and writes at random times that
// are as often on average as given; zero means none.
func (g *game) play(length, inject, write time.Duration) {
	end := g.now.Add(length)
	next := func(every time.Duration) time.Time {
		if every == 0 {
			return end.Add(time.Hour)
		}
		return g.now.Add(time.Duration(g.rnd.ExpFloat64() * float64(every)))
	}
	injectAt, writeAt := next(inject), next(write)
	for {
		at, what := injectAt, "inject"
		sooner := func(other time.Time, ok bool, name string) {
			if ok && other.Before(at) {
				at, what = other, name
			}
		}
		sooner(writeAt, true, "write")
		if len(g.on) > 0 {
			sooner(g.on[0].at, true, "packet")
		}
		due, ok := g.server.Deadline()
		sooner(due, ok, "server")
		due, ok = g.client.Deadline()
		sooner(due, ok, "client")
		if at.After(end) {
			g.now = end
			g.account()
			return
		}
		if at.After(g.now) {
			g.now = at
		}
		switch what {
		case "inject":
			g.injectOne()
			injectAt = next(inject)
		case "write":
			g.writeOne()
			writeAt = next(write)
		case "packet":
			p := heap.Pop(&g.on).(packet)
			if p.toServer {
				g.server.Receive(g.now, clientAddr, p.data)
			} else {
				g.client.Receive(g.now, serverAddr, p.data)
			}
		case "server":
			g.server.Expire(g.now)
		case "client":
			g.client.Expire(g.now)
		}
		g.drain()
	}
}

func content(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func (g *game) injectOne() {
	g.injected++
	_, err := g.server.Inject(g.now, Telegram{Destination: injectedGroup, Command: frame.GroupValueWrite, Data: content(g.injected)})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *game) writeOne() {
	if !g.client.Ready() {
		return
	}
	g.written++
	g.client.Write(g.now, session.Write{
		ID: uint64(g.written), Command: frame.GroupValueWrite, Destination: writtenGroup, Data: content(g.written),
	})
}

// judge compares telegram by telegram: none that the server saw acknowledged is
// missing at the client, none came twice, and what became of a write is what the
// client was told.
func (g *game) judge() {
	g.t.Helper()
	record := g.server.TakeRecord()
	if record.BusMissed+record.DeliveriesMissed > 0 {
		g.t.Fatal("the record is too short")
	}
	injected := map[uint64]uint32{} // number to content
	onBus := map[uint32]int{}       // writes
	for _, b := range record.Bus {
		switch frame.GroupAddress(b.LData.Destination) {
		case injectedGroup:
			injected[b.Number] = binary.BigEndian.Uint32(b.LData.Data)
		case writtenGroup:
			onBus[binary.BigEndian.Uint32(b.LData.Data)]++
		}
	}
	acked := 0
	sent := map[uint32]bool{}
	for _, d := range record.Deliveries {
		n, ok := injected[d.Number]
		if !ok || d.Content != ContentIndication {
			continue
		}
		if d.Outcome != Unsent {
			sent[n] = true
		}
		if d.Outcome == Acked {
			acked++
			if g.received[n] == 0 {
				g.t.Errorf("telegram %d was acknowledged at %v in session %d, but is missing", d.Number, d.Ended.Sub(epoch), d.Session)
			}
		}
	}
	for n, times := range g.received {
		if times > 1 {
			g.t.Errorf("telegram with content %d came %d times", n, times)
		}
	}
	for n, times := range onBus {
		if times > 1 {
			g.t.Errorf("write %d was on the bus %d times", n, times)
		}
	}
	told := map[session.Outcome]int{}
	for n, outcome := range g.outcomes {
		told[outcome]++
		switch {
		case outcome == session.NotSent && onBus[n] > 0:
			g.t.Errorf("write %d was on the bus, but is said to be not sent", n)
		case outcome == session.Confirmed && onBus[n] != 1, outcome == session.Rejected && onBus[n] != 1:
			// Not so Unconfirmed: an old request that overtakes the CONNECT_REQUEST uses up
			// the counter of the new channel, if that has the same number, and the new
			// request with it is acknowledged as a duplicate.
			g.t.Errorf("write %d is %v, but was on the bus %d times", n, outcome, onBus[n])
		}
	}
	if g.t.Failed() {
		g.t.Logf("counts of the server: %+v; of the client: %+v", g.server.Counts(), g.client.Counters())
	}
	g.t.Logf("%v virtual: %d telegrams, %d acknowledged, %d published; writes %v; online %v; %d sessions",
		g.now.Sub(epoch), g.injected, acked, len(g.received), told, g.online.Round(time.Second), g.client.Counters().Sessions)
}

// finish lets the client end, and what is on its way arrive.
func (g *game) finish() {
	g.t.Helper()
	g.client.Stop(g.now)
	g.drain()
	g.play(15*time.Second, 0, 0)
	if !g.stopped {
		g.t.Error("the client does not stop")
	}
	g.judge()
}

var styles = []Style{StyleKnxd, StyleCalimero}

func TestSessionOverPerfectLink(t *testing.T) {
	for _, style := range styles {
		t.Run(style.String(), func(t *testing.T) {
			g := newGame(t, 1, Config{Style: style, Profile: Building(), Rate: 2}, link{delay: 20 * time.Millisecond})
			g.play(time.Hour, 250*time.Millisecond, 2*time.Second)
			waiting := 0
			for _, c := range g.server.Channels() {
				waiting += c.Waiting
			}
			// The write under way when it stops may end as unknown.
			if got := len(g.received); got < int(g.injected)-waiting {
				t.Errorf("%d of %d telegrams published, and %d wait", got, g.injected, waiting)
			}
			for n, outcome := range g.outcomes {
				if outcome != session.Confirmed {
					t.Errorf("write %d is %v", n, outcome)
				}
			}
			if sessions := g.client.Counters().Sessions; sessions != 1 {
				t.Errorf("%d sessions", sessions)
			}
			g.finish()
			if len(g.server.Channels()) != 0 {
				t.Error("the slot is not free")
			}
		})
	}
}

// A failing seed is in the test's name, by which it is replayed.
func TestSessionOverLossyLink(t *testing.T) {
	links := []struct {
		name   string
		link   link
		inject time.Duration // on average between telegrams: what one request at a time can carry
		online time.Duration // at least
	}{
		{"loss 5%", link{loss: 0.05, delay: 30 * time.Millisecond, jitter: 10 * time.Millisecond}, 500 * time.Millisecond, 110 * time.Minute},
		{"loss 20%", link{loss: 0.2, delay: 30 * time.Millisecond, jitter: 10 * time.Millisecond}, 5 * time.Second, 60 * time.Minute},
		{"slow", link{loss: 0.02, delay: 400 * time.Millisecond}, 4 * time.Second, 110 * time.Minute},
		{"reordering", link{loss: 0.05, duplication: 0.05, delay: 10 * time.Millisecond, jitter: 150 * time.Millisecond}, 500 * time.Millisecond, 110 * time.Minute},
		{"duplication", link{loss: 0.05, duplication: 0.5, delay: 20 * time.Millisecond, jitter: 40 * time.Millisecond}, 500 * time.Millisecond, 110 * time.Minute},
	}
	for _, l := range links {
		for _, style := range styles {
			for seed := range uint64(2) {
				t.Run(fmt.Sprintf("%s/%v/seed %d", l.name, style, seed), func(t *testing.T) {
					g := newGame(t, seed, Config{Style: style}, l.link)
					g.play(2*time.Hour, l.inject, 5*time.Second)
					if g.online < l.online {
						t.Errorf("online for %v of 2 h, want %v", g.online, l.online)
					}
					g.finish()
				})
			}
		}
	}
}

// Every fault of the interface at its time, on a link that loses too.
const sessionScript = `
	at 1m silence 40s
	at 3m freeze 90s
	at 6m reboot 20s
	at 8m lose-acks 3 1m
	at 10m ignore-acks 3 1m
	at 12m negative-confirmations 1m
	at 14m no-confirmations 1m
	at 16m late-confirmations 4s 1m
	at 18m anonymous-confirmations 1m
	at 20m wrong-sequence 7 1m
	at 22m duplicates 2 1m
	at 24m foreign 2 1m
	at 26m malformed 1 2m
	at 29m broken 2 2m
	at 32m heartbeat 0x21 30s
	at 35m heartbeat 0x26 30s
	at 38m heartbeat 0x27 30s
	at 41m disconnect; at 41m full 1m
	at 43m disconnect; at 43m refuse 0x25 30s; at 43m long-refusals 30s
	at 45m reboot; at 46m clear
`

func TestSessionThroughAllFaults(t *testing.T) {
	script, err := ParseScript(sessionScript)
	if err != nil {
		t.Fatal(err)
	}
	for _, style := range styles {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%v/seed %d", style, seed), func(t *testing.T) {
				g := newGame(t, seed, Config{Style: style, Script: script, Profile: Building(), Rate: 1},
					link{loss: 0.02, delay: 20 * time.Millisecond, jitter: 30 * time.Millisecond})
				g.play(47*time.Minute, 300*time.Millisecond, 2*time.Second)
				before := g.online
				g.play(3*time.Minute, 300*time.Millisecond, 2*time.Second)
				if healthy := g.online - before; healthy < 2*time.Minute {
					t.Errorf("online for %v of the 3 minutes after all faults", healthy)
				}
				told := map[session.Outcome]int{}
				for _, outcome := range g.outcomes {
					told[outcome]++
				}
				for _, outcome := range []session.Outcome{session.Confirmed, session.Rejected, session.Unconfirmed, session.Unknown} {
					if told[outcome] == 0 {
						t.Errorf("no write was %v", outcome)
					}
				}
				g.finish()
			})
		}
	}
}
