package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/knxfleet/knxfleet/fleet/journal"
	"github.com/knxfleet/knxfleet/fleet/registry"
	"github.com/knxfleet/knxfleet/tunnel"
)

const (
	// diagnosesAtOnce bounds what runs at once for people who look for faults:
	// diagnoses, pings, searches.
	diagnosesAtOnce = 16
	// DefaultDiagnoseTimeout is how long a diagnosis may take unless somebody says so.
	DefaultDiagnoseTimeout = 30 * time.Second

	minDiagnoseTimeout = 5 * time.Second
	maxDiagnoseTimeout = 2 * time.Minute
	// lastKeptTimeout bounds the look into the journal.
	lastKeptTimeout = 2 * time.Second
)

var (
	// ErrBusy: as many diagnoses, pings and searches as the gateway allows run now.
	ErrBusy = errors.New("too many diagnoses, pings and searches run now; try again in a moment")
	// ErrNotStarted: the building is about to start, so that there is nothing to look
	// through yet.
	ErrNotStarted = errors.New("is about to start; try again in a moment")
)

// inside gives a building's site for a look through its tunnel, and takes one of the
// places for that until done is called. It returns a *registry.BuildingError with
// ErrNotFound, ErrDisabled or ErrNotStarted, or ErrBusy.
func (f *Fleet) inside(building string) (s *site, done func(), err error) {
	view, ok := f.board.get(building)
	refuse := func(cause error) (*site, func(), error) {
		return nil, nil, &registry.BuildingError{ID: building, Cause: cause}
	}
	switch s = f.site(building); {
	case !ok:
		return refuse(registry.ErrNotFound)
	case !view.Building.Enabled:
		return refuse(ErrDisabled)
	case s == nil || !s.isOpen():
		return refuse(ErrNotStarted)
	case needsRestart(*s.desired.Load(), view.Building): // it stops, and has other keys
		return refuse(ErrNotStarted)
	}
	select {
	case f.looking <- struct{}{}:
		return s, func() { <-f.looking }, nil
	default:
		return nil, nil, ErrBusy
	}
}

// Diagnose checks the way to a building's bus step by step, and says where it ends.
// The building goes on running. It takes about timeout at most, 0 means
// DefaultDiagnoseTimeout, and it is 5 s to 2 min. Errors are as of Ping.
func (f *Fleet) Diagnose(ctx context.Context, building string, timeout time.Duration) (*Diagnosis, error) {
	if timeout == 0 {
		timeout = DefaultDiagnoseTimeout
	}
	if timeout < minDiagnoseTimeout || timeout > maxDiagnoseTimeout {
		return nil, &registry.FieldError{Field: "timeout", Problem: fmt.Sprintf("is %v; want %v to %v", timeout, minDiagnoseTimeout, maxDiagnoseTimeout)}
	}
	s, done, err := f.inside(building)
	if err != nil {
		return nil, err
	}
	defer done()
	inTime, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d := &diagnosing{
		site: s, building: s.desired.Load(), timeout: timeout, seen: f.lastSeen(s),
		lastKept: func() time.Time { return f.lastKept(ctx, building) },
	}
	found := d.run(inTime)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if inTime.Err() != nil && found.verdict == VerdictUnclear {
		found.summary = fmt.Sprintf("not all could be checked in %v", timeout)
		found.next = "diagnose again with more time; the checks show how far it came"
	}
	return d.report(found), nil
}

// lastSeen is the latest time of day that is on record for a building: ours goes
// never behind it, unless the clock was put back.
func (f *Fleet) lastSeen(s *site) time.Time {
	latest := s.desired.Load().UpdatedAt
	if at := s.tunnel.Handshake().Last.Round(0); at.After(latest) { // by the clock on the wall
		latest = at
	}
	if at := s.lastTelegramAt.Load(); at != 0 && time.Unix(0, at).After(latest) {
		latest = time.Unix(0, at)
	}
	return latest
}

// lastKept is when the last telegram came that the journal has of a building, of earlier
// epochs too; zero if there is none, or that cannot be told.
func (f *Fleet) lastKept(ctx context.Context, building string) time.Time {
	ctx, cancel := context.WithTimeout(ctx, lastKeptTimeout)
	defer cancel()
	view := journal.View[time.Time]{
		Buildings: []string{building},
		Restore:   func(_ string, t *journal.Telegram) (time.Time, bool) { return t.ReceivedAt, true },
	}
	page, err := journal.List(ctx, f.cfg.Journal, view, journal.Range{Newest: true, Limit: 1})
	if err != nil || len(page.Telegrams) == 0 {
		return time.Time{}
	}
	return page.Telegrams[0]
}

// diagnosing is a diagnosis under way.
type diagnosing struct {
	site     *site
	building *registry.Building
	timeout  time.Duration
	seen     time.Time
	lastKept func() time.Time // when the last telegram came; zero: none is known
	checks   map[string]Check

	resolveErr error
	candidates int
}

// check makes one step.
func (d *diagnosing) check(name string, step func() (CheckResult, string)) CheckResult {
	began := time.Now()
	result, evidence := step()
	if d.checks == nil {
		d.checks = make(map[string]Check)
	}
	d.checks[name] = Check{Name: name, Result: result, Evidence: evidence, Took: time.Since(began)}
	return result
}

// report brings the checks into their order, with those that were not made.
func (d *diagnosing) report(f finding) *Diagnosis {
	report := &Diagnosis{Verdict: f.verdict, Summary: f.summary, NextStep: f.next, At: time.Now()}
	for _, name := range checkOrder {
		c, made := d.checks[name]
		if !made {
			c = Check{Name: name, Result: CheckSkipped}
		}
		report.Checks = append(report.Checks, c)
	}
	return report
}

// run takes the way from the router to the bus, and ends where it ends.
func (d *diagnosing) run(ctx context.Context) finding {
	for _, step := range []func(context.Context) *finding{d.outside, d.allowedIPs, d.lan, d.session, d.loss} {
		if found := step(ctx); found != nil {
			return *found
		}
		if ctx.Err() != nil {
			return finding{verdict: VerdictUnclear}
		}
	}
	return finding{verdict: VerdictHealthy, summary: "everything works: tunnel, LAN, KNX interface and session"}
}

// outside checks all up to the router.
func (d *diagnosing) outside(ctx context.Context) *finding {
	d.check(checkResolve, func() (CheckResult, string) { return d.resolve(ctx) })
	clock := d.check(checkClock, d.clock)
	var after tunnel.Messages
	if d.check(checkHandshake, func() (result CheckResult, evidence string) {
		result, evidence, after = d.handshake(ctx)
		return result, evidence
	}) != CheckFailed {
		return nil
	}
	return d.unreached(ctx, clock == CheckFailed, after)
}
