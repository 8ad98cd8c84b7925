package knxfleet_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// rule is one property of the repository. Its check gives one line for each
// break: where, what is wrong, and what to do about it.
type rule struct {
	name  string
	check func([]source) []string
}

var rules = []rule{
	{"imports", checkImports},
	{"pure", checkPure},
	{"package comments", checkPackageComments},
	{"exported names", checkExportedNames},
	{"goroutine leaks", checkGoroutineLeaks},
	{"sleeps", checkSleeps},
	{"file length", checkFileLength},
	{"go.mod", checkGoMod},
}

// pure are the packages without I/O, locks, log or clock. They may be imported
// from everywhere.
var pure = []string{"knxbridge/session", "knxbridge/frame", "knxbridge/dpt", "knxbridge/ets", "tunnel/wireguard"}

// anything stands for every package of the module.
const anything = "*"

// arrows say which packages of the module a folder and those below it may
// import, besides pure ones and its own folder. The longest match counts.
var arrows = map[string][]string{
	"cmd":                {anything},
	"api":                {"fleet", "proto"},
	"fleet":              {"tunnel", "netstack", "knxbridge", "internal/engine", "internal/keyset", "proto"},
	"tunnel":             {},
	"netstack":           {},
	"knxbridge":          {},
	"knxbridge/session":  {},
	"knxbridge/frame":    {},
	"knxbridge/dpt":      {},
	"knxbridge/ets":      {},
	"proto":              {},
	"internal/engine":    {},
	"internal/keyset":    {},
	"internal/simulator": {"netstack"},
	// Tests of the whole path, as a user runs it.
	"internal/pathtest":    {anything},
	"internal/confinetest": {},
	// Tests with other people's software.
	"internal/interoptest": {"knxbridge"},
}

// testArrows are what tests may import besides: the simulator everywhere, and in
// api the real parts below it, which stand in the place of doubles.
var testArrows = map[string][]string{
	"":    {"internal/simulator"},
	"api": {"internal/engine", "tunnel"},
}

// reserved are packages of other modules that only one place may import.
var reserved = []struct {
	path, only string
	tests      bool // whether tests are bound too
	instead    string
}{
	{
		"golang.zx2c4.com/wireguard/tun/netstack", "cmd/loadtest/naive", true,
		"it is what the measurements compare with; use our netstack",
	},
	{
		"github.com/nats-io/nats-server", "internal/engine", false,
		"nothing else knows whether the engine is embedded; go through internal/engine",
	},
}

// under reports whether dir is the folder or below it.
func under(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

// zone finds the entry of arrows that counts for a folder.
func zone(dir string) (string, bool) {
	best, found := "", false
	for from := range arrows {
		if under(dir, from) && len(from) >= len(best) {
			best, found = from, true
		}
	}
	return best, found
}

func checkImports(sources []source) []string {
	var broken []string
	homeless := map[string]bool{}
	for _, s := range sources {
		if s.file == nil || s.dir() == "." {
			continue
		}
		from, known := zone(s.dir())
		if !known {
			homeless[s.dir()] = true
			continue
		}
		for _, i := range s.imports() {
			for _, r := range reserved {
				if under(i.path, r.path) && !under(s.dir(), r.only) && (r.tests || !s.test()) {
					broken = append(broken, fmt.Sprintf("%s: imports %s, which only %s may: %s", s.at(i.pos), i.path, r.only, r.instead))
				}
			}
			if target, ok := i.within(); ok && !mayImport(from, target, s.test()) {
				broken = append(broken, fmt.Sprintf("%s: imports %s, but %s may import only %s: let the caller pass in what is needed, or move the code to where the arrow allows it",
					s.at(i.pos), target, from, strings.Join(append(slices.Clone(arrows[from]), "its own folder and pure packages"), ", ")))
			}
		}
	}
	for dir := range homeless {
		broken = append(broken, dir+": no arrow is drawn for this folder: put the code where it belongs, or add the folder to arrows in layout_rules_test.go and to docs/ARCHITECTURE.md")
	}
	slices.Sort(broken)
	return broken
}

func mayImport(from, target string, test bool) bool {
	allowed := slices.Concat([]string{from}, arrows[from], pure)
	if slices.Contains(pure, from) {
		allowed = pure // not the shell around them
	}
	if test {
		allowed = slices.Concat(allowed, testArrows[""], testArrows[from])
	}
	return slices.ContainsFunc(allowed, func(folder string) bool {
		return folder == anything || under(target, folder)
	})
}

// clock are the members of package time that ask for the time or wait for it.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

// impure are imports that a pure package may not have; net/netip is only
// addresses.
var impure = []string{"net", "os", "sync", "log", "syscall", "github.com/rs/zerolog"}

func checkPure(sources []source) []string {
	var broken []string
	for _, s := range sources {
		in := func(folder string) bool { return under(s.dir(), folder) }
		if s.file == nil || s.test() || !slices.ContainsFunc(pure, in) {
			continue
		}
		for _, i := range s.imports() {
			bad := func(p string) bool { return under(i.path, p) }
			if i.path != "net/netip" && slices.ContainsFunc(impure, bad) {
				broken = append(broken, fmt.Sprintf("%s: a pure package imports %s: take bytes and values, give outputs, and leave the rest to the shell around it", s.at(i.pos), i.path))
			}
		}
		for _, p := range s.uses("time", clock...) {
			broken = append(broken, fmt.Sprintf("%s: a pure package asks for the time: take now time.Time as a parameter and give the next deadline", s.at(p)))
		}
	}
	return broken
}

func checkPackageComments(sources []source) []string {
	type state struct{ name, got string }
	packages := map[string]state{}
	for _, s := range sources {
		if s.file == nil {
			continue
		}
		p := packages[s.dir()]
		// A folder of tests alone is documented in one of them.
		if name := s.file.Name.Name; p.name == "" || !s.test() {
			p.name = name
		}
		if s.file.Doc != nil && (!s.test() || p.got == "") {
			p.got = s.file.Doc.Text()
		}
		packages[s.dir()] = p
	}
	var broken []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		p := packages[dir]
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(p.got, want) {
			broken = append(broken, fmt.Sprintf("%s: no package comment that begins with %q: say in doc.go what the package is for", dir, strings.TrimSpace(want)))
		}
	}
	return broken
}

// known are methods that everybody knows from the standard library.
var known = []string{
	"String", "GoString", "Format", "Error", "Unwrap", "Is", "As", "Len", "Less", "Swap",
	"MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON",
}

func checkExportedNames(sources []source) []string {
	var broken []string
	for _, s := range sources {
		if s.file == nil || s.test() || s.generated() {
			continue
		}
		undocumented := func(p token.Pos, name string) {
			broken = append(broken, fmt.Sprintf("%s: %s is exported without a comment: say what a user must know (units, ranges, errors, concurrency), or do not export it", s.at(p), name))
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name, exported := funcName(d)
				if exported && d.Doc == nil {
					undocumented(d.Pos(), name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if id := exportedIdent(spec); id != nil && d.Doc == nil && !commented(spec) {
						undocumented(id.Pos(), id.Name)
					}
				}
			}
		}
	}
	return broken
}

// funcName gives a function's name, with its receiver's type, and whether users
// of the package see it as something of this package's own.
func funcName(d *ast.FuncDecl) (string, bool) {
	name := d.Name.Name
	if d.Recv == nil {
		return name, ast.IsExported(name)
	}
	receiver := d.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr: // type parameters
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			return r.Name + "." + name, r.IsExported() && ast.IsExported(name) && !slices.Contains(known, name)
		default:
			return name, false
		}
	}
}

// exportedIdent gives the first exported name of a declaration, or nil.
func exportedIdent(spec ast.Spec) *ast.Ident {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			return spec.Name
		}
	case *ast.ValueSpec:
		for _, id := range spec.Names {
			if id.IsExported() {
				return id
			}
		}
	}
	return nil
}

func commented(spec ast.Spec) bool {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		return spec.Doc != nil || spec.Comment != nil
	case *ast.ValueSpec:
		return spec.Doc != nil || spec.Comment != nil
	}
	return true
}

func checkGoroutineLeaks(sources []source) []string {
	starts := map[string]string{} // folder to the first place
	watched := map[string]bool{}
	for _, s := range sources {
		if s.file == nil || s.generated() {
			continue
		}
		if s.test() {
			watched[s.dir()] = watched[s.dir()] || watchesLeaks(s)
		} else if p := firstGoroutine(s); p.IsValid() {
			starts[s.dir()] = cmp.Or(starts[s.dir()], s.at(p))
		}
	}
	var broken []string
	for _, dir := range slices.Sorted(maps.Keys(starts)) {
		if !watched[dir] {
			broken = append(broken, fmt.Sprintf("%s: the package starts goroutines, but its tests do not look for leaks: add func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }", starts[dir]))
		}
	}
	return broken
}

// firstGoroutine finds a go statement, or the Go of a WaitGroup or an errgroup.
func firstGoroutine(s source) token.Pos {
	first := token.NoPos
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			first = cmp.Or(first, n.Pos())
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" {
				first = cmp.Or(first, n.Pos())
			}
		}
		return !first.IsValid()
	})
	return first
}

// watchesLeaks reports whether the file has a TestMain that calls goleak.
func watchesLeaks(s source) bool {
	if len(s.uses("go.uber.org/goleak", "VerifyTestMain", "Find")) == 0 {
		return false
	}
	return slices.ContainsFunc(s.file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && f.Recv == nil && f.Name.Name == "TestMain"
	})
}

func checkSleeps(sources []source) []string {
	var broken []string
	for _, s := range sources {
		if s.file == nil {
			continue
		}
		bubble := func(i imported) bool { return i.path == "testing/synctest" }
		if s.test() && slices.ContainsFunc(s.imports(), bubble) {
			continue // there it takes no time
		}
		for _, p := range s.uses("time", "Sleep") {
			broken = append(broken, fmt.Sprintf("%s: time.Sleep: wait for a condition or for a timer together with ctx.Done(), and test in a synctest bubble", s.at(p)))
		}
	}
	return broken
}

// maxLines is where a file holds more than one concept.
const maxLines = 600

func checkFileLength(sources []source) []string {
	var broken []string
	for _, s := range sources {
		if s.lines > maxLines && !s.generated() && path.Base(s.path) != "CHANGELOG.md" && path.Base(s.path) != "go.mod" {
			broken = append(broken, fmt.Sprintf("%s: %d lines, more than %d: split it by concept", s.path, s.lines, maxLines))
		}
	}
	return broken
}

func checkGoMod(sources []source) []string {
	var broken []string
	for _, s := range sources {
		if path.Base(s.path) != "go.mod" {
			continue
		}
		for n, line := range strings.Split(s.text, "\n") {
			if fields := strings.Fields(line); len(fields) > 0 && strings.TrimSuffix(fields[0], "(") == "replace" {
				broken = append(broken, fmt.Sprintf("%s:%d: replace: those who install by go install do not get it; name a released version, or exclude the broken one", s.path, n+1))
			}
		}
	}
	return broken
}
