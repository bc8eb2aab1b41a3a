//go:build unix

package cputime

import (
	"syscall"
	"time"
)

// used returns the processor time that the process has taken.
func used() (time.Duration, bool) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
