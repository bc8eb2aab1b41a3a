package vectors

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

//go:generate go test ../suite ../../treekem ../../groups ../../ratchet -count=1 -run ^TestOwnVectors$ -own-vectors

// makeOwn says that missing cases of our own vectors are to be made and written.
var makeOwn = flag.Bool("own-vectors", false, "make the cases that internal/vectors/mls is without")

// Maker makes the cases of one suite, as the values of a JSON list.
type Maker func(t *testing.T, suite uint16) []any

// Own runs the files of internal/vectors/mls, which are in the formats of the
// MLS implementations and have cases of the private suites, of which there are
// none elsewhere. They are for a second implementation to be tried on, and keep
// this one's wire and key schedule from changing unnoticed: cases that are there
// are never made anew. makers are by file; each file must have a case of every
// suite, and is read by the loader of its kind.
func Own(t *testing.T, suites []uint16, loaders map[string]Loader, makers map[string]Maker) {
	t.Helper()
	dir := filepath.Join(moduleRoot(t), "internal", "vectors", "mls")
	if len(suites) == 0 || len(makers) == 0 {
		t.Fatal("nothing to run")
	}
	for name, maker := range makers {
		file := filepath.Join(dir, name)
		have := readOwn(t, file)
		made := false
		for _, id := range suites {
			if len(have[id]) > 0 {
				continue
			}
			if !*makeOwn {
				t.Fatalf("%s has no case of suite 0x%04x: run go generate ./internal/vectors", name, id)
			}
			for _, c := range maker(t, id) {
				data, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				have[id] = append(have[id], data)
			}
			made = true
		}
		if made {
			writeOwn(t, file, suites, have)
		}
		load, ok := loaders[kind(name)]
		if !ok {
			t.Errorf("no loader for %s", name)
			continue
		}
		run(t, dir, name, load)
	}
}

// OwnPairs decodes internal/vectors/pairs/name, our own vectors of pairwise
// sessions, into out. If there is no such file and they are asked for, it is
// made from what maker returns. A file that is there is never made anew: when
// the wire changes it is deleted first, on purpose.
func OwnPairs(t *testing.T, name string, out any, maker func() any) {
	t.Helper()
	file := filepath.Join(moduleRoot(t), "internal", "vectors", "pairs", name)
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) && *makeOwn {
		if data, err = json.Marshal(maker()); err != nil {
			t.Fatal(err)
		}
		writeJSON(t, file, data)
	}
	if os.IsNotExist(err) {
		t.Fatalf("no %s: run go generate ./internal/vectors", file)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// readOwn returns the cases of a file by suite; none if there is no file.
func readOwn(t *testing.T, file string) map[uint16][]json.RawMessage {
	t.Helper()
	out := map[uint16][]json.RawMessage{}
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return out
	}
	if err != nil {
		t.Fatal(err)
	}
	var cases []json.RawMessage
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for i, c := range cases {
		var head struct {
			Suite      uint16 `json:"cipher_suite"`
			KeyPackage Hex    `json:"mls_key_package"` // of messages.json, which does not say the suite
		}
		if err := json.Unmarshal(c, &head); err != nil {
			t.Fatalf("%s: case %d: %v", file, i, err)
		}
		if head.Suite == 0 && len(head.KeyPackage) > 8 {
			head.Suite = uint16(head.KeyPackage[6])<<8 | uint16(head.KeyPackage[7])
		}
		out[head.Suite] = append(out[head.Suite], c)
	}
	return out
}

func writeOwn(t *testing.T, file string, suites []uint16, cases map[uint16][]json.RawMessage) {
	t.Helper()
	var all []json.RawMessage
	for _, id := range suites {
		all = append(all, cases[id]...)
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	writeJSON(t, file, data)
}

func writeJSON(t *testing.T, file string, data []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", " "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("wrote %s", file)
}

// moduleRoot returns the folder of go.mod above the test's.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above this folder")
		}
		dir = up
	}
}
