package parley

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
)

// TestMain is also the process that is killed while it makes a profile.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PARLEY_TEST_INIT"); dir != "" {
		if err := initAt(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func initAt(dir string) error {
	wallet, err := identity.GenerateWallet()
	if err != nil {
		return err
	}
	_, err = Init(context.Background(), InitOptions{Dir: dir, Unlock: Passphrase([]byte("correct horse")), Wallet: wallet, FastKDF: true})
	return err
}

// Init ends with a whole profile or with none, wherever it is killed: its steps
// are seen from outside by the files that appear (docs/spec.md, "The store of a
// profile").
func TestInitSurvivesKill(t *testing.T) {
	open := func(dir string) error {
		c, err := Open(t.Context(), Options{Dir: dir, Unlock: Passphrase([]byte("correct horse")), Offline: true})
		if err != nil {
			return err
		}
		return c.Close()
	}
	for _, step := range []string{"lock", "unlock.new", "keyring", "parley.db", "parley.db-wal", "generation", "unlock"} {
		t.Run(step, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "p")
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PARLEY_TEST_INIT="+dir)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			for seen := false; !seen; {
				select {
				case err := <-ended: // on a busy machine it may be over before it is seen
					ended <- err
					seen = true
				default:
					_, err := os.Lstat(filepath.Join(dir, step))
					seen = err == nil
				}
			}
			_ = cmd.Process.Kill() // unless it has ended
			<-ended
			err := open(dir)
			if errors.Is(err, store.ErrNotFound) {
				if err := initAt(dir); err != nil {
					t.Fatalf("Init after the kill: %v", err)
				}
				err = open(dir)
			}
			if err != nil {
				t.Errorf("Open after the kill: %v", err)
			}
		})
	}
}
