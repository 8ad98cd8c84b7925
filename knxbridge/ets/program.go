package ets

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
)

// addTypes gives a type to each address that has none of its own and is linked to communication objects. Their
// types stand in the project itself, or in the application program of the device, which a .knxproj has too.
func (b *builder) addTypes(in *installed, a *archive) error {
	var untyped []link
	for _, g := range in.groups {
		if g.entry.Type == (dpt.ID{}) {
			for _, l := range in.links[g.id] {
				if l.own == (dpt.ID{}) {
					untyped = append(untyped, l)
				}
			}
		}
	}
	hardware, err := b.readHardware(a, untyped)
	if err != nil {
		return err
	}
	all := programs{}
	for _, l := range untyped {
		for _, id := range hardware.programsOf(l) {
			all.want(id, l.object)
		}
	}
	if len(all) > maxPrograms {
		return tooLarge("more than %d application programs", maxPrograms)
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if err := b.readProgram(a, id, all[id]); err != nil {
			return err
		}
	}
	for i := range in.groups {
		g := &in.groups[i]
		if g.entry.Type == (dpt.ID{}) {
			g.entry.Type = b.linkedType(g, in.links[g.id], func(l link) dpt.ID {
				id := l.own
				for _, program := range hardware.programsOf(l) {
					id = cmp.Or(id, all[program].typeOf(l.object))
				}
				return id
			})
		}
	}
	return nil
}

// linkedType chooses among the types of the objects that an address is linked to: the first, or the first of
// its main type that has a sub type.
func (b *builder) linkedType(g *group, links []link, typeOf func(link) dpt.ID) dpt.ID {
	var chosen dpt.ID
	for _, l := range links {
		id := typeOf(l)
		switch {
		case id == dpt.ID{}:
		case chosen == dpt.ID{}, id.Main == chosen.Main && chosen.Sub == dpt.Generic:
			chosen = id
		case id.Main != chosen.Main:
			b.warnf(g.place, "group address %s has no datapoint type and its objects differ, %s and %s: the first is taken",
				g.entry.Address.In(b.table.Style), chosen, id)
			return chosen
		}
	}
	return chosen
}

// hardware leads from a Hardware2Program to its application programs; there may be two.
type hardware map[string][]string

// programsOf gives the application programs in which a link's object may be defined.
func (h hardware) programsOf(l link) []string {
	switch {
	case l.program == "":
		return nil
	case isHardware(l.program):
		return h[l.program]
	}
	return []string{l.program} // ETS4 names the program in each reference
}

func isHardware(id string) bool { return strings.Contains(id, "_HP-") }

// readHardware finds out the application programs of devices in their manufacturers' M-XXXX/Hardware.xml.
func (b *builder) readHardware(a *archive, links []link) (hardware, error) {
	h := hardware{}
	makers := map[string]bool{}
	for _, l := range links {
		if isHardware(l.program) {
			h[l.program] = nil
			maker, _, _ := strings.Cut(l.program, "_")
			makers[maker] = true
		}
	}
	for _, maker := range slices.Sorted(maps.Keys(makers)) {
		if err := b.readCatalogue(a, maker+"/Hardware.xml", &hardwareVisitor{hardware: h}); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// readCatalogue reads a file of a manufacturer. Without it only some types stay unknown, so that all but a
// broken bound is a warning.
func (b *builder) readCatalogue(a *archive, name string, v visitor) error {
	f, ok := a.find(name)
	if !ok {
		b.warnf(Place{File: name}, "not in the project, so types of group addresses may be missing")
		return nil
	}
	err := a.read(f, func(place Place, r io.Reader) error { return walk(place.File, r, "KNX", v) })
	if err == nil || errors.Is(err, ErrTooLarge) {
		return err
	}
	place := a.place(f)
	if placed, ok := errors.AsType[*Error](err); ok {
		place, err = placed.Place, placed.Err
	}
	b.warnf(place, "%s, so types of group addresses may be missing", cut(clean(err.Error()), maxErrorText))
	return nil
}

type hardwareVisitor struct {
	hardware hardware
	current  string // the Hardware2Program around
}

func (v *hardwareVisitor) start(e element) error {
	switch e.name {
	case "Hardware2Program":
		v.current = e.attr("Id")
	case "ApplicationProgramRef":
		if list, wanted := v.hardware[v.current]; wanted && len(list) < 2 {
			v.hardware[v.current] = append(list, cut(e.attr("RefId"), maxID))
		}
	}
	return nil
}

func (v *hardwareVisitor) end(name string) {
	if name == "Hardware2Program" {
		v.current = ""
	}
}

// programs are the wanted objects of application programs, by the program's id.
type programs map[string]objects

// objects are what a program says of the wanted ComObjectRef and ComObject elements, by their identifier within
// the program: a ComObjectRef O-40_R-1433 belongs to the ComObject O-40, and what it leaves out stands there.
type objects map[string]object

type object struct {
	found    bool
	datatype dpt.ID
	size     string
}

func (p programs) want(program, ref string) {
	if p[program] == nil {
		p[program] = objects{}
	}
	p[program][ref] = object{}
	p[program][baseOf(ref)] = object{}
}

// baseOf gives the ComObject of a ComObjectRef.
func baseOf(ref string) string {
	base, _, _ := strings.Cut(ref, "_R-")
	return base
}

func (o objects) typeOf(ref string) dpt.ID {
	own, base := o[ref], o[baseOf(ref)]
	return cmp.Or(own.datatype, base.datatype, objectType("", cmp.Or(own.size, base.size)))
}

// readProgram reads the wanted objects from an application program, M-XXXX/M-XXXX_A-….xml.
func (b *builder) readProgram(a *archive, id string, wanted objects) error {
	maker, _, _ := strings.Cut(id, "_")
	return b.readCatalogue(a, fmt.Sprintf("%s/%s.xml", maker, id), &programVisitor{wanted: wanted, missing: len(wanted)})
}

type programVisitor struct {
	wanted  objects
	missing int
}

func (v *programVisitor) start(e element) error {
	if e.name != "ComObject" && e.name != "ComObjectRef" {
		return nil
	}
	_, id := splitReference(cut(e.attr("Id"), maxID))
	if o, ok := v.wanted[id]; ok && !o.found {
		v.wanted[id] = object{true, objectType(e.attr("DatapointType"), ""), cut(e.attr("ObjectSize"), maxID)}
		if v.missing--; v.missing == 0 {
			return errEnough // the long rest says how the program looks in ETS
		}
	}
	return nil
}

func (*programVisitor) end(string) {}

// splitReference splits the reference to an object in the id of its application program, if it has one, and
// the identifier of the object within the program. Module instances are left out, as the program only has
// their definitions:
//
//	M-0002_A-A066-14-550B_O-40_R-1433                        M-0002_A-A066-14-550B   O-40_R-1433
//	MD-2_M-20_MI-1_O-2-2_R-3                                 MD-2_O-2-2_R-3
//	MD-4_M-15_MI-1_SM-1_M-1_MI-1-1-2_SM-1_O-3-1_R-2          MD-4_SM-1_O-3-1_R-2
func splitReference(ref string) (program, object string) {
	parts := strings.Split(ref, "_")
	if len(parts) > 2 && strings.HasPrefix(parts[0], "M-") && strings.HasPrefix(parts[1], "A-") {
		program, parts = parts[0]+"_"+parts[1], parts[2:]
	}
	i := slices.IndexFunc(parts, func(part string) bool { return strings.HasPrefix(part, "O-") })
	if i < 0 {
		return program, ref
	}
	var within []string
	if strings.HasPrefix(parts[0], "MD-") {
		within = append(within, parts[0])
	}
	if i > 0 && strings.HasPrefix(parts[i-1], "SM-") {
		within = append(within, parts[i-1])
	}
	return program, strings.Join(append(within, parts[i:]...), "_")
}
