package groups

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// cited is a test in docs/conformance.md: `package.Test` or `package.Test/case`.
var cited = regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+|Fuzz\\w+)(?:/([^`]+))?`")

// TestConformanceTable holds docs/conformance.md to the tree: what its tables
// cite must exist, so that a test that is renamed or dropped shows.
func TestConformanceTable(t *testing.T) {
	text, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]map[string]map[string]bool{} // by directory, by test: the strings in it
	known := sentinels(t)
	rows := 0
	for n, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") || !strings.Contains(line, "Err") && !cited.MatchString(line) {
			continue
		}
		rows++
		tests := cited.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			t.Errorf("line %d cites no test", n+1)
		}
		for _, c := range tests {
			dir, name, sub := c[1], c[2], c[3]
			if packages[dir] == nil {
				packages[dir] = testsIn(t, filepath.Join("..", dir))
			}
			texts, ok := packages[dir][name]
			if !ok {
				t.Errorf("line %d: there is no %s in %s", n+1, name, dir)
			} else if sub != "" && !texts[sub] {
				t.Errorf("line %d: %s.%s has no case %q", n+1, dir, name, sub)
			}
		}
		for _, e := range regexp.MustCompile("`(?:treekem\\.)?(Err\\w+)`").FindAllStringSubmatch(line, -1) {
			if !known[strings.Trim(e[0], "`")] {
				t.Errorf("line %d: there is no %s", n+1, e[0])
			}
		}
	}
	if rows == 0 {
		t.Fatal("no table")
	}
}

// Every refusal is one of errors.go, which the flipped bits and the fuzzing of
// this package hold all messages to.
func TestRefusalsAreListed(t *testing.T) {
	known := sentinels(t)
	for name := range known {
		if _, ok := refusals[name]; !ok && strings.HasPrefix(name, "Err") {
			t.Errorf("%s is not among the refusals", name)
		}
	}
	for name, err := range refusals {
		if !known[name] || !strings.HasPrefix(err.Error(), "groups: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// testsIn returns the test functions of a package, each with the strings in its
// body, among which are the names of its cases.
func testsIn(t *testing.T, dir string) map[string]map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	var functions []*ast.FuncDecl
	tables := map[string]ast.Node{} // variables of the package, by name
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					functions = append(functions, d)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						tables[v.Names[0].Name] = v
					}
				}
			}
		}
	}
	out := map[string]map[string]bool{}
	for _, fn := range functions {
		texts := map[string]bool{}
		var collect func(n ast.Node) bool
		collect = func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					texts[s] = true
				}
			case *ast.Ident:
				if table := tables[n.Name]; table != nil {
					delete(tables, n.Name) // not again
					ast.Inspect(table, collect)
					tables[n.Name] = table
				}
			}
			return true
		}
		ast.Inspect(fn, collect)
		out[fn.Name.Name] = texts
	}
	return out
}

// sentinels returns the errors that groups/errors.go and treekem/errors.go
// declare, the latter as treekem.ErrName.
func sentinels(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{"EpochError": true}
	for path, prefix := range map[string]string{"errors.go": "", "../treekem/errors.go": "treekem."} {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				for _, name := range v.Names {
					out[prefix+name.Name] = true
				}
			}
			return true
		})
	}
	return out
}
