package tunnel

import "time"

// Our own tuning of a reader that is woken too often.
const (
	// gatherFor is how long the reader of a busy socket lets datagrams come together.
	gatherFor = time.Millisecond
	// gatherFrom is how many datagrams in a window of gatherWindow make a socket busy, 2,000
	// in a second: from there on, one wait brings two of them.
	gatherFrom   = 40
	gatherWindow = 20 * time.Millisecond
)

// gathering tells a socket's reader when to let datagrams come together. When each of them
// wakes it, the waking of the reader, and of who comes after it, takes more of the
// processor than all that is done with a datagram. So the reader of a busy socket waits
// before it reads again, and what waits at rest is never longer for it.
type gathering struct {
	began time.Time // of the window
	n     int       // datagrams in it
	busy  bool      // the window before had enough of them
}

// read takes note of n datagrams, and returns how long to wait before more are read; full
// says that more are there already.
func (g *gathering) read(now time.Time, n int, full bool) time.Duration {
	if length := now.Sub(g.began); length >= gatherWindow {
		g.busy = g.n >= gatherFrom && length < 2*gatherWindow
		g.began, g.n = now, 0
	}
	g.n += n
	if !g.busy || full {
		return 0
	}
	return gatherFor
}
