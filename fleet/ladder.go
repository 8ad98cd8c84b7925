package fleet

import (
	"time"

	"github.com/knxfleet/knxfleet/knxbridge"
	"github.com/knxfleet/knxfleet/knxbridge/session"
)

// Our own tuning of the ladder.
const (
	// renewPause is how long new keys are waited for before they are asked for once
	// more. WireGuard repeats an initiation by itself every 5 s meanwhile.
	renewPause = 15 * time.Second
	// rebuildAfter is how long no handshake completes before the tunnel is built
	// anew. The pause doubles each time, up to rebuildLimit.
	rebuildAfter = 5 * time.Minute
	rebuildLimit = time.Hour
)

// ladder decides how far up a site goes to get its building back. What is on the
// lower rungs acts by itself: WireGuard repeats its handshakes, the session its
// attempts, and endpoints has the router's name looked up. The ladder has the rest:
// new keys as soon as the session misses an answer, and a tunnel built anew when
// nothing else helped. It does no I/O and keeps no clock.
type ladder struct {
	rnd func() float64

	renewed   time.Time // when new keys were asked for; zero: not since the session was ONLINE
	rebuildAt time.Time
	rebuilds  int
}

func newLadder(now time.Time, rnd func() float64) *ladder {
	l := &ladder{rnd: rnd}
	l.handshaken(now)
	return l
}

// handshaken notes that the router answers.
func (l *ladder) handshaken(now time.Time) {
	l.rebuilds = 0
	l.rebuildAt = now.Add(l.spread(rebuildAfter))
}

// renew reports whether the router is to be asked for new keys: a session that
// misses an answer may have a router that restarted and lost the old ones.
// WireGuard itself would notice after 15 s (paper §6.5), and the interface would
// be asked again after that.
func (l *ladder) renew(now time.Time, knx *knxbridge.State) bool {
	switch {
	case knx == nil:
		return false
	case knx.State == session.StateOnline:
		l.renewed = time.Time{}
		return false
	case knx.Reason != session.ReasonHeartbeatUnanswered && knx.Reason != session.ReasonAckMissing:
		return false
	case now.Sub(l.renewed) < renewPause:
		return false
	}
	l.renewed = now
	return true
}

// rebuild reports whether the tunnel is to be built anew.
func (l *ladder) rebuild(now time.Time) bool {
	if now.Before(l.rebuildAt) {
		return false
	}
	l.rebuilds++
	l.rebuildAt = now.Add(l.spread(min(rebuildAfter<<min(l.rebuilds, 8), rebuildLimit)))
	return true
}

// spread lengthens a pause by up to a fifth, so that many buildings do not do the
// same at once.
func (l *ladder) spread(d time.Duration) time.Duration {
	return d + time.Duration(l.rnd()*float64(d)/5)
}
