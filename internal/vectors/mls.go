package vectors

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Loader runs all cases of one file of MLS vectors.
type Loader func(t *testing.T, data []byte)

// passiveClient is the kind of every file that records what someone saw who
// followed a group.
const passiveClient = "passive-client.json"

// readers names the package whose tests read each kind of file.
var readers = map[string]string{
	"crypto-basics.json":      "internal/suite",
	"tree-math.json":          "treekem",
	"tree-validation.json":    "treekem",
	"tree-operations.json":    "treekem",
	"treekem.json":            "treekem",
	"deserialization.json":    "groups",
	"key-schedule.json":       "groups",
	"psk_secret.json":         "groups",
	"transcript-hashes.json":  "groups",
	"secret-tree.json":        "groups",
	"message-protection.json": "groups",
	"welcome.json":            "groups",
	"messages.json":           "groups",
	passiveClient:             "groups",
}

// kind says what a file holds by its slash-separated path below the folder of
// MLS vectors.
func kind(name string) string {
	dir, base := path.Split(name)
	if ok, _ := path.Match("passive-client*.json", base); ok || slices.Contains(strings.Split(dir, "/"), "passive") {
		return passiveClient
	}
	return name
}

// MLS runs every file of $PARLEY_VECTORS/mls that a package reads by the loader
// of its kind. A file without a loader, and a loader without a file, are
// failures.
func MLS(t *testing.T, pkg string, loaders map[string]Loader) {
	t.Helper()
	dir := Path(t, "mls")
	found := map[string]bool{}
	for _, name := range files(t, dir) {
		k := kind(name)
		if readers[k] != pkg {
			continue
		}
		load, ok := loaders[k]
		if !ok {
			t.Errorf("%s: package %s should read it, and has no loader", name, pkg)
			continue
		}
		found[k] = true
		run(t, dir, name, load)
	}
	for k := range loaders {
		if !found[k] {
			t.Errorf("no file of the kind %s", k)
		}
	}
}

func run(t *testing.T, dir, name string, load Loader) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Run(name, func(t *testing.T) { load(t, data) })
}

// files lists all files below dir, by slash-separated paths.
func files(tb testing.TB, dir string) []string {
	tb.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Cases counts the cases of one file, and says which of them run.
type Cases struct {
	// Stride thins the cases out under the race detector: each Stride-th runs.
	// Zero means all.
	Stride int

	total, ran, thinned int
}

// Take reports whether the next case runs. id is its suite, and unknown what
// looking that up gave; 0 is for a case of no suite.
func (c *Cases) Take(t *testing.T, id uint16, unknown error) bool {
	t.Helper()
	i := c.total
	c.total++
	if unknown != nil {
		t.Errorf("case %d: suite 0x%04x: %v", i, id, unknown)
		return false
	}
	if c.Stride > 1 && i%c.Stride != 0 {
		c.thinned++
		return false
	}
	c.ran++
	return true
}

// Done prints the count. That no case ran is a failure.
func (c *Cases) Done(t *testing.T) {
	t.Helper()
	line := fmt.Sprintf("%s: %d of %d cases ran", t.Name(), c.ran, c.total)
	if c.thinned > 0 {
		line += fmt.Sprintf(", %d are left out as only each %d. runs", c.thinned, c.Stride)
	}
	t.Log(line)
	if c.ran == 0 {
		t.Error("no case ran")
	}
}
