package knxbridge

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a bridge, the interface it talks to, and what the handler got.
type rig struct {
	t      *testing.T
	bridge *Bridge
	client *end
	knx    *knxInterface

	cancel context.CancelFunc
	ended  chan error

	mu        sync.Mutex
	listens   int
	listenErr error
	telegrams []Telegram
	states    []State
}

func (r *rig) Telegram(t Telegram) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.telegrams = append(r.telegrams, t)
}

func (r *rig) State(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, s)
}

func (r *rig) listen() (PacketConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listens++
	if r.listenErr != nil {
		return nil, r.listenErr
	}
	r.client.set(func(e *end) { e.closed = false })
	return r.client, nil
}

func (r *rig) listenCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listens
}

func (r *rig) setListenErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listenErr = err
}

// play runs a test in a bubble of virtual time, with a bridge that is not
// started yet, and stops everything afterwards.
func play(t *testing.T, cfg Config, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := newPair()
		r := &rig{t: t, client: client, knx: newKNXInterface(server), ended: make(chan error, 1)}
		cfg.Session.Control = interfaceAddr
		r.bridge = New(cfg, r.listen, r, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		r.cancel = cancel
		go func() { r.ended <- r.bridge.Run(ctx) }()
		defer r.knx.stop()
		defer r.stop()
		test(r)
	})
}

// stop ends Run and checks that it returns nil. Called again, it does nothing.
func (r *rig) stop() {
	r.cancel()
	if err, ok := <-r.ended; ok {
		if err != nil {
			r.t.Errorf("Run returned %v", err)
		}
		close(r.ended)
	}
}

// await waits until the session is in a state, at most for max, and returns how
// long it took.
func (r *rig) await(s session.State, limit time.Duration) time.Duration {
	r.t.Helper()
	start := time.Now()
	for r.bridge.State().State != s {
		if time.Since(start) > limit {
			r.t.Fatalf("not %v within %v, but %+v", s, limit, r.bridge.State())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

func (r *rig) online() { r.t.Helper(); r.await(session.StateOnline, time.Second) }

func (r *rig) write(w Write) (Outcome, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	written, err := r.bridge.Write(ctx, w)
	return written.Outcome, err
}

func lightOn() Write {
	return Write{Command: frame.GroupValueWrite, Destination: 0x0A03, Data: []byte{1}, SixBit: true}
}

func TestTelegramsAndAcks(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		if got := r.bridge.State().Assigned; got != 0x11FA {
			t.Errorf("assigned address %v, want 1.1.250", got)
		}
		r.knx.bus(0x1105, 0x0A04, 0x0C, 0x33)
		sent := time.Now()
		time.Sleep(time.Second)
		want := Telegram{
			At: sent.Add(delay), Source: 0x1105, Destination: 0x0A04, Command: frame.GroupValueWrite,
			Data: []byte{0x0C, 0x33}, Priority: frame.PriorityLow,
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.telegrams) != 1 || !reflect.DeepEqual(r.telegrams[0], want) {
			t.Errorf("telegrams %+v, want %+v", r.telegrams, want)
		}
		r.knx.set(func(k *knxInterface) {
			if k.acks != 1 {
				t.Errorf("%d ACKs, want 1", k.acks)
			}
		})
	})
}

func TestWriteOutcomes(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		for _, c := range []struct {
			confirm confirmation
			want    Outcome
			own     int
		}{{positive, session.Confirmed, 1}, {negative, session.Rejected, 1}, {none, session.Unconfirmed, 1}} {
			r.knx.set(func(k *knxInterface) { k.confirm = c.confirm })
			if got, err := r.write(lightOn()); got != c.want || err != nil {
				t.Errorf("write: %v, %v, want %v", got, err, c.want)
			}
			synctest.Wait()
			r.mu.Lock()
			if len(r.telegrams) != c.own || !r.telegrams[0].Own || r.telegrams[0].Source != 0x11FA {
				t.Errorf("after %v: own telegrams %+v, want the confirmed one", c.want, r.telegrams)
			}
			r.mu.Unlock()
		}
		bad := lightOn()
		bad.Data = []byte{64}
		_, err := r.write(bad)
		var notSent *NotSentError
		if err == nil || errors.As(err, &notSent) {
			t.Errorf("a value of seven bits: %v, want a plain error", err)
		}
	})
}

// TestPace: 20 writes a second by default, evenly, however fast they come.
func TestPace(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		var writers sync.WaitGroup
		for range 40 {
			writers.Go(func() {
				if got, err := r.write(lightOn()); got != session.Confirmed || err != nil {
					t.Errorf("write: %v, %v", got, err)
				}
			})
		}
		writers.Wait()
		r.knx.set(func(k *knxInterface) {
			if len(k.at) != 40 {
				t.Fatalf("%d writes came, want 40", len(k.at))
			}
			for i := 1; i < len(k.at); i++ {
				if gap := k.at[i].Sub(k.at[i-1]); gap < 50*time.Millisecond || gap > 52*time.Millisecond {
					t.Errorf("write %d came %v after the one before, want 50ms", i, gap)
				}
			}
		})
	})
}

func TestQueueFull(t *testing.T) {
	play(t, Config{QueueLength: 3}, func(r *rig) {
		t := r.t
		r.knx.set(func(k *knxInterface) { k.silent = true })
		var writers sync.WaitGroup
		for range 3 {
			writers.Go(func() {
				if _, err := r.write(lightOn()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("write that waited: %v, want the deadline", err)
				}
			})
		}
		synctest.Wait()
		_, err := r.write(lightOn())
		var notSent *NotSentError
		if !errors.Is(err, ErrQueueFull) || !errors.As(err, &notSent) {
			t.Errorf("the fourth: %v, want a NotSentError that the queue is full", err)
		}
		if s := r.bridge.Stats(); s.QueueWaiting != 3 || s.QueueDropped != 1 {
			t.Errorf("stats: %d waiting, %d dropped, want 3 and 1", s.QueueWaiting, s.QueueDropped)
		}
		writers.Wait()
		// Those that gave up left the queue: nothing of them is sent later.
		r.knx.set(func(k *knxInterface) { k.silent = false })
		r.await(session.StateOnline, 30*time.Second)
		time.Sleep(time.Second)
		r.knx.set(func(k *knxInterface) {
			if len(k.writes) != 0 {
				t.Errorf("%d writes were sent that had been given up", len(k.writes))
			}
		})
	})
}

// TestWriteDeadline: before it is sent, a write that ends is an error; after,
// nobody knows.
func TestWriteDeadline(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		ended, end := context.WithCancel(t.Context())
		end()
		var notSent *NotSentError
		if _, err := r.bridge.Write(ended, lightOn()); !errors.As(err, &notSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("write with an ended context: %v, want a NotSentError", err)
		}
		r.online()
		r.knx.set(func(k *knxInterface) { k.confirm = none })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := r.bridge.Write(ctx, lightOn()); got.Outcome != session.Unknown || err != nil {
			t.Errorf("deadline while waiting for the confirmation: %v, %v, want UNKNOWN", got, err)
		}
	})
}

// Within bounds the wait for a turn, and not the wait for the bus's answer.
func TestWriteWithin(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		r.knx.set(func(k *knxInterface) { k.confirm = none })
		hasty := lightOn()
		hasty.Within = time.Second
		first := make(chan Outcome)
		go func() {
			got, err := r.bridge.Write(t.Context(), hasty)
			if err != nil {
				t.Errorf("a write whose turn came: %v", err)
			}
			first <- got.Outcome
		}()
		synctest.Wait()
		began := time.Now()
		if got, err := r.bridge.Write(t.Context(), hasty); !errors.Is(err, ErrTooLate) || got.Outcome != session.NotSent {
			t.Errorf("a write whose turn did not come: %v, %v, want %v", got, err, ErrTooLate)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it was told after %v, want 1s", took)
		}
		if got := <-first; got != session.Unconfirmed {
			t.Errorf("the write that waits for the bus: %v, want UNCONFIRMED", got)
		}
	})
}

// TestLostAcks: the write is repeated once, the session made anew, the outcome
// unknown, and the write not sent again.
func TestLostAcks(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		r.knx.set(func(k *knxInterface) { k.deaf = true })
		if got, err := r.write(lightOn()); got != session.Unknown || err != nil {
			t.Errorf("write: %v, %v, want UNKNOWN", got, err)
		}
		r.online()
		if n := r.knx.count(frame.TunnellingRequestService); n != 2 {
			t.Errorf("sent %d times, want 2", n)
		}
		if s := r.bridge.Stats(); s.Reconnects() != 1 || s.AcksFailed != 2 {
			t.Errorf("stats: %d reconnects, %d failed ACKs, want 1 and 2", s.Reconnects(), s.AcksFailed)
		}
		r.knx.set(func(k *knxInterface) {
			if k.grants != 2 || !k.open {
				t.Errorf("%d grants, open %v: want the one slot free for the second", k.grants, k.open)
			}
		})
	})
}

// TestReboot: an interface that forgot us is connected again with the next
// heartbeat.
func TestReboot(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		time.Sleep(time.Minute)
		r.knx.reboot()
		start := time.Now()
		for r.knx.count(frame.ConnectRequestService) < 2 {
			if time.Since(start) > 23*time.Second {
				t.Fatal("no new session 23 s after a reboot")
			}
			time.Sleep(100 * time.Millisecond)
		}
		r.online()
		if n := r.listenCount(); n != 1 {
			t.Errorf("%d sockets were opened, want the one", n)
		}
	})
}

// TestSilence: frozen for three minutes, the building is told to be offline
// within 30 s, and is back within 30 s after, with one slot used.
func TestSilence(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		time.Sleep(45 * time.Second)
		r.knx.set(func(k *knxInterface) { k.silent = true })
		if d := r.await(session.StateConnecting, 30*time.Second); d > 30*time.Second {
			t.Errorf("ONLINE for %v of silence", d)
		}
		time.Sleep(3 * time.Minute)
		r.knx.set(func(k *knxInterface) { k.silent = false })
		r.await(session.StateOnline, 30*time.Second)
		time.Sleep(time.Minute)
		if s := r.bridge.State(); s.State != session.StateOnline || time.Since(s.Since) < 30*time.Second {
			t.Errorf("a minute later: %+v, want ONLINE and steady", s)
		}
		if n := r.listenCount(); n != 1 {
			t.Errorf("%d sockets were opened, want the one", n)
		}
	})
}

// TestKick: when the way is back, nobody waits for the backoff's end.
func TestKick(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		r.client.set(func(e *end) { e.cut = true })
		time.Sleep(2 * time.Minute)
		r.await(session.StateBackingOff, 11*time.Second)
		r.client.set(func(e *end) { e.cut = false })
		r.bridge.Kick()
		r.bridge.Kick()
		r.online()
	})
}

func TestStop(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		r.knx.set(func(k *knxInterface) { k.confirm = none })
		outcomes := make(chan Outcome, 1)
		errs := make(chan error, 1)
		go func() {
			got, _ := r.write(lightOn())
			outcomes <- got
		}()
		time.Sleep(100 * time.Millisecond)
		go func() {
			_, err := r.write(lightOn())
			errs <- err
		}()
		synctest.Wait()
		start := time.Now()
		r.stop()
		if d := time.Since(start); d != 2*delay {
			t.Errorf("stopping took %v, want one round trip", d)
		}
		if got := <-outcomes; got != session.Unknown {
			t.Errorf("the write under way: %v, want UNKNOWN", got)
		}
		if err := <-errs; !errors.Is(err, ErrStopped) {
			t.Errorf("the write that waited: %v, want ErrStopped", err)
		}
		if _, err := r.write(lightOn()); !errors.Is(err, ErrStopped) {
			t.Errorf("a write after the stop: %v, want ErrStopped", err)
		}
		r.knx.set(func(k *knxInterface) {
			if k.open {
				t.Error("the slot is still taken")
			}
		})
		if err := r.bridge.Run(t.Context()); err != nil {
			t.Errorf("Run again: %v", err)
		}
	})
}

// TestStopSilent: a stop ends also when nobody answers.
func TestStopSilent(t *testing.T) {
	for _, c := range []struct {
		cfg  session.Config
		want time.Duration
	}{{session.Config{}, 10 * time.Second}, {session.Config{StopTimeout: 3 * time.Second}, 3 * time.Second}} {
		play(t, Config{Session: c.cfg}, func(r *rig) {
			t := r.t
			r.online()
			r.knx.set(func(k *knxInterface) { k.silent = true })
			start := time.Now()
			r.stop()
			if d := time.Since(start); d != c.want {
				t.Errorf("stopping took %v, want %v", d, c.want)
			}
		})
	}
}

// TestSocketFails: a socket that cannot be opened, and one that breaks.
func TestSocketFails(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		r.setListenErr(errors.New("no route to the building"))
		r.client.set(func(e *end) { e.closed = true })
		r.await(session.StateBackingOff, time.Second)
		if s := r.bridge.State(); s.Reason != session.ReasonTransportFailed {
			t.Errorf("reason %s, want TRANSPORT_FAILED", s.Reason)
		}
		time.Sleep(time.Minute)
		if n := r.listenCount(); n < 5 || n > 30 {
			t.Errorf("%d attempts to open a socket in a minute, want a few", n)
		}
		r.setListenErr(nil)
		r.await(session.StateOnline, 16*time.Second)
	})
}

// TestSendErrors: the same datagram is sent again, once.
func TestSendErrors(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		refused := errors.New("connection refused")
		r.client.set(func(e *end) { e.writeErr, e.readErr = refused, refused })
		if got, err := r.write(lightOn()); got != session.Confirmed || err != nil {
			t.Errorf("write: %v, %v, want CONFIRMED", got, err)
		}
		if n := r.knx.count(frame.TunnellingRequestService); n != 1 {
			t.Errorf("%d requests came, want 1", n)
		}
		if s := r.bridge.Stats(); s.ReadErrors != 1 || s.SendErrors != 0 || s.Repeats != 0 {
			t.Errorf("stats: %d read errors, %d send errors, %d repeats, want 1, 0, 0", s.ReadErrors, s.SendErrors, s.Repeats)
		}
	})
}

// TestFlood: garbage that comes faster than one wakeup reads is read all the same,
// and holds up neither heartbeats nor writes.
func TestFlood(t *testing.T) {
	const bursts, size = 200, 3*maxReads + 1
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		garbage := packet{from: interfaceAddr, data: []byte{6, 0x10, 4, 0x20, 0, 6}}
		var flood sync.WaitGroup
		flood.Go(func() {
			for range bursts {
				// One signal for all of them.
				r.client.set(func(e *end) { e.waiting = append(e.waiting, slices.Repeat([]packet{garbage}, size)...) })
				time.Sleep(time.Millisecond)
			}
		})
		if got, err := r.write(lightOn()); got != session.Confirmed || err != nil {
			t.Errorf("write: %v, %v, want CONFIRMED", got, err)
		}
		flood.Wait()
		synctest.Wait()
		// Beside the garbage: CONNECT_RESPONSE, ACK, L_Data.con.
		if s := r.bridge.Stats(); s.Malformed != bursts*size || s.DatagramsIn != s.Malformed+3 {
			t.Errorf("%d of %d datagrams were malformed, want %d and 3 more", s.Malformed, s.DatagramsIn, bursts*size)
		}
	})
}

// TestStates: what observers see of a reboot, in order.
func TestStates(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		time.Sleep(31 * time.Second)
		r.knx.reboot()
		time.Sleep(30 * time.Second)
		r.mu.Lock()
		defer r.mu.Unlock()
		var got []session.State
		for _, s := range r.states {
			got = append(got, s.State)
		}
		want := []session.State{
			session.StateConnecting, session.StateOnline, session.StateConnecting, session.StateOnline,
		}
		if !slices.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	})
}

// TestStoppedBeforeRun: nothing is opened or sent.
func TestStoppedBeforeRun(t *testing.T) {
	b := New(Config{}, func() (PacketConn, error) {
		t.Error("opened a socket")
		return nil, net.ErrClosed
	}, &rig{}, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// TestNotSentError: the sentence tells why and what the session is doing.
func TestNotSentError(t *testing.T) {
	for want, e := range map[string]*NotSentError{
		"not sent: the queue of writes is full": {Cause: ErrQueueFull, State: State{State: session.StateOnline}},
		"not sent: context deadline exceeded; the KNX session is not online": {
			Cause: context.DeadlineExceeded,
		},
		"not sent: context deadline exceeded; the KNX session is BACKING_OFF: no slot": {
			Cause: context.DeadlineExceeded, State: State{State: session.StateBackingOff, Message: "no slot"},
		},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e, want)
		}
	}
}
