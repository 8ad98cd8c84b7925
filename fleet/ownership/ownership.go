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
// too. Several replicas will write the same key on condition of the revision
// they saw, with their session in the record, and take over what is absent,
// released, or claimed by a session that is gone.
package ownership

import (
	"context"
	"fmt"

	"github.com/knxfleet/knxfleet/internal/engine"
)

const claimPrefix = "c."

// claimRecord is the value of a claim. It names no session: that of the one
// process which holds the data directory is the only one there can be.
const claimRecord = `{"v":1}`

// Claims are the claims of this process. It is safe for concurrent use.
type Claims struct{ bucket *engine.Bucket }

// New returns the claims kept in the engine's Fleet bucket.
func New(bucket *engine.Bucket) *Claims { return &Claims{bucket} }

// Claim records that this process runs the building from now on, and returns
// the epoch: higher than every epoch that any claim got before, of this
// building or another. The epoch is on disk when Claim returns. Call it each
// time before the building's site starts. An error means that the site must not
// start; an epoch may have been spent all the same.
func (c *Claims) Claim(ctx context.Context, building string) (epoch uint64, err error) {
	epoch, err = c.bucket.Put(ctx, claimPrefix+building, []byte(claimRecord))
	if err != nil {
		return 0, fmt.Errorf("claim building %q: %w", building, err)
	}
	return epoch, nil
}

// Release records that the building's site has ended in order. A claim that was
// never released ended with its process: what came last may be lost.
func (c *Claims) Release(ctx context.Context, building string) error {
	if err := c.bucket.Delete(ctx, claimPrefix+building, 0); err != nil {
		return fmt.Errorf("release building %q: %w", building, err)
	}
	return nil
}
