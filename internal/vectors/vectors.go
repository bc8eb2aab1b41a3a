// Package vectors finds the test vectors made outside the project. Only tests
// import it.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Environment variables: the folder with the vectors, and whether their absence
// is a failure.
const (
	dirVar     = "PARLEY_VECTORS"
	requireVar = "PARLEY_REQUIRE_VECTORS"
)

// Hex is a byte string that is hex in JSON.
type Hex []byte

// MarshalJSON writes hex digits.
func (h Hex) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }

// UnmarshalJSON reads hex digits.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	out, err := hex.DecodeString(s)
	*h = out
	return err
}

// Path returns the path of a vector file or folder below $PARLEY_VECTORS. Where
// it is missing the test is skipped, or fails if $PARLEY_REQUIRE_VECTORS is 1.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	dir := os.Getenv(dirVar)
	if dir == "" {
		missing(tb, "%s is not set: this test needs %s (see CONTRIBUTING.md for where the vectors come from)", dirVar, name)
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		missing(tb, "no vectors %s below %s (see CONTRIBUTING.md for where they come from)", name, dirVar)
	}
	return path
}

// JSON decodes a vector file into out.
func JSON(tb testing.TB, name string, out any) {
	tb.Helper()
	data, err := os.ReadFile(Path(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
}

func missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv(requireVar) == "1" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}
