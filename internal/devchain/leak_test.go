package devchain

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"
)

// Close leaves nothing behind, neither goroutines nor files. What go-ethereum
// starts once per process is there after the first chain.
func TestCloseLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	run := func() {
		c, err := Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.RegisterName(t.Context(), "alice.eth", PublicResolver); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	before := runtime.NumGoroutine()
	const chains = 5
	for range chains {
		run()
	}
	// Goroutines end a little after they are told to.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for runtime.NumGoroutine() >= before+chains && ctx.Err() == nil {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n >= before+chains {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after %d chains\n%s", before, n, chains, buf[:runtime.Stack(buf, true)])
	}
	if files, err := os.ReadDir(os.TempDir()); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}
