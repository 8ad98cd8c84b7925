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
		_, err = c.bucket.Put(ctx, routerPrefix+building, value)
	}
	if err != nil {
		return fmt.Errorf("note the router of building %q: %w", building, err)
	}
	return nil
}

// router is what Found noted. A record that makes no sense is none: the router calls.
func (c *Claims) router(ctx context.Context, building string) (netip.AddrPort, error) {
	entry, err := c.bucket.Get(ctx, routerPrefix+building)
	if errors.Is(err, engine.ErrNotFound) {
		return netip.AddrPort{}, nil
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	var r routerRecord
	if json.Unmarshal(entry.Value, &r) != nil || r.Version != recordVersion {
		return netip.AddrPort{}, nil //nolint:nilerr // a hint that is not understood is none
	}
	return r.Address, nil
}

func (c *Claims) forgetRouter(ctx context.Context, building string) error {
	entry, err := c.bucket.Get(ctx, routerPrefix+building)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = c.bucket.Delete(ctx, routerPrefix+building, entry.Revision)
	}
	if errors.Is(err, engine.ErrConflict) {
		return nil // it was found anew, so it is not forgotten
	}
	return err
}
