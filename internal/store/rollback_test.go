package store

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-im/parley/internal/secret"
)

// snapshot copies the files of dir whose names match one of the prefixes; an
// empty prefix copies all.
func snapshot(t *testing.T, dir string, prefixes ...string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	files := map[string][]byte{}
	for _, e := range entries {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e.Name(), p) }) {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			files[e.Name()] = b
		}
	}
	return files
}

func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// clone makes a profile directory of files.
func clone(t *testing.T, files map[string][]byte) string {
	dir := t.TempDir()
	restore(t, dir, files)
	return dir
}

// sealedNote creates a scope and stores a row under it.
func sealedNote(t *testing.T, s *Store, id int, scope string) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		if err := tx.CreateScope(scope); err != nil {
			return err
		}
		sealed, err := tx.Seal(scope, "note", []byte("secret"))
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO note VALUES (?, ?)", id, sealed)
		return err
	})
}

// unseal opens the row of sealedNote.
func unseal(s *Store, id int, scope string) error {
	return s.View(context.Background(), func(tx *Tx) error {
		var sealed []byte
		if err := tx.QueryRow("SELECT body FROM note WHERE id = ?", id).Scan(&sealed); err != nil {
			return err
		}
		b, err := tx.Unseal(scope, "note", sealed)
		if err == nil && string(b) != "secret" {
			err = fmt.Errorf("opened to %q", b)
		}
		return err
	})
}

func drop(t *testing.T, s *Store, scope string) {
	t.Helper()
	update(t, s, func(tx *Tx) error { return tx.DropScope(scope) })
}

// TestDroppedScope puts an older database back: what was dropped stays shut, and
// the step back in time is seen.
func TestDroppedScope(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	sealedNote(t, s, 1, "epoch:1")
	sealedNote(t, s, 2, "epoch:2")
	must(t, unseal(s, 1, "epoch:1"))
	old := snapshot(t, dir, "parley.db")
	drop(t, s, "epoch:1")
	want(t, unseal(s, 1, "epoch:1"), ErrNoScope)
	must(t, unseal(s, 2, "epoch:2"))
	must(t, s.Close())

	for _, name := range []string{"parley.db-wal", "parley.db-shm"} {
		must(t, remove(dir, name))
	}
	restore(t, dir, old)
	s = open(t, dir)
	if !s.RolledBack() {
		t.Fatal("the rollback was not seen")
	}
	want(t, unseal(s, 1, "epoch:1"), ErrNoScope)
	must(t, unseal(s, 2, "epoch:2"))
	put(t, s, 3, nil)
	must(t, s.Close())
	s = open(t, dir)
	if !s.RolledBack() {
		t.Fatal("the rollback was forgotten")
	}
	must(t, s.ClearRolledBack(context.Background()))
	if s.RolledBack() {
		t.Fatal("still rolled back")
	}
	update(t, s, func(tx *Tx) error {
		if got := tx.Scopes("epoch:"); !slices.Equal(got, []string{"epoch:2"}) {
			t.Errorf("scopes %v", got)
		}
		return tx.CreateScope("epoch:1")
	})
	want(t, unseal(s, 1, "epoch:1"), ErrSealed) // another key
	must(t, s.Close())
	if s = open(t, dir); s.RolledBack() {
		t.Fatal("rolled back again")
	}
}

// TestRolledBackRows is a database put back that lacks plain rows only, with
// no scope changed since.
func TestRolledBackRows(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	put(t, s, 1, nil)
	must(t, s.Close())
	old := snapshot(t, dir, "parley.db")
	s = open(t, dir)
	put(t, s, 2, nil)
	must(t, s.Close())
	restore(t, dir, old)
	if s = open(t, dir); !s.RolledBack() {
		t.Fatal("the rollback was not seen")
	}
}

// TestRolledBackWithItsMark is a database put back together with the mark: the
// keyring has a key that was made later.
func TestRolledBackWithItsMark(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	put(t, s, 1, nil)
	must(t, s.Close())
	old := snapshot(t, dir, "parley.db", markName)
	s = open(t, dir)
	put(t, s, 2, nil)
	sealedNote(t, s, 3, "a") // notes that the commit before it is on disk
	must(t, s.Close())
	restore(t, dir, old)
	if s = open(t, dir); !s.RolledBack() {
		t.Fatal("the rollback was not seen")
	}
}

// TestLogTail damages the end of a write-ahead log, which SQLite takes for a
// commit that was never finished.
func TestLogTail(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	put(t, s, 1, nil)
	short := snapshot(t, dir, "parley.db-wal")["parley.db-wal"]
	put(t, s, 2, nil)
	files := snapshot(t, dir, "")
	delete(files, "parley.db-shm")

	if s := open(t, clone(t, files)); s.RolledBack() {
		t.Fatal("a killed process was taken for a rollback")
	}
	whole := files["parley.db-wal"]
	for name, wal := range map[string][]byte{"cut": short, "gone": nil, "flipped": flip(whole, len(short)+100)} {
		files["parley.db-wal"] = wal
		s, err := Open(clone(t, files), pass, schema, nil)
		if err != nil {
			want(t, err, ErrCorrupt)
			continue
		}
		if !s.RolledBack() {
			t.Errorf("%s: the lost commit was not seen", name)
		}
		s.Close()
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

// TestOlderKeyring puts an older keyring back.
func TestOlderKeyring(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	sealedNote(t, s, 1, "a")
	old := snapshot(t, dir, "keyring")
	sealedNote(t, s, 2, "b")
	must(t, s.Close())
	restore(t, dir, old)
	s = open(t, dir)
	if !s.RolledBack() {
		t.Fatal("the rollback was not seen")
	}
	must(t, unseal(s, 1, "a"))
	want(t, unseal(s, 2, "b"), ErrNoScope)
	update(t, s, func(tx *Tx) error { return tx.CreateScope("b") })
	drop(t, s, "b")
	must(t, s.ClearRolledBack(context.Background()))
	must(t, s.Close())
	if s = open(t, dir); s.RolledBack() {
		t.Fatal("rolled back again")
	}
}

// TestCrashOrder stands in for crashes between the steps of a commit.
func TestCrashOrder(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	sealedNote(t, s, 1, "a")

	// Between the keyring with a new key and the commit.
	scopes := maps.Clone(s.ring.scopes)
	scopes["b"] = secret.Random(scopeKeySize)
	must(t, s.writeKeyring(s.nextRing(s.generation, scopes)))
	must(t, s.Close())
	s = open(t, dir)
	if s.RolledBack() || s.hasKey("b") {
		t.Fatalf("rolled back %v, orphan %v", s.RolledBack(), s.hasKey("b"))
	}
	must(t, unseal(s, 1, "a"))

	// Between the commit and the keyring without the dropped key.
	sealedNote(t, s, 2, "c")
	before := snapshot(t, dir, "keyring")
	drop(t, s, "c")
	must(t, s.Close())
	restore(t, dir, before)
	s = open(t, dir)
	if s.RolledBack() {
		t.Fatal("a crash was taken for a rollback")
	}
	want(t, unseal(s, 2, "c"), ErrNoScope)
	must(t, s.Close())
	s = open(t, dir)
	if s.ring.scopes["c"].Len() != 0 || len(s.ring.scopes) != 1 {
		t.Fatal("the orphan is still in the file")
	}
}

// TestKeyringWriteFails lets the write of a keyring fail, as on a full disk,
// before or after the file was replaced. Nothing was lost, so neither that nor
// what is committed afterwards may look like a rollback.
func TestKeyringWriteFails(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	sealedNote(t, s, 1, "a")
	obstacle := filepath.Join(dir, keyringName+newSuffix)
	must(t, os.Mkdir(obstacle, 0o700))
	if err := s.Update(context.Background(), func(tx *Tx) error { return tx.CreateScope("b") }); err == nil {
		t.Fatal("the obstacle was none")
	}
	must(t, os.Remove(obstacle))
	put(t, s, 2, nil)
	must(t, s.Close())
	s = open(t, dir)
	if s.RolledBack() || s.hasKey("b") {
		t.Fatalf("rolled back %v, orphan %v", s.RolledBack(), s.hasKey("b"))
	}
	must(t, unseal(s, 1, "a"))

	// The file was replaced, and only the flush of the directory failed.
	scopes := maps.Clone(s.ring.scopes)
	scopes["c"] = secret.Random(scopeKeySize)
	must(t, s.writeKeyring(s.nextRing(s.generation, scopes)))
	put(t, s, 3, nil)
	sealedNote(t, s, 4, "c")
	must(t, s.Close())
	s = open(t, dir)
	if s.RolledBack() {
		t.Fatal("rolled back")
	}
	must(t, unseal(s, 1, "a"))
	must(t, unseal(s, 4, "c"))
}

// TestMarkMissing takes the mark away, or damages it.
func TestMarkMissing(t *testing.T) {
	for _, content := range [][]byte{nil, make([]byte, markSize), make([]byte, markSize+1), {1}} {
		dir := t.TempDir()
		must(t, create(t, dir).Close())
		must(t, os.WriteFile(filepath.Join(dir, "generation"), content, 0o600))
		s := open(t, dir)
		if !s.RolledBack() {
			t.Errorf("%d bytes: not seen", len(content))
		}
		must(t, s.ClearRolledBack(context.Background()))
		must(t, s.Close())
		if s = open(t, dir); s.RolledBack() {
			t.Error("rolled back again")
		}
	}
}

// TestKeyringUntouched checks that a commit without scopes leaves the file alone,
// and that a transaction which fails does too.
func TestKeyringUntouched(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	sealedNote(t, s, 1, "a")
	before := snapshot(t, dir, "keyring")
	put(t, s, 2, nil)
	must(t, unseal(s, 1, "a"))
	fails := fmt.Errorf("no")
	want(t, s.Update(context.Background(), func(tx *Tx) error {
		must(t, tx.CreateScope("b"))
		must(t, tx.DropScope("a"))
		return fails
	}), fails)
	must(t, unseal(s, 1, "a"))
	if s.hasKey("b") {
		t.Error("scope of a failed transaction")
	}
	if after := snapshot(t, dir, "keyring"); string(after["keyring"]) != string(before["keyring"]) {
		t.Error("keyring was rewritten")
	}
}
