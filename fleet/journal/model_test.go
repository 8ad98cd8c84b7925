package journal

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// published is what the model knows of a telegram.
type published struct {
	Position
	stamp       int64
	destination frame.GroupAddress
	order       int // over all buildings
}

// modelSite is a building that runs.
type modelSite struct {
	writer *Writer
	epoch  uint64
	number uint64
	// written is between Write and Published.
	written *liveTelegram
}

// claim is what synced storage has of a building.
type claim struct {
	epoch   uint64
	unclean bool
}

type model struct {
	t     *rapid.T
	clock time.Time
	store *memoryStore
	j     *Journal
	ids   []string

	claims map[string]*claim
	epochs uint64
	sites  map[string]*modelSite
	log    map[string][]published
	total  int

	clients []*modelClient
	faults  bool // whether something was lost by the store or by a crash
	expired bool // whether something was dropped by age; for a reader at work that looks like a failure
	token   int  // limit
	off     bool
	final   bool
	jumps   bool // the clock may be set back
	back    bool // the clock was set back
	trace   []string
	options options
	busy    bool // meanwhile is running
}

func (m *model) sayf(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *model) now() time.Time {
	m.clock = m.clock.Add(1)
	return m.clock
}

func (m *model) process() {
	cfg := Config{Epoch: m.epochs, MaxRecords: 30, MaxBuildingRecords: 12}
	if !m.off {
		cfg.Store = m.store
	}
	m.busy = true // nothing else goes on at a start
	m.j = newJournal(context.Background(), cfg, m.now)
	m.busy = false
	// Where clocks jump, the times of records say nothing, and only the slack helps.
	m.j.slack = 1000
	if !m.jumps {
		m.j.slack = time.Duration(rapid.SampledFrom([]int{0, 5, 1000}).Draw(m.t, "slack"))
	}
	m.j.maxToken = m.token
	m.sites = make(map[string]*modelSite)
}

func (m *model) open(id string) {
	if m.sites[id] != nil {
		return
	}
	m.epochs++
	c := m.claims[id]
	if c == nil {
		c = &claim{}
		m.claims[id] = c
	}
	m.sayf("open %s %d previous %d unclean %v", id, m.epochs, c.epoch, c.unclean)
	m.sites[id] = &modelSite{writer: m.j.Open(id, m.epochs, c.epoch, c.unclean && c.epoch > 0), epoch: m.epochs}
	*c = claim{m.epochs, true}
}

func (m *model) write(id string) {
	s := m.sites[id]
	if s == nil {
		return
	}
	m.publish(id)
	s.number++
	t := &liveTelegram{Identity{id, Position{s.epoch, s.number}, 0}, frame.GroupAddress(rapid.IntRange(0, 3).Draw(m.t, "destination"))}
	t.Stamp = s.writer.Write(Telegram{Position: Position{Number: s.number}, ReceivedAt: m.clock, Destination: t.Destination, Raw: []byte{1}})
	s.written = t
}

func (m *model) publish(id string) {
	s := m.sites[id]
	if s == nil || s.written == nil {
		return
	}
	t := s.written
	s.written = nil
	m.total++
	m.sayf("publish %s %d-%d @%d", id, t.Epoch, t.Number, t.Stamp)
	m.log[id] = append(m.log[id], published{t.Position, t.Stamp, t.Destination, m.total})
	for _, c := range m.clients {
		if c.sub != nil {
			c.sub.push(t)
		}
	}
	s.writer.Published()
}

// settle lets the store answer everything.
func (m *model) settle() {
	for range 1000 {
		m.j.queue.pauseUntil = time.Time{}
		for _, b := range m.j.writers {
			b.pending.heldUntil = time.Time{}
		}
		m.j.pump()
		if !m.store.take(true, true) && !m.store.answer(0) && m.j.Stats().Queued == 0 {
			return
		}
	}
	m.t.Fatalf("the queue does not empty: %+v", m.j.Stats())
}

func (m *model) end(id string, inOrder bool) {
	s := m.sites[id]
	if s == nil {
		return
	}
	m.publish(id)
	m.sayf("end %s %d in order %v", id, s.epoch, inOrder)
	delete(m.sites, id)
	if !inOrder {
		return // the site failed without End
	}
	settled, err := s.writer.end()
	for waiting := err == nil; waiting; {
		m.settleSome()
		select {
		case err = <-settled:
			waiting = false
		default:
			if m.store.refusing { // nobody waits for ever
				err, waiting = errNotStored, false
			}
		}
	}
	if err == nil {
		m.claims[id].unclean = false
	}
}

func (m *model) settleSome() {
	m.j.pump()
	m.store.take(true, true)
	m.store.answer(0)
	m.j.mu.Lock()
	m.j.queue.pauseUntil = time.Time{}
	for _, b := range m.j.writers {
		b.pending.heldUntil = time.Time{}
	}
	m.j.mu.Unlock()
}

func (m *model) restart(crash bool) {
	for id := range m.sites {
		m.publish(id)
	}
	for _, c := range m.clients {
		if rapid.Bool().Draw(m.t, "drain") && c.stream != nil && !crash {
			m.step(c)
		}
		m.disconnect(c)
	}
	kept := len(m.store.records)
	if crash {
		kept = rapid.IntRange(m.store.flushed, kept).Draw(m.t, "kept")
		m.faults = true
		for _, c := range m.claims {
			c.unclean = true
		}
	} else {
		m.store.refusing = false
		for _, id := range m.ids {
			m.end(id, true)
		}
		m.settle()
		kept = len(m.store.records)
	}
	m.faults = m.faults || m.j.Stats().Lost > 0
	m.sayf("restart crash %v kept %d of %d", crash, kept, len(m.store.records))
	m.store = m.store.crash(kept)
	m.process()
}

// options say what may go wrong in a run of the model.
type options struct {
	crashes, storeFails, expires, off, clockBack bool
	token                                        int
}

func (m *model) play(o options) {
	t := m.t
	m.clock = time.Unix(0, 1_000_000)
	m.store = &memoryStore{now: m.now, meanwhile: m.meanwhile}
	m.options = o
	m.claims = make(map[string]*claim)
	m.log = make(map[string][]published)
	m.token, m.off, m.jumps = o.token, o.off, o.clockBack
	m.ids = []string{"a", "b", "c"}
	m.process()
	for i := range rapid.IntRange(1, 3).Draw(t, "clients") {
		c := &modelClient{m: m, name: fmt.Sprint(i), even: rapid.Bool().Draw(t, "even"), shows: map[string]bool{"a": true, "b": true, "c": rapid.Bool().Draw(t, "shows c")}, events: make(map[string][]any)}
		if rapid.Bool().Draw(t, "named") {
			c.buildings = []string{"a", "c"}
		}
		switch rapid.IntRange(0, 3).Draw(t, "start") {
		case 0:
			c.since = m.clock.UnixNano() + int64(rapid.IntRange(-10, 40).Draw(t, "since"))
			c.start.Since = time.Unix(0, c.since)
		case 1:
			c.start.Last = rapid.IntRange(1, 5).Draw(t, "last")
		}
		m.clients = append(m.clients, c)
	}
	for range rapid.IntRange(10, 120).Draw(t, "steps") {
		m.clock = m.clock.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "tick")))
		id := rapid.SampledFrom(m.ids).Draw(t, "building")
		c := m.clients[rapid.IntRange(0, len(m.clients)-1).Draw(t, "client")]
		m.act(o, id, c, rapid.IntRange(0, 19).Draw(t, "act"))
	}
	m.store.refusing, m.store.failing, m.final = false, false, true
	for _, id := range m.ids {
		m.open(id)
		m.publish(id)
	}
	if !m.off {
		m.settle()
	}
	m.faults = m.faults || m.j.Stats().Lost > 0
	for _, c := range m.clients {
		if c.stream != nil {
			c.fail = 1 << 30
		}
		for range 4 {
			m.step(c)
		}
		for _, id := range m.ids {
			m.verify(c, id)
		}
	}
	if !m.off {
		m.verifyLists()
	}
}

// meanwhile is what others do while a client's stream is at work.
func (m *model) meanwhile() {
	if m.final || m.busy {
		return
	}
	m.busy = true
	defer func() { m.busy = false }()
	for range max(rapid.IntRange(-6, 2).Draw(m.t, "meanwhile"), 0) {
		id := rapid.SampledFrom(m.ids).Draw(m.t, "building")
		m.act(m.options, id, nil, rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20}).Draw(m.t, "act"))
	}
}

func (m *model) act(o options, id string, c *modelClient, act int) {
	t := m.t
	switch act {
	case 0:
		m.open(id)
	case 1, 2, 3, 4:
		m.open(id)
		m.write(id)
	case 5, 6, 7:
		m.publish(id)
	case 8, 9:
		m.j.queue.pauseUntil = time.Time{}
		for _, b := range m.j.writers {
			b.pending.heldUntil = time.Time{}
		}
		m.j.pump()
	case 10, 11:
		stored, acknowledged := true, true
		if o.storeFails && rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
			stored, acknowledged = rapid.Bool().Draw(t, "stored"), false
			m.faults = true
		}
		m.store.take(stored, acknowledged)
	case 12:
		m.store.answer(rapid.IntRange(0, 3).Draw(t, "answer"))
	case 13:
		m.store.flushed = len(m.store.records)
	case 14, 15, 16:
		m.step(c)
	case 17:
		m.sayf("disconnect %s", c.name)
		m.disconnect(c)
	case 20:
		if o.expires {
			m.store.expire(rapid.IntRange(0, 3).Draw(t, "expired"))
			m.expired = true
		}
	case 18:
		switch rapid.IntRange(0, 3).Draw(t, "rare") {
		case 0:
			if rapid.Bool().Draw(t, "in order") || !o.crashes {
				m.store.refusing = false
				m.end(id, true)
			} else {
				m.faults = true
				m.end(id, false)
			}
		case 1:
			if o.storeFails {
				m.store.refusing = !m.store.refusing
				m.faults = true
			}
		case 2:
			if o.storeFails {
				m.store.failing = !m.store.failing
				m.faults = true
			}
		case 3:
			if o.expires {
				m.store.expire(rapid.IntRange(0, 10).Draw(t, "expired"))
				m.expired = true
			}
		}
	case 19:
		if !o.crashes || rapid.Bool().Draw(t, "clean") {
			m.restart(false)
		} else {
			m.restart(true)
		}
		if o.clockBack {
			m.back = true
			m.clock = m.clock.Add(-time.Duration(rapid.IntRange(0, 50).Draw(t, "back")))
		}
	}
}

func TestModel(t *testing.T) {
	for name, o := range map[string]options{
		"no faults":       {token: MaxToken},
		"crashes":         {token: MaxToken, crashes: true},
		"store fails":     {token: MaxToken, storeFails: true},
		"expiry":          {token: MaxToken, expires: true},
		"clock set back":  {token: MaxToken, crashes: true, clockBack: true},
		"everything":      {token: MaxToken, crashes: true, storeFails: true, expires: true, clockBack: true},
		"short tokens":    {token: 40, crashes: true, storeFails: true},
		"without a store": {token: MaxToken, crashes: true, off: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { (&model{t: t}).play(o) })
		})
	}
}
