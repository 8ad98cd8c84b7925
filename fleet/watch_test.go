package fleet

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
)

// mirror is what a client knows that follows a board by its watches alone.
type mirror struct {
	views map[string]View
	at    Moment // after the last change that was told
}

// follow takes in what one watch tells now, and reports whether that is a snapshot.
func (m *mirror) follow(t *testing.T, b *board) (snapshot bool) {
	t.Helper()
	w := b.watch(m.at)
	defer w.Close()
	changes, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last := changes[len(changes)-1].Kind; last == ChangeSnapshotEnd {
		snapshot, m.views = true, make(map[string]View)
	}
	for _, c := range changes {
		id := c.View.Building.ID
		_, known := m.views[id]
		switch c.Kind {
		case ChangeSnapshot:
			m.views[id] = c.View
		case ChangeKept:
			if m.views[id].Status != c.View.Status {
				t.Fatalf("%s is said to be as it was: %+v, and was known as %+v", id, c.View, m.views[id])
			}
		case ChangeCreated, ChangeUpdated:
			if known == (c.Kind == ChangeCreated) {
				t.Fatalf("%s: kind %d of a building that was known: %v", id, c.Kind, known)
			}
			m.views[id] = c.View
		case ChangeDeleted:
			if !known {
				t.Fatalf("%s was deleted, and is not known", id)
			}
			delete(m.views, id)
		case ChangeSnapshotEnd, ChangeResumed:
			m.at = c.Moment
		}
	}
	return snapshot
}

// Whatever happens between two watches, who resumes knows what is on the board: of
// each building that differs from what was known it is told once, and of no other.
func TestResumedWatchModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 6))
		b := newBoard()
		b.fill()
		clients := make([]*mirror, 3)
		for i := range clients {
			clients[i] = &mirror{views: make(map[string]View)}
		}
		epoch := uint64(0)
		for range 300 {
			id := fmt.Sprint("b", random.IntN(8))
			switch random.IntN(8) {
			case 0, 1:
				b.desire(registry.Building{ID: id, Enabled: true, Generation: uint64(random.IntN(3))})
			case 2:
				b.remove(id)
			case 3:
				client := clients[random.IntN(len(clients))]
				began := client.at == Moment{}
				if snapshot := client.follow(t, b); snapshot != began {
					t.Fatalf("seed %d: a watch from %+v begins with a snapshot: %v", seed, client.at, snapshot)
				}
				onBoard := make(map[string]View)
				for id, v := range b.views {
					onBoard[id] = v.View
				}
				if !maps.EqualFunc(client.views, onBoard, func(a, b View) bool {
					return a.Status == b.Status && a.Building.Generation == b.Building.Generation
				}) {
					t.Fatalf("seed %d: a client knows\n%+v\nand there is\n%+v", seed, client.views, onBoard)
				}
			default:
				epoch++
				b.report(id, Status{State: StateOnline, Epoch: epoch})
			}
		}
	}
}

// Another board, a moment that is yet to come and deletions that are forgotten give a
// snapshot.
func TestWatchThatCannotBeResumed(t *testing.T) {
	b, other := newBoard(), newBoard()
	b.fill()
	other.fill()
	b.desire(registry.Building{ID: "stays"})
	other.desire(registry.Building{ID: "stays"})
	m := mirror{}
	m.follow(t, b)
	before := m.at
	if m.follow(t, b) {
		t.Error("a snapshot, though nothing happened")
	}
	if !m.follow(t, other) {
		t.Error("another process goes on from our moment")
	}
	m.at = b.moment(before.Version + 1)
	if !m.follow(t, b) {
		t.Error("a watch goes on from a moment that has not been")
	}

	come := func(n int) {
		for i := range n {
			b.desire(registry.Building{ID: fmt.Sprint("b", i)})
			b.remove(fmt.Sprint("b", i))
		}
	}
	come(maxRemovals)
	m.at = before
	if m.follow(t, b) {
		t.Errorf("a snapshot after %d deletions", maxRemovals)
	}
	come(1)
	m.at = before
	if !m.follow(t, b) {
		t.Errorf("a watch goes on although deletions after it are forgotten")
	}
	if n := len(b.removed); n != maxRemovals {
		t.Errorf("%d deletions are remembered, want %d", n, maxRemovals)
	}
}

// Who waits for what the registry stored waits until it is on the board, and no longer
// than is right: not once it is there, and not twice for what never comes.
func TestHearWaitsForTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desired := &desiredBuildings{wake: make(chan struct{}, 1)}
		f := New(Config{Desired: desired, Hub: NewHub()})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		hear := func(revision uint64, want time.Duration) {
			t.Helper()
			began := time.Now()
			f.Hear(t.Context(), revision)
			if took := time.Since(began); took != want {
				t.Errorf("waited %v for revision %d, want %v", took, revision, want)
			}
		}
		hear(0, 0)
		time.AfterFunc(time.Second, func() {
			desired.tell(registry.Change{Type: registry.Stored, ID: "a", Building: registry.Building{ID: "a"}, Revision: 7})
		})
		hear(7, time.Second)
		if _, ok := f.View("a"); !ok {
			t.Error("the building of revision 7 is not there")
		}
		hear(6, 0)
		hear(8, hearWithin)
		hear(8, 0)
		gone, leave := context.WithCancel(t.Context())
		leave()
		f.Hear(gone, 9)
		time.AfterFunc(time.Second, stop)
		hear(9, time.Second)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
