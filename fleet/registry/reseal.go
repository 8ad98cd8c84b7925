package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
)

// FollowKeyset notices, until ctx ends, when the keyset changes, and seals all keys
// anew with its primary key: those of the buildings, and what others hold. Nothing
// stops meanwhile, and no building's etag or generation changes. A keyset that does
// not open everything is not taken over.
func (r *Registry) FollowKeyset(ctx context.Context, others ...keyset.Holder) error {
	return keyset.Follow(ctx, r.keys, r.log, append([]keyset.Holder{holder{r}}, others...)...)
}

// holder is the registry as the keyset sees it.
type holder struct{ *Registry }

// Opens implements keyset.Holder. What the keyset in use does not open is lost
// already, and no reason to refuse another one.
func (h holder) Opens(ctx context.Context, keys *keyset.Keyset) error {
	check, err := h.bucket.Get(ctx, checkKey)
	if err != nil {
		return err
	}
	if _, err := keys.Open(check.Value, checkPlace); err != nil {
		return fmt.Errorf("%s does not open what the registry's secrets are checked with: %w%s", keys.Source(), err, keys.Hint(check.Value, checkPlace))
	}
	entries, err := h.bucket.List(ctx, buildingPrefix)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		id := entryID(entry)
		if _, err := decodeRecord(id, entry.Value, keys); errors.Is(err, keyset.ErrCannotOpen) {
			if _, err := decodeRecord(id, entry.Value, h.keys); err == nil {
				return fmt.Errorf("%s does not open the keys of building %q: %w", keys.Source(), id, keyset.ErrCannotOpen)
			}
		}
	}
	return nil
}

// Reseal implements keyset.Holder. The check record comes last: while it is sealed
// with an older key, something else may be.
func (h holder) Reseal(ctx context.Context, keys *keyset.Keyset) (int, error) {
	entries, err := h.bucket.List(ctx, buildingPrefix)
	if err != nil {
		return 0, fmt.Errorf("list the buildings: %w", err)
	}
	resealed := 0
	for _, entry := range entries {
		done, err := h.reseal(ctx, keys, entry)
		if err != nil {
			return resealed, err
		}
		if done {
			resealed++
		}
	}
	check, err := h.bucket.Get(ctx, checkKey)
	if err != nil || keys.Current(check.Value, checkPlace) {
		return resealed, err
	}
	sealed, err := keys.Seal([]byte(checkText), checkPlace)
	if err != nil {
		return resealed, err
	}
	if _, err := h.bucket.Update(ctx, checkKey, sealed, check.Revision); err != nil && !errors.Is(err, engine.ErrConflict) {
		return resealed, err
	}
	return resealed, nil
}

// Settled implements keyset.Holder.
func (holder) Settled(uint32) error { return nil }

// reseal does one building. One that changes meanwhile is sealed with the primary
// key by that change, or looked at again in the next pass.
func (h holder) reseal(ctx context.Context, keys *keyset.Keyset, entry engine.Entry) (done bool, err error) {
	value, changed, err := resealRecord(entry, keys)
	if err != nil {
		h.log.Warn().Err(err).Str("building", entryID(entry)).Msg("a building that cannot be read is not sealed anew")
		return false, nil
	}
	if !changed {
		return false, nil
	}
	_, err = h.bucket.Update(ctx, entry.Key, value, entry.Revision)
	if errors.Is(err, engine.ErrConflict) || errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, failure(entryID(entry), err)
	}
	return true, nil
}

// resealRecord exchanges the sealed keys of a record and leaves all else as it
// is, also what a newer program may have put there.
func resealRecord(entry engine.Entry, keys *keyset.Keyset) (value []byte, changed bool, err error) {
	var record, tunnel map[string]json.RawMessage
	if err := json.Unmarshal(entry.Value, &record); err != nil {
		return nil, false, fmt.Errorf("its record is damaged: %w", err)
	}
	if err := json.Unmarshal(record["tunnel"], &tunnel); err != nil {
		return nil, false, fmt.Errorf("its record is damaged: %w", err)
	}
	for name, field := range map[string]string{"privateKeySealed": privateKeyField, "presharedKeySealed": presharedKeyField} {
		var sealed []byte
		if tunnel[name] == nil {
			continue
		}
		if err := json.Unmarshal(tunnel[name], &sealed); err != nil {
			return nil, false, fmt.Errorf("its record is damaged: %w", err)
		}
		place := keyset.Place{Building: entryID(entry), Field: field}
		if keys.Current(sealed, place) {
			continue
		}
		secret, err := keys.Open(sealed, place)
		if err != nil {
			return nil, false, err
		}
		if sealed, err = keys.Seal(secret, place); err != nil {
			return nil, false, err
		}
		if tunnel[name], err = json.Marshal(sealed); err != nil {
			return nil, false, err
		}
		changed = true
	}
	if !changed {
		return nil, false, nil
	}
	if record["tunnel"], err = json.Marshal(tunnel); err != nil {
		return nil, false, err
	}
	if record["contentRevision"], err = json.Marshal(revisionOf(entry)); err != nil {
		return nil, false, err
	}
	value, err = json.Marshal(record)
	return value, true, err
}
