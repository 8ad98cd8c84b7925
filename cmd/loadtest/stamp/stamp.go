// Package stamp tells how long telegrams are under way between processes of one
// machine: the value of each is the time at which it was sent.
package stamp

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Size is the length of a stamp in bytes; as a value it is of type 29.010, eight
// bytes with a sign.
const Size = 8

// Now is the machine's monotonic clock in nanoseconds (CLOCK_MONOTONIC), which is
// the same in all processes and which nobody sets.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("stamp: CLOCK_MONOTONIC: %v", err)) // every Linux has it
	}
	return t.Nano()
}

// Append appends a time as a stamp.
func Append(b []byte, at int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(at)) }

// Read gives the time in a stamp, which the last bytes of b are; false when b is
// too short.
func Read(b []byte) (int64, bool) {
	if len(b) < Size {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b[len(b)-Size:])), true
}

// agesLimit is how many ages wait to be taken: more than a measurement has. Those
// beyond are not kept.
const agesLimit = 4 << 20

// Ages collects how old telegrams were when they arrived, while that is measured:
// otherwise it costs its process nothing. The zero value is ready and does not
// measure. Its methods are safe for concurrent use.
type Ages struct {
	on   atomic.Bool
	mu   sync.Mutex
	ages []int64
}

// Measure begins or ends measuring.
func (a *Ages) Measure(on bool) { a.on.Store(on) }

// Add notes one age in nanoseconds.
func (a *Ages) Add(age int64) {
	if !a.on.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ages) < agesLimit {
		a.ages = append(a.ages, age)
	}
}

// Take gives the ages since it was last called, in nanoseconds, and forgets them.
func (a *Ages) Take() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.ages
	a.ages = nil
	return taken
}
