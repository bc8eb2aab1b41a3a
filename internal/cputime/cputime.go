// Package cputime lets benchmarks report the processor time they take, of all
// goroutines and the collector, beside the time on the clock: it says what work
// costs where several cores share it, and where the machine has other work.
package cputime

import (
	"runtime"
	"testing"
)

// Report measures from its call until the function it returns is called, and
// reports the processor time of one of the b.N operations as cpu-ms/op. Call the
// one right before the loop, the other right after. Where the system cannot tell,
// nothing is reported.
func Report(b *testing.B) (done func()) {
	runtime.GC() // what the set-up left behind is not the operation's
	start, ok := used()
	return func() {
		if end, _ := used(); ok {
			b.ReportMetric(float64((end-start).Nanoseconds())/1e6/float64(b.N), "cpu-ms/op")
		}
	}
}
