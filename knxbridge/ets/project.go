package ets

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/knxfleet/knxfleet/knxbridge/frame"
)

// project reads a .knxproj: a zip with a folder P-XXXX, or in place of it an encrypted P-XXXX.zip, beside the
// manufacturers' data in folders M-XXXX.
func (b *builder) project(data []byte, password string) error {
	left := maxUnpacked
	outer, err := openArchive("", data, &left)
	if err != nil {
		return err
	}
	id, err := b.findProject(outer)
	if err != nil {
		return err
	}
	inner := outer
	if f, ok := outer.find(id + ".zip"); ok {
		if inner, err = openProtected(outer, f, password); err != nil {
			return err
		}
	}
	if err := b.projectInformation(inner, id); err != nil {
		return err
	}
	installed, err := b.installation(inner, id)
	if err != nil {
		return err
	}
	if err := b.addTypes(installed, outer); err != nil {
		return err
	}
	for _, g := range installed.groups {
		if err := b.add(g.place, g.entry); err != nil {
			return err
		}
	}
	return nil
}

// projectFile is a file of a project, or the archive that has them.
var projectFile = regexp.MustCompile(`^(p-[0-9a-f]{1,8})(?:\.zip|/(?:project|[0-9]{1,4})\.xml)$`)

// findProject gives the id of the project in the archive, in lower case.
func (b *builder) findProject(a *archive) (string, error) {
	var ids []string
	for name := range a.files {
		if match := projectFile.FindStringSubmatch(name); match != nil {
			ids = append(ids, match[1])
		}
	}
	if len(ids) == 0 {
		return "", errors.New("a zip archive without a project (P-XXXX) in it; want a .knxproj as ETS exports it")
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 1 {
		b.warnf(Place{}, "%d projects in the archive, only %s is read", len(ids), strings.ToUpper(ids[0]))
	}
	return ids[0], nil
}

// openProtected opens the archive that a protected project has in place of its folder.
func openProtected(outer *archive, f *zip.File, password string) (*archive, error) {
	var data []byte
	err := outer.read(f, func(_ Place, r io.Reader) (err error) {
		data, err = io.ReadAll(&allowance{r: r, left: maxProtected, exceeded: tooLarge("it unpacks to more than %d MiB", maxProtected>>20)})
		return err
	})
	if err != nil {
		return nil, err
	}
	name := outer.place(f).File
	inner, err := openArchive(name, data, outer.left)
	if err != nil {
		return nil, err
	}
	probe, ok := inner.find("project.xml")
	if !ok {
		return nil, at(Place{File: name}, errors.New("no project.xml in it"))
	}
	if !encrypted(probe) {
		return inner, nil
	}
	if password == "" {
		return nil, at(Place{File: name}, ErrPasswordRequired)
	}
	for _, derive := range archivePasswords(probe.Method == methodAES) {
		if inner.password, err = derive(password); err != nil {
			return nil, err
		}
		err := inner.read(probe, func(_ Place, r io.Reader) error {
			_, err := io.Copy(io.Discard, r) // ends in an error if the password passed by chance
			return err
		})
		if err == nil {
			return inner, nil
		}
		if !errors.Is(err, ErrWrongPassword) && !errors.Is(err, errDamaged) {
			return nil, err
		}
	}
	return nil, at(Place{File: name}, ErrWrongPassword)
}

// findIn finds a file of the project, which stands in its folder, or in a protected project in no folder.
func findIn(a *archive, id, name string) (*zip.File, bool) {
	if f, ok := a.find(id + "/" + name); ok {
		return f, true
	}
	return a.find(name)
}

// projectInformation reads the project's name and style.
func (b *builder) projectInformation(a *archive, id string) error {
	f, ok := findIn(a, id, "project.xml")
	if !ok {
		return at(Place{File: a.name}, fmt.Errorf("no %s/project.xml in it; want a .knxproj as ETS exports it", strings.ToUpper(id)))
	}
	v := projectVisitor{b: b}
	err := a.read(f, func(place Place, r io.Reader) error { return walk(place.File, r, "KNX", &v) })
	if err == nil && !v.found {
		b.warnf(a.place(f), "no ProjectInformation, so the group addresses are taken as three-level")
	}
	return err
}

type projectVisitor struct {
	b     *builder
	found bool
}

func (v *projectVisitor) start(e element) error {
	switch e.name {
	case "KNX":
		v.b.checkSchema(e)
	case "ProjectInformation":
		v.found = true
		v.b.table.ProjectName = cut(clean(e.attr("Name")), maxName)
		switch style := e.attr("GroupAddressStyle"); style {
		case "Free":
			v.b.table.Style = frame.StyleFree
		case "TwoLevel":
			v.b.table.Style = frame.StyleTwoLevel
		case "ThreeLevel":
		default:
			v.b.warnf(e.place, "group address style %q is not known, taken as ThreeLevel", cut(clean(style), 40))
		}
	}
	return nil
}

func (*projectVisitor) end(string) {}

// The versions of the project's format that are known: 11 is ETS4, 12 to 20 ETS5, 21 and up ETS6.
const (
	schemaSpace  = "http://knx.org/xml/project/"
	oldestSchema = 11
	newestSchema = 23
)

// checkSchema warns of a version that nobody has tried; so far, newer ones were read like older ones.
func (b *builder) checkSchema(root element) {
	number, err := strconv.Atoi(strings.TrimPrefix(root.space, schemaSpace))
	if err != nil || number < oldestSchema || number > newestSchema {
		b.warnf(root.place, "the format of the project is %q, known are %s%d to %d: check what was read",
			cut(clean(root.space), 60), schemaSpace, oldestSchema, newestSchema)
	}
}
