// Package ownership says which replica runs a building's site, and numbers the
// times that a site was started.
//
// There is one replica now, and the lock on its data directory is the lease:
// whoever could open the engine may run every building, so a claim needs no
// rival to ask, no heartbeat and no fencing.
//
// What is stored is already what several replicas will read. A claim is the key
// c.<building> in the engine's fleet bucket, and the revision that the store
// gives to the claim's write is the epoch. Revisions of a bucket only rise, over
// all its keys and across restarts and deletions, so a building's epochs do
// too. A release writes the key once more, with the epoch that ended. Several
// replicas will write the same key on condition of the revision
// they saw, with their session in the record, and take over what is absent,
// released, or claimed by a session that is gone.
//
// As nobody else writes, what is stored is read once, when the claims are opened,
// and a claim is one write. See memory.go.
package ownership

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/knxfleet/knxfleet/internal/engine"
)

const claimPrefix = "c."

// claimRecord is the value of a claim. It names no session: that of the one
// process which holds the data directory is the only one there can be.
type claimRecord struct {
	Version int `json:"v"`
	// Released says that the site ended in order. Epoch is which one it was, when this
	// is not the claim itself: a release, and the end of a building, have a revision of
	// their own.
	Released bool   `json:"released,omitempty"`
	Epoch    uint64 `json:"epoch,omitempty"`
	// RetiredAt is since when there is no such building, as far as somebody noticed.
	RetiredAt time.Time `json:"retiredAt,omitzero"`
}

const recordVersion = 1

// Claims are the claims of this process. It is safe for concurrent use.
type Claims struct {
	bucket *engine.Bucket
	// suspect: what the process before recorded last may be lost.
	suspect bool

	mu    sync.Mutex
	known map[string]known // by building
	// begun counts writes, and doubts says up to which of them it is not known what
	// is stored under a key. See memory.go.
	begun  uint64
	doubts map[string]uint64
}

// Claimed is what a claim tells.
type Claimed struct {
	// Epoch is higher than every epoch that any claim got before, of this building
	// or another.
	Epoch uint64
	// Previous is the epoch of the building's claim before; 0 if there was none or
	// it is not known.
	Previous uint64
	// Unclean says that what was recorded last in the epoch before may be lost: the
	// claim was never released, because its process died or its site did not end in
	// order.
	Unclean bool
	// Router is where the building's router was found last (see [Claims.Found]);
	// invalid when nobody noted that.
	Router netip.AddrPort
}

// Claim records that this process runs the building from now on. The epoch is on
// disk when Claim returns. Call it each time before the building's site starts. An
// error means that the site must not start; an epoch may have been spent all the
// same.
func (c *Claims) Claim(ctx context.Context, building string) (Claimed, error) {
	failed := func(err error) (Claimed, error) { return Claimed{}, fmt.Errorf("claim building %q: %w", building, err) }
	last, err := c.last(ctx, building)
	if err != nil {
		return failed(err)
	}
	claimed := Claimed{Router: last.router, Unclean: c.suspect && last.held == 0}
	switch {
	case last.released:
		claimed.Previous = last.epoch
	case last.revision != 0:
		claimed.Previous, claimed.Unclean = cmp.Or(last.epoch, last.revision), true
	}
	err = c.put(ctx, building, claimRecord{Version: recordVersion}, func(k *known, epoch uint64) {
		claimed.Epoch, k.held, k.running = epoch, epoch, true
	})
	if err != nil {
		return failed(err)
	}
	return claimed, nil
}

// Release records that the building's site has ended in order, and that all of its
// epoch is recorded. A claim that was never released ended with its process: what
// came last may be lost.
func (c *Claims) Release(ctx context.Context, building string) error {
	c.mu.Lock()
	epoch := c.known[building].held
	c.mu.Unlock()
	err := c.put(ctx, building, claimRecord{Version: recordVersion, Released: true, Epoch: epoch}, func(k *known, _ uint64) {
		k.running = false
	})
	if err != nil {
		return fmt.Errorf("release building %q: %w", building, err)
	}
	return nil
}

// Past is a building that was claimed once and was not forgotten.
type Past struct {
	Building string
	// Running: this process claimed it and has not released it.
	Running bool
	// RetiredAt is since when it is no more; zero: nobody has noted that.
	RetiredAt time.Time

	revision uint64
	epoch    uint64 // that it had last
	released bool   // in order
}

// Claimed gives every building that was ever claimed and not forgotten.
func (c *Claims) Claimed(ctx context.Context) ([]Past, error) {
	entries, err := c.bucket.List(ctx, claimPrefix)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Past, 0, len(entries))
	for _, e := range entries {
		r, err := decodeClaim(e.Value)
		if err != nil {
			continue // Claim says so when it matters
		}
		p := Past{Building: strings.TrimPrefix(e.Key, claimPrefix), RetiredAt: r.RetiredAt, revision: e.Revision, epoch: r.Epoch, released: r.Released}
		if !p.released {
			p.epoch = cmp.Or(r.Epoch, e.Revision)
		}
		p.Running = c.known[p.Building].running
		all = append(all, p)
	}
	return all, nil
}

// Retire notes since when a building is no more, unless it was claimed or released
// since Claimed gave it.
func (c *Claims) Retire(ctx context.Context, p Past, since time.Time) error {
	r := claimRecord{Version: recordVersion, Released: p.released, Epoch: p.epoch, RetiredAt: since.UTC()}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := claimPrefix + p.Building
	err = c.write(key, func() (uint64, error) {
		return c.bucket.Update(ctx, key, value, p.revision)
	}, func(revision uint64) {
		c.change(p.Building, func(k *known) { k.claimed(revision, r) })
	})
	if err != nil && !errors.Is(err, engine.ErrConflict) {
		return fmt.Errorf("retire building %q: %w", p.Building, err)
	}
	return nil
}

// Forget removes what is recorded of a building that is no more, unless it was
// claimed since Claimed gave it. Its epochs go on above all the same if it comes back.
func (c *Claims) Forget(ctx context.Context, p Past) error {
	key := claimPrefix + p.Building
	err := c.write(key, func() (uint64, error) {
		return 0, c.bucket.Delete(ctx, key, p.revision)
	}, func(uint64) {
		c.change(p.Building, func(k *known) { k.forgotten(p.revision, c.suspect) })
	})
	if errors.Is(err, engine.ErrConflict) {
		return nil
	}
	if err == nil {
		err = c.forgetRouter(ctx, p.Building)
	}
	if err != nil {
		return fmt.Errorf("forget building %q: %w", p.Building, err)
	}
	return nil
}
