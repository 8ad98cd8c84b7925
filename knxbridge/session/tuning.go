package session

import "time"

// Our own choices, where the standard is silent or too slow for people who
// wait for a building to come back.
const (
	// heartbeatEvery and heartbeatJitter: a CONNECTIONSTATE_REQUEST is sent every
	// 20 s ± 2 s. The standard says 60 s, but some interfaces drop a client before
	// that, and ONLINE promises an answer in the last 30 s.
	heartbeatEvery  = 20 * time.Second
	heartbeatJitter = 2 * time.Second

	// heartbeatDoubt is how long the first unanswered CONNECTIONSTATE_REQUEST
	// leaves the session ONLINE. With the interval above, ONLINE is never older
	// than 22 s + 5 s after an answer.
	heartbeatDoubt = 5 * time.Second

	// busRecheck is the interval of heartbeats, or of questions for the bus status,
	// while the interface says that its bus is down. Where there is another
	// interface, the second such heartbeat makes the session leave for it.
	busRecheck = 10 * time.Second

	// dataRetry is how often the session begins anew while heartbeats are answered with an
	// error such as 0x26: the first time at once.
	dataRetry = time.Minute

	// negativeLimit and negativeSpan: an interface that does not tell of its bus is
	// taken to have none when so many of our telegrams were confirmed negatively, all
	// since the last that was heard of the bus, and over that time at least. A few at
	// once may have gone to group addresses that no device has.
	negativeLimit = 3
	negativeSpan  = 5 * time.Second

	// negativeDoubt is how long that is believed: nothing but a telegram could disprove
	// it, and while it is believed none of ours is sent. The first one that is confirmed
	// negatively after that proves it again.
	negativeDoubt = 25 * time.Second

	// probeEvery is the default of Config.ProbeEvery. probeAgain is when a probe is
	// repeated of which the bus said nothing: with it a bus is known to be dead 15 s
	// after the first at the latest, where an interface stops to confirm. Then it is busRecheck.
	probeEvery = 20 * time.Second
	probeAgain = 3 * time.Second

	// resyncTimeout is how long the session lives on without a valid request once
	// one with a wrong sequence counter was seen.
	resyncTimeout = 2 * time.Second

	// silentAfter is after how many missing confirmations in a row an interface is
	// treated as one that never confirms: its writes then end with the ACK.
	silentAfter = 3

	// stableAfter is how long a session must have lived for the next reconnect to
	// be made at once and the backoff to start anew. An interface that accepts and
	// drops us again and again is retried at the backoff's pace. It is below the
	// first heartbeat's time, whose answer 0x21 means to connect at once.
	stableAfter = 10 * time.Second

	// leaveTimeout is how long an attempt waits for the answer to the
	// DISCONNECT_REQUEST for the session before. Sent together, the two requests
	// could overtake each other, and an interface with one slot would refuse us.
	leaveTimeout = time.Second

	// describeTimeout is how long an attempt waits for the interface's description
	// before it goes on over UDP, which every interface speaks.
	describeTimeout = time.Second

	// dialTimeout is how long a TCP connection may take to open.
	dialTimeout = 10 * time.Second

	// disconnectRepeat is the interval at which an unanswered DISCONNECT_REQUEST
	// is sent again while stopping: a lost one leaks a slot for two minutes.
	disconnectRepeat = 2 * time.Second

	// pendingConnectGrace is how long a stop waits for the answer to a
	// CONNECT_REQUEST that is under way, to give back the slot it may get.
	pendingConnectGrace = 2 * time.Second
)

// retryBackoff and slotsBackoff are the waits between attempts: after n
// failures a wait is drawn from the upper half of min(first·2ⁿ⁺¹, limit), so it
// is never below first or above limit and never the same for many buildings.
var (
	retryBackoff = backoff{first: time.Second, limit: 15 * time.Second}
	slotsBackoff = backoff{first: 5 * time.Second, limit: 15 * time.Second}
)

// An interface without a free slot is asked more rarely once the outage has lasted
// for longOutage: somebody else has the slot, and means to keep it.
const (
	longOutage     = 10 * time.Minute
	slotsLastLimit = 60 * time.Second
)

// backoff is a growing, jittered wait.
type backoff struct {
	first, limit time.Duration
	failures     int
}

// next returns the next wait, for a random number r in [0,1).
func (b *backoff) next(r float64) time.Duration {
	high := min(b.first<<min(b.failures+1, 10), b.limit)
	b.failures++
	return high/2 + time.Duration(r*float64(high-high/2))
}

func (b *backoff) reset() { b.failures = 0 }

// jitter spreads d by up to ± by, for a random number r in [0,1).
func jitter(d, by time.Duration, r float64) time.Duration {
	return d - by + time.Duration(r*float64(2*by))
}
