package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

// crew stands for the sites: it notes which run, and how each is configured.
type crew struct {
	mu       sync.Mutex
	running  map[string]*site
	rnd      func(n int) int
	problems []string
}

func (c *crew) problemf(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// run is a site that lives until it is stopped, takes its time to go, and now and
// then fails.
func (c *crew) run(ctx context.Context, s *site) error {
	id := s.building.ID
	c.mu.Lock()
	if c.running[id] != nil {
		c.problemf("%s runs twice", id)
	}
	c.running[id] = s
	life, leave := time.Duration(c.rnd(60))*time.Second, time.Duration(c.rnd(6))*time.Second
	fault := c.rnd(4)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, id)
	}()
	if fault > 1 {
		<-ctx.Done()
		time.Sleep(leave)
		return nil
	}
	select {
	case <-ctx.Done():
		time.Sleep(leave)
		return context.Canceled
	case <-time.After(life):
	}
	if fault == 0 {
		panic("a fault")
	}
	return errors.New("a failure")
}

// operation is one change of what is desired, after a pause.
type operation struct {
	pause time.Duration
	id    string
	kind  string
}

// From any desired and any running set, the two come to agree: no building has
// two sites at any moment, each that is to run has one that follows its last
// change, and none is left of the others.
func TestReconcile(t *testing.T) {
	kinds := []string{"label", "psk", "knx", "key", "mtu", "disable", "enable", "delete", "reconnect", "rebuild"}
	rapid.Check(t, func(rt *rapid.T) {
		operations := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) operation {
			return operation{
				pause: time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 100, 3000, 20000}).Draw(rt, "ms")) * time.Millisecond,
				id:    rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "id"),
				kind:  rapid.SampledFrom(kinds).Draw(rt, "kind"),
			}
		}), 1, 40).Draw(rt, "operations")
		seed := rapid.Uint64().Draw(rt, "seed")
		early := rapid.Bool().Draw(rt, "stop at once")
		var problems []string
		synctest.Test(t, func(*testing.T) { problems = reconcile(operations, seed, early) })
		if len(problems) > 0 {
			rt.Fatal(problems)
		}
	})
}

func reconcile(operations []operation, seed uint64, early bool) []string {
	c := &crew{running: make(map[string]*site), rnd: func(n int) int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int(seed>>33) % n
	}}
	source := &desiredBuildings{wake: make(chan struct{}, 1)}
	f := New(Config{Desired: source, Ownership: &epochs{}, Hub: NewHub(), Log: zerolog.Nop(), StartsPerSecond: 2})
	f.run = c.run
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := f.Run(ctx); err != nil {
			c.problemf("Run: %v", err)
		}
	})
	desired := make(map[string]registry.Building)
	for _, o := range operations {
		time.Sleep(o.pause)
		b, exists := desired[o.id]
		if !exists {
			b = registry.Building{ID: o.id, Enabled: true, Tunnel: tunnel.Config{MTU: 1280}}
		}
		switch o.kind {
		case "label":
			b.Labels = map[string]string{"generation": fmt.Sprint(b.Generation)}
		case "psk":
			b.Tunnel.PresharedKey = tunnel.PresharedKey(tunnel.GeneratePrivateKey())
		case "knx":
			b.KNX.IndividualAddress++
		case "key":
			b.Tunnel.PrivateKey = tunnel.GeneratePrivateKey()
		case "mtu":
			b.Tunnel.MTU++
		case "disable":
			b.Enabled = false
		case "enable":
			b.Enabled = true
		case "delete":
			delete(desired, o.id)
			source.remove(o.id)
			continue
		case "reconnect", "rebuild":
			ended.Go(func() { _ = f.Reconnect(ctx, o.id, o.kind == "rebuild") })
			continue
		}
		b.Generation++
		desired[o.id] = b
		source.put(b)
	}
	if !early {
		// What fails from here on no longer does, and what failed is tried again.
		c.mu.Lock()
		c.rnd = func(n int) int { return n - 1 }
		c.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		c.mu.Lock()
		c.compare(f, desired)
		c.mu.Unlock()
	}
	stop()
	ended.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.running {
		c.problemf("%s runs after the end", id)
	}
	return c.problems
}

// compare is called with the lock held.
func (c *crew) compare(f *Fleet, desired map[string]registry.Building) {
	for id, b := range desired {
		s := c.running[id]
		view, _ := f.View(id)
		switch {
		case (s != nil) != b.Enabled:
			c.problemf("%s: enabled %v, runs %v", id, b.Enabled, s != nil)
		case s == nil && view.Status.State != StateDisabled:
			c.problemf("%s: disabled, and shown as %s", id, view.Status.State)
		case s != nil && s.desired.Load().Generation != b.Generation:
			c.problemf("%s: follows generation %d, want %d", id, s.desired.Load().Generation, b.Generation)
		case s != nil && needsRestart(s.building, b):
			c.problemf("%s: runs with what it cannot take over", id)
		}
		if view.Building.Generation != b.Generation {
			c.problemf("%s: shown at generation %d, want %d", id, view.Building.Generation, b.Generation)
		}
	}
	for id := range c.running {
		if _, wanted := desired[id]; !wanted {
			c.problemf("%s is deleted, and runs", id)
		}
	}
	if views := len(f.board.views); views != len(desired) {
		c.problemf("%d buildings are shown, want %d", views, len(desired))
	}
}
