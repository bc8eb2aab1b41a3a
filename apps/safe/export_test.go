package safe

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestExportLines(t *testing.T) {
	items := randomItems(t, rand.New(rand.NewPCG(3, 3)))
	lines, err := Export(items, 200)
	if err != nil || len(lines) < 5 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for _, l := range lines {
		if len(l) > 200 {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	shuffled := append(slices.Clone(lines), lines[1], "", "  "+lines[0]+"\r")
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	got, unknown, err := ParseExport([]byte(strings.Join(shuffled, "\n")))
	if err != nil || unknown != 0 || len(got) != len(items) {
		t.Fatalf("%d items of %d, %v", len(got), len(items), err)
	}

	other, err := Export(items[:1], 200)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]string{
		"nothing":           {""},
		"something else":    {"hello"},
		"a line is missing": slices.Delete(slices.Clone(lines), 2, 3),
		"two exports":       {lines[0], other[0]},
		"a changed line":    append(slices.Clone(lines[1:]), strings.Replace(lines[0], "A", "B", 1)),
		"a cut line":        append(slices.Clone(lines[1:]), lines[0][:len(lines[0])-1]),
		"line 0":            {strings.Replace(lines[0], ":1/", ":0/", 1)},
		"too many lines":    {"parley-safe:1/999999999:00000000:AAAA"},
	}
	for name, l := range bad {
		if _, _, err := ParseExport([]byte(strings.Join(l, "\n"))); !errors.Is(err, ErrExport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err = ParseExport([]byte(strings.Join(bad["a line is missing"], "\n")))
	if err == nil || !strings.HasSuffix(err.Error(), "1 are missing: 3") {
		t.Errorf("which line is missing: %v", err)
	}
	if _, err := Export(make([]*Item, maxItems+1), 0); !errors.Is(err, ErrExport) {
		t.Errorf("too many items: %v", err)
	}
}

func FuzzParseExport(f *testing.F) {
	lines, err := Export(randomItems(f, rand.New(rand.NewPCG(3, 3))), 400)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(strings.Join(lines, "\n")))
	one, err := Export(nil, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(one[0]))
	f.Fuzz(func(t *testing.T, text []byte) {
		items, unknown, err := ParseExport(text)
		if err != nil {
			if !errors.Is(err, ErrExport) && !errors.Is(err, ErrItem) {
				t.Error(err)
			}
			return
		}
		if _, err := Export(items, 0); err != nil && unknown == 0 {
			t.Error(err)
		}
	})
}
