package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/knxfleet/knxfleet/fleet/tables"
	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

// Tables gives the buildings' group address tables. *tables.Store is what does so
// in earnest.
type Tables interface {
	// Current returns a building's table if it is in memory, else nil. It is called
	// for every telegram and does not wait.
	Current(building string) *tables.Table
	// Load returns a building's table, from where it is stored if need be.
	Load(ctx context.Context, building string) (*tables.Table, error)
}

// noTables stands in where there are none.
type noTables struct{}

func (noTables) Current(string) *tables.Table                        { return nil }
func (noTables) Load(context.Context, string) (*tables.Table, error) { return nil, nil } //nolint:nilnil // nil is the empty table

// tableRetry is how long a site waits before it asks again for a table that could
// not be had.
const tableRetry = 30 * time.Second

// loadTable has the building's table in memory before the first telegram comes. It
// reports false if that has to be tried again.
func (s *site) loadTable(ctx context.Context) bool {
	_, err := s.tables.Load(ctx, s.building.ID)
	if err == nil || ctx.Err() != nil {
		return true
	}
	s.log.Error().Err(err).Msg("telegrams are without names and values")
	return errors.Is(err, tables.ErrUnreadable) // an import helps, and nothing else
}

// keepLoadingTable returns once the table is in memory.
func (s *site) keepLoadingTable(ctx context.Context) {
	pause := time.NewTicker(tableRetry)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		if s.loadTable(ctx) {
			return
		}
	}
}

// interpret fills in what a building's table knows of a telegram to a group address:
// how that is written and named, and what the bytes mean.
func interpret(m *knxfleetv1.Telegram, table *tables.Table, destination frame.GroupAddress) {
	m.Destination = destination.In(table.Style())
	line := table.Lookup(destination)
	if line == nil {
		return
	}
	m.Name = line.Name
	decode(m, line.Type)
}

// decode fills in what a telegram's bytes mean in a type; the zero type is none.
func decode(m *knxfleetv1.Telegram, id dpt.ID) {
	m.Dpt, m.Value, m.Unit, m.Invalid, m.DecodeError = "", "", "", false, ""
	if id == (dpt.ID{}) {
		return
	}
	m.Dpt = id.String()
	if m.GetKind() == knxfleetv1.Telegram_KIND_READ {
		return
	}
	kind, known := dpt.Lookup(id)
	switch {
	case !known:
		m.DecodeError = fmt.Sprintf("datapoint type %s is not known here", id)
		return
	case kind.SixBit() != m.GetSixBit():
		m.DecodeError = fmt.Sprintf("the value travelled %s, unlike those of datapoint type %s: check the type in the project", travelled(m), id)
		return
	}
	value, err := kind.Decode(m.GetRaw())
	switch {
	case err != nil:
		m.DecodeError = err.Error()
	case !value.Valid():
		m.Invalid = true
		m.DecodeError = fmt.Sprintf("%x means nothing in datapoint type %s; devices send it when they have no value", m.GetRaw(), id)
	default:
		m.Value, m.Unit = value.Text(), kind.Unit()
	}
}

// travelled says how a value came.
func travelled(m *knxfleetv1.Telegram) string {
	if m.GetSixBit() {
		return "in six bits"
	}
	return fmt.Sprintf("as bytes (%d)", len(m.GetRaw()))
}
