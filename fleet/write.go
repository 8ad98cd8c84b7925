package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Write is a group write as a client asks for it: a Value of type DPT as text,
// or Raw bytes.
type Write struct {
	Building string
	Address  string // group address in any style
	DPT      string // such as "1.001"
	Value    string
	Raw      []byte
	// SixBit, with Raw: the value has six bits or less and travels in the APCI
	// octet.
	SixBit   bool
	Priority frame.Priority
	// Within is how long the write may wait for its turn on the bus.
	Within time.Duration
}

// OfflineError says that a building is there but cannot be written to now.
type OfflineError struct {
	Building string
	Status   Status
}

// Error implements error.
func (e *OfflineError) Error() string {
	text := fmt.Sprintf("building %s is not online: it is %s", e.Building, e.Status.State)
	if e.Status.Reason != "" {
		text += " (" + e.Status.Reason + ")"
	}
	if e.Status.Message != "" {
		text += ": " + e.Status.Message
	}
	return text
}

// NotSentError says that nothing of a write left for the bus, so that it is safe
// to try again; it wraps the cause.
type NotSentError = knxbridge.NotSentError

// Causes of a NotSentError, beside the end of the caller's context.
var (
	// ErrQueueFull: as many writes as the building's queue holds are waiting.
	ErrQueueFull = knxbridge.ErrQueueFull
	// ErrTooLate: the write's turn did not come within Write.Within.
	ErrTooLate = knxbridge.ErrTooLate
	// ErrSiteStopped: the building's site has been stopped.
	ErrSiteStopped = knxbridge.ErrStopped
)

// GroupWrite writes to a building's bus and returns what the bus said. A write
// that was not sent is an error: a *registry.FieldError when it asks for
// something impossible, a *registry.BuildingError, an *OfflineError, or a
// *NotSentError.
func (f *Fleet) GroupWrite(ctx context.Context, w Write) (session.Outcome, error) {
	write, err := w.encode()
	if err != nil {
		return session.NotSent, err
	}
	view, ok := f.View(w.Building)
	if !ok {
		return session.NotSent, &registry.BuildingError{ID: w.Building, Cause: registry.ErrNotFound}
	}
	s := f.site(w.Building)
	if s == nil || view.Status.State != StateOnline {
		return session.NotSent, &OfflineError{Building: w.Building, Status: view.Status}
	}
	outcome, err := s.bridge.Write(ctx, write)
	if err != nil {
		return outcome, fmt.Errorf("building %s: %w", w.Building, err)
	}
	return outcome, nil
}

// encode checks a write and turns its text into bytes.
func (w Write) encode() (knxbridge.Write, error) {
	address, err := frame.ParseGroupAddress(w.Address)
	if err != nil {
		return knxbridge.Write{}, fieldError("group_address", err)
	}
	write := knxbridge.Write{Command: frame.GroupValueWrite, Destination: address, Priority: w.Priority, Within: w.Within}
	switch {
	case w.Value != "" && len(w.Raw) > 0:
		return write, fieldError("raw", errors.New("give either value or raw, not both"))
	case w.Value != "":
		write.Data, write.SixBit, err = encodeValue(w.DPT, w.Value)
	case len(w.Raw) > 0:
		write.Data, write.SixBit, err = w.Raw, w.SixBit, w.checkRaw()
	default:
		err = fieldError("value", errors.New("is missing: give value with dpt, or raw bytes"))
	}
	return write, err
}

func encodeValue(id, value string) ([]byte, bool, error) {
	if id == "" {
		return nil, false, fieldError("dpt", errors.New("is missing: the type of this group address is not known, so name it, such as 1.001, or give raw bytes"))
	}
	parsed, err := dpt.ParseID(id)
	if err != nil {
		return nil, false, fieldError("dpt", err)
	}
	t, ok := dpt.Lookup(parsed)
	if !ok {
		return nil, false, fieldError("dpt", fmt.Errorf("%s is not a type that is known here; give raw bytes instead", id))
	}
	data, err := t.Encode(value)
	if err != nil {
		return nil, false, fieldError("value", err)
	}
	return data, t.SixBit(), nil
}

func (w Write) checkRaw() error {
	switch {
	case len(w.Raw) > frame.MaxData:
		return fieldError("raw", fmt.Errorf("has %d bytes; a group telegram carries at most %d", len(w.Raw), frame.MaxData))
	case w.SixBit && (len(w.Raw) != 1 || w.Raw[0] > 0x3F):
		return fieldError("raw", errors.New("with six_bit it must be one byte of at most 0x3f"))
	}
	return nil
}

func fieldError(field string, err error) error {
	return &registry.FieldError{Field: field, Problem: err.Error()}
}
