package ets

import (
	"archive/zip"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/dpt"
	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// installed is what 0.xml says of a project's installation.
type installed struct {
	groups []group
	links  map[string][]link // by the identifier of the address
	count  int               // of links
}

type group struct {
	id    string
	place Place
	entry Entry
}

// link leads from a group address to a communication object of a device.
type link struct {
	program string // Hardware2ProgramRefId of the device, or the id of the application program itself
	object  string // identifier of the ComObjectRef within the program
	own     dpt.ID // type set in the project, the zero ID where the program's counts
}

var installationFile = regexp.MustCompile(`^([0-9]{1,4})\.xml$`)

// installation reads the first installation: the addresses, and the links of objects to them. A project has
// more than one where parts of it are separate buses, which share no group addresses.
func (b *builder) installation(a *archive, id string) (*installed, error) {
	found := map[int]*zip.File{}
	for name, f := range a.files {
		match := installationFile.FindStringSubmatch(strings.TrimPrefix(name, id+"/"))
		if match == nil {
			continue
		}
		if number, err := strconv.Atoi(match[1]); err == nil {
			found[number] = f
		}
	}
	numbers := slices.Sorted(maps.Keys(found))
	if len(numbers) == 0 {
		return nil, at(Place{File: a.name}, fmt.Errorf("no %s/0.xml in it; want a .knxproj as ETS exports it", strings.ToUpper(id)))
	}
	f := found[numbers[0]]
	if len(numbers) > 1 {
		b.warnf(a.place(f), "the project has %d installations, only this one is read", len(numbers))
	}
	v := installationVisitor{b: b, installed: &installed{links: map[string][]link{}}}
	err := a.read(f, func(place Place, r io.Reader) error { return walk(place.File, r, "KNX", &v) })
	return v.installed, err
}

// installationVisitor reads 0.xml. Topology/…/DeviceInstance has the objects with the identifiers of the
// addresses that they are linked to; ETS4 and early ETS5 nest these in elements Send and Receive, later ones
// list them in an attribute. GroupAddresses/GroupRanges has the addresses.
type installationVisitor struct {
	b *builder
	*installed

	program string // of the device around
	object  link   // the object around
	ranges  nesting
	listed  bool // within GroupAddresses
}

func (v *installationVisitor) start(e element) error {
	switch e.name {
	case "DeviceInstance":
		v.program = cut(e.attr("Hardware2ProgramRefId"), maxID)
	case "ComObjectInstanceRef":
		program, object := splitReference(cut(e.attr("RefId"), maxID))
		if program == "" {
			program = v.program
		}
		v.object = link{program, object, objectType(e.attr("DatapointType"), "")}
		for id := range strings.FieldsSeq(e.attr("Links")) {
			if err := v.link(id); err != nil {
				return err
			}
		}
	case "Send", "Receive":
		if v.object.object != "" {
			return v.link(e.attr("GroupAddressRefId"))
		}
	case "GroupAddresses":
		v.listed = true
	case "GroupRange":
		return v.ranges.open(e)
	case "GroupAddress":
		if v.listed {
			return v.group(e)
		}
	}
	return nil
}

func (v *installationVisitor) end(name string) {
	switch name {
	case "DeviceInstance":
		v.program = ""
	case "ComObjectInstanceRef":
		v.object = link{}
	case "GroupAddresses":
		v.listed = false
	case "GroupRange":
		v.ranges.close()
	}
}

func (v *installationVisitor) link(id string) error {
	if v.count++; v.count > maxLinks {
		return tooLarge("more than %d links between objects and group addresses", maxLinks)
	}
	id = cut(shortID(id), maxID)
	list, known := v.links[id]
	if !known {
		id = strings.Clone(id) // else it keeps the whole attribute
	}
	v.links[id] = append(list, v.object)
	return nil
}

func (v *installationVisitor) group(e element) error {
	if len(v.groups) == maxAddresses {
		return tooLarge("more than %d group addresses", maxAddresses)
	}
	address, err := frame.ParseGroupAddress(strings.TrimSpace(e.attr("Address")))
	if err != nil {
		return err
	}
	entry := v.ranges.entry(e)
	entry.Name = cut(entry.Name, 2*maxName) // nothing longer waits in memory for the types
	entry.Description = cut(entry.Description, 2*maxDescription)
	entry.Address = address
	entry.Type = v.b.addressType(e.place, e.attr("DatapointType"))
	// ETS makes a key for each address that all its objects can secure. The key itself is not kept.
	entry.Secure = entry.Security == SecurityOn || entry.Security == SecurityAuto && e.attr("Key") != ""
	v.groups = append(v.groups, group{strings.Clone(cut(shortID(e.attr("Id")), maxID)), e.place, entry})
	return nil
}

// shortID takes the project and installation off an identifier: P-0310-0_GA-3 is GA-3, as new projects write
// it in links.
func shortID(id string) string { return id[strings.LastIndexByte(id, '_')+1:] }
