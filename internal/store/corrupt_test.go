package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/parley-im/parley/internal/secret"
)

// profile returns the files of a closed profile with some content.
func profile(t testing.TB) map[string][]byte {
	dir := t.TempDir()
	s := create(t, dir)
	update(t, s, func(tx *Tx) error {
		for i := range 60 {
			if err := tx.CreateScope(fmt.Sprint("s", i)); err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO note VALUES (?, ?)", i, bytes.Repeat([]byte{byte(i)}, 700)); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, s.Close())
	files := map[string][]byte{}
	for _, name := range []string{dbName, keyringName, unlockName, markName} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		files[name] = b
	}
	return files
}

// noticed opens the profile and reads it all. It fails the test if damage went
// unnoticed, or gave an error without a type.
func noticed(t *testing.T, dir, what string) {
	t.Helper()
	s, err := Open(dir, pass, schema, nil)
	if err == nil {
		defer s.Close()
		if s.RolledBack() {
			return
		}
		err = s.Check(context.Background())
	}
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestFlippedBits(t *testing.T) {
	files := profile(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := clone(t, files)
	for name, good := range files {
		at := []int{0, 8, 9, len(good) - 1}
		for range 12 {
			at = append(at, rng.IntN(len(good)))
		}
		for _, i := range at {
			restore(t, dir, files)
			must(t, os.WriteFile(filepath.Join(dir, name), flip(good, i), 0o600))
			noticed(t, dir, fmt.Sprintf("%s, bit in byte %d", name, i))
		}
	}
	restore(t, dir, files)
	must(t, open(t, dir).Check(context.Background()))
}

func TestTruncated(t *testing.T) {
	files := profile(t)
	dir := clone(t, files)
	for name, good := range files {
		for _, n := range []int{0, 1, 7, 8, 9, 33, len(good) / 4, len(good) / 2, len(good) - 4096, len(good) - 1} {
			if n < 0 || n >= len(good) {
				continue
			}
			restore(t, dir, files)
			must(t, os.WriteFile(filepath.Join(dir, name), good[:n], 0o600))
			noticed(t, dir, fmt.Sprintf("%s of %d bytes", name, n))
		}
		restore(t, dir, files)
		must(t, os.WriteFile(filepath.Join(dir, name), append(bytes.Clone(good), 0), 0o600))
		if name != dbName { // SQLite looks at whole pages only
			noticed(t, dir, name+" with a byte more")
		}
		if name != markName && name != unlockName {
			must(t, os.Remove(filepath.Join(dir, name)))
			noticed(t, dir, name+" missing")
		}
	}
}

// TestForeign puts other files where ours belong.
func TestForeign(t *testing.T) {
	files, other := profile(t), profile(t)
	plain := filepath.Join(t.TempDir(), "plain.db")
	c, err := sqlite3.Open(plain)
	must(t, err)
	must(t, c.Exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)"))
	must(t, c.Close())
	sqlite, err := os.ReadFile(plain)
	must(t, err)
	for name := range files {
		for what, content := range map[string][]byte{"another profile's": other[name], "SQLite": sqlite, "noise": bytes.Repeat([]byte{0xa5}, 8192), "zeros": make([]byte, 8192)} {
			dir := clone(t, files)
			must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
			noticed(t, dir, what+" for "+name)
		}
	}
	// A database under the right key that this package did not make.
	dir := clone(t, files)
	s := open(t, dir)
	key := s.ring.dbKey.Clone()
	must(t, s.Close())
	must(t, os.Truncate(filepath.Join(dir, dbName), 0))
	foreign, err := openRaw(dir, key, true)
	must(t, err)
	must(t, foreign.Exec("CREATE TABLE t (a)"))
	must(t, foreign.close())
	_, err = Open(dir, pass, schema, nil)
	want(t, err, ErrCorrupt)
}

func TestHostileParameters(t *testing.T) {
	root := secret.Random(rootSize)
	h, err := newUnlock(pass, root, fast)
	must(t, err)
	for what, change := range map[string]func(*unlockHeader){
		"memory": func(h *unlockHeader) { h.memory = 1 << 31 }, "little memory": func(h *unlockHeader) { h.memory = 7 },
		"time": func(h *unlockHeader) { h.time = 1 << 31 }, "no time": func(h *unlockHeader) { h.time = 0 },
		"threads": func(h *unlockHeader) { h.threads = 255 }, "no threads": func(h *unlockHeader) { h.threads = 0 },
		"mode": func(h *unlockHeader) { h.mode = 3 }, "key file with time": func(h *unlockHeader) { h.mode = modeKeyFile },
	} {
		bad := *h
		change(&bad)
		if _, err := parseUnlock(bad.marshal()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Weaker parameters that are in range do not open: they are authenticated.
	bad := *h
	bad.time++
	parsed, err := parseUnlock(bad.marshal())
	must(t, err)
	_, err = parsed.open(pass)
	want(t, err, ErrPassphrase)
	if h, err = parseUnlock(h.marshal()); err != nil {
		t.Fatal(err)
	}
	got, err := h.open(pass)
	if must(t, err); !got.Equal(root) {
		t.Fatal("root key differs")
	}
}

func TestKeyringPrefixes(t *testing.T) {
	k := &keyring{seq: 3, floor: 2, dbKey: secret.Random(32), scopes: map[string]secret.Key{"a": secret.Random(32), "b": secret.Random(32)}}
	key := secret.Random(32)
	sealed, err := k.seal(key)
	must(t, err)
	got, err := openKeyring(sealed, key)
	if must(t, err); got.seq != 3 || got.floor != 2 || !got.dbKey.Equal(k.dbKey) || !got.scopes["b"].Equal(k.scopes["b"]) || len(got.scopes) != 2 {
		t.Fatal("keyring differs")
	}
	for i := range sealed {
		_, err := openKeyring(sealed[:i], key)
		want(t, err, ErrCorrupt)
	}
	_, err = openKeyring(sealed, secret.Random(32))
	want(t, err, ErrCorrupt)
	plain := k.marshal()
	for i := range plain {
		_, err := parseKeyring(plain[:i])
		want(t, err, ErrCorrupt)
	}
}

func TestNewerFormats(t *testing.T) {
	for _, name := range []string{unlockName, keyringName} {
		files := profile(t)
		files[name][8] = 2
		_, err := Open(clone(t, files), pass, schema, nil)
		want(t, err, ErrVersion)
	}
}

func FuzzKeyring(f *testing.F) {
	k := &keyring{seq: 1, floor: 1, dbKey: secret.Random(32), scopes: map[string]secret.Key{"session:1": secret.Random(32), "epoch:2": secret.Random(32)}}
	f.Add(k.marshal())
	key := secret.New(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		openKeyring(b, key)
		if k, err := parseKeyring(b); err == nil && !bytes.Equal(k.marshal(), b) {
			t.Fatal("not canonical")
		}
	})
}

func FuzzUnlock(f *testing.F) {
	h, err := newUnlock(pass, secret.Random(rootSize), fast)
	must(f, err)
	f.Add(h.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseUnlock(b); err == nil && !bytes.Equal(h.marshal(), b) {
			t.Fatal("not canonical")
		}
	})
}
