package knxbridge

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

	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

func queued(client string, reads bool) *pending {
	p := newPending(Write{Client: client})
	p.reads = reads
	return p
}

// Clients take turns, however much one of them has waiting; of each, the first that
// came is the first that goes.
func TestClientsTakeTurns(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		var writers sync.WaitGroup
		write := func(client string, destination frame.GroupAddress) {
			w := lightOn()
			w.Client, w.Destination = client, destination
			writers.Go(func() {
				if got, err := r.bridge.Write(t.Context(), w); err != nil || got.Outcome != session.Confirmed {
					t.Errorf("%s: %v, %v", destination, got, err)
				}
			})
			synctest.Wait()
		}
		for i := range 5 {
			write("greedy", frame.GroupAddress(0x100+i))
		}
		write("modest", 0x201)
		write("late", 0x301)
		write("modest", 0x202)
		writers.Wait()
		var order []string
		r.knx.set(func(k *knxInterface) {
			for _, w := range k.writes {
				order = append(order, fmt.Sprintf("%x", w.Destination))
			}
		})
		if got, want := strings.Join(order, " "), "100 101 201 301 102 202 103 104"; got != want {
			t.Errorf("sent in the order %s, want %s", got, want)
		}
	})
}

// A full queue refuses the newest of the client with the most in it, and so never
// somebody who asks for little because of somebody who asks for much.
func TestFullQueueIsFair(t *testing.T) {
	q := newWriteQueue(4)
	var greedy []*pending
	for range 4 {
		greedy = append(greedy, queued("greedy", false))
		if err := q.push(greedy[len(greedy)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.push(queued("greedy", false)); !errors.Is(err, ErrQueueFull) {
		t.Errorf("the fifth of one: %v", err)
	}
	for range 2 {
		if err := q.push(queued("modest", false)); err != nil {
			t.Errorf("one that asks for less: %v", err)
		}
	}
	if err := q.push(queued("modest", false)); !errors.Is(err, ErrQueueFull) {
		t.Errorf("one that asks for as much as the other: %v", err)
	}
	for i, p := range greedy {
		select {
		case r := <-p.result:
			if i < 2 || !errors.Is(r.Err, ErrQueueFull) || r.Outcome != session.NotSent {
				t.Errorf("write %d was refused: %+v", i, r)
			}
		default:
			if i >= 2 {
				t.Errorf("write %d was not refused", i)
			}
		}
	}
	if waiting, _, dropped := q.depth(); waiting != 4 || dropped != 4 {
		t.Errorf("%d wait, %d dropped, want 4 and 4", waiting, dropped)
	}
}

// Whatever comes in whatever order: the bounds hold, the order of each client's
// writes is kept, and nothing is lost or answered twice.
func TestQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newWriteQueue(rapid.IntRange(1, 8).Draw(t, "limit"))
		in := map[string][]*pending{}
		var reading []*pending
		drop := func(p *pending) {
			in[p.client] = slices.DeleteFunc(in[p.client], func(o *pending) bool { return o == p })
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			client := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "client")
			switch rapid.SampledFrom([]string{"push", "read", "pop", "remove", "release"}).Draw(t, "step") {
			case "push":
				if p := queued(client, false); q.push(p) == nil {
					in[client] = append(in[client], p)
				}
			case "read":
				if p := queued(client, true); q.push(p) == nil {
					in[client] = append(in[client], p)
				}
			case "pop":
				can := q.sendable()
				p := q.pop()
				if (p != nil) != can {
					t.Fatalf("sendable %v, but popped %v", can, p)
				}
				if p == nil {
					continue
				}
				first := slices.IndexFunc(in[p.client], func(o *pending) bool { return o.reads == p.reads })
				if first < 0 || in[p.client][first] != p {
					t.Fatalf("popped one that was not the first of its client")
				}
				drop(p)
				if p.reads {
					reading = append(reading, p)
				}
			case "remove":
				if len(in[client]) > 0 {
					p := in[client][0]
					if !q.remove(p, true) || q.remove(p, true) {
						t.Fatal("not removed once")
					}
					drop(p)
				}
			case "release":
				if len(reading) > 0 {
					q.release(reading[0])
					q.release(reading[0])
					reading = reading[1:]
				}
			}
			total := 0
			for _, items := range in {
				for _, p := range slices.Clone(items) {
					select {
					case <-p.result: // made room for another's
						drop(p)
					default:
						total++
					}
				}
			}
			waiting, _, _ := q.depth()
			if waiting != total || waiting > q.limit || len(reading) > maxUnanswered || len(q.lanes) > q.limit {
				t.Fatalf("%d wait of %d, limit %d; %d reads; %d lanes", waiting, total, q.limit, len(reading), len(q.lanes))
			}
		}
	})
}

// Two reads are on the bus at most. A third waits until one of them is over, and
// writes pass it.
func TestReadsInFlight(t *testing.T) {
	play(t, Config{}, func(r *rig) {
		t := r.t
		r.online()
		var readers sync.WaitGroup
		var stops []context.CancelFunc
		for i := range 3 {
			ctx, stop := context.WithCancel(t.Context())
			stops = append(stops, stop)
			readers.Go(func() {
				var got Written
				err := r.bridge.Read(ctx, Write{Destination: frame.GroupAddress(1 + i), Client: "reader"}, func() {}, func(w Written) { got = w })
				if err != nil || got.Outcome != session.Confirmed {
					t.Errorf("read %d: %v, %v", i, got, err)
				}
			})
			synctest.Wait()
		}
		sent := func() (n int) {
			r.knx.set(func(k *knxInterface) { n = len(k.writes) })
			return n
		}
		time.Sleep(time.Second)
		if n := sent(); n != 2 {
			t.Errorf("%d reads were sent, want 2", n)
		}
		w := lightOn()
		w.Client = "reader"
		if got, err := r.bridge.Write(t.Context(), w); err != nil || got.Outcome != session.Confirmed {
			t.Errorf("a write beside reads: %v, %v", got, err)
		}
		stops[1]()
		time.Sleep(time.Second)
		if n := sent(); n != 4 {
			t.Errorf("%d telegrams were sent, want the third read too", n)
		}
		for _, stop := range stops {
			stop()
		}
		readers.Wait()
	})
}

// A confirmed write comes back as a telegram with its tag before Write returns, and
// Write tells how long it waited.
func TestTag(t *testing.T) {
	play(t, Config{WriteRate: 1}, func(r *rig) {
		t := r.t
		r.online()
		for i := range 3 {
			w := lightOn()
			w.Tag = i
			got, err := r.bridge.Write(t.Context(), w)
			if err != nil || got.Outcome != session.Confirmed {
				t.Fatal(got, err)
			}
			last := r.telegrams[len(r.telegrams)-1]
			if !last.Own || last.Tag != i {
				t.Errorf("the last telegram is %+v, want tag %d", last, i)
			}
			if i > 0 && (got.Waited < 900*time.Millisecond || got.Waited > time.Second) {
				t.Errorf("waited %v, want about a second", got.Waited)
			}
			synctest.Wait()
			if s := r.bridge.Stats(); s.LastWait != got.Waited {
				t.Errorf("stats say %v, Write says %v", s.LastWait, got.Waited)
			}
		}
	})
}
