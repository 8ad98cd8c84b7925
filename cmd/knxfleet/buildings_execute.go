package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

const (
	// atOnce is how many calls are under way at once.
	atOnce = 8
	// leaveTime is how long an interrupted apply waits for the calls under way, so that it
	// can tell what became of them.
	leaveTime = 5 * time.Second
)

// fate is what became of a step.
type fate uint8

const (
	notBegun fate = iota // or refused before it could change something
	done
	failed
	unknown // it was under way when the gateway was gone, or we had to leave
)

// fateOf reads the fate of a step from the error of its call.
func fateOf(err error) fate {
	s, ok := statusOf(err)
	switch {
	case err == nil:
		return done
	case !ok:
		return failed
	case s.Code() == codes.Canceled, s.Code() == codes.DeadlineExceeded:
		return unknown
	case s.Code() != codes.Unavailable:
		return failed
	case len(s.Details()) > 0, strings.Contains(s.Message(), "connection error"):
		return notBegun // the gateway said so itself, or it was never reached
	}
	return unknown
}

// isGone reports whether an error means that the gateway cannot answer: then it will not
// answer the next calls either.
func isGone(err error) bool {
	s, ok := statusOf(err)
	return ok && s.Code() == codes.Unavailable
}

// outcome is what became of all steps.
type outcome struct {
	done             []step
	unknown          []string // ids; no more than are under way at once
	failed, notBegun int
}

// execute does the steps, all that can be done. It begins no more once it is interrupted
// or the gateway is gone.
func (c *buildingsApplyCmd) execute(ctx context.Context, s *streams, buildings knxfleetv1.BuildingServiceClient, steps []step) (outcome, error) {
	errs, begun := make([]error, len(steps)), make([]bool, len(steps))
	shown := newCount(s.err, "changed", len(steps))
	going, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lasting, leave := outlasting(ctx, leaveTime)
	defer leave()
	each(going, len(steps), func(i int) {
		begun[i] = true
		errs[i] = steps[i].do(lasting, buildings)
		if isGone(errs[i]) {
			stop(errs[i])
		} else if errs[i] == nil {
			shown.add()
		}
	})
	shown.end()
	var came outcome
	var why error // of the changes that failed
	for i := range steps {
		switch became := fateOf(errs[i]); {
		case !begun[i] || became == notBegun:
			came.notBegun++
		case became == done:
			came.done = append(came.done, steps[i])
		case became == unknown:
			came.unknown = append(came.unknown, steps[i].id)
		default:
			if came.failed++; came.failed <= maxNamed {
				fmt.Fprintf(s.err, "knxfleet: %s %s: %s\n", steps[i].action, steps[i].id, describe(errs[i]))
			}
			why = fmt.Errorf("%d of %d changes failed; apply again to repeat them", came.failed, len(steps))
		}
	}
	switch cause := context.Cause(going); {
	case came.notBegun+len(came.unknown) == 0:
		return came, why
	case ctx.Err() != nil:
		return came, errors.New("interrupted; apply again to go on")
	default:
		return came, fmt.Errorf("the gateway does not answer any more (%s); apply again to go on", describe(cause))
	}
}

// do makes the change.
func (p *step) do(ctx context.Context, buildings knxfleetv1.BuildingServiceClient) error {
	switch p.action {
	case toCreate:
		created, err := buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: p.given})
		p.publicKey = created.GetBuilding().GetTunnel().GetPublicKey()
		return err
	case toUpdate:
		_, err := buildings.UpdateBuilding(ctx, updateRequest(*p))
		return err
	}
	_, err := buildings.DeleteBuilding(ctx, &knxfleetv1.DeleteBuildingRequest{Id: p.id, Etag: p.etag})
	return err
}

// each calls f with 0 to n-1, some at once, and returns when all have ended. It begins no
// more once ctx has ended.
func each(ctx context.Context, n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if ctx.Err() == nil {
				f(i)
			}
			return nil
		})
	}
	_ = group.Wait() // f tells by itself what failed
}

// outlasting is a context that ends some time after ctx.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-later.Done():
		}
	})
	return later, func() {
		stop()
		cancel()
	}
}

func (c *buildingsApplyCmd) print(w io.Writer, steps []step) error {
	if c.json() {
		encoder := json.NewEncoder(w)
		for _, p := range steps {
			line := map[string]any{"building": p.id, "action": p.action}
			if len(p.changes) > 0 {
				line["changes"] = p.changes
			}
			if p.newKey && p.publicKey != "" {
				line["publicKey"] = p.publicKey
			}
			if p.lacksPreshared {
				line["presharedKeyMissing"] = true
			}
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, p := range steps {
		switch {
		case p.action == toCreate && !c.DryRun && p.newKey:
			rows = append(rows, []string{p.action, p.id, "tunnel.publicKey", "", fmt.Sprintf("%q", p.publicKey)})
			continue
		case p.action == toDelete, p.action == toCreate && !c.DryRun:
			rows = append(rows, []string{p.action, p.id, "", "", ""})
			continue
		case p.newKey:
			rows = append(rows, []string{p.action, p.id, "tunnel.publicKey", "", "(made anew)"})
		}
		for _, f := range p.changes {
			rows = append(rows, []string{p.action, p.id, f.Field, f.From, f.To})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return printTable(w, []string{"ACTION", "BUILDING", "FIELD", "FROM", "TO"}, rows)
}

func (c *buildingsApplyCmd) summarize(w io.Writer, came outcome, unchanged int) {
	count := make(map[string]int)
	var newKeys []string
	for _, p := range came.done {
		count[p.action]++
		if p.newKey {
			newKeys = append(newKeys, p.id)
		}
	}
	if len(newKeys) > 0 && !c.DryRun {
		fmt.Fprintf(w, "knxfleet: %s: the gateway made a new key; give the router the public key above (`buildings peer-config ID` shows all that it needs)\n", firstOf(newKeys))
	}
	var note strings.Builder
	for _, more := range []struct {
		n    int
		what string
	}{{came.failed, "failed"}, {len(came.unknown), "unknown"}, {came.notBegun, "not attempted"}} {
		if more.n > 0 {
			fmt.Fprintf(&note, ", %d %s", more.n, more.what)
		}
	}
	if len(came.unknown) > 0 {
		fmt.Fprintf(w, "knxfleet: %s: under way when there was no answer any more; `buildings get ID` shows what became of it, and its public key\n", firstOf(came.unknown))
	}
	if c.DryRun {
		note.WriteString(" (dry run: nothing was changed)")
	}
	fmt.Fprintf(w, "knxfleet: %d created, %d updated, %d deleted, %d unchanged%s\n",
		count[toCreate], count[toUpdate], count[toDelete], unchanged, note.String())
}

// count shows how much of something long is done: on a terminal as it goes,
// elsewhere every 500.
type count struct {
	line     progress
	terminal bool
	verb     string
	of       int

	mu   sync.Mutex
	done int
}

func newCount(w io.Writer, verb string, of int) *count {
	return &count{line: progress{w: w}, terminal: isTerminal(w), verb: verb, of: of}
}

func (c *count) add() {
	const every = 500
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	text := fmt.Sprintf("%s %d of %d buildings", c.verb, c.done, c.of)
	switch {
	case c.terminal && time.Since(c.line.shown) >= progressEvery:
		c.line.shown = time.Now()
		c.line.line(text)
	case !c.terminal && c.done%every == 0:
		fmt.Fprintf(c.line.w, "knxfleet: %s\n", text)
	}
}

func (c *count) end() {
	if c.terminal {
		c.line.line("")
	}
}
