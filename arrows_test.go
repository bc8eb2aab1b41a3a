package parley

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/parley-im/parley"

// arrows lists what each package may import of this module, beside the
// foundations: docs/architecture.md, "The house". What is not in it may not be.
var arrows = map[string][]string{
	"":                  {"groups", "identity", "internal/store", "ratchet", "transport"},
	"apps/safe":         {"", "identity"},
	"apps/safe/service": {"apps/safe"},
	"cmd/devnet":        {"", "apps/safe", "groups", "identity", "internal/devchain", "internal/store", "ratchet", "transport"},
	"cmd/parley":        {"", "apps/safe", "apps/safe/service", "identity", "transport", "internal/store"},
	"groups":            {"internal/pprf", "treekem"},
	"groups/agree":      {},
	"identity":          {},
	"internal/cputime":  {},
	"internal/devchain": {},
	"internal/pprf":     {},
	"internal/secp":     {},
	"internal/secret":   {},
	"internal/store":    {},
	"internal/suite":    {},
	"internal/vectors":  {},
	"internal/wire":     {},
	"interop":           {"groups", "interop/mlsclient", "treekem"},
	"interop/mlsclient": {},
	"interop/tally":     {},
	"ratchet":           {},
	"transport":         {},
	"treekem":           {},
}

// foundations may be imported by every package above them in this list.
var foundations = []string{"internal/secret", "internal/wire", "internal/secp", "internal/suite"}

// pure packages have no goroutine that outlives a call, no clock, no socket and
// no logger; so they import none of these.
var pure = map[string][]string{
	"ratchet": {"net", "os", "log/slog", "context"},
	"treekem": {"net", "os", "log/slog", "context"},
	"groups":  {"net", "os", "log/slog", "context"},

	"groups/agree": {"net", "os", "log/slog", "context"},
}

func TestImportArrows(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), ".")
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("package %q is not in the house: docs/architecture.md and this test name every package", pkg)
			return nil
		}
		seen[pkg] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if slices.Contains(pure[pkg], imported) {
				t.Errorf("%s imports %s: the package is pure", path, imported)
			}
			if imported != module && !strings.HasPrefix(imported, module+"/") {
				continue
			}
			imported = strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			if !slices.Contains(allowed, imported) && !mayStandOn(pkg, imported) {
				t.Errorf("%s imports %q: arrows run downwards only", path, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range arrows {
		if !seen[pkg] {
			t.Errorf("package %q is in the house and has no files", pkg)
		}
	}
}

func mayStandOn(pkg, foundation string) bool {
	at := slices.Index(foundations, foundation)
	above := slices.Index(foundations, pkg)
	return at >= 0 && (above < 0 || at < above)
}

// A secret scalar is touched in internal/secp alone: no other package imports
// what computes with one (docs/spec.md, "Cryptography").
func TestScalarsStayInSecp(t *testing.T) {
	forbidden := []string{"gitlab.com/yawning/secp256k1-voi", "github.com/decred/dcrd/dcrec/secp256k1", "github.com/btcsuite/btcd/btcec"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.ToSlash(path), "internal/secp/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			for _, f := range forbidden {
				if strings.HasPrefix(spec.Path.Value, `"`+f) {
					t.Errorf("%s imports %s", path, spec.Path.Value)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
