package registry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/knxfleet/knxfleet/internal/engine"
	"github.com/knxfleet/knxfleet/internal/keyset"
)

const (
	buildingPrefix = "b."
	checkKey       = "k.check"
	checkText      = "knxfleet keyset check"
)

// checkPlace belongs to no building.
var checkPlace = keyset.Place{Field: "check"}

// Config says what a registry is made of.
type Config struct {
	// Bucket holds the records: the engine's Registry.
	Bucket *engine.Bucket
	// Keyset is the source of the keyset (see package keyset), the same that the engine
	// was opened with. Over an engine without keys, a file is made when there is none
	// and nothing has been sealed yet.
	Keyset string
	// Log receives what the registry has to say. The zero value is silent.
	Log zerolog.Logger
}

// Registry keeps the buildings as desired. Its methods are safe for concurrent
// use. Those that name a building return a *FieldError for a malformed id and a
// *BuildingError for what fails with a well-formed one.
type Registry struct {
	bucket *engine.Bucket
	keys   *keyset.Keyset
	log    zerolog.Logger
	mirror mirror
	// written is the highest revision of a building that was stored here.
	written atomic.Uint64
}

// Open opens the registry with its keyset. It refuses, and changes nothing, when
// something was sealed and the keyset is missing or does not open it.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	check, sealed, err := findSealed(ctx, cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("open the registry: %w", err)
	}
	keys, created, err := keyset.OpenOrCreate(cfg.Keyset, sealed)
	if err != nil {
		return nil, err
	}
	if created {
		cfg.Log.Info().Str("keyset", cfg.Keyset).
			Msg("made a new keyset, which seals all secrets; back it up apart from the data, they are lost without it")
	}
	if warning := keys.Warning(); warning != "" {
		cfg.Log.Warn().Msg(warning)
	}
	if err := verify(ctx, cfg.Bucket, keys, check); err != nil {
		return nil, err
	}
	return &Registry{bucket: cfg.Bucket, keys: keys, log: cfg.Log}, nil
}

// findSealed returns the check record, if there is one, and whether anything
// has been sealed. Buildings without a check record come from no program of
// ours, but are reason enough not to make a new keyset.
func findSealed(ctx context.Context, bucket *engine.Bucket) (check []byte, sealed bool, err error) {
	entry, err := bucket.Get(ctx, checkKey)
	if err == nil {
		return entry.Value, true, nil
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return nil, false, err
	}
	buildings, err := bucket.List(ctx, buildingPrefix)
	return nil, len(buildings) > 0, err
}

// verify opens the check record with the keyset, or makes it if there is none.
func verify(ctx context.Context, bucket *engine.Bucket, keys *keyset.Keyset, check []byte) error {
	if check == nil {
		check, err := keys.Seal([]byte(checkText), checkPlace)
		if err != nil {
			return err
		}
		if _, err := bucket.Create(ctx, checkKey, check); err != nil {
			return fmt.Errorf("open the registry: %w", err)
		}
		return nil
	}
	text, err := keys.Open(check, checkPlace)
	if err == nil && string(text) == checkText {
		return nil
	}
	return fmt.Errorf("the registry's secrets were sealed with another keyset than %s: put back the keyset file that this data directory was used with%s; nothing was changed", keys.Source(), keys.Hint(check, checkPlace))
}
