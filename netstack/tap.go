package netstack

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Direction says which way a packet went.
type Direction uint8

const (
	// FromBuilding is a packet that WireGuard decrypted.
	FromBuilding Direction = iota + 1
	// ToBuilding is a packet that is handed to WireGuard.
	ToBuilding
)

// String returns "from building" or "to building".
func (d Direction) String() string {
	switch d {
	case FromBuilding:
		return "from building"
	case ToBuilding:
		return "to building"
	}
	return "unknown direction"
}

// Packet is an IP packet seen by a tap.
type Packet struct {
	Time      time.Time
	Direction Direction
	// Data is a copy of the whole packet, which starts with its IP header. All
	// taps of the stack get the same copy: keep it as long as you like, but do
	// not change it.
	Data []byte
}

// Tap calls fn for every valid packet in both directions, as it passes the
// device, until remove is called. Calls come from the goroutines that read and
// write the device, and may be concurrent. fn must not block: it delays the
// building's traffic. A call under way may still end after remove has returned.
// remove may be called more than once. A stack that nobody taps pays nothing.
func (s *Stack) Tap(fn func(Packet)) (remove func()) {
	return s.taps.add(fn)
}

// taps is the set of subscribers, replaced as a whole on each change.
type taps struct {
	mu  sync.Mutex // serialises changes
	set atomic.Pointer[[]*tap]
}

// tap gives a function an identity, for its removal.
type tap struct{ fn func(Packet) }

func (t *taps) add(fn func(Packet)) (remove func()) {
	added := &tap{fn: fn}
	t.change(func(set []*tap) []*tap { return append(set, added) })
	return func() {
		t.change(func(set []*tap) []*tap {
			return slices.DeleteFunc(set, func(each *tap) bool { return each == added })
		})
	}
}

// change replaces the set by what edit makes of a copy.
func (t *taps) change(edit func([]*tap) []*tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var set []*tap
	if old := t.set.Load(); old != nil {
		set = slices.Clone(*old)
	}
	set = edit(set)
	if len(set) == 0 {
		t.set.Store(nil)
		return
	}
	t.set.Store(&set)
}

func (t *taps) show(d Direction, packet []byte) {
	set := t.set.Load()
	if set == nil {
		return
	}
	p := Packet{Time: time.Now(), Direction: d, Data: slices.Clone(packet)}
	for _, each := range *set {
		each.fn(p)
	}
}
