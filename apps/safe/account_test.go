package safe

import "testing"

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]Version{"1.3.0": V130, "1.3.0+L2": V130, "1.4.1": V141, "1.5.0+L2": V150} {
		if v, err := ParseVersion(s); v != want || err != nil {
			t.Errorf("%s: %v, %v", s, v, err)
		}
	}
	for _, s := range []string{"", "1.2.0", "1.1.1", "1.4.0", "2.0.0", "1.3.0+L3", "1.3.0 "} {
		if v, err := ParseVersion(s); err == nil {
			t.Errorf("%q: %v", s, v)
		}
	}
}
