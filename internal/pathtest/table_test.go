package pathtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Who is who among the buildings: row i of the faults happens to building i+1;
// two more have nothing to do with any fault; and the router of the last one has
// no endpoint and calls the gateway.
var (
	witnesses = []int{len(faultRows) + 1, len(faultRows) + 2}
	caller    = len(faultRows) + 3
	buildings = caller // how many there are
)

// patience is how long a building may take to be ONLINE after it could be: at
// the start, and when a fault has ended.
const patience = 30 * time.Second

// pace is what differs between worlds in how fast things go.
type pace struct {
	quick   bool          // leave out what takes long
	patient bool          // wait also for a router that calls every two minutes
	frozen  time.Duration // how long an interface is frozen
	traffic time.Duration // between two telegrams of a witness
}

// suite runs the table.
type suite struct {
	pace

	world   world
	gateway *gateway

	mu    sync.Mutex
	sent  map[int][]string // by building: what its devices sent, in order
	times []measurement
}

// measurement is a time that a reader may want to know.
type measurement struct {
	row, what string
	time.Duration
}

// runTable is the product's promise: buildings with the same networks and the
// same tunnel address in one unprivileged process, each for itself.
func runTable(t *testing.T, g *gateway, w world, p pace) {
	s := &suite{world: w, gateway: g, pace: p, sent: make(map[int][]string)}
	g.start(t)
	defer s.logTimes(t)

	if !t.Run("buildings reach ONLINE", s.testCreate) {
		return // nothing else would say more
	}
	t.Run("a telegram reaches its building's subscribers alone", s.testBusToStream)
	t.Run("a write reaches its building's bus alone", s.testWrite)
	t.Run("a router calls", s.testRouterCalls)
	if grpcurl := os.Getenv("GRPCURL"); grpcurl != "" {
		t.Run("grpcurl needs nothing but reflection", func(t *testing.T) { s.testGrpcurl(t, grpcurl) })
	}
	t.Run("bad input", s.testBadInput)
	if !p.quick {
		t.Run("faults", s.testFaults)
		t.Run("faults that hit all", s.testFaultsEverywhere)
	}
	t.Run("nothing went astray", s.testNothingAstray)
	if !p.quick {
		t.Run("diagnoses", s.testDiagnoses)
	}
	t.Run("SIGTERM frees the slots", s.testStop)
	t.Run("buildings survive kill -9", s.testKill)
}

// idOf is a building's id in the gateway.
func idOf(building int) string { return fmt.Sprintf("b%d", building) }

// The group addresses tell who wrote, and where: so a telegram that went astray
// shows itself.
func busAddress(building int) string     { return fmt.Sprintf("4/1/%d", building) }
func gatewayAddress(building int) string { return fmt.Sprintf("5/1/%d", building) }

// tell lets a device of a building send a telegram that differs from all before,
// and returns it as text.
func (s *suite) tell(building int) (string, error) {
	s.mu.Lock()
	n := len(s.sent[building])
	value := []byte{byte(building), byte(n >> 8), byte(n)}
	text := telegramText(busAddress(building), value)
	// Noted before it is sent, because it may arrive before write returns.
	s.sent[building] = append(s.sent[building], text)
	s.mu.Unlock()
	return text, s.world.bus(building).write(busAddress(building), value...)
}

// sentBy is what a building's devices sent so far.
func (s *suite) sentBy(building int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent[building])
}

// arrived waits until a telegram is on the stream.
func (s *suite) arrived(building int, text string, patience time.Duration) error {
	return within(patience, func() error {
		if !slices.Contains(s.gateway.telegrams.from(idOf(building)), text) {
			return fmt.Errorf("%s of building %d is not on the stream", text, building)
		}
		return nil
	})
}

// create makes a building known to the gateway.
func (s *suite) create(t *testing.T, building int, file string, args ...string) {
	t.Helper()
	s.gateway.run(t, append([]string{
		"buildings", "create", idOf(building), "--wg-quick", writeFile(t, file), "--knx", "192.168.1.3:3671",
	}, args...)...)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "building.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *suite) file(t *testing.T, building int) string {
	t.Helper()
	file, err := s.world.file(building)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (s *suite) testCreate(t *testing.T) {
	began := time.Now()
	s.create(t, 1, s.file(t, 1), "--wait", patience.String())
	t.Logf("the first building is ONLINE %v after its file was there", time.Since(began).Round(time.Millisecond))
	for building := 2; building < caller; building++ {
		s.create(t, building, s.file(t, building))
	}
	s.allOnline(t)
	t.Logf("%d buildings are ONLINE after %v", caller-1, time.Since(began).Round(time.Millisecond))
}

// allOnline waits for all buildings but the one whose router calls.
func (s *suite) allOnline(t *testing.T) {
	t.Helper()
	for building := 1; building < caller; building++ {
		s.gateway.statuses.online(t, patience, idOf(building))
	}
}

func (s *suite) testBusToStream(t *testing.T) {
	const only = 2
	one := s.gateway.watch(t, idOf(only))
	var slowest time.Duration
	for building := 1; building < caller; building++ {
		text, err := s.tell(building)
		if err != nil {
			t.Fatal(err)
		}
		sent := time.Now()
		if err := s.arrived(building, text, time.Second); err != nil {
			t.Error(err)
		}
		slowest = max(slowest, time.Since(sent))
	}
	t.Logf("from the bus to the stream: %v at most", slowest.Round(time.Millisecond))
	// What a subscriber of one building got too much would have come before this.
	last, err := s.tell(only)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, "the subscriber of one building has its last telegram", func() error {
		if !slices.Contains(one.from(idOf(only)), last) {
			return errors.New("not yet")
		}
		return nil
	})
	if n := len(one.list()); n != 2 {
		t.Errorf("the subscriber of %s has %d telegrams, want its two alone: %v", idOf(only), n, one.list())
	}
}

func (s *suite) testWrite(t *testing.T) {
	const building = 3
	for _, w := range []struct{ value, dpt, text string }{
		{"on", "1.001", telegramText(gatewayAddress(building), []byte{0x01})},
		{"-20.3", "9.001", telegramText(gatewayAddress(building), []byte{0x80, 0x12})},
	} {
		if out := s.gateway.run(t, "write", idOf(building), gatewayAddress(building), w.value, "--dpt", w.dpt); out != "CONFIRMED\n" {
			t.Errorf("write %s: %q, want CONFIRMED", w.value, out)
		}
		eventually(t, 5*time.Second, "the bus has the write", func() error {
			seen, err := s.world.bus(building).seen()
			if err == nil && !slices.Contains(seen, w.text) {
				err = fmt.Errorf("no %s in %v", w.text, seen)
			}
			return err
		})
		// Our own confirmed writes are telegrams for the other clients.
		eventually(t, time.Second, "the write is on the stream", func() error {
			if !slices.ContainsFunc(s.gateway.telegrams.list(), func(tg telegram) bool {
				return tg.SentByGateway && tg.Building == idOf(building) && tg.text() == w.text
			}) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	// That it reached no other bus is seen when all is over.
}

func (s *suite) testRouterCalls(t *testing.T) {
	var lines []string
	for line := range strings.Lines(s.file(t, caller)) {
		if !strings.HasPrefix(line, "Endpoint") {
			lines = append(lines, line)
		}
	}
	s.create(t, caller, strings.Join(lines, ""))
	eventually(t, 10*time.Second, "the building waits for its router", func() error {
		if now := s.gateway.statuses.last(idOf(caller)); now.State != "HANDSHAKING" || now.Reason != "AWAITING_ROUTER" {
			return errors.New(now.String())
		}
		return nil
	})
	told, ok := s.world.fault(routerTold)
	if !ok {
		t.Fatal("no world is without a router that calls")
	}
	began := time.Now()
	if err := told.begin(caller); err != nil {
		t.Fatal(err)
	}
	s.measured("router told to call", "ONLINE", s.gateway.statuses.online(t, patience, idOf(caller)).Sub(began))
	if out := s.gateway.run(t, "write", idOf(caller), gatewayAddress(caller), "on", "--dpt", "1.001"); out != "CONFIRMED\n" {
		t.Errorf("write: %q, want CONFIRMED", out)
	}
	s.flows(t, caller, time.Now().Add(5*time.Second))
}

// measured keeps a time for the reader.
func (s *suite) measured(row, what string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, measurement{row, what, d})
}

// logTimes prints what was measured, row by row.
func (s *suite) logTimes(t *testing.T) {
	slices.SortStableFunc(s.times, func(a, b measurement) int { return strings.Compare(a.row, b.row) })
	var table strings.Builder
	table.WriteString("| what happened | what was seen | after |\n|---|---|---|\n")
	for _, m := range s.times {
		fmt.Fprintf(&table, "| %s | %s | %.1f s |\n", m.row, m.what, m.Seconds())
	}
	t.Logf("measured:\n%s", table.String())
}

// testNothingAstray looks at all that the subscriber of everything got, and at
// all buses.
func (s *suite) testNothingAstray(t *testing.T) {
	if gaps := s.gateway.telegrams.noted(); len(gaps) != 0 {
		t.Errorf("on the stream, and no telegrams: %v", gaps)
	}
	known := make(map[string]bool)
	for building := 1; building <= buildings; building++ {
		got := s.gateway.telegrams.from(idOf(building))
		if sent := s.sentBy(building); !ordered(got, sent) {
			t.Errorf("%s: the stream has %v, which is not in order what its bus sent: %v", idOf(building), got, sent)
		}
		known[idOf(building)] = true
		seen, err := s.world.bus(building).seen()
		if err != nil {
			t.Error(err)
		}
		for _, text := range seen {
			if address, _, _ := strings.Cut(text, ":"); address != busAddress(building) && address != gatewayAddress(building) {
				t.Errorf("the bus of building %d has %s", building, text)
			}
		}
	}
	for _, tg := range s.gateway.telegrams.list() {
		if !known[tg.Building] || tg.SentByGateway && tg.Destination != gatewayAddress(numberOf(tg.Building)) {
			t.Errorf("on the stream: %+v", tg)
		}
	}
}

func numberOf(id string) (n int) {
	if _, err := fmt.Sscanf(id, "b%d", &n); err != nil {
		return 0
	}
	return n
}

// ordered reports whether part can be had by leaving out some of whole.
func ordered(part, whole []string) bool {
	for _, text := range whole {
		if len(part) > 0 && part[0] == text {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// testStop ends the gateway with a stream open; every interface must then be as
// if it had never been there.
func (s *suite) testStop(t *testing.T) {
	s.wantSlots(t, 1)
	t.Logf("exit status 0 %v after SIGTERM", s.gateway.stop(t).Round(time.Millisecond))
	s.wantSlots(t, 0)
	s.restart(t)
}

// wantSlots asks all interfaces how many of their slots are taken. The time is
// for asking: a slot that was not given back stays taken for 120 s.
func (s *suite) wantSlots(t *testing.T, want int) {
	t.Helper()
	wrong := make([]error, caller)
	var asking sync.WaitGroup
	for building := 1; building < caller; building++ {
		asking.Go(func() {
			wrong[building] = within(20*time.Second, func() error {
				n, err := s.world.bus(building).slots()
				if err == nil && n != want {
					err = fmt.Errorf("building %d: %d slots are taken, want %d", building, n, want)
				}
				return err
			})
		})
	}
	asking.Wait()
	if err := errors.Join(wrong...); err != nil {
		t.Error(err)
	}
}

// restart starts the gateway; the buildings must come back.
func (s *suite) restart(t *testing.T) {
	t.Helper()
	began := time.Now()
	s.gateway.start(t)
	s.allOnline(t)
	t.Logf("%d buildings are ONLINE %v after the start", caller-1, time.Since(began).Round(time.Millisecond))
}

func (s *suite) testKill(t *testing.T) {
	s.gateway.kill(t)
	began := time.Now()
	s.restart(t)
	s.flows(t, witnesses[0], time.Now().Add(5*time.Second))
	if s.patient {
		// The last router calls, and does so by itself only when it renews its keys,
		// every 120 s: it does not know that the gateway has lost them.
		at := s.gateway.statuses.online(t, 3*time.Minute, idOf(caller))
		s.measured("gateway killed and started", "router that calls ONLINE", at.Sub(began))
	}
}
