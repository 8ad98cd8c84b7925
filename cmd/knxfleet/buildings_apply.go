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
	// newKey: the building gets a private key that is made for it. Then publicKey is its
	// public half, once it is known.
	newKey    bool
	publicKey string
	// lacksPreshared: the file says that there is a preshared key, and there will be none.
	lacksPreshared bool
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
		if err != nil && ctx.Err() != nil {
			return errors.New("interrupted; nothing was changed")
		}
		if err != nil {
			return err
		}
		warnOfPreshared(s.err, steps)
		unchanged := len(steps)
		steps = slices.DeleteFunc(steps, func(p step) bool { return p.action == "" })
		unchanged -= len(steps)
		came := outcome{done: steps}
		if !c.DryRun {
			came, err = c.execute(ctx, s, buildings, steps)
		}
		if printErr := c.print(s.out, came.done); printErr != nil {
			return errors.Join(err, printErr)
		}
		c.summarize(s.err, came, unchanged)
		return err
	})
}

// warnOfPreshared tells of the preshared keys that the file speaks of, and that are not
// there.
func warnOfPreshared(w io.Writer, steps []step) {
	var ids []string
	for _, p := range steps {
		if p.lacksPreshared {
			ids = append(ids, p.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	fmt.Fprintf(w, "knxfleet: %s: the file says hasPresharedKey, but gives no presharedKey, and the gateway has none: give it "+
		"(tunnel.presharedKey, or `buildings update ID --preshared-key FILE`), or remove it from the router, which does not answer without\n", firstOf(ids))
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
	going, stop := context.WithCancel(ctx)
	defer stop()
	each(going, len(wanted), func(i int) {
		if planned[i], errs[i] = planOne(ctx, buildings, wanted[i], current[wanted[i].GetId()]); isGone(errs[i]) {
			stop() // the others would not be answered either
			return
		}
		shown.add()
	})
	shown.end()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := c.refusal(wanted, errs); err != nil {
		return nil, err
	}
	if !c.Prune {
		return planned, nil
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
	if len(more) > 0 {
		return usagef("%w; also wrong: %s; nothing was changed", first, firstOf(more))
	}
	return usagef("%w; nothing was changed", first)
}

// maxNamed is how many buildings are named of those that are the same in something.
const maxNamed = 10

func firstOf(ids []string) string {
	if len(ids) > maxNamed {
		ids = append(ids[:maxNamed:maxNamed], fmt.Sprintf("and %d more", len(ids)-maxNamed))
	}
	return strings.Join(ids, ", ")
}

func planOne(ctx context.Context, buildings knxfleetv1.BuildingServiceClient, given, current *knxfleetv1.Building) (step, error) {
	p := step{id: given.GetId(), given: given, etag: current.GetEtag()}
	if wanted := given.GetEtag(); wanted != "" && wanted != p.etag {
		if current == nil {
			return p, fmt.Errorf("the file has its etag %s, and it does not exist any more; remove the etag to make it anew", wanted)
		}
		return p, fmt.Errorf("the file has its etag %s, and it is at %s: it was changed since; look at the change (buildings export %s), and remove the etag or take over the new one", wanted, p.etag, p.id)
	}
	given.Etag = ""
	preshared := given.GetTunnel().GetHasPresharedKey()
	if current == nil {
		created, err := buildings.CreateBuilding(ctx, &knxfleetv1.CreateBuildingRequest{Building: given, ValidateOnly: true})
		if err != nil {
			return p, err
		}
		p.action = toCreate
		p.newKey = given.GetTunnel().GetPrivateKey() == "" && given.GetTunnel().GetWgQuick() == ""
		p.changes = diff(nil, fields(created.GetBuilding(), !p.newKey))
		p.lacksPreshared = preshared && !created.GetBuilding().GetTunnel().GetHasPresharedKey()
		return p, nil
	}
	request := updateRequest(p)
	request.ValidateOnly = true
	would, err := buildings.UpdateBuilding(ctx, request)
	if err != nil {
		return p, err
	}
	p.lacksPreshared = preshared && !would.GetBuilding().GetTunnel().GetHasPresharedKey()
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
