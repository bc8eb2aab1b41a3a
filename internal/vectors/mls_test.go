package vectors

import (
	"testing"
)

// Every file of the folder is read by somebody's tests.
func TestEveryFileHasAReader(t *testing.T) {
	list := files(t, Path(t, "mls"))
	for _, name := range list {
		if readers[kind(name)] == "" {
			t.Errorf("no package reads mls/%s", name)
		}
	}
	t.Logf("%d files", len(list))
	if len(list) == 0 {
		t.Error("no files")
	}
}

func TestKind(t *testing.T) {
	for name, want := range map[string]string{
		"passive-client-random.json":       passiveClient,
		"passive/application.json":         passiveClient,
		"deep/passive/x/anything":          passiveClient,
		"elsewhere/passive-client-ab.json": passiveClient,
		"treekem.json":                     "treekem.json",
		"other/treekem.json":               "other/treekem.json",
		"not-passive/x.json":               "not-passive/x.json",
	} {
		if got := kind(name); got != want {
			t.Errorf("%s is of kind %s, want %s", name, got, want)
		}
	}
}

func TestCasesThinned(t *testing.T) {
	c := Cases{Stride: 3}
	for i, want := range []bool{true, false, false, true, false, false, true} {
		if got := c.Take(t, 1, nil); got != want {
			t.Errorf("case %d runs: %v", i, got)
		}
	}
	if c.total != 7 || c.ran != 3 || c.thinned != 4 {
		t.Errorf("%+v", c)
	}
	c.Done(t)
}
