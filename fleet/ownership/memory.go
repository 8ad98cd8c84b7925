package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// known is what this process knows of a building without asking the store: the
// records as they are stored, unless they are in doubt, and what the building's
// site does.
type known struct {
	// revision is that of the last claim's record; 0: there is none. epoch and
	// released are what it says.
	revision uint64
	epoch    uint64
	released bool
	// running: this process has claimed the building and not released it. held is
	// the epoch that it got last; 0: it never claimed it.
	running bool
	held    uint64
	// routerRevision is that of the record of the router; 0: there is none. router
	// is invalid if the record makes no sense.
	routerRevision uint64
	router         netip.AddrPort
}

// Open reads the claims kept in the engine's Fleet bucket, which nobody else must
// write to from then on. suspect says that the journal may have lost the end of
// epochs that ended in order (see [engine.Journal.Loss]): then the first claim of
// each building is told to be unclean.
func Open(ctx context.Context, bucket *engine.Bucket, suspect bool) (*Claims, error) {
	c := &Claims{bucket: bucket, suspect: suspect, known: make(map[string]known), doubts: make(map[string]uint64)}
	claims, err := bucket.List(ctx, claimPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the claims of all buildings: %w", err)
	}
	routers, err := bucket.List(ctx, routerPrefix)
	if err != nil {
		return nil, fmt.Errorf("read where the routers of all buildings were found: %w", err)
	}
	for _, e := range claims {
		r, err := decodeClaim(e.Value)
		if err != nil {
			c.doubts[e.Key] = 0 // Claim says so when it matters
			continue
		}
		c.change(strings.TrimPrefix(e.Key, claimPrefix), func(k *known) { k.claimed(e.Revision, r) })
	}
	for _, e := range routers {
		c.change(strings.TrimPrefix(e.Key, routerPrefix), func(k *known) { k.found(e.Revision, decodeRouter(e.Value)) })
	}
	return c, nil
}

func decodeClaim(value []byte) (claimRecord, error) {
	var r claimRecord
	if err := json.Unmarshal(value, &r); err != nil || r.Version != recordVersion {
		return r, fmt.Errorf("the record of the claim before is damaged, or a newer program wrote it (%w)", errors.Join(err, engine.ErrUnavailable))
	}
	return r, nil
}

// claimed takes in that a claim's record has the given revision. Writes end in any
// order, so that a later one may be known already.
func (k *known) claimed(revision uint64, r claimRecord) {
	if revision > k.revision {
		k.revision, k.epoch, k.released = revision, r.Epoch, r.Released
	}
}

// found is claimed for the record of the router.
func (k *known) found(revision uint64, router netip.AddrPort) {
	if revision > k.routerRevision {
		k.routerRevision, k.router = revision, router
	}
}

// forgotten takes in that the claim's record of the given revision was removed. With
// keepHeld it stays known that this process has claimed the building.
func (k *known) forgotten(revision uint64, keepHeld bool) {
	if k.revision > revision {
		return
	}
	k.unclaimed()
	if !k.running && !keepHeld {
		k.held = 0
	}
}

// unclaimed takes in that there is no record of a claim.
func (k *known) unclaimed() { k.revision, k.epoch, k.released = 0, 0, false }

// change changes what is known of a building. The caller holds mu, or is the only one
// that has c.
func (c *Claims) change(building string, how func(*known)) {
	k := c.known[building]
	how(&k)
	if k == (known{}) {
		delete(c.known, building)
		return
	}
	c.known[building] = k
}

// last is what is known of a building; of what is in doubt, what the store says.
func (c *Claims) last(ctx context.Context, building string) (known, error) {
	c.mu.Lock()
	k := c.known[building]
	_, claimDoubted := c.doubts[claimPrefix+building]
	_, routerDoubted := c.doubts[routerPrefix+building]
	c.mu.Unlock()
	if claimDoubted {
		k.unclaimed()
		entry, err := c.bucket.Get(ctx, claimPrefix+building)
		if err == nil {
			var r claimRecord
			r, err = decodeClaim(entry.Value)
			k.claimed(entry.Revision, r)
		}
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return known{}, err
		}
	}
	if routerDoubted {
		k.router = netip.AddrPort{}
		entry, err := c.bucket.Get(ctx, routerPrefix+building)
		if err == nil {
			k.router = decodeRouter(entry.Value)
		}
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return known{}, err
		}
	}
	return k, nil
}

// put writes the record of a building's claim. then takes in what follows from it.
func (c *Claims) put(ctx context.Context, building string, r claimRecord, then func(k *known, revision uint64)) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := claimPrefix + building
	return c.write(key, func() (uint64, error) {
		return c.bucket.Put(ctx, key, value)
	}, func(revision uint64) {
		c.change(building, func(k *known) {
			k.claimed(revision, r)
			then(k, revision)
		})
	})
}

// write writes to a key, and calls learn with mu held when that succeeded.
//
// A write that failed may have been stored all the same, and even later. So its key
// is in doubt until a write succeeds that began after it: the store takes them in
// order. A read ends no doubt.
func (c *Claims) write(key string, do func() (uint64, error), learn func(revision uint64)) error {
	c.mu.Lock()
	c.begun++
	begun := c.begun
	c.mu.Unlock()
	revision, err := do()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.doubts[key] = c.begun
		return err
	}
	if c.doubts[key] < begun {
		delete(c.doubts, key)
	}
	learn(revision)
	return nil
}
