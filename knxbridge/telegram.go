package knxbridge

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Handler takes what a Bridge has to tell. Its methods are called from the
// bridge's own goroutine, one at a time, and must not block: while they run, the
// session stands still.
type Handler interface {
	// Telegram takes a group telegram. Its data belongs to the handler.
	Telegram(t Telegram)
	// State takes each change of the session's state, its reason or its retry time.
	State(s State)
}

// Telegram is one group telegram: read, response or write.
type Telegram struct {
	// At is when it was taken from the socket.
	At          time.Time
	Source      frame.IndividualAddress
	Destination frame.GroupAddress
	// Command is frame.GroupValueRead, GroupValueResponse or GroupValueWrite.
	Command frame.APCI
	// Data is the value; empty for a read, one byte with SixBit.
	Data []byte
	// SixBit: the value came inside the APCI's octet, as those of six bits or less do.
	SixBit   bool
	Priority frame.Priority
	// Own marks a write of this bridge that the bus has confirmed. It comes before
	// Write returns, or after it if the confirmation is late.
	Own bool
	// Tag is that of the write, with Own and unless the confirmation is late.
	Tag any
}

// State is the session's state: CONNECTING, ONLINE or BACKING_OFF, since when,
// why, and what to do about it.
type State = session.StateChanged

func telegramOf(now time.Time, t session.Telegram) Telegram {
	return Telegram{
		At:          now,
		Source:      t.LData.Source,
		Destination: frame.GroupAddress(t.LData.Destination),
		Command:     t.LData.APCI,
		Data:        t.LData.Data,
		SixBit:      t.LData.SixBit,
		Priority:    t.LData.Priority,
		Own:         t.Own,
	}
}
