package fleet

import "time"

// Verdict is what a diagnosis found: the first thing to put right.
type Verdict string

// The verdicts.
const (
	// VerdictHealthy: everything works.
	VerdictHealthy Verdict = "HEALTHY"
	// VerdictNameUnresolved: the name of the router's endpoint does not resolve.
	VerdictNameUnresolved Verdict = "NAME_UNRESOLVED"
	// VerdictAwaitingRouter: the router has not called, and nobody knows where it is.
	VerdictAwaitingRouter Verdict = "AWAITING_ROUTER"
	// VerdictUDPBlocked: nothing at all comes back from the router.
	VerdictUDPBlocked Verdict = "UDP_BLOCKED"
	// VerdictWrongKey: the router is there, and one of the public keys is wrong.
	VerdictWrongKey Verdict = "WRONG_KEY"
	// VerdictWrongPresharedKey: the keys fit, the preshared keys do not.
	VerdictWrongPresharedKey Verdict = "WRONG_PRESHARED_KEY"
	// VerdictClockBehind: our clock is behind what it was.
	VerdictClockBehind Verdict = "CLOCK_BEHIND"
	// VerdictAllowedIPs: allowed IPs, here or in the router, keep us out.
	VerdictAllowedIPs Verdict = "ALLOWED_IPS"
	// VerdictLANDead: the tunnel works, and nothing in the LAN answers.
	VerdictLANDead Verdict = "LAN_DEAD"
	// VerdictInterfaceSilent: the LAN answers, the KNX interface does not.
	VerdictInterfaceSilent Verdict = "INTERFACE_SILENT"
	// VerdictSlotsFull: the KNX interface has no free slot.
	VerdictSlotsFull Verdict = "SLOTS_FULL"
	// VerdictInterfaceRefused: the KNX interface refuses our settings.
	VerdictInterfaceRefused Verdict = "INTERFACE_REFUSED"
	// VerdictBusDead: the KNX interface has no bus.
	VerdictBusDead Verdict = "BUS_DEAD"
	// VerdictLossy: more packets get lost than KNXnet/IP tolerates.
	VerdictLossy Verdict = "LOSSY"
	// VerdictUnclear: what was seen fits none of these.
	VerdictUnclear Verdict = "UNCLEAR"
)

// CheckResult is how one step of a diagnosis went.
type CheckResult string

// The results of checks.
const (
	CheckPassed  CheckResult = "PASSED"
	CheckFailed  CheckResult = "FAILED"
	CheckWarning CheckResult = "WARNING"
	CheckSkipped CheckResult = "SKIPPED" // not made: an earlier one failed, or it does not apply
)

// The names of the checks, in their order.
const (
	checkResolve   = "RESOLVE"
	checkClock     = "CLOCK"
	checkHandshake = "HANDSHAKE"
	checkAllowed   = "ALLOWED_IPS"
	checkPing      = "INTERFACE_PING"
	checkDescribe  = "INTERFACE_KNX"
	checkLAN       = "LAN"
	checkConnect   = "KNX_CONNECT"
	checkLoss      = "LOSS"
)

var checkOrder = []string{checkResolve, checkClock, checkHandshake, checkAllowed, checkPing, checkDescribe, checkLAN, checkConnect, checkLoss}

// Check is one step of a diagnosis.
type Check struct {
	Name     string
	Result   CheckResult
	Evidence string // what was seen, for people
	Took     time.Duration
}

// Diagnosis is what was found out about the way to a building's bus.
type Diagnosis struct {
	Verdict  Verdict
	Summary  string // one sentence
	NextStep string // one sentence; empty when all is well
	Checks   []Check
	At       time.Time // when it ended
}

// finding ends a diagnosis.
type finding struct {
	verdict       Verdict
	summary, next string
}
