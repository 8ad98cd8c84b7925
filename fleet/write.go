package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Write is a group write as a client asks for it: a Value of type DPT as text,
// or Raw bytes.
type Write struct {
	Building string
	// Address is a group address in any style, or its name in the building's table
	// if no other address has it.
	Address string
	// DPT is the type, such as "1.001"; empty takes that of the building's table.
	DPT   string
	Value string
	Raw   []byte
	// SixBit, with Raw: the value has six bits or less and travels in the APCI
	// octet. It is so anyway if the type says so.
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
	write, err := w.encode(ctx, f.cfg.Tables)
	if err != nil {
		return session.NotSent, err
	}
	view, ok := f.View(w.Building)
	if !ok {
		return session.NotSent, &registry.BuildingError{ID: w.Building, Cause: registry.ErrNotFound}
	}
	s := f.site(w.Building)
	if s == nil || !s.isOpen() || view.Status.State != StateOnline {
		return session.NotSent, &OfflineError{Building: w.Building, Status: view.Status}
	}
	outcome, err := s.sessions.bridge().Write(ctx, write)
	if err != nil {
		return outcome, fmt.Errorf("building %s: %w", w.Building, err)
	}
	return outcome, nil
}

// encode checks a write and turns its text into bytes. What the write leaves out
// comes from the building's table.
func (w Write) encode(ctx context.Context, all Tables) (knxbridge.Write, error) {
	write := knxbridge.Write{Command: frame.GroupValueWrite, Priority: w.Priority, Within: w.Within}
	var err error
	if write.Destination, err = w.destination(ctx, all); err != nil {
		return write, err
	}
	switch {
	case w.Value != "" && len(w.Raw) > 0:
		return write, fieldError("raw", errors.New("give either value or raw, not both"))
	case w.Value == "" && len(w.Raw) == 0:
		return write, fieldError("value", errors.New("is missing: give a value, or raw bytes"))
	}
	kind, err := w.kind(ctx, all, write.Destination)
	if err != nil {
		return write, err
	}
	if w.Value != "" {
		write.Data, err = kind.Encode(w.Value)
		if err != nil {
			err = fieldError("value", err)
		}
		write.SixBit = kind.SixBit()
		return write, err
	}
	write.Data, write.SixBit = w.Raw, w.SixBit || kind != dpt.Type{} && kind.SixBit()
	return write, checkRaw(write)
}

// destination reads the group address, or finds the one that has the name.
func (w Write) destination(ctx context.Context, all Tables) (frame.GroupAddress, error) {
	address, addressErr := frame.ParseGroupAddress(w.Address)
	if addressErr == nil {
		return address, nil
	}
	if w.Address == "" {
		return 0, fieldError("group_address", errors.New("is missing; want such as 1/2/3, or a name of the building's group address table"))
	}
	table, err := all.Load(ctx, w.Building)
	if err != nil {
		return 0, err
	}
	found := table.Named(w.Address)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, fieldError("group_address", fmt.Errorf("the name %.80q belongs to %d group addresses (%s); give the address", w.Address, len(found), list(found, table.Style())))
	case strings.Trim(w.Address, "0123456789/*- ") == "":
		return 0, fieldError("group_address", addressErr) // meant as an address
	case len(table.Entries()) == 0:
		return 0, fieldError("group_address", fmt.Errorf("%w; no name either, as the building has no group address table yet", addressErr))
	}
	return 0, fieldError("group_address", fmt.Errorf("no group address of the building has the name %.80q%s; give its exact name, or the address, such as 1/2/3", w.Address, similar(table, w.Address)))
}

// maxListed is how many group addresses an error lists.
const maxListed = 5

func list(addresses []frame.GroupAddress, style frame.Style) string {
	texts := make([]string, 0, maxListed+1)
	for i, a := range addresses {
		if i == maxListed {
			texts = append(texts, "…")
			break
		}
		texts = append(texts, a.In(style))
	}
	return strings.Join(texts, ", ")
}

// similar names a group address that differs only by case, for an error.
func similar(table *tables.Table, name string) string {
	for _, line := range table.Entries() {
		if strings.EqualFold(line.Name, name) {
			return fmt.Sprintf("; there is %q (%s)", line.Name, line.Address.In(table.Style()))
		}
	}
	return ""
}

// kind finds the type that a write is of: its own, or else that of the table. Raw
// bytes need none, and have the zero Type then.
func (w Write) kind(ctx context.Context, all Tables, address frame.GroupAddress) (dpt.Type, error) {
	if w.DPT != "" {
		return parseType(w.DPT)
	}
	table, err := all.Load(ctx, w.Building)
	switch {
	case err != nil && w.Value == "":
		return dpt.Type{}, nil // the bytes go as they were given
	case err != nil:
		return dpt.Type{}, err
	}
	var id dpt.ID
	if line := table.Lookup(address); line != nil {
		id = line.Type
	}
	kind, known := dpt.Lookup(id)
	switch {
	case known || w.Value == "":
		return kind, nil
	case id == dpt.ID{}:
		return kind, fieldError("dpt", errors.New("is missing: the type of this group address is not known, so name it, such as 1.001, or give raw bytes"))
	}
	return kind, fieldError("dpt", fmt.Errorf("is missing: this group address has type %s, which is not known here; name another one, or give raw bytes", id))
}

func parseType(text string) (dpt.Type, error) {
	id, err := dpt.ParseID(text)
	if err != nil {
		return dpt.Type{}, fieldError("dpt", err)
	}
	kind, ok := dpt.Lookup(id)
	if !ok {
		return dpt.Type{}, fieldError("dpt", fmt.Errorf("%s is not a type that is known here; give raw bytes instead", text))
	}
	return kind, nil
}

func checkRaw(w knxbridge.Write) error {
	switch {
	case len(w.Data) > frame.MaxData:
		return fieldError("raw", fmt.Errorf("has %d bytes; a group telegram carries at most %d", len(w.Data), frame.MaxData))
	case w.SixBit && (len(w.Data) != 1 || w.Data[0] > 0x3F):
		return fieldError("raw", errors.New("must be one byte of at most 0x3f, as a value of six bits or less (by six_bit, dpt or the group address table; another dpt overrides the table)"))
	}
	return nil
}

func fieldError(field string, err error) error {
	return &registry.FieldError{Field: field, Problem: err.Error()}
}
