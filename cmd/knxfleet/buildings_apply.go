package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

type buildingsApplyCmd struct {
	client

	File     string `short:"f" required:"" help:"Buildings as YAML, in one or many documents or as a list; - for standard input." placeholder:"FILE"`
	DryRun   bool   `help:"Change nothing; show what would change."`
	Prune    bool   `help:"Also delete the buildings that --selector selects and the file does not name."`
	Selector string `short:"l" help:"With --prune: which buildings belong to the file." placeholder:"KEY=VALUE,…"`
}

// appliedMask is all that a file declares. Keys that it leaves out stay.
var appliedMask = []string{"display_name", "labels", "disabled", "tunnel", "knx", "limits", "journal"}

// atOnce is how many calls are under way at once.
const atOnce = 8

// What becomes of a building.
const (
	toCreate = "create"
	toUpdate = "update"
	toDelete = "delete"
)

// step is what is to be done to one building; an action "" is nothing.
type step struct {
	id      string
	action  string
	given   *knxfleetv1.Building // nil: delete it
	etag    string               // of the building that the step is based on
	changes []fieldChange
}

// fieldChange is one field's value before and after, as JSON; empty: not set.
type fieldChange struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// Run checks the whole file against the gateway, and changes something only if
// all of it is right.
func (c *buildingsApplyCmd) Run(ctx context.Context, s *streams) error {
	if c.Prune != (c.Selector != "") {
		return usagef("--prune and --selector go together: the selector says which buildings are deleted when the file does not name them")
	}
	text, err := readSmall("--file", c.File, s.in, maxBuildingsFile)
	if err != nil {
		return err
	}
	wanted, err := parseBuildings([]byte(text))
	if err != nil {
		return usagef("%s: %w; nothing was changed", c.File, err)
	}
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		steps, err := c.plan(ctx, s, buildings, wanted)
		if err != nil {
			return err
		}
		unchanged := len(steps)
		steps = slices.DeleteFunc(steps, func(p step) bool { return p.action == "" })
		unchanged -= len(steps)
		done := steps
		if !c.DryRun {
			done, err = c.execute(ctx, s, buildings, steps)
		}
		if printErr := c.print(s.out, done); printErr != nil {
			return errors.Join(err, printErr)
		}
		c.summarize(s.err, done, unchanged)
		return err
	})
}

// plan asks the gateway what each building would become.
func (c *buildingsApplyCmd) plan(ctx context.Context, s *streams, buildings knxfleetv1.BuildingServiceClient, wanted []*knxfleetv1.Building) ([]step, error) {
	there, err := listBuildings(ctx, buildings, &knxfleetv1.ListBuildingsRequest{})
	if err != nil {
		return nil, err
	}
	current := make(map[string]*knxfleetv1.Building, len(there))
	for _, b := range there {
		current[b.GetId()] = b
	}
	planned, errs := make([]step, len(wanted)), make([]error, len(wanted))
	shown := newCount(s.err, "checked", len(wanted))
	each(ctx, len(wanted), func(ctx context.Context, i int) {
		planned[i], errs[i] = planOne(ctx, buildings, wanted[i], current[wanted[i].GetId()])
		shown.add()
	})
	shown.end()
	if err := c.refusal(wanted, errs); err != nil {
		return nil, err
	}
	if !c.Prune {
		return planned, ctx.Err()
	}
	belonging, err := listBuildings(ctx, buildings, &knxfleetv1.ListBuildingsRequest{LabelSelector: c.Selector})
	if err != nil {
		return nil, err
	}
	named := make(map[string]bool, len(wanted))
	for _, b := range wanted {
		named[b.GetId()] = true
	}
	steps := slices.Clone(planned)
	for _, b := range belonging {
		if !named[b.GetId()] {
			steps = append(steps, step{id: b.GetId(), action: toDelete, etag: b.GetEtag()})
		}
	}
	return steps, ctx.Err()
}

// refusal makes one error of all that is wrong in the file.
func (c *buildingsApplyCmd) refusal(wanted []*knxfleetv1.Building, errs []error) error {
	var first error
	var more []string
	for i, err := range errs {
		switch {
		case err == nil:
		case exitCode(err) != exitUsage:
			return fmt.Errorf("building %s: %s; nothing was changed", wanted[i].GetId(), describe(err))
		case first == nil:
			first = fmt.Errorf("%s: building %s: %s", c.File, wanted[i].GetId(), describe(err))
		default:
			more = append(more, wanted[i].GetId())
		}
	}
	if first == nil {
		return nil
	}
	const most = 10
	if len(more) > most {
		more = append(more[:most:most], fmt.Sprintf("and %d more", len(more)-most))
	}
	if len(more) > 0 {
		return usagef("%w; also wrong: %s; nothing was changed", first, strings.Join(more, ", "))
	}
	return usagef("%w; nothing was changed", first)
}

func planOne(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, given, current *knxfleetv1.Building) (step, error) {
	p := step{id: given.GetId(), given: given}
	given.Etag = ""
	if current == nil {
		created, err := buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: given, ValidateOnly: true})
		if err != nil {
			return p, err
		}
		p.action = toCreate
		p.changes = diff(nil, fields(created.GetBuilding(), given.GetTunnel().GetPrivateKey() != "" || given.GetTunnel().GetWgQuick() != ""))
		return p, nil
	}
	p.etag = current.GetEtag()
	request := updateRequest(p)
	request.ValidateOnly = true
	would, err := buildings.UpdateBuilding(ctx, request)
	if err != nil {
		return p, err
	}
	if would.GetBuilding().GetGeneration() == current.GetGeneration() {
		return p, nil
	}
	p.action = toUpdate
	p.changes = diff(fields(current, true), fields(would.GetBuilding(), true))
	if len(p.changes) == 0 {
		// The one change that does not show.
		p.changes = []fieldChange{{Field: "tunnel.presharedKey", From: "(hidden)", To: "(hidden)"}}
	}
	return p, nil
}

func updateRequest(p step) *knxfleetv1.UpdateBuildingRequest {
	p.given.Etag = p.etag
	return &knxfleetv1.UpdateBuildingRequest{Building: p.given, UpdateMask: &fieldmaskpb.FieldMask{Paths: appliedMask}}
}

// execute does the steps, all that can be done, and returns those that were.
func (c *buildingsApplyCmd) execute(ctx context.Context, s *streams, buildings knxfleetv1.BuildingServiceClient, steps []step) ([]step, error) {
	errs := make([]error, len(steps))
	shown := newCount(s.err, "changed", len(steps))
	each(ctx, len(steps), func(ctx context.Context, i int) {
		switch p := steps[i]; p.action {
		case toCreate:
			_, errs[i] = buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: p.given})
		case toUpdate:
			_, errs[i] = buildings.UpdateBuilding(ctx, updateRequest(p))
		case toDelete:
			_, errs[i] = buildings.DeleteBuilding(ctx, &knxfleetv1.DeleteBuildingRequest{Id: p.id, Etag: p.etag})
		}
		shown.add()
	})
	shown.end()
	var done []step
	failed := 0
	for i, err := range errs {
		if err != nil {
			failed++
			fmt.Fprintf(s.err, "knxfleet: %s %s: %s\n", steps[i].action, steps[i].id, describe(err))
			continue
		}
		done = append(done, steps[i])
	}
	if ctx.Err() != nil {
		return done, ctx.Err()
	}
	if failed > 0 {
		return done, fmt.Errorf("%d of %d changes failed; apply again to repeat them", failed, len(steps))
	}
	return done, nil
}

// each calls f with 0 to n-1, some at once, and returns when all have ended.
func each(ctx context.Context, n int, f func(ctx context.Context, i int)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			f(ctx, i)
			return nil
		})
	}
	_ = group.Wait() // f tells by itself what failed
}

func (c *buildingsApplyCmd) print(w io.Writer, steps []step) error {
	if c.json() {
		encoder := json.NewEncoder(w)
		for _, p := range steps {
			line := map[string]any{"building": p.id, "action": p.action}
			if len(p.changes) > 0 {
				line["changes"] = p.changes
			}
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, p := range steps {
		if p.action == toDelete || p.action == toCreate && !c.DryRun {
			rows = append(rows, []string{p.action, p.id, "", "", ""})
			continue
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

func (c *buildingsApplyCmd) summarize(w io.Writer, steps []step, unchanged int) {
	count := make(map[string]int)
	for _, p := range steps {
		count[p.action]++
	}
	note := ""
	if c.DryRun {
		note = " (dry run: nothing was changed)"
	}
	fmt.Fprintf(w, "knxfleet: %d created, %d updated, %d deleted, %d unchanged%s\n",
		count[toCreate], count[toUpdate], count[toDelete], unchanged, note)
}

// fields are the declared fields of a building by their path, as JSON, and the
// public halves of its keys.
func fields(b *knxfleetv1.Building, withPublicKey bool) map[string]string {
	all := make(map[string]string)
	text, err := protojson.Marshal(declared(b))
	var tree map[string]any
	if err == nil {
		err = json.Unmarshal(text, &tree)
	}
	if err != nil {
		return all // not reached: protojson writes JSON
	}
	flatten(all, "", tree)
	if withPublicKey {
		all["tunnel.publicKey"] = fmt.Sprintf("%q", b.GetTunnel().GetPublicKey())
	}
	if b.GetTunnel().GetHasPresharedKey() {
		all["tunnel.presharedKey"] = "(hidden)"
	}
	return all
}

func flatten(all map[string]string, prefix string, tree map[string]any) {
	for name, value := range tree {
		if inner, ok := value.(map[string]any); ok {
			flatten(all, prefix+name+".", inner)
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			continue // not reached: it was JSON before
		}
		all[prefix+name] = string(text)
	}
}

func diff(from, to map[string]string) []fieldChange {
	both := maps.Clone(to)
	maps.Copy(both, from)
	var changes []fieldChange
	for field := range both {
		if from[field] != to[field] {
			changes = append(changes, fieldChange{Field: field, From: from[field], To: to[field]})
		}
	}
	slices.SortFunc(changes, func(a, b fieldChange) int { return cmp.Compare(a.Field, b.Field) })
	return changes
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
