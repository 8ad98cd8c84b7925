package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/knxfleet/knxfleet/fleet"
	"github.com/knxfleet/knxfleet/fleet/registry"
	knxfleetv1 "github.com/knxfleet/knxfleet/proto/knxfleet/v1"
)

func (s *buildingService) UpdateBuilding(ctx context.Context, request *knxfleetv1.UpdateBuildingRequest) (*knxfleetv1.UpdateBuildingResponse, error) {
	given := request.GetBuilding()
	if given == nil {
		return nil, invalid("building", "is missing")
	}
	revision, err := registry.ParseEtag(given.GetEtag())
	if err != nil {
		return nil, err
	}
	m, err := newMask(request.GetUpdateMask().GetPaths(), given)
	if err != nil {
		return nil, err
	}
	var warnings []*knxfleetv1.Warning
	change := func(b *registry.Building) (err error) {
		*b, warnings, err = m.apply(*b, given)
		return err
	}
	update := s.registry.Update
	if request.GetValidateOnly() {
		update = s.registry.Preview
	}
	building, err := update(ctx, given.GetId(), revision, change)
	if err != nil {
		return nil, err
	}
	warnings = s.warnOfSharedKeys(warnings, building)
	return &knxfleetv1.UpdateBuildingResponse{Building: s.view(building), Warnings: warnings}, nil
}

// mask is the set of fields that an update changes, as paths of Building's own
// fields, or of those one level below.
type mask map[string]bool

// fixed are the fields that no update changes. The etag is the update's own
// condition, and a REST call names it whenever it sends one.
var fixed = map[protoreflect.FullName]bool{
	"knxfleet.v1.Building.id":                    true,
	"knxfleet.v1.Building.generation":            true,
	"knxfleet.v1.Building.created_at":            true,
	"knxfleet.v1.Building.updated_at":            true,
	"knxfleet.v1.Building.status":                true,
	"knxfleet.v1.TunnelConfig.public_key":        true,
	"knxfleet.v1.TunnelConfig.has_preshared_key": true,
}

const etagPath = "etag"

// newMask reads the paths of a request; none means all fields that are set.
func newMask(paths []string, given *knxfleetv1.Building) (mask, error) {
	if len(paths) == 0 {
		return setFields(given), nil
	}
	m := make(mask, len(paths))
	for _, path := range paths {
		path, err := readPath(path)
		if err != nil {
			return nil, err
		}
		m[path] = true
	}
	delete(m, etagPath)
	if m["tunnel.wg_quick"] && given.GetTunnel().GetWgQuick() == "" {
		return nil, invalid("tunnel.wg_quick", "is named in update_mask, and empty; want the file, or other fields of tunnel")
	}
	return m, nil
}

// readPath gives a path in the names of the contract; it may be in those of JSON too.
func readPath(path string) (string, error) {
	message := (&knxfleetv1.Building{}).ProtoReflect().Descriptor()
	first, rest, nested := strings.Cut(path, ".")
	field := fieldOf(message, first)
	known := field != nil
	var read string
	if known {
		read = string(field.Name())
	}
	if known && nested {
		known = field.Message() != nil && !field.IsMap() && strings.HasPrefix(string(field.Message().FullName()), "knxfleet.")
		if known {
			inner := fieldOf(field.Message(), rest)
			if known = inner != nil; known {
				read += "." + string(inner.Name())
				if !fixed[field.FullName()] {
					field = inner
				}
			}
		}
	}
	switch {
	case !known:
		return "", invalid("update_mask", "%s is no field of a building; want such as display_name, labels, tunnel or tunnel.endpoint, comma separated", registry.Quote(path))
	case fixed[field.FullName()]:
		return "", invalid("update_mask", "%s cannot be changed; name only what a client sets", read)
	}
	return read, nil
}

// setFields is the mask of what is set in a building, without what cannot be
// changed: so a building that was read can be edited and sent back.
func setFields(given *knxfleetv1.Building) mask {
	m := make(mask)
	var walk func(prefix string, message protoreflect.Message)
	walk = func(prefix string, message protoreflect.Message) {
		message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
			path := prefix + string(field.Name())
			switch {
			case fixed[field.FullName()], path == etagPath:
			case prefix == "" && field.Message() != nil && !field.IsMap():
				walk(path+".", value.Message())
			default:
				m[path] = true
			}
			return true
		})
	}
	walk("", given.ProtoReflect())
	return m
}

// apply returns the building with the mask's fields as given. Keys that are not
// given stay, unless the mask names the preshared key or a file sets them all.
func (m mask) apply(b registry.Building, given *knxfleetv1.Building) (registry.Building, []*knxfleetv1.Warning, error) {
	merged := toProto(b, b.Tunnel.PrivateKey.Public().String(), fleet.Status{})
	file := (m["tunnel"] || m["tunnel.wg_quick"]) && given.GetTunnel().GetWgQuick() != ""
	if file {
		merged.Tunnel = &knxfleetv1.TunnelConfig{}
	}
	for _, path := range m.paths() {
		set(merged.ProtoReflect(), given.ProtoReflect(), path)
	}
	changed, warnings, err := fromProto(merged)
	if err != nil || file {
		return changed, warnings, err
	}
	if merged.GetTunnel().GetPrivateKey() == "" {
		changed.Tunnel.PrivateKey = b.Tunnel.PrivateKey
	}
	if merged.GetTunnel().GetPresharedKey() == "" && !m["tunnel.preshared_key"] {
		changed.Tunnel.PresharedKey = b.Tunnel.PresharedKey
	}
	return changed, warnings, nil
}

// paths lists a message before its fields.
func (m mask) paths() []string {
	paths := make([]string, 0, len(m))
	for path := range m {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// set copies the field at a path, also when it is empty.
func set(to, from protoreflect.Message, path string) {
	name, rest, nested := strings.Cut(path, ".")
	field := to.Descriptor().Fields().ByName(protoreflect.Name(name))
	switch {
	case nested && !from.Has(field) && !to.Has(field):
	case nested:
		set(to.Mutable(field).Message(), from.Get(field).Message(), rest)
	case from.Has(field):
		to.Set(field, from.Get(field))
	default:
		to.Clear(field)
	}
}
