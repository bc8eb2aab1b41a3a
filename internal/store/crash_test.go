package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// keptScopes is how many scopes the crashing child keeps.
const keptScopes = 5

func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_CRASH_DIR"); dir != "" {
		fmt.Fprintln(os.Stderr, crashChild(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild writes until it is killed. Transaction i inserts row i sealed under
// a scope of its own and drops the scope of row i-keptScopes; its number is
// printed when it is committed.
func crashChild(dir string) error {
	s, err := Open(dir, pass, schema, nil)
	if err != nil {
		return err
	}
	var i int
	err = s.View(context.Background(), func(tx *Tx) error {
		return tx.QueryRow("SELECT coalesce(max(id), 0) FROM note").Scan(&i)
	})
	for err == nil {
		i++
		if err = s.Update(context.Background(), func(tx *Tx) error { return crashStep(tx, i) }); err == nil {
			_, err = fmt.Println(i)
		}
	}
	return err
}

func crashStep(tx *Tx, i int) error {
	scope := fmt.Sprint("row:", i)
	if err := tx.CreateScope(scope); err != nil {
		return err
	}
	sealed, err := tx.Seal(scope, fmt.Sprint("note.body/", i), []byte(scope))
	if err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", i, sealed); err != nil {
		return err
	}
	if i > keptScopes {
		return tx.DropScope(fmt.Sprint("row:", i-keptScopes))
	}
	return nil
}

// What a killed process leaves in its write-ahead log reaches the database file
// by the next process, whose first look at the header is then at the log's copy
// of it. The pages must get their checksums all the same, also where the header
// stays behind in the log, for the sake of a reader of an older state.
func TestCheckpointAfterCrash(t *testing.T) {
	dir, left := t.TempDir(), t.TempDir()
	s := create(t, dir)
	grow := func(tx *Tx) error { // which the header tells
		for range 50 {
			if _, err := tx.Exec("INSERT INTO note (body) VALUES (?)", make([]byte, 3000)); err != nil {
				return err
			}
		}
		return nil
	}
	update(t, s, grow)
	// What kill -9 would leave now; the lock is not among it.
	for _, name := range []string{dbName, dbName + "-wal", keyringName, unlockName, markName} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(left, name), b, fileMode))
	}
	s = open(t, left)
	must(t, s.View(context.Background(), func(tx *Tx) error {
		var n int
		must(t, tx.QueryRow("SELECT count(*) FROM note").Scan(&n))
		update(t, s, grow)
		_, _, err := s.w.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		return err
	}))
	if _, _, err := s.w.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		t.Fatal(err)
	}
	must(t, s.Check(context.Background())) // by a connection that reads the file
	must(t, s.Close())
	must(t, open(t, left).Check(context.Background()))
}

// TestKill kills a writer twenty times and looks at what it left.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	must(t, create(t, dir).Close())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	before := 0
	for range 20 {
		acked := killedWriter(t, dir, rng)
		s := open(t, dir)
		if s.RolledBack() {
			t.Fatal("a crash was taken for a rollback")
		}
		must(t, s.Check(context.Background()))
		must(t, s.View(context.Background(), func(tx *Tx) error {
			var count, last int
			if err := tx.QueryRow("SELECT count(*), coalesce(max(id), 0) FROM note").Scan(&count, &last); err != nil {
				return err
			}
			if last < max(acked, before) || count != last || last > max(acked, before)+1 {
				return fmt.Errorf("%d rows up to %d, acknowledged %d", count, last, acked)
			}
			var kept []string
			for i := 1; i <= last; i++ {
				scope := fmt.Sprint("row:", i)
				var sealed []byte
				if err := tx.QueryRow("SELECT body FROM note WHERE id = ?", i).Scan(&sealed); err != nil {
					return err
				}
				plain, err := tx.Unseal(scope, fmt.Sprint("note.body/", i), sealed)
				if i <= last-keptScopes {
					want(t, err, ErrNoScope)
					continue
				}
				kept = append(kept, scope)
				if err != nil || string(plain) != scope {
					return fmt.Errorf("row %d: %q, %w", i, plain, err)
				}
			}
			slices.Sort(kept)
			if got := tx.Scopes(""); !slices.Equal(got, kept) {
				return fmt.Errorf("scopes %v, want %v", got, kept)
			}
			before = last
			return nil
		}))
		must(t, s.Close())
	}
	if before < 20 {
		t.Fatalf("only %d rows were written", before)
	}
}

// killedWriter runs the child until it has acknowledged some transactions, kills
// it, and returns the last it acknowledged.
func killedWriter(t *testing.T, dir string, rng *rand.Rand) (acked int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_CRASH_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	stop, lines := 1+rng.IntN(8), bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		acked, err = strconv.Atoi(lines.Text())
		must(t, err)
		if n == stop {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	return acked
}
