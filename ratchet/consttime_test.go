package ratchet

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/spec.md, "Cryptography": every operation on a secret scalar is constant
// time. What is not is kept out by name, in this package, internal/secp, and
// everything of ours that they import.

// forbiddenImports begin the paths of packages whose arithmetic takes a time that
// depends on its operands, or that are only wrapped safely by one that is allowed.
var forbiddenImports = []string{
	"math/big", "math/rand",
	"github.com/decred/", "github.com/btcsuite/", "github.com/holiman/uint256", "github.com/consensys/",
	"github.com/ethereum/", "gitlab.com/yawning/",
}

// allowedNames are packages below those, and others that have both kinds, with
// all that may be used of them.
var allowedNames = map[string][]string{
	// Verification, recovery and public keys are public values. Sign is variable time
	// without cgo, GenerateKey and S256 give what big.Int computes with.
	"github.com/ethereum/go-ethereum/crypto": {"VerifySignature", "Ecrecover", "DecompressPubkey"},
	// secec's signing and ECDH are constant time; the package below it is not in
	// all of its functions.
	"gitlab.com/yawning/secp256k1-voi/secec": {
		"GenerateKey", "NewPrivateKey", "NewPublicKey", "PrivateKey", "PublicKey", "RFC6979SHA256", "BuildCompactRecoverableSignature",
	},
	// The curve's own methods are big.Int's; crypto/ecdsa does not use them.
	"crypto/elliptic": {"Curve", "P256", "P384", "P521"},
}

// forbiddenMethods are the names of methods that must not be called on anything.
var forbiddenMethods = []string{
	"ScalarMult", "ScalarBaseMult", "CombinedMult", "GenerateSharedSecret", "Exp", "ModInverse", "ModSqrt", "SetBit",
}

func forbiddenMethod(name string) bool {
	return slices.Contains(forbiddenMethods, name) || strings.Contains(strings.ToLower(name), "vartime")
}

// variableTime returns what a file uses that it must not, and what it imports.
func variableTime(file *ast.File) (bad, imports []string) {
	names := map[string]string{} // of imports in the file
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return []string{err.Error()}, nil
		}
		imports = append(imports, p)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
		_, allowed := allowedNames[p]
		if name == "." || !allowed && slices.ContainsFunc(forbiddenImports, func(f string) bool { return strings.HasPrefix(p, f) }) {
			bad = append(bad, "import of "+p)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && names[x.Name] != "" {
			if allowed, listed := allowedNames[names[x.Name]]; listed && !slices.Contains(allowed, s.Sel.Name) {
				bad = append(bad, names[x.Name]+"."+s.Sel.Name)
			}
		}
		if forbiddenMethod(s.Sel.Name) {
			bad = append(bad, "call of "+s.Sel.Name)
		}
		return true
	})
	return bad, imports
}

func TestNothingVariableTime(t *testing.T) {
	const module = "github.com/parley-im/parley/"
	seen := map[string]bool{}
	todo := []string{"ratchet", "internal/secp"}
	for len(todo) > 0 {
		pkg := todo[0]
		todo = todo[1:]
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		files := 0
		dir := filepath.Join("..", filepath.FromSlash(pkg))
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && name != dir {
				if d != nil && d.IsDir() {
					return filepath.SkipDir
				}
				return err
			}
			if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			files++
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			bad, imports := variableTime(file)
			for _, b := range bad {
				t.Errorf("%s: %s", name, b)
			}
			for _, p := range imports {
				if rest, ours := strings.CutPrefix(p, module); ours {
					todo = append(todo, rest)
				}
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", pkg, files, err)
		}
	}
	for _, pkg := range []string{"ratchet", "internal/secp", "internal/suite", "internal/secret", "internal/wire"} {
		if !seen[pkg] {
			t.Errorf("%s is not in the import graph: %v", pkg, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// The search finds what it is for.
func TestVariableTimeIsFound(t *testing.T) {
	for body, want := range map[string]string{
		`import "math/big"`: "import of math/big",
		`import "github.com/decred/dcrd/dcrec/secp256k1/v4"; var _ = secp256k1.GenerateSharedSecret(nil, nil)`: "call of GenerateSharedSecret",
		`import "github.com/ethereum/go-ethereum/crypto"; var _, _ = crypto.Sign(nil, nil)`:                    "github.com/ethereum/go-ethereum/crypto.Sign",
		`import eth "github.com/ethereum/go-ethereum/crypto"; var _ = eth.S256()`:                              "github.com/ethereum/go-ethereum/crypto.S256",
		`import "github.com/ethereum/go-ethereum/crypto/secp256k1"`:                                            "import of github.com/ethereum/go-ethereum/crypto/secp256k1",
		`import "gitlab.com/yawning/secp256k1-voi"`:                                                            "import of gitlab.com/yawning/secp256k1-voi",
		`import . "crypto/elliptic"`:                                                                           "import of crypto/elliptic",
		`import "crypto/elliptic"; var _ = elliptic.GenerateKey`:                                               "crypto/elliptic.GenerateKey",
		`var c interface{ ScalarMult() }; func f() { c.ScalarMult() }`:                                         "call of ScalarMult",
		`func f() { p.DoubleScalarMultBasepointVartime(a, b, c) }`:                                             "call of DoubleScalarMultBasepointVartime",
		`import "crypto/elliptic"; var _ = elliptic.P256().ScalarBaseMult`:                                     "call of ScalarBaseMult",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+body, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if bad, _ := variableTime(file); !slices.Contains(bad, want) {
			t.Errorf("%s: found %s", body, fmt.Sprint(bad))
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import "github.com/ethereum/go-ethereum/crypto"
var _ = crypto.VerifySignature(nil, nil, nil)`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if bad, _ := variableTime(file); len(bad) != 0 {
		t.Errorf("verification is refused: %v", bad)
	}
}
