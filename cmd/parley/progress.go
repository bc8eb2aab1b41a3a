package main

import (
	"fmt"
	"sync"
	"time"
)

// progressAfter is how long something takes before it is spoken of.
const progressAfter = 300 * time.Millisecond

// progress says at a terminal what is being done and for how long it has been,
// once it takes a while, until done is called, which clears the line. In a pipe,
// and among the lines of a log, nothing is written.
func (a *app) progress(what string) (done func()) {
	if !a.terminal || a.verbose {
		return func() {}
	}
	began, end := time.Now(), make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		const clear = "\r\x1b[K"
		for next, shown := progressAfter, false; ; next, shown = time.Second, true {
			select {
			case <-end:
				if shown {
					fmt.Fprint(a.err, clear)
				}
				return
			case <-time.After(next):
				fmt.Fprintf(a.err, "%s%s… %d s", clear, what, int(time.Since(began).Seconds()))
			}
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		work.Wait()
	})
}
