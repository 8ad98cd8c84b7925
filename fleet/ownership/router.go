package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/knxfleet/knxfleet/internal/engine"
)

// routerPrefix is before the keys under which is noted where routers were found.
// They are apart from the claims, whose revisions number the epochs.
const routerPrefix = "r."

// routerRecord is where a building's router was found last.
type routerRecord struct {
	Version int            `json:"v"`
	Address netip.AddrPort `json:"address"`
}

// Found notes where a building's router is, for the claim after this one: a router
// that calls us does so only when its keys run out, which takes it two minutes.
func (c *Claims) Found(ctx context.Context, building string, router netip.AddrPort) error {
	value, err := json.Marshal(routerRecord{Version: recordVersion, Address: router})
	if err == nil {
		key := routerPrefix + building
		err = c.write(key, func() (uint64, error) {
			return c.bucket.Put(ctx, key, value)
		}, func(revision uint64) {
			c.change(building, func(k *known) { k.found(revision, router) })
		})
	}
	if err != nil {
		return fmt.Errorf("note the router of building %q: %w", building, err)
	}
	return nil
}

// decodeRouter gives what Found noted. A record that makes no sense is none: the
// router calls.
func decodeRouter(value []byte) netip.AddrPort {
	var r routerRecord
	if json.Unmarshal(value, &r) != nil || r.Version != recordVersion {
		return netip.AddrPort{}
	}
	return r.Address
}

func (c *Claims) forgetRouter(ctx context.Context, building string) error {
	key := routerPrefix + building
	entry, err := c.bucket.Get(ctx, key)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = c.write(key, func() (uint64, error) {
			return 0, c.bucket.Delete(ctx, key, entry.Revision)
		}, func(uint64) {
			c.change(building, func(k *known) {
				if k.routerRevision <= entry.Revision {
					k.routerRevision, k.router = 0, netip.AddrPort{}
				}
			})
		})
	}
	if errors.Is(err, engine.ErrConflict) {
		return nil // it was found anew, so it is not forgotten
	}
	return err
}
