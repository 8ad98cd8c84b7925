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
	// Client is who writes; those whose writes wait for a bus take turns.
	Client string
}

// Written is what became of a write that was sent.
type Written struct {
	Outcome session.Outcome
	// Address is the group address in the style of the building's table.
	Address string
	// Telegram is as the streams carry it; nil unless Outcome is Confirmed.
	Telegram *Telegram
	// Waited is how long the write waited for its turn.
	Waited time.Duration
	// Pacing is the building's queue after it.
	Pacing Pacing
}

// Pacing is the queue in front of a building's bus.
type Pacing struct {
	// Waiting are the writes and reads that wait, of Limit that may.
	Waiting, Limit int
	// Dropped are those that were refused or not sent in time, in this epoch.
	Dropped uint64
	// PerSecond is how many telegrams are sent at most.
	PerSecond float64
	// LastWait is how long the one sent last had waited.
	LastWait time.Duration
}

// Pacing is the queue as these counters have it; the zero value without a site.
func (c *Counters) Pacing() Pacing { return pacingOf(&c.Session) }

func pacingOf(s *knxbridge.Stats) Pacing {
	return Pacing{Waiting: s.QueueWaiting, Limit: s.QueueLimit, Dropped: s.QueueDropped, PerSecond: s.WriteRate, LastWait: s.LastWait}
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
func (f *Fleet) GroupWrite(ctx context.Context, w Write) (Written, error) {
	write, s, err := f.prepare(ctx, w)
	if err != nil {
		return Written{}, err
	}
	own := &ownTelegram{}
	write.Tag = own
	sent, err := s.sessions.bridge().Write(ctx, write)
	f.sent.count(sent.Outcome, err)
	if err != nil {
		return Written{}, fmt.Errorf("building %s: %w", w.Building, err)
	}
	stats := s.sessions.stats()
	written := Written{Outcome: sent.Outcome, Address: f.written(w.Building, write.Destination), Waited: sent.Waited, Pacing: pacingOf(&stats)}
	if sent.Outcome == session.Confirmed {
		written.Telegram = own.telegram
	}
	return written, nil
}

// ownTelegram gets what the streams carry of a write. The session's loop sets it
// before the write's answer, and nobody afterwards.
type ownTelegram struct{ telegram *Telegram }

// CheckWrite returns the error that GroupWrite would give before it sends
// anything, and the group address in the style of the building's table if that is
// known.
func (f *Fleet) CheckWrite(ctx context.Context, w Write) (address string, err error) {
	if destination, err := destination(ctx, f.cfg.Tables, w.Building, w.Address); err == nil {
		address = f.written(w.Building, destination)
	}
	_, _, err = f.prepare(ctx, w)
	return address, err
}

// prepare checks a write and finds whom to give it to.
func (f *Fleet) prepare(ctx context.Context, w Write) (knxbridge.Write, *site, error) {
	write, err := w.encode(ctx, f.cfg.Tables)
	if err != nil {
		return write, nil, err
	}
	s, err := f.online(w.Building)
	return write, s, err
}

// online returns the site of a building that is ONLINE.
func (f *Fleet) online(building string) (*site, error) {
	view, ok := f.View(building)
	if !ok {
		return nil, &registry.BuildingError{ID: building, Cause: registry.ErrNotFound}
	}
	s := f.site(building)
	if s == nil || !s.isOpen() || view.Status.State != StateOnline {
		return nil, &OfflineError{Building: building, Status: view.Status}
	}
	return s, nil
}

// written is an address as the building's people write it.
func (f *Fleet) written(building string, a frame.GroupAddress) string {
	return a.In(f.cfg.Tables.Current(building).Style())
}

// encode checks a write and turns its text into bytes. What the write leaves out
// comes from the building's table.
func (w Write) encode(ctx context.Context, all Tables) (knxbridge.Write, error) {
	write := knxbridge.Write{Command: frame.GroupValueWrite, Priority: w.Priority, Within: w.Within, Client: w.Client}
	var err error
	if write.Destination, err = destination(ctx, all, w.Building, w.Address); err != nil {
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

// destination reads a group address, or finds the one that has the name.
func destination(ctx context.Context, all Tables, building, text string) (frame.GroupAddress, error) {
	address, addressErr := frame.ParseGroupAddress(text)
	if addressErr == nil {
		return address, nil
	}
	if text == "" {
		return 0, fieldError("group_address", errors.New("is missing; want such as 1/2/3, or a name of the building's group address table"))
	}
	table, err := all.Load(ctx, building)
	if err != nil {
		return 0, err
	}
	found := table.Named(text)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, fieldError("group_address", fmt.Errorf("the name %.80q belongs to %d group addresses (%s); give the address", text, len(found), list(found, table.Style())))
	case strings.Trim(text, "0123456789/*- ") == "":
		return 0, fieldError("group_address", addressErr) // meant as an address
	case len(table.Entries()) == 0:
		return 0, fieldError("group_address", fmt.Errorf("%w; no name either, as the building has no group address table yet", addressErr))
	}
	return 0, fieldError("group_address", fmt.Errorf("no group address of the building has the name %.80q%s; give its exact name, or the address, such as 1/2/3", text, similar(table, text)))
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
