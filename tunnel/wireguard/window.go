package wireguard

const (
	windowBlocks = 16                      // of 64 counters each, as a ring
	windowSize   = (windowBlocks - 1) * 64 // the newest counter and those just below it
)

// window remembers which counters of a session have been seen, so that each
// message is taken once, and in any order within windowSize (WireGuard paper
// §5.4.6, RFC 6479). The zero window has seen none.
type window struct {
	next  uint64 // one more than the newest counter seen; 0: none
	block [windowBlocks]uint64
}

// take marks a counter as seen. It returns false for one that was seen before,
// that is too old to know, or that no session reaches.
func (w *window) take(counter uint64) bool {
	if counter >= rejectAfterMessages || counter+windowSize < w.next {
		return false
	}
	at := counter / 64
	if counter >= w.next {
		untouched := (w.next + 63) / 64 // the first block that holds none seen
		oldest := at - min(at, windowBlocks-1)
		for b := max(untouched, oldest); b <= at; b++ {
			w.block[b%windowBlocks] = 0
		}
		w.next = counter + 1
	}
	block, bit := &w.block[at%windowBlocks], uint64(1)<<(counter%64)
	if *block&bit != 0 {
		return false
	}
	*block |= bit
	return true
}
