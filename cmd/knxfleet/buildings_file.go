package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
	"github.com/knxfleet/knxfleet/tunnel"
)

// maxBuildingsFile bounds a file of buildings in bytes; 10,000 of them with their
// router's files take some 10 MiB.
const maxBuildingsFile = 64 << 20

// parseBuildings reads buildings from YAML or JSON: documents that are a building
// or a list of buildings each, in the names of the API's JSON. Errors repeat no
// key.
func parseBuildings(text []byte) ([]*knxfleetv1.Building, error) {
	var all []*knxfleetv1.Building
	seen := make(map[string]int) // id to its document
	decoder := yamlv2.NewDecoder(bytes.NewReader(text))
	decoder.SetStrict(true) // a key that stands twice is a slip
	for document := 1; ; document++ {
		var value any
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			if len(all) == 0 {
				return nil, errors.New("has no building")
			}
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("document %d: %s", document, withoutKeys(strings.ReplaceAll(err.Error(), "\n ", "")))
		case value == nil:
			continue // nothing but comments
		}
		err := checkNames(value)
		var items []json.RawMessage
		if err == nil {
			items, err = toJSON(value)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", document, err)
		}
		for _, item := range items {
			b, err := readBuilding(item)
			if err != nil {
				return nil, fmt.Errorf("document %d%s: %w", document, named(item), err)
			}
			if b.GetId() == "" {
				return nil, fmt.Errorf("document %d: a building has no id", document)
			}
			if before, again := seen[b.GetId()]; again {
				return nil, fmt.Errorf("document %d: building %s stands here again, first in document %d", document, b.GetId(), before)
			}
			seen[b.GetId()] = document
			all = append(all, b)
		}
	}
}

// readBuilding reads one building as it stands in a file.
func readBuilding(item json.RawMessage) (*knxfleetv1.Building, error) {
	b := &knxfleetv1.Building{}
	if err := checkTypes(b.ProtoReflect().Descriptor(), item); err != nil {
		return nil, errors.New(withoutKeys(err.Error()))
	}
	if err := protojson.Unmarshal(item, b); err != nil {
		return nil, errors.New(withoutKeys(position.ReplaceAllString(err.Error(), "")))
	}
	if found := outputOnly(b); len(found) > 0 {
		return nil, fmt.Errorf("only the gateway sets %s; remove that from the file (`buildings export` writes files without it)", strings.Join(found, ", "))
	}
	return b, nil
}

// outputOnly names what is set in a building and no file may set. The etag and
// tunnel.hasPresharedKey are not among it: apply compares them with the building.
func outputOnly(b *knxfleetv1.Building) []string {
	var found []string
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"generation", b.GetGeneration() != 0},
		{"createdAt", b.GetCreatedAt() != nil},
		{"updatedAt", b.GetUpdatedAt() != nil},
		{"status", b.GetStatus() != nil},
		{"tunnel.publicKey", b.GetTunnel().GetPublicKey() != ""},
	} {
		if field.set {
			found = append(found, field.name)
		}
	}
	return found
}

// position is where protojson found an error, in a text that nobody has seen. It
// writes its spaces in several ways on purpose.
var position = regexp.MustCompile(`^proto:[\s\x{a0}]*(syntax error[\s\x{a0}]*)?\(line \d+:\d+\):\s*`)

// toJSON turns a document into the JSON of each of its buildings.
func toJSON(document any) ([]json.RawMessage, error) {
	text, err := yamlv2.Marshal(document)
	if err != nil {
		return nil, err
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		return nil, err
	}
	switch document.(type) {
	case []any:
		var items []json.RawMessage
		err := json.Unmarshal(text, &items)
		return items, err
	case map[any]any:
		return []json.RawMessage{text}, nil
	}
	return nil, errors.New("is no building; want fields such as id, tunnel and knx, or a list of buildings")
}

// named says which building an error is about, if that can be told.
func named(item json.RawMessage) string {
	var b struct {
		ID any `json:"id"`
	}
	if json.Unmarshal(item, &b) != nil || b.ID == nil {
		return ""
	}
	return fmt.Sprintf(", building %.63v", b.ID)
}

// withoutKeys hides an error that may repeat a key.
func withoutKeys(text string) string {
	if quoted := tunnel.Quote(text); quoted != "" && quoted[0] != '"' {
		return "cannot be read; what is wrong is not repeated here, since it may hold a key"
	}
	return text
}

// declared is the part of a building that its owner declares: no keys, and
// nothing that the gateway finds out.
func declared(b *knxfleetv1.Building) *knxfleetv1.Building {
	d := proto.CloneOf(b)
	d.Etag, d.Generation, d.CreatedAt, d.UpdatedAt, d.Status = "", 0, nil, nil, nil
	if t := d.GetTunnel(); t != nil {
		t.WgQuick, t.PrivateKey, t.PresharedKey, t.PublicKey, t.HasPresharedKey = "", "", "", "", false
	}
	return d
}

// forFile is what a building declares, and whether it has a preshared key: so apply
// can tell when that is missing.
func forFile(b *knxfleetv1.Building) *knxfleetv1.Building {
	d := declared(b)
	if b.GetTunnel().GetHasPresharedKey() {
		d.Tunnel.HasPresharedKey = true
	}
	return d
}

const exportHeader = `# %d buildings, for knxfleet buildings apply. Keys are never given out: a gateway that
# has a building keeps its keys. One that has not (another gateway, or this one after the
# building was deleted) makes a new private key; apply prints its public half, which the
# building's router must learn.
`

const presharedNote = `# This building has a preshared key, which is not in this file. Where the building is made
# anew, give it (tunnel.presharedKey, 32 bytes in base64), or remove it from the router and
# hasPresharedKey from here; else the router does not answer.
`

type buildingsExportCmd struct {
	client

	IDs      []string `arg:"" optional:"" name:"id" help:"Only these buildings."`
	Selector string   `short:"l" help:"Only buildings with these labels." placeholder:"KEY=VALUE,…"`
}

// Run writes the buildings, sorted by id.
func (c *buildingsExportCmd) Run(ctx context.Context, s *streams) error {
	return c.withBuildings(func(buildings knxfleetv1.BuildingServiceClient) error {
		all, err := c.fetch(ctx, buildings)
		if err != nil {
			return err
		}
		var preshared []string
		for _, b := range all {
			if b.GetTunnel().GetHasPresharedKey() {
				preshared = append(preshared, b.GetId())
			}
		}
		if len(preshared) > 0 {
			fmt.Fprintf(s.err, "knxfleet: %s: the preshared key is not given out; keep it elsewhere, for a gateway that has to make the building anew\n", firstOf(preshared))
		}
		if c.json() {
			for _, b := range all {
				if err := printJSON(s.out, forFile(b)); err != nil {
					return err
				}
			}
			return nil
		}
		if _, err := fmt.Fprintf(s.out, exportHeader, len(all)); err != nil {
			return err
		}
		for _, b := range all {
			text, err := buildingYAML(b)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(s.out, "---\n%s", text); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *buildingsExportCmd) fetch(ctx context.Context, buildings knxfleetv1.BuildingServiceClient) ([]*knxfleetv1.Building, error) {
	if len(c.IDs) == 0 {
		return listBuildings(ctx, buildings, &knxfleetv1.ListBuildingsRequest{LabelSelector: c.Selector})
	}
	if c.Selector != "" {
		return nil, usagef("want either ids or --selector")
	}
	all := make([]*knxfleetv1.Building, 0, len(c.IDs))
	for _, id := range c.IDs {
		got, err := buildings.GetBuilding(ctx, &knxfleetv1.GetBuildingRequest{Id: id})
		if err != nil {
			return nil, err
		}
		all = append(all, got.GetBuilding())
	}
	return all, nil
}

// buildingYAML is what a building declares, the id first, and a comment on the key that
// it does not tell.
func buildingYAML(b *knxfleetv1.Building) ([]byte, error) {
	id, err := yaml.Marshal(map[string]string{"id": b.GetId()})
	if err != nil {
		return nil, err
	}
	rest := forFile(b)
	rest.Id = ""
	text, err := protojson.Marshal(rest)
	if err != nil {
		return nil, err
	}
	if text, err = yaml.JSONToYAML(text); err != nil {
		return nil, err
	}
	note := ""
	if rest.GetTunnel().GetHasPresharedKey() {
		note = presharedNote
	}
	return slices.Concat([]byte(note), id, text), nil
}
