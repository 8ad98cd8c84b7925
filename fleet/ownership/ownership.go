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
package ownership

import (
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
	// Released says that the site ended in order, and Epoch which one it was: the
	// release has a revision of its own.
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

	mu   sync.Mutex
	held map[string]uint64 // epochs by building, of all that this process ever claimed
	runs map[string]bool   // those that it has not released
}

// New returns the claims kept in the engine's Fleet bucket. suspect says that the
// journal may have lost the end of epochs that ended in order (see
// [engine.Journal.Loss]): then the first claim of each building is told to be
// unclean.
func New(bucket *engine.Bucket, suspect bool) *Claims {
	return &Claims{bucket: bucket, suspect: suspect, held: make(map[string]uint64), runs: make(map[string]bool)}
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
	var claimed Claimed
	before, err := c.bucket.Get(ctx, claimPrefix+building)
	switch {
	case err == nil:
		var r claimRecord
		if err := json.Unmarshal(before.Value, &r); err != nil || r.Version != recordVersion {
			return failed(fmt.Errorf("the record of the claim before is damaged, or a newer program wrote it (%w)", errors.Join(err, engine.ErrUnavailable)))
		}
		claimed.Unclean, claimed.Previous = !r.Released, before.Revision
		if r.Released {
			claimed.Previous = r.Epoch
		}
	case !errors.Is(err, engine.ErrNotFound):
		return failed(err)
	}
	if claimed.Router, err = c.router(ctx, building); err != nil {
		return failed(err)
	}
	claimed.Epoch, err = c.write(ctx, building, claimRecord{Version: recordVersion})
	if err != nil {
		return failed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again := c.held[building]; c.suspect && !again {
		claimed.Unclean = true
	}
	c.held[building], c.runs[building] = claimed.Epoch, true
	return claimed, nil
}

func (c *Claims) write(ctx context.Context, building string, r claimRecord) (uint64, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	return c.bucket.Put(ctx, claimPrefix+building, value)
}

// Release records that the building's site has ended in order, and that all of its
// epoch is recorded. A claim that was never released ended with its process: what
// came last may be lost.
func (c *Claims) Release(ctx context.Context, building string) error {
	c.mu.Lock()
	epoch := c.held[building]
	c.mu.Unlock()
	if _, err := c.write(ctx, building, claimRecord{Version: recordVersion, Released: true, Epoch: epoch}); err != nil {
		return fmt.Errorf("release building %q: %w", building, err)
	}
	c.mu.Lock()
	delete(c.runs, building)
	c.mu.Unlock()
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
	epoch    uint64
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
		var r claimRecord
		if json.Unmarshal(e.Value, &r) != nil || r.Version != recordVersion {
			continue // Claim says so when it matters
		}
		p := Past{Building: strings.TrimPrefix(e.Key, claimPrefix), RetiredAt: r.RetiredAt, revision: e.Revision, epoch: r.Epoch}
		p.Running = c.runs[p.Building]
		all = append(all, p)
	}
	return all, nil
}

// Retire notes since when a building is no more, unless it was claimed or released
// since Claimed gave it.
func (c *Claims) Retire(ctx context.Context, p Past, since time.Time) error {
	value, err := json.Marshal(claimRecord{Version: recordVersion, Released: true, Epoch: p.epoch, RetiredAt: since.UTC()})
	if err != nil {
		return err
	}
	_, err = c.bucket.Update(ctx, claimPrefix+p.Building, value, p.revision)
	if err != nil && !errors.Is(err, engine.ErrConflict) {
		return fmt.Errorf("retire building %q: %w", p.Building, err)
	}
	return nil
}

// Forget removes what is recorded of a building that is no more, unless it was
// claimed since Claimed gave it. Its epochs go on above all the same if it comes back.
func (c *Claims) Forget(ctx context.Context, p Past) error {
	err := c.bucket.Delete(ctx, claimPrefix+p.Building, p.revision)
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
