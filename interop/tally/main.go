// Command tally counts what the runner reports. It reads the results of one
// configuration on standard input, prints how many runs there were, in how many
// different castings (suite, framing, and which client plays whom), and what
// failed, and exits with 1 if anything did, or nothing ran.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// results are the part of the runner's results that is counted.
type results struct {
	Scripts map[string][]run `json:"scripts"`
}

type run struct {
	Suite     uint32            `json:"cipher_suite"`
	Encrypted bool              `json:"encrypt_flag"`
	Actors    map[string]string `json:"actors"`
	Error     any               `json:"error"`
	Failed    *int              `json:"failed_step"`
	Step      string            `json:"failed_step_json"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: tally name <results")
		os.Exit(2)
	}
	ok, err := tally(os.Stdout, os.Args[1], os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// tally prints the failures and a line of counts, and reports whether all runs
// passed and there was one.
func tally(w io.Writer, name string, r io.Reader) (bool, error) {
	var all results
	if err := json.NewDecoder(r).Decode(&all); err != nil {
		return false, err
	}
	runs, failed := 0, 0
	castings := make(map[string]bool)
	for _, script := range slices.Sorted(maps.Keys(all.Scripts)) {
		for _, r := range all.Scripts[script] {
			runs++
			castings[fmt.Sprint(script, r.Suite, r.Encrypted, r.Actors)] = true // fmt sorts maps
			if r.Failed != nil {
				failed++
				fmt.Fprintf(w, "FAIL %s/%s suite %d encrypted %t %v\n  step %d %s\n  %v\n",
					name, script, r.Suite, r.Encrypted, r.Actors, *r.Failed, r.Step, r.Error)
			}
		}
	}
	fmt.Fprintf(w, "%-32s %3d scripts %6d runs %6d castings %6d passed %6d failed\n",
		name, len(all.Scripts), runs, len(castings), runs-failed, failed)
	return failed == 0 && runs > 0, nil
}
