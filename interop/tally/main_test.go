package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ok       bool
		want     string
	}{
		{
			"two castings", `{"scripts": {"s": [
			{"cipher_suite": 1, "encrypt_flag": true, "actors": {"a": "x", "b": "y"}, "transcript": [{"error": 1}]},
			{"cipher_suite": 1, "encrypt_flag": true, "actors": {"b": "y", "a": "x"}},
			{"cipher_suite": 1, "encrypt_flag": true, "actors": {"a": "y", "b": "y"}}]}}`, true,
			"3 runs      2 castings      3 passed      0 failed",
		},
		{
			"a failure", `{"scripts": {"s": [{"actors": {}}], "u": [{"actors": {}, "failed_step": 0, "error": "boom"}]}}`, false,
			"boom\n",
		},
		{"nothing", `{"scripts": {"s": []}}`, false, "0 runs"},
	} {
		var out bytes.Buffer
		ok, err := tally(&out, "name", strings.NewReader(c.in))
		if err != nil || ok != c.ok || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %t, %v\n%s", c.name, ok, err, &out)
		}
	}
	if ok, err := tally(new(bytes.Buffer), "name", strings.NewReader(`{"scripts"`)); ok || err == nil {
		t.Error("cut short and no error")
	}
}
