package registry

import (
	"errors"
	"fmt"

	"github.com/knxfleet/knxfleet/internal/engine"
)

var (
	// ErrExists: a building with this id exists.
	ErrExists = errors.New("exists already")
	// ErrNotFound: there is no building with this id.
	ErrNotFound = errors.New("does not exist")
	// ErrConflict: the building is not at the revision that a change was
	// based on.
	ErrConflict = errors.New("was changed meanwhile; read it again and repeat the change")
	// ErrUnreadable: the building's record is damaged or its secrets do not
	// open. It can be deleted.
	ErrUnreadable = errors.New("cannot be read")
	// ErrUnavailable: the store gave no answer or refused. A write that failed
	// in this way may have been stored all the same: read to find out.
	ErrUnavailable = engine.ErrUnavailable
)

// BuildingError tells which building an operation failed for. Its cause is one
// of the errors above, or wraps one; or the context's error.
type BuildingError struct {
	ID    string
	Cause error
}

// Error reads like "building "hq" exists already".
func (e *BuildingError) Error() string { return fmt.Sprintf("building %q %v", e.ID, e.Cause) }

// Unwrap returns the cause.
func (e *BuildingError) Unwrap() error { return e.Cause }

// failure turns the engine's error into one for a building.
func failure(id string, err error) error {
	switch {
	case errors.Is(err, engine.ErrExists):
		err = ErrExists
	case errors.Is(err, engine.ErrNotFound):
		err = ErrNotFound
	case errors.Is(err, engine.ErrConflict):
		err = ErrConflict
	default:
		err = fmt.Errorf("cannot be reached in the store: %w", err)
	}
	return &BuildingError{id, err}
}
