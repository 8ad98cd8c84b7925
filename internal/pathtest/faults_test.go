package pathtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// faultRow is a mishap, what a client must see of it, and how soon.
type faultRow struct {
	what mishap
	// written: a client writes as it begins, so that the session finds it out at
	// once and not at its next heartbeat, 18 to 22 s after the last.
	written bool
	// sights are seen in this order, all within patience of the beginning. After
	// the last, the building must not be ONLINE before the end.
	sights []sight
	// brief: the session may be anew within a millisecond. The gateway tells what is
	// so when it looks, and may look only before and after; then its count of
	// reconnects must show that there was something.
	brief bool
	// lasts is how long it goes on at least.
	lasts func(pace) time.Duration
	// traffic: the bus is busy meanwhile.
	traffic bool
	// after is what else must hold then.
	after func(*suite, *testing.T, int)
}

// sight is a state with its reason as a client is told, or several with " or "
// between them.
type sight string

func (s sight) is(now status) bool {
	return slices.Contains(strings.Split(string(s), " or "), now.String())
}

// What is seen of most faults: by itself, and by somebody who writes.
var (
	missed = []sight{"CONNECTING HEARTBEAT_UNANSWERED"}
	found  = []sight{"CONNECTING ACK_MISSING", "BACKING_OFF CONNECT_UNANSWERED"}
)

var faultRows = []faultRow{
	{what: interfaceStopped, sights: missed},
	{what: interfaceStopped, written: true, sights: found},
	{what: interfaceEnded, sights: []sight{"CONNECTING SERVER_DISCONNECTED or CONNECTING HEARTBEAT_UNANSWERED"}},
	{what: interfaceUnreachable, sights: missed},
	{what: lanDown, written: true, sights: found},
	// An ACK shortly before makes WireGuard wait for an answer, and find out by
	// itself before the session does.
	{what: tunnelDown, sights: []sight{"CONNECTING HEARTBEAT_UNANSWERED or HANDSHAKING HANDSHAKE_UNANSWERED"}},
	{what: tunnelDown, written: true, sights: []sight{"CONNECTING ACK_MISSING", "HANDSHAKING HANDSHAKE_UNANSWERED"}},
	// What the router sends next tells where it is now.
	{what: portMoved, lasts: func(pace) time.Duration { return 25 * time.Second }, traffic: true, after: (*suite).stayedTrue},
	{what: interfaceRestarted, sights: []sight{"CONNECTING CONNECTION_UNKNOWN"}, brief: true},
	{what: sessionEnded, sights: []sight{"CONNECTING SERVER_DISCONNECTED"}, brief: true},
	{what: busDown, sights: []sight{"CONNECTING BUS_DOWN"}},
	{what: slotsFull, sights: []sight{"BACKING_OFF SLOTS_FULL"}},
	{what: interfaceFrozen, written: true, sights: found, lasts: func(p pace) time.Duration { return p.frozen }, after: (*suite).oneSlot},
	{what: weakNetwork, lasts: func(pace) time.Duration { return 25 * time.Second }, traffic: true, after: (*suite).stayedTrue},
	// As above: WireGuard may have agreed on keys again before the heartbeat, which
	// then tells only that the interface knows nobody.
	{what: powerCut, sights: []sight{"CONNECTING HEARTBEAT_UNANSWERED or CONNECTING CONNECTION_UNKNOWN"}, brief: true},
	{what: powerCut, written: true, sights: []sight{"CONNECTING ACK_MISSING"}},
}

func (r *faultRow) String() string {
	if r.written {
		return string(r.what) + ", and written to"
	}
	return string(r.what)
}

// testFaults plays all that happens to one building, at the same time to as many
// buildings.
func (s *suite) testFaults(t *testing.T) {
	idle := slices.Clone(witnesses)
	var playing sync.WaitGroup
	stop := make(chan struct{})
	for i := range faultRows {
		r, building := &faultRows[i], i+1
		f, ok := s.world.fault(r.what)
		if !ok || f.everywhere {
			idle = append(idle, building)
			continue
		}
		playing.Go(func() {
			t.Run(r.String(), func(t *testing.T) { s.play(t, r, f, building) })
		})
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		t.Run("the others", func(t *testing.T) { s.testOthers(t, idle, stop) })
	})
	playing.Go(func() { t.Run("an endpoint that nobody answers at", s.testNobody) })
	playing.Wait()
	close(stop)
	watching.Wait()
}

// play does what a row says to a building.
func (s *suite) play(t *testing.T, r *faultRow, f fault, building int) {
	id := idOf(building)
	s.gateway.statuses.online(t, patience, id)
	from := s.gateway.statuses.count(id)
	before := uint64(0)
	if r.brief {
		before = s.gateway.reconnects(t, id)
	}
	if err := f.begin(building); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ended := began
	if r.brief {
		s.glimpse(t, r, id, from, before, began)
	} else {
		ended = s.endure(t, r, f, building, from, began)
	}
	at := s.gateway.statuses.online(t, time.Until(ended.Add(patience)), id)
	s.measured(r.String(), "ONLINE after the end", max(at.Sub(ended), 0))
	s.flows(t, building, ended.Add(patience))
	s.measured(r.String(), "a telegram after the end", time.Since(ended))
	if out, err := s.write(building); err != nil || out != "CONFIRMED\n" {
		t.Errorf("write after the end: %v, %q; want CONFIRMED", err, out)
	}
	if r.after != nil {
		r.after(s, t, building)
	}
}

// endure sees what has to be seen of a fault that has begun, and ends it. It
// returns when that was: at the beginning for a fault that ends by itself.
func (s *suite) endure(t *testing.T, r *faultRow, f fault, building, from int, began time.Time) (ended time.Time) {
	id := idOf(building)
	if f.end != nil {
		defer func() { // also when the test fails, for the sake of those that follow
			ended = time.Now()
			if err := f.end(building); err != nil {
				t.Error(err)
			}
		}()
	}
	var writing sync.WaitGroup
	defer writing.Wait()
	if r.written {
		writing.Go(func() {
			// Nobody can say what became of it, so nobody may say more.
			if out, err := s.write(building); err == nil || !strings.HasPrefix(out, "UNKNOWN\n") {
				t.Errorf("write: %v, %q; want UNKNOWN", err, out)
			}
		})
	}
	for _, want := range r.sights {
		at, next := s.see(t, id, from, want, began.Add(patience))
		from = next
		s.measured(r.String(), s.gateway.statuses.from(id, next-1)[0].String(), max(at.Sub(began), 0))
	}
	if want := verdicts[r.what]; want != nil && f.end != nil {
		s.diagnose(t, id, want...)
	}
	if r.lasts != nil {
		s.bear(t, r, building, began.Add(r.lasts(s.pace)))
	}
	for _, now := range s.gateway.statuses.from(id, from) {
		if f.end != nil && len(r.sights) > 0 && now.State == online {
			t.Errorf("%s is said to be ONLINE %v into the fault", id, now.at.Sub(began).Round(time.Millisecond))
		}
	}
	return began
}

// glimpse sees that a session was lost and made anew, of a fault that ends by
// itself.
func (s *suite) glimpse(t *testing.T, r *faultRow, id string, from int, before uint64, began time.Time) {
	want := r.sights[0]
	told := func() bool { return slices.ContainsFunc(s.gateway.statuses.from(id, from), want.is) }
	for !told() && s.gateway.reconnects(t, id) == before {
		if time.Since(began) > patience {
			t.Fatalf("not within %v: %s is %s, or connects anew: it was %v", patience, id, want, s.gateway.statuses.from(id, from))
		}
		pause := time.NewTimer(200 * time.Millisecond)
		<-pause.C
	}
	// What was told may still be on its way.
	err := within(time.Second, func() error {
		if !told() {
			return errors.New("connected anew, untold")
		}
		return nil
	})
	if err != nil {
		t.Logf("%s: %v", id, err)
		s.measured(r.String(), err.Error(), time.Since(began))
		return
	}
	at, next := s.see(t, id, from, want, began.Add(patience))
	s.measured(r.String(), s.gateway.statuses.from(id, next-1)[0].String(), max(at.Sub(began), 0))
}

// bear waits until it is time to end a fault. Telegrams may be lost meanwhile.
func (s *suite) bear(t *testing.T, r *faultRow, building int, until time.Time) {
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
		if r.traffic {
			if _, err := s.tell(building); err != nil {
				t.Error(err)
			}
		}
	}
}

// write is what a client gets who writes to a building.
func (s *suite) write(building int) (string, error) {
	return s.gateway.try(patience, "write", idOf(building), gatewayAddress(building), "on", "--dpt", "1.001")
}

// see waits until a building was seen in a state, after so many others, and
// returns when, and how many that makes.
func (s *suite) see(t *testing.T, id string, from int, want sight, until time.Time) (at time.Time, next int) {
	t.Helper()
	eventually(t, time.Until(until), id+" is "+string(want), func() error {
		seen := s.gateway.statuses.from(id, from)
		i := slices.IndexFunc(seen, want.is)
		if i < 0 {
			return fmt.Errorf("it was %v", seen)
		}
		at, next = seen[i].at, from+i+1
		return nil
	})
	return at, next
}

// flows waits until a telegram gets from a building's bus to the stream. Those
// that an interface lost before are lost.
func (s *suite) flows(t *testing.T, building int, until time.Time) {
	t.Helper()
	for {
		text, err := s.tell(building)
		if err == nil {
			err = s.arrived(building, text, 500*time.Millisecond)
		}
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("no telegram comes through: %v", err)
		}
	}
}

// oneSlot: what an interface granted while nobody waited for it was given back.
func (s *suite) oneSlot(t *testing.T, building int) {
	eventually(t, 5*time.Second, "one slot is taken", func() error {
		n, err := s.world.bus(building).slots()
		if err == nil && n != 1 {
			err = fmt.Errorf("%d slots", n)
		}
		return err
	})
}

// stayedTrue: with a weak network the session may come and go, but nothing is
// said of the interface that is not so.
func (s *suite) stayedTrue(t *testing.T, building int) {
	untrue := []string{"SLOTS_FULL", "BUS_DOWN", "CONNECT_REFUSED", "CONFIGURATION_REFUSED", "TUNNELLING_UNSUPPORTED", "SITE_FAILED"}
	seen := s.gateway.statuses.from(idOf(building), 0)
	for _, now := range seen {
		if slices.Contains(untrue, now.Reason) {
			t.Errorf("it was said to be %s: %s", now, now.Message)
		}
	}
	t.Logf("it was %v", seen)
}

// testOthers has traffic in the buildings that no fault happens to, until stop:
// they stay ONLINE and lose nothing.
func (s *suite) testOthers(t *testing.T, idle []int, stop <-chan struct{}) {
	before := make(map[int]int)
	for _, building := range idle {
		before[building] = s.gateway.statuses.count(idOf(building))
	}
	tick := time.NewTicker(s.traffic)
	defer tick.Stop()
	sent, slowest := 0, time.Duration(0)
	for going := true; going; {
		for _, building := range idle {
			began := time.Now()
			if _, err := s.tell(building); err != nil {
				t.Fatal(err)
			}
			slowest = max(slowest, time.Since(began))
			sent++
		}
		select {
		case <-tick.C:
		case <-stop:
			going = false
		}
	}
	for _, building := range idle {
		id := idOf(building)
		want := s.sentBy(building)
		if err := within(5*time.Second, func() error {
			if got := s.gateway.telegrams.from(id); !slices.Equal(got, want) {
				return errors.New(difference(got, want))
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		for _, now := range s.gateway.statuses.from(id, before[building]) {
			if now.State != online {
				t.Errorf("%s was %s: %s", id, now, now.Message)
				t.Logf("the gateway's log of it:\n%s", s.gateway.log.about(id))
			}
		}
	}
	// An interface gives up a client that has not acknowledged for 2 s. Where a
	// device takes about as long to send, the machine is too busy for this test.
	t.Logf("%d telegrams of %d buildings sent, the slowest in %v", sent, len(idle), slowest.Round(time.Millisecond))
}

// difference says where two lists part.
func difference(got, want []string) string {
	for i, text := range want {
		if i >= len(got) || got[i] != text {
			return fmt.Sprintf("%d of %d telegrams arrived; the first that is missing or out of order is %s", len(got), len(want), text)
		}
	}
	return fmt.Sprintf("%d telegrams arrived, more than the %d that were sent", len(got), len(want))
}

// testFaultsEverywhere plays what this world can do to all buildings at once
// only. How soon it is seen depends on how long the world takes to do it; that
// all come back does not.
func (s *suite) testFaultsEverywhere(t *testing.T) {
	var done []mishap
	for i := range faultRows {
		r := &faultRows[i]
		f, ok := s.world.fault(r.what)
		if !ok || !f.everywhere || slices.Contains(done, r.what) {
			continue
		}
		done = append(done, r.what)
		t.Run(string(r.what), func(t *testing.T) { s.playEverywhere(t, r, f) })
	}
}

func (s *suite) playEverywhere(t *testing.T, r *faultRow, f fault) {
	if err := f.begin(0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var coming sync.WaitGroup
	for building := 1; building < caller; building++ {
		coming.Go(func() {
			t.Run(idOf(building), func(t *testing.T) {
				// A state says little, because the machine may start faster than it is
				// missed.
				s.flows(t, building, began.Add(patience))
				s.measured(string(r.what), "a telegram after the start, "+idOf(building), time.Since(began))
				s.gateway.statuses.online(t, time.Until(began.Add(patience)), idOf(building))
			})
		})
	}
	coming.Wait()
}
