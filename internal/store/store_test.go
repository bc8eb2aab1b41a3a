package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

var (
	fast = &Options{FastKDF: true}
	pass = Passphrase([]byte("correct horse"))
)

var schema = fstest.MapFS{
	"0001_first.sql":  {Data: []byte("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB) STRICT;")},
	"0002_second.sql": {Data: []byte("CREATE TABLE child (id INTEGER PRIMARY KEY, note INTEGER NOT NULL REFERENCES note(id) DEFERRABLE INITIALLY DEFERRED, name TEXT UNIQUE, f REAL) STRICT;")},
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err is target.
func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func create(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Create(dir, pass, schema, fast)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, pass, schema, nil)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func update(t testing.TB, s *Store, fn func(tx *Tx) error) {
	t.Helper()
	must(t, s.Update(context.Background(), fn))
}

func put(t testing.TB, s *Store, id int, body []byte) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", id, body)
		return err
	})
}

func get(s *Store, id int) (body []byte, err error) {
	err = s.View(context.Background(), func(tx *Tx) error {
		return tx.QueryRow("SELECT body FROM note WHERE id = ?", id).Scan(&body)
	})
	return body, err
}

func TestCreateOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd name ?#%&", "p")
	_, err := Open(dir, pass, schema, nil)
	want(t, err, ErrNotFound)
	s := create(t, dir)
	put(t, s, 1, []byte("hello"))
	_, err = Create(dir, pass, schema, fast)
	want(t, err, ErrExists)
	must(t, s.Close())
	must(t, s.Close())
	want(t, s.Update(context.Background(), func(*Tx) error { return nil }), ErrClosed)
	want(t, s.View(context.Background(), func(*Tx) error { return nil }), ErrClosed)
	s = open(t, dir)
	b, err := get(s, 1)
	if must(t, err); string(b) != "hello" {
		t.Fatalf("%q", b)
	}
	must(t, s.Check(context.Background()))
	if s.RolledBack() {
		t.Fatal("rolled back")
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	s := create(t, dir)
	put(t, s, 1, []byte("x"))
	_, err := get(s, 1)
	must(t, err)
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Error(fi.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := map[string]bool{}
	for _, e := range entries {
		fi, err := e.Info()
		must(t, err)
		names[e.Name()] = true
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", e.Name(), fi.Mode())
		}
	}
	for _, n := range []string{"parley.db", "parley.db-wal", "keyring", "unlock", "lock", "generation"} {
		if !names[n] {
			t.Errorf("%s is missing", n)
		}
	}
}

func TestUnlock(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(t.TempDir(), "key")
	must(t, NewKeyFile(key))
	if NewKeyFile(key) == nil {
		t.Fatal("replaced a key file")
	}
	other := key + "2"
	must(t, NewKeyFile(other))
	short := key + "3"
	must(t, os.WriteFile(short, make([]byte, 31), 0o600))

	_, err := Create(dir, Passphrase(nil), schema, fast)
	want(t, err, ErrPassphrase)
	s := create(t, dir)
	want(t, s.ChangePassphrase(Passphrase([]byte("wrong")), KeyFile(key), fast), ErrPassphrase)
	must(t, s.ChangePassphrase(pass, KeyFile(key), fast))
	must(t, s.Close())
	for _, u := range []Unlock{pass, {}, KeyFile(other), KeyFile(short), KeyFile(key + "none"), KeyFile(dir)} {
		_, err := Open(dir, u, schema, nil)
		want(t, err, ErrPassphrase)
	}
	s, err = Open(dir, KeyFile(key), schema, nil)
	must(t, err)
	must(t, s.ChangePassphrase(KeyFile(key), pass, fast))
	must(t, s.Close())
	for _, u := range []Unlock{Passphrase([]byte("correct hors")), KeyFile(key), {}} {
		_, err := Open(dir, u, schema, nil)
		want(t, err, ErrPassphrase)
	}
	open(t, dir)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	_, err := Open(dir, pass, schema, nil)
	want(t, err, ErrLocked)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("%v", err)
	}
	must(t, s.Close())
	open(t, dir)
}

func TestInterruptedCreate(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "wallet.json"), []byte("mine"), 0o600))
	s := create(t, dir)
	must(t, s.Close())
	// As a crash just before the header gets its name leaves it.
	must(t, os.Rename(filepath.Join(dir, "unlock"), filepath.Join(dir, "unlock.new")))
	_, err := Open(dir, pass, schema, nil)
	want(t, err, ErrNotFound)
	s = create(t, dir)
	must(t, s.Close())
	// A header that was lost is another thing: the data may still be wanted.
	must(t, os.Remove(filepath.Join(dir, "unlock")))
	_, err = Open(dir, pass, schema, nil)
	want(t, err, ErrCorrupt)
	_, err = Create(dir, pass, schema, fast)
	want(t, err, ErrCorrupt)
	if b, _ := os.ReadFile(filepath.Join(dir, "wallet.json")); string(b) != "mine" {
		t.Fatal("another's file changed")
	}
}

// A creation that ends anywhere before its last step leaves no profile, and
// does not hinder the next; one that fails leaves nothing (docs/spec.md, "The
// store of a profile").
func TestFillIsPartOfCreate(t *testing.T) {
	dir := t.TempDir()
	begun, filled := t.TempDir(), t.TempDir()
	fill := func(tx *Tx) error {
		must(t, os.CopyFS(begun, os.DirFS(dir)))
		if err := tx.CreateScope("self"); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO note (id, body) VALUES (1, x'01')"); err != nil {
			return err
		}
		must(t, os.CopyFS(filled, os.DirFS(dir)))
		return nil
	}
	s, err := Create(dir, pass, schema, &Options{FastKDF: true, Fill: fill})
	must(t, err)
	must(t, s.Close())
	s = open(t, dir)
	if got, err := get(s, 1); err != nil || !bytes.Equal(got, []byte{1}) {
		t.Errorf("the row is %x, %v", got, err)
	}
	if got := s.rolledBack; got {
		t.Error("a new profile is taken for one that was put back")
	}
	for name, crashed := range map[string]string{"begun": begun, "filled": filled} {
		if !exists(crashed, unlockName+newSuffix) || !exists(crashed, dbName) {
			t.Fatalf("%s: nothing was copied", name)
		}
		_, err := Open(crashed, pass, schema, nil)
		want(t, err, ErrNotFound)
		again := create(t, crashed)
		if _, err := get(again, 1); !errors.Is(err, ErrNoRows) {
			t.Errorf("%s: the row is there: %v", name, err)
		}
	}
	failing, failed := t.TempDir(), errors.New("no")
	_, err = Create(failing, pass, schema, &Options{FastKDF: true, Fill: func(*Tx) error { return failed }})
	want(t, err, failed)
	_, err = Open(failing, pass, schema, nil)
	want(t, err, ErrNotFound)
	create(t, failing)
}

func TestMigrations(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	put(t, s, 1, []byte("kept"))
	must(t, s.Close())

	_, err := Open(dir, pass, fstest.MapFS{"0001_first.sql": schema["0001_first.sql"]}, nil)
	want(t, err, ErrVersion)

	bad := map[string]fstest.MapFS{
		"gap":     {"0001_a.sql": {}, "0003_b.sql": {}},
		"name":    {"1_a.sql": {}},
		"double":  {"0001_a.sql": {}, "0001_b.sql": {}},
		"syntax":  {"0001_first.sql": {}, "0002_second.sql": {}, "0003_c.sql": {Data: []byte("CREATE TABLE t2 (a); CREATE TABEL")}},
		"commit":  {"0001_first.sql": {}, "0002_second.sql": {}, "0003_c.sql": {Data: []byte("CREATE TABLE t3 (a); COMMIT")}},
		"foreign": {"0001_first.sql": {}, "0002_second.sql": {}, "0003_c.sql": {Data: []byte("INSERT INTO child (note) VALUES (77)")}},
	}
	for name, m := range bad {
		fresh := t.TempDir()
		if name == "foreign" {
			m["0002_second.sql"], m["0001_first.sql"] = schema["0002_second.sql"], schema["0001_first.sql"]
		}
		_, err := Create(fresh, pass, m, fast)
		if !errors.Is(err, ErrMigration) {
			t.Errorf("%s: create: %v", name, err)
		}
		_, err = Open(fresh, pass, m, nil)
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrMigration) {
			t.Errorf("%s: nothing should be there: %v", name, err)
		}
		if name == "commit" { // it stays half applied: such a program is broken for good
			continue
		}
		if _, err := Open(dir, pass, m, nil); !errors.Is(err, ErrMigration) {
			t.Errorf("%s: open: %v", name, err)
		}
	}

	more := fstest.MapFS{"readme.txt": {}, "0003_third.sql": {Data: []byte(`
		CREATE TABLE note2 (id INTEGER PRIMARY KEY, body BLOB, more TEXT) STRICT;
		INSERT INTO note2 SELECT id, body, 'm' FROM note; DROP TABLE note; ALTER TABLE note2 RENAME TO note;`)}}
	for k, v := range schema {
		more[k] = v
	}
	s, err = Open(dir, pass, more, nil)
	must(t, err)
	defer s.Close()
	b, err := get(s, 1)
	if must(t, err); string(b) != "kept" {
		t.Fatal(b)
	}
	// Enforcement is on again.
	want(t, s.Update(context.Background(), func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO child (note) VALUES (5)")
		return err
	}), ErrConstraint)
}

// TestNoPlaintext looks for what was stored in every file, while the store is
// open and after.
func TestNoPlaintext(t *testing.T) {
	dir := t.TempDir()
	s := create(t, dir)
	word := []byte("the plaintext nobody may find")
	scope := "session:nobody may read this name"
	update(t, s, func(tx *Tx) error {
		if err := tx.CreateScope(scope); err != nil {
			return err
		}
		for i := range 200 {
			if _, err := tx.Exec("INSERT INTO note VALUES (?, ?)", i, word); err != nil {
				return err
			}
		}
		return nil
	})
	look := func() {
		t.Helper()
		entries, err := os.ReadDir(dir)
		must(t, err)
		total := 0
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			total += len(b)
			for _, w := range [][]byte{word, []byte(scope), []byte("CREATE TABLE"), []byte("SQLite format"), []byte("note")} {
				if bytes.Contains(b, w) {
					t.Errorf("%q is in %s", w, e.Name())
				}
			}
		}
		if total < 200*len(word) {
			t.Fatalf("only %d bytes", total)
		}
	}
	look()
	must(t, s.Close())
	look()
}

func TestClosedStoreWaiters(t *testing.T) {
	s := create(t, t.TempDir())
	started, release := make(chan struct{}), make(chan struct{})
	errs := make(chan error, 3)
	go func() {
		errs <- s.Update(context.Background(), func(tx *Tx) error {
			close(started)
			<-release
			_, err := tx.Exec("INSERT INTO note VALUES (1, NULL)")
			return err
		})
	}()
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, s.Update(ctx, func(*Tx) error { return nil }), context.Canceled)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.done
	want(t, s.Update(context.Background(), func(*Tx) error { return nil }), ErrClosed)
	close(release)
	must(t, <-errs)
	must(t, <-closed)
}

func ExampleStore_Update() {
	dir, _ := os.MkdirTemp("", "parley")
	defer os.RemoveAll(dir)
	s, err := Create(dir, Passphrase([]byte("a long passphrase")), schema, &Options{FastKDF: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx := context.Background()
	err = s.Update(ctx, func(tx *Tx) error {
		if err := tx.CreateScope("session:7"); err != nil {
			return err
		}
		sealed, err := tx.Seal("session:7", "note.body/1", []byte("chain key"))
		if err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", 1, sealed)
		return err
	})
	fmt.Println(err)
	err = s.View(ctx, func(tx *Tx) error {
		var sealed []byte
		if err := tx.QueryRow("SELECT body FROM note WHERE id = ?", 1).Scan(&sealed); err != nil {
			return err
		}
		plain, err := tx.Unseal("session:7", "note.body/1", sealed)
		fmt.Printf("%s\n", plain)
		return err
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// chain key
	// <nil>
}
