// Package knxfleet_test holds the repository to its own rules: who may import
// whom, what is pure, what is documented. docs/ARCHITECTURE.md gives the reasons.
//
// The rules are in layout_rules_test.go. They read the source alone, so that
// they also see files that a build tag hides.
package knxfleet_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// module is the path in go.mod.
const module = "github.com/knxfleet/knxfleet"

// source is one file of the repository.
type source struct {
	path  string // from the root, with slashes
	lines int
	text  string
	fset  *token.FileSet
	file  *ast.File // nil unless it is Go
}

// dir is the folder, as in an import path below the module's.
func (s source) dir() string { return path.Dir(s.path) }

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) generated() bool { return s.file != nil && ast.IsGenerated(s.file) }

// at is file:line, as editors understand it.
func (s source) at(p token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(p).Line)
}

// imports gives each import with the name that the file calls it by.
func (s source) imports() []imported {
	var all []imported
	for _, spec := range s.file.Imports {
		target := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		all = append(all, imported{path: target, name: name, pos: spec.Pos()})
	}
	return all
}

type imported struct {
	path, name string
	pos        token.Pos
}

// within gives the folder below the module, and false for other modules.
func (i imported) within() (string, bool) {
	return strings.CutPrefix(i.path, module+"/")
}

// uses finds where the file names one of the given members of an imported
// package, such as time.Now.
func (s source) uses(pkg string, members ...string) []token.Pos {
	local := ""
	for _, i := range s.imports() {
		if i.path == pkg {
			local = i.name
		}
	}
	if local == "" {
		return nil
	}
	var found []token.Pos
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(members, sel.Sel.Name) {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				found = append(found, sel.Pos())
			}
		}
		return true
	})
	return found
}

// readable are the files whose length is limited; Go is parsed besides.
var readable = []string{".go", ".proto", ".md", ".yaml", ".yml", ".sh"}

// load reads the repository: all that is text and written by hand or generated
// here, and no test data.
func load(t *testing.T, root fs.FS) []source {
	t.Helper()
	var all []source
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() {
			if base == "testdata" || base == "bin" || base != "." && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		} else if base != "go.mod" && base != "Makefile" && !slices.Contains(readable, path.Ext(base)) {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		s, err := parse(name, string(text))
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func parse(name, text string) (source, error) {
	s := source{path: name, text: text, lines: strings.Count(text, "\n"), fset: token.NewFileSet()}
	if path.Ext(name) != ".go" {
		return s, nil
	}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

// TestLayout applies every rule to the repository.
func TestLayout(t *testing.T) {
	sources := load(t, os.DirFS("."))
	if len(sources) < 10 {
		t.Fatalf("only %d files found; the test must run in the repository's root", len(sources))
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, broken := range r.check(sources) {
				t.Error(broken)
			}
		})
	}
}

// TestLayoutRulesBite gives each rule what it must refuse, and what it must not.
func TestLayoutRulesBite(t *testing.T) {
	const importing = "package x\nimport _ %q\n"
	goroutine := "package fleet\nfunc f() { go f() }\n"
	tests := []struct {
		name, rule string
		files      map[string]string
		want       string // part of the one finding; empty: no finding
	}{
		{"tunnel imports netstack", "imports", map[string]string{"tunnel/a.go": fmt.Sprintf(importing, module+"/netstack")}, "tunnel/a.go:2"},
		{"a test of tunnel imports netstack", "imports", map[string]string{"tunnel/a_test.go": fmt.Sprintf(importing, module+"/netstack")}, "tunnel/a_test.go:2"},
		{"a test of tunnel imports the simulator", "imports", map[string]string{"tunnel/a_test.go": fmt.Sprintf(importing, module+"/internal/simulator")}, ""},
		{"tunnel imports the simulator", "imports", map[string]string{"tunnel/a.go": fmt.Sprintf(importing, module+"/internal/simulator")}, "tunnel/a.go:2"},
		{"api imports tunnel", "imports", map[string]string{"api/access/a.go": fmt.Sprintf(importing, module+"/tunnel")}, "api/access/a.go:2"},
		{"api imports what is pure", "imports", map[string]string{"api/a.go": fmt.Sprintf(importing, module+"/knxbridge/dpt")}, ""},
		{"fleet imports api", "imports", map[string]string{"fleet/journal/a.go": fmt.Sprintf(importing, module+"/api")}, "fleet/journal/a.go:2"},
		{"a pure package imports its shell", "imports", map[string]string{"knxbridge/session/a.go": fmt.Sprintf(importing, module+"/knxbridge")}, "session/a.go:2"},
		{"the simulator imports knxbridge", "imports", map[string]string{"internal/simulator/a.go": fmt.Sprintf(importing, module+"/knxbridge")}, "simulator/a.go:2"},
		{"cmd imports anything", "imports", map[string]string{"cmd/knxfleet/a.go": fmt.Sprintf(importing, module+"/internal/simulator")}, ""},
		{"a folder without a rule", "imports", map[string]string{"helpers/a.go": "package helpers\n"}, "helpers"},
		{"WireGuard's netstack outside naive", "imports", map[string]string{"cmd/knxfleet/a.go": fmt.Sprintf(importing, "golang.zx2c4.com/wireguard/tun/netstack")}, "cmd/knxfleet/a.go:2"},
		{"WireGuard's netstack in naive", "imports", map[string]string{"cmd/loadtest/naive/a.go": fmt.Sprintf(importing, "golang.zx2c4.com/wireguard/tun/netstack")}, ""},
		{"the NATS server outside engine", "imports", map[string]string{"fleet/a.go": fmt.Sprintf(importing, "github.com/nats-io/nats-server/v2/server")}, "fleet/a.go:2"},

		{"pure with net", "pure", map[string]string{"knxbridge/frame/a.go": fmt.Sprintf(importing, "net")}, "frame/a.go:2"},
		{"pure with net/http", "pure", map[string]string{"knxbridge/ets/a.go": fmt.Sprintf(importing, "net/http")}, "ets/a.go:2"},
		{"pure with net/netip", "pure", map[string]string{"knxbridge/frame/a.go": fmt.Sprintf(importing, "net/netip")}, ""},
		{"pure with sync/atomic", "pure", map[string]string{"knxbridge/dpt/a.go": fmt.Sprintf(importing, "sync/atomic")}, "dpt/a.go:2"},
		{"pure with a clock", "pure", map[string]string{"knxbridge/session/a.go": "package session\nimport clock \"time\"\nvar now = clock.Now\n"}, "session/a.go:3"},
		{"pure with a time", "pure", map[string]string{"knxbridge/session/a.go": "package session\nimport \"time\"\nfunc f(t time.Time) time.Time { return t.Add(time.Second) }\n"}, ""},
		{"a test of pure with os", "pure", map[string]string{"knxbridge/dpt/a_test.go": fmt.Sprintf(importing, "os")}, ""},

		{"no package comment", "package comments", map[string]string{"fleet/a.go": "package fleet\n", "fleet/b.go": "package fleet\n"}, "fleet"},
		{"a comment that begins otherwise", "package comments", map[string]string{"fleet/a.go": "// The fleet.\npackage fleet\n"}, "fleet"},
		{"a package comment", "package comments", map[string]string{"fleet/a.go": "package fleet\n", "fleet/doc.go": "// Package fleet runs sites.\npackage fleet\n"}, ""},
		{"a command's comment", "package comments", map[string]string{"cmd/knxfleet/main.go": "// Command knxfleet is it.\npackage main\n"}, ""},

		{"an exported function without comment", "exported names", map[string]string{"fleet/a.go": "package fleet\n\nfunc Run() {}\n"}, "fleet/a.go:3: Run"},
		{"an exported method without comment", "exported names", map[string]string{"fleet/a.go": "package fleet\n\n// T is.\ntype T[E any] int\n\nfunc (T[E]) Run() {}\n"}, "fleet/a.go:6: T.Run"},
		{"a method of an unexported type", "exported names", map[string]string{"fleet/a.go": "package fleet\ntype t int\nfunc (*t) Run() {}\n"}, ""},
		{"what formatting calls", "exported names", map[string]string{"fleet/a.go": "package fleet\n\n// T is.\ntype T int\n\nfunc (T) String() string { return \"\" }\n"}, ""},
		{"constants under one comment", "exported names", map[string]string{"fleet/a.go": "package fleet\n\n// The states.\nconst (\n\tA = 1\n\tB = 2\n)\n"}, ""},
		{"a constant without comment", "exported names", map[string]string{"fleet/a.go": "package fleet\n\nconst A = 1\n"}, "fleet/a.go:3: A"},
		{"generated code", "exported names", map[string]string{"proto/knxfleet/v1/a.pb.go": "// Code generated by x. DO NOT EDIT.\n\npackage v1\n\nconst A = 1\n"}, ""},

		{"goroutines unwatched", "goroutine leaks", map[string]string{"fleet/a.go": goroutine, "fleet/a_test.go": "package fleet\n"}, "fleet/a.go:2"},
		{"goroutines of a group", "goroutine leaks", map[string]string{"fleet/a.go": "package fleet\nfunc f(g group) { g.Go(f) }\n"}, "fleet/a.go:2"},
		{"a TestMain without goleak", "goroutine leaks", map[string]string{"fleet/a.go": goroutine, "fleet/a_test.go": "package fleet\nfunc TestMain(m *M) { m.Run() }\n"}, "fleet/a.go:2"},
		{"goroutines watched", "goroutine leaks", map[string]string{"fleet/a.go": goroutine, "fleet/a_test.go": "package fleet_test\nimport \"go.uber.org/goleak\"\nfunc TestMain(m *M) { goleak.VerifyTestMain(m) }\n"}, ""},

		{"a sleep", "sleeps", map[string]string{"fleet/a.go": "package fleet\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"}, "fleet/a.go:3"},
		{"a sleep in a test", "sleeps", map[string]string{"fleet/a_test.go": "package fleet\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"}, "fleet/a_test.go:3"},
		{"a sleep in a bubble", "sleeps", map[string]string{"fleet/a_test.go": "package fleet\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\nfunc f() { synctest.Test(nil, nil); time.Sleep(1) }\n"}, ""},

		{"a long file", "file length", map[string]string{"docs/a.md": strings.Repeat("\n", 601)}, "docs/a.md"},
		{"a long file, generated", "file length", map[string]string{"proto/a.go": "// Code generated by x. DO NOT EDIT.\n\npackage a\n" + strings.Repeat("\n", 601)}, ""},

		{"a replace", "go.mod", map[string]string{"go.mod": "module x\n\nreplace a => b\n"}, "go.mod:3"},
		{"a replace block in tools", "go.mod", map[string]string{"tools/go.mod": "module x\n\nreplace (\n\ta => b\n)\n"}, "tools/go.mod:3"},
		{"a clean go.mod", "go.mod", map[string]string{"go.mod": "module x\n\n// nothing to replace\n"}, ""},
	}
	bites := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sources []source
			for name, text := range tt.files {
				s, err := parse(name, text)
				if err != nil {
					t.Fatal(err)
				}
				sources = append(sources, s)
			}
			i := slices.IndexFunc(rules, func(r rule) bool { return r.name == tt.rule })
			if i < 0 {
				t.Fatalf("there is no rule %q", tt.rule)
			}
			found := rules[i].check(sources)
			switch {
			case tt.want == "" && len(found) > 0:
				t.Errorf("refused: %s", found)
			case tt.want != "" && len(found) != 1:
				t.Errorf("got %d findings, want one at %s: %s", len(found), tt.want, found)
			case tt.want != "" && !strings.Contains(found[0], tt.want):
				t.Errorf("got %q, want it to name %s", found[0], tt.want)
			}
			bites[tt.rule] = bites[tt.rule] || tt.want != ""
		})
	}
	for _, r := range rules {
		if !bites[r.name] {
			t.Errorf("rule %q has no case here that it refuses", r.name)
		}
	}
}
