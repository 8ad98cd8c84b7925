package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// live is a telegram as the model's fan-out carries it.
type liveTelegram struct {
	Identity
	Destination frame.GroupAddress
}

func identify(t *liveTelegram) Identity { return t.Identity }

// modelSub is a subscription with a bounded queue, as the hub's.
type modelSub struct {
	client *modelClient
	limit  int
	queue  []*liveTelegram
	gaps   []Missed
}

func (s *modelSub) push(t *liveTelegram) {
	if !s.client.selects(t.Building, t.Destination) {
		return
	}
	if len(s.gaps) == 0 && len(s.queue) < s.limit {
		s.queue = append(s.queue, t)
		return
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.Building == t.Building && g.Epoch == t.Epoch {
			g.To, g.Last = t.Number, t.Stamp
			return
		}
	}
	s.gaps = append(s.gaps, Missed{t.Building, t.Epoch, t.Number, t.Number, t.Stamp, t.Stamp})
}

func (s *modelSub) Next(context.Context) ([]*liveTelegram, []Missed, error) {
	s.client.m.meanwhile()
	q, g := s.queue, s.gaps
	s.queue, s.gaps = nil, nil
	s.client.m.meanwhile()
	return q, g, nil
}

// modelClient follows the stream over all its connections.
type modelClient struct {
	m         *model
	name      string
	even      bool // only even destinations
	buildings []string
	shows     map[string]bool
	start     Start
	token     string
	events    map[string][]any // *liveTelegram or *Gap
	// entitled is the order from which it is to get everything.
	entitled int
	since    int64

	stream *Stream[*liveTelegram]
	sub    *modelSub
	fail   int // sends until the connection breaks
}

func (c *modelClient) selects(building string, d frame.GroupAddress) bool {
	return c.includes(building) && (!c.even || d%2 == 0)
}

func (c *modelClient) includes(building string) bool {
	return (c.buildings == nil || slices.Contains(c.buildings, building)) && c.shows[building]
}

var errBroken = errors.New("the connection broke")

func (c *modelClient) receive(r Response[*liveTelegram]) error {
	if c.fail--; c.fail < 0 {
		return errBroken
	}
	c.m.meanwhile()
	for _, t := range r.Telegrams {
		c.events[t.Building] = append(c.events[t.Building], t)
	}
	if r.Gap != nil && r.Gap.Building == "" {
		for id := range c.shows {
			c.events[id] = append(c.events[id], r.Gap)
		}
	} else if r.Gap != nil {
		c.events[r.Gap.Building] = append(c.events[r.Gap.Building], r.Gap)
	}
	if len(r.Telegrams) > 0 || r.Gap != nil {
		c.token = r.Token
		if len(r.Token) > c.m.token {
			c.m.t.Fatalf("a token of %d bytes", len(r.Token))
		}
		if cur, err := decodeCursor("", r.Token); err == nil {
			c.m.sayf("  %s got %d, gap %v, token %+v", c.name, len(r.Telegrams), r.Gap, cur)
		}
	}
	return nil
}

func (m *model) disconnect(c *modelClient) { c.stream, c.sub = nil, nil }

// connect begins or goes on; the first connection of a client decides what it is
// entitled to.
func (m *model) connect(c *modelClient) {
	c.sub = &modelSub{client: c, limit: rapid.IntRange(1, 8).Draw(m.t, "limit")}
	view := View[*liveTelegram]{
		Buildings: c.buildings,
		Shows:     func(b string) bool { return c.shows[b] },
		Identify:  identify,
		Restore: func(b string, t *Telegram) (*liveTelegram, bool) {
			return &liveTelegram{Identity{b, t.Position, t.Stamp}, t.Destination}, !c.even || t.Destination%2 == 0
		},
	}
	if m.off {
		view.Restore = nil
	}
	start := c.start
	if c.token != "" {
		start = Start{Token: c.token}
	} else {
		c.entitled = m.total
		clear(c.events)
	}
	m.sayf("connect %s token %v entitled %d", c.name, c.token != "", c.entitled)
	var err error
	if c.stream, err = Follow(m.j, view, start, c.sub); err != nil {
		m.t.Fatal(err)
	}
	c.fail = 1 << 30
	if !m.final && rapid.IntRange(0, 3).Draw(m.t, "break early") == 0 {
		c.fail = rapid.IntRange(0, 4).Draw(m.t, "sends")
	}
	c.stream.silence, c.stream.send, c.stream.quiet = time.Hour, c.receive, time.Now()
	m.check(c, c.stream.begin(context.Background()))
}

func (m *model) step(c *modelClient) {
	if c.stream == nil {
		m.connect(c)
		return
	}
	m.check(c, c.stream.step(context.Background()))
}

func (m *model) check(c *modelClient, err error) {
	switch {
	case errors.Is(err, errBroken), errors.Is(err, ErrNoHistory):
		m.sayf("%s: %v", c.name, err)
		m.disconnect(c)
	case err != nil:
		m.t.Fatal(err)
	}
}

const end = 1 << 63

// verify compares what a client was told of a building with what was published.
func (m *model) verify(c *modelClient, id string) {
	type interval struct {
		from, to Position
		any      bool // told of all buildings; more exact gaps may follow
	}
	var covered []interval
	told := make(map[Position]int)
	var last Position
	open := false // a gap up to the next telegram
	var openFrom Position
	general := false
	for _, e := range c.events[id] {
		switch e := e.(type) {
		case *liveTelegram:
			told[e.Position]++
			if again := m.token < MaxToken && e.Compare(last) <= 0; again {
				continue
			}
			if e.Compare(last) <= 0 {
				m.fail(c, id, fmt.Sprintf("%v came after %v", e.Position, last))
			}
			if open {
				covered = append(covered, interval{openFrom, Position{e.Epoch, e.Number - 1}, general})
				open = false
			}
			last = e.Position
		case *Gap:
			if !m.faults && !m.off && (!m.expired || e.Cause != CauseExpired && e.Cause != CauseFailed) {
				m.fail(c, id, fmt.Sprintf("gap %+v without a fault", *e))
			}
			if e.Epoch == 0 {
				if !open {
					openFrom = Position{last.Epoch, last.Number + 1}
				}
				open, general = true, e.Building == ""
				continue
			}
			if open {
				to := Position{e.Epoch, max(e.From, 1) - 1}
				covered = append(covered, interval{openFrom, to, general})
				open = false
				if to.Compare(last) > 0 {
					last = to
				}
			}
			i := interval{from: Position{last.Epoch, last.Number + 1}, to: Position{e.Epoch, e.To}}
			if e.From > 0 {
				i.from = Position{e.Epoch, e.From}
				if i.from.Compare(last) <= 0 && m.token == MaxToken {
					m.fail(c, id, fmt.Sprintf("gap %+v after %v", *e, last))
				}
			}
			if e.To == 0 {
				i.to.Number = end
			} else if e.Count > 0 && e.Count != e.To-e.From+1 {
				m.fail(c, id, fmt.Sprintf("gap %+v counts wrongly", *e))
			}
			covered = append(covered, i)
			if i.to.Compare(last) > 0 {
				last = i.to
			}
		}
	}
	if open {
		covered = append(covered, interval{openFrom, Position{end, end}, general})
	}
	first := Position{}
	if c.start.Last > 0 && len(c.events[id]) > 0 {
		if t, ok := c.events[id][0].(*liveTelegram); ok {
			first = t.Position
		}
	}
	for _, p := range m.log[id] {
		n, anyway := 0, 0
		for _, i := range covered {
			switch {
			case p.Compare(i.from) < 0 || p.Compare(i.to) > 0:
			case i.any:
				anyway = 1
			default:
				n++
			}
		}
		if n == 0 {
			n = anyway
		}
		entitled := p.order > c.entitled || c.since > 0 && !m.back && p.stamp >= c.since || first.Epoch > 0 && p.Compare(first) >= 0
		if m.token < MaxToken {
			// Short tokens: what comes again is allowed, what is lost is not.
			if entitled && c.selects(id, p.destination) && told[p.Position] == 0 && n == 0 {
				m.fail(c, id, fmt.Sprintf("%v did not come and lies in no gap", p.Position))
			}
			continue
		}
		switch {
		case told[p.Position] > 1:
			m.fail(c, id, fmt.Sprintf("%v came %d times", p.Position, told[p.Position]))
		case told[p.Position] == 1 && n > 0:
			m.fail(c, id, fmt.Sprintf("%v came and lies in a gap", p.Position))
		case told[p.Position] == 1 && !c.selects(id, p.destination):
			m.fail(c, id, fmt.Sprintf("%v came and was not selected", p.Position))
		case told[p.Position] == 0 && entitled && c.selects(id, p.destination) && n != 1:
			m.fail(c, id, fmt.Sprintf("%v did not come and lies in %d gaps", p.Position, n))
		}
	}
}

// verifyLists compares both kinds of lists with what was published.
func (m *model) verifyLists() {
	m.j.maxToken = MaxToken // a list whose pages could not say where they end would not end
	view := View[*liveTelegram]{Restore: func(b string, t *Telegram) (*liveTelegram, bool) {
		return &liveTelegram{Identity{b, t.Position, t.Stamp}, t.Destination}, true
	}}
	for _, newest := range []bool{false, true} {
		r := Range{Newest: newest, Limit: rapid.IntRange(1, 7).Draw(m.t, "page")}
		c := &modelClient{m: m, name: fmt.Sprintf("list, newest %v", newest), events: make(map[string][]any)}
		for pages := 0; pages == 0 || r.Page != ""; pages++ {
			page, err := List(context.Background(), m.j, view, r)
			if err != nil || pages > 10*m.total+10 {
				m.t.Fatalf("page %d: %v", pages, err)
			}
			for _, t := range page.Telegrams {
				c.events[t.Building] = append(c.events[t.Building], t)
			}
			for _, g := range page.Gaps {
				for _, id := range m.ids {
					if g.Building == "" || g.Building == id {
						c.events[id] = append(c.events[id], &g)
					}
				}
			}
			r.Page = page.Next
		}
		for _, id := range m.ids {
			m.verifyList(c, id, newest)
		}
	}
}

func (m *model) verifyList(c *modelClient, id string, newest bool) {
	told := make(map[Position]bool)
	var gaps []*Gap
	var last *liveTelegram
	for _, e := range c.events[id] {
		switch e := e.(type) {
		case *Gap:
			gaps = append(gaps, e)
			if !m.faults && !m.expired {
				m.fail(c, id, fmt.Sprintf("gap %+v without a fault", *e))
			}
		case *liveTelegram:
			if last != nil && (last.Compare(e.Position) < 0) == newest || told[e.Position] {
				m.fail(c, id, fmt.Sprintf("%v came after %v", e.Position, last.Position))
			}
			told[e.Position], last = true, e
		}
	}
	covered := func(p Position) bool {
		return slices.ContainsFunc(gaps, func(g *Gap) bool {
			before := g.Epoch == 0 || g.Epoch > p.Epoch && g.From == 0
			return before || g.Epoch == p.Epoch && g.From <= p.Number && (g.To == 0 || p.Number <= g.To)
		})
	}
	// A list says nothing of what was before all that is stored.
	lowest := uint64(end)
	for p := range told {
		lowest = min(lowest, p.Epoch)
	}
	for _, g := range gaps {
		lowest = min(lowest, g.Epoch)
	}
	for _, p := range m.log[id] {
		if !told[p.Position] && !m.expired && !newest && p.Epoch >= lowest && !covered(p.Position) {
			m.fail(c, id, fmt.Sprintf("%v is not listed and lies in no gap", p.Position))
		}
		if !told[p.Position] && !m.expired && !m.faults {
			m.fail(c, id, fmt.Sprintf("%v is not listed", p.Position))
		}
	}
}

func (m *model) fail(c *modelClient, id, what string) {
	var text strings.Builder
	for _, line := range m.trace {
		fmt.Fprintln(&text, line)
	}
	for _, e := range m.store.records {
		if r, err := decodeRecord(e.Data); err == nil && e.Building == id {
			fmt.Fprintf(&text, "stored kind %d %v stamp %d before %d low %d previous %d unclean %v from %d at %d\n", r.kind, r.Position, r.stamp, r.before, r.low, r.previous, r.unclean, r.from, e.Time.UnixNano())
		}
	}
	fmt.Fprintf(&text, "client %s (even %v, start %+v, entitled %d, since %d), building %s:\n", c.name, c.even, c.start, c.entitled, c.since, id)
	for _, e := range c.events[id] {
		switch e := e.(type) {
		case *liveTelegram:
			fmt.Fprintf(&text, "  %d-%d @%d\n", e.Epoch, e.Number, e.Stamp)
		case *Gap:
			fmt.Fprintf(&text, "  gap %+v\n", *e)
		}
	}
	m.t.Fatalf("%s\n%s", text.String(), what)
}
