package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/parley-im/parley/internal/secret"
)

func TestSeal(t *testing.T) {
	s := create(t, t.TempDir())
	var sealed []byte
	update(t, s, func(tx *Tx) (err error) {
		must(t, tx.CreateScope("a"))
		must(t, tx.CreateScope("b"))
		want(t, tx.CreateScope("a"), ErrScopeExists)
		sealed, err = tx.Seal("a", "note.body/1", []byte("secret"))
		if len(sealed) != 6+SealOverhead {
			t.Errorf("%d bytes", len(sealed))
		}
		return err
	})
	must(t, s.View(context.Background(), func(tx *Tx) error {
		b, err := tx.Unseal("a", "note.body/1", sealed)
		if err != nil || string(b) != "secret" {
			t.Errorf("%q, %v", b, err)
		}
		for _, at := range [][2]string{{"a", "note.body/2"}, {"b", "note.body/1"}, {"a", ""}, {"a", "note.body/11"}} {
			_, err := tx.Unseal(at[0], at[1], sealed)
			want(t, err, ErrSealed)
		}
		for i := range sealed {
			_, err := tx.Unseal("a", "note.body/1", sealed[:i])
			want(t, err, ErrSealed)
			_, err = tx.Unseal("a", "note.body/1", flip(sealed, i))
			want(t, err, ErrSealed)
		}
		_, err = tx.Unseal("c", "note.body/1", sealed)
		want(t, err, ErrNoScope)
		_, err = tx.Seal("c", "", nil)
		want(t, err, ErrNoScope)
		want(t, tx.CreateScope("c"), ErrReadOnly)
		want(t, tx.DropScope("a"), ErrReadOnly)
		return nil
	}))
	update(t, s, func(tx *Tx) error {
		want(t, tx.DropScope("c"), ErrNoScope)
		must(t, tx.DropScope("a"))
		if _, err := tx.Unseal("a", "note.body/1", sealed); !errors.Is(err, ErrNoScope) || tx.HasScope("a") {
			t.Errorf("dropped scope: %v", err)
		}
		want(t, tx.DropScope("a"), ErrNoScope)
		want(t, tx.CreateScope("a"), ErrScopeExists)
		must(t, tx.CreateScope("d"))
		must(t, tx.DropScope("d"))
		must(t, tx.CreateScope("d"))
		key := secret.Random(32)
		b, err := tx.SealKey("d", "k", key)
		must(t, err)
		got, err := tx.UnsealKey("d", "k", b)
		if err != nil || !got.Equal(key) {
			t.Error("key differs", err)
		}
		_, err = tx.UnsealKey("d", "l", b)
		want(t, err, ErrSealed)
		if tx.CreateScope("") == nil || tx.CreateScope(strings.Repeat("x", 256)) == nil {
			t.Error("a bad name was taken")
		}
		return tx.CreateScope(strings.Repeat("x", 255))
	})
	must(t, s.View(context.Background(), func(tx *Tx) error {
		if got := tx.Scopes("d"); len(got) != 1 || tx.HasScope("a") || !tx.HasScope("b") {
			t.Errorf("scopes %v", got)
		}
		return nil
	}))
}

func TestRollback(t *testing.T) {
	s := create(t, t.TempDir())
	fails := errors.New("no")
	insert := func(tx *Tx, id int) error {
		_, err := tx.Exec("INSERT INTO note (id) VALUES (?)", id)
		return err
	}
	want(t, s.Update(context.Background(), func(tx *Tx) error {
		must(t, insert(tx, 1))
		return fails
	}), fails)
	func() {
		defer func() {
			if recover() != "oh" {
				t.Error("the panic was swallowed")
			}
		}()
		s.Update(context.Background(), func(tx *Tx) error {
			must(t, insert(tx, 2))
			panic("oh")
		})
	}()
	ctx, cancel := context.WithCancel(context.Background())
	want(t, s.Update(ctx, func(tx *Tx) error {
		must(t, insert(tx, 3))
		cancel()
		return nil
	}), context.Canceled)
	want(t, s.View(ctx, func(tx *Tx) error { return nil }), context.Canceled)
	// A deferred constraint fails in the commit.
	want(t, s.Update(context.Background(), func(tx *Tx) error {
		must(t, insert(tx, 4))
		_, err := tx.Exec("INSERT INTO child (note) VALUES (99)")
		return err
	}), ErrConstraint)
	// A constraint met on the way undoes one statement.
	var kept *Tx
	update(t, s, func(tx *Tx) error {
		kept = tx
		must(t, insert(tx, 5))
		want(t, insert(tx, 5), ErrConstraint)
		return insert(tx, 6)
	})
	_, err := kept.Exec("DELETE FROM note")
	want(t, err, ErrClosed)
	_, err = kept.Seal("x", "y", nil)
	want(t, err, ErrClosed)
	want(t, s.View(context.Background(), func(tx *Tx) error { return insert(tx, 7) }), ErrReadOnly)
	must(t, s.View(context.Background(), func(tx *Tx) error {
		var n, sum int
		if err := tx.QueryRow("SELECT count(*), sum(id) FROM note").Scan(&n, &sum); err != nil || n != 2 || sum != 11 {
			t.Errorf("%d rows, sum %d, %v", n, sum, err)
		}
		return nil
	}))
}

// TestInterrupted cancels a statement that would run for ever.
func TestInterrupted(t *testing.T) {
	s := create(t, t.TempDir())
	endless := "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
	for what, run := range map[string]func(context.Context, func(*Tx) error) error{"update": s.Update, "view": s.View} {
		ctx, cancel := context.WithCancel(context.Background())
		started := make(chan struct{})
		go func() { <-started; cancel() }()
		err := run(ctx, func(tx *Tx) error {
			close(started)
			var n int
			return tx.QueryRow(endless).Scan(&n)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	put(t, s, 1, nil)
}

func TestRows(t *testing.T) {
	s := create(t, t.TempDir())
	update(t, s, func(tx *Tx) error {
		for i := range 5 {
			res, err := tx.Exec("INSERT INTO note (body) VALUES (?)", []byte{byte(i)})
			if err != nil || res.RowsAffected != 1 || res.LastInsertID != int64(i+1) {
				t.Errorf("%+v, %v", res, err)
			}
		}
		// One query inside itself, and rows that are left open.
		count := 0
		outer, err := tx.Query("SELECT id FROM note ORDER BY id")
		must(t, err)
		for outer.Next() {
			inner, err := tx.Query("SELECT id FROM note ORDER BY id")
			must(t, err)
			var a, b int
			if !inner.Next() || inner.Scan(&a) != nil || outer.Scan(&b) != nil || a != 1 || b != count+1 {
				t.Errorf("inner %d, outer %d", a, b)
			}
			count++
		}
		if outer.Err() != nil || count != 5 {
			t.Errorf("%d rows, %v", count, outer.Err())
		}
		var n int
		want(t, outer.Scan(&n), ErrClosed)
		want(t, tx.QueryRow("SELECT id FROM note WHERE id = 77").Scan(&n), ErrNoRows)
		must(t, tx.QueryRow("INSERT INTO note (body) VALUES (?) RETURNING id", []byte("x")).Scan(&n))
		if n != 6 {
			t.Errorf("returned %d", n)
		}
		res, err := tx.Exec("DELETE FROM note WHERE id > ?", 3)
		if err != nil || res.RowsAffected != 3 {
			t.Errorf("%+v, %v", res, err)
		}
		for _, bad := range []string{"", "SELECT", "SELECT 1; SELECT 2", "SELECT * FROM nowhere"} {
			if _, err := tx.Exec(bad); err == nil {
				t.Errorf("%q ran", bad)
			}
			if tx.QueryRow(bad).Scan(&n) == nil {
				t.Errorf("%q ran", bad)
			}
		}
		if _, err := tx.Exec("SELECT ?, ?", 1); err == nil {
			t.Error("an argument is missing")
		}
		return nil
	})
	must(t, s.View(context.Background(), func(tx *Tx) error {
		var n int
		must(t, tx.QueryRow("SELECT count(*) FROM note").Scan(&n))
		if n != 3 {
			t.Errorf("%d rows", n)
		}
		return nil
	}))
	// More statements than are kept.
	must(t, s.View(context.Background(), func(tx *Tx) error {
		for i := range maxStatements + 20 {
			var n int
			if err := tx.QueryRow(fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil || n != i {
				return fmt.Errorf("%d: %d, %w", i, n, err)
			}
		}
		return nil
	}))
}

func TestValues(t *testing.T) {
	type (
		id   [4]byte
		name string
		kind uint8
		raw  []byte
	)
	s := create(t, t.TempDir())
	text, number := "p", int64(7)
	good := []struct{ in, out any }{
		{1, 1},
		{int8(-3), int8(-3)},
		{uint32(math.MaxUint32), uint32(math.MaxUint32)},
		{uint64(math.MaxInt64), uint64(math.MaxInt64)},
		{int64(math.MinInt64), int64(math.MinInt64)},
		{kind(9), kind(9)},
		{true, true},
		{false, false},
		{1.5, 1.5},
		{float32(2.5), float32(2.5)},
		{"héllo\x00x", "héllo\x00x"},
		{"", ""},
		{name("n"), name("n")},
		{[]byte("b"), []byte("b")},
		{[]byte{}, []byte{}},
		{[]byte(nil), []byte(nil)},
		{raw("r"), raw("r")},
		{id{1, 2, 3, 4}, id{1, 2, 3, 4}},
		{nil, (*string)(nil)},
		{(*string)(nil), []byte(nil)},
		{&text, &text},
		{&number, int64(7)},
		{nil, raw(nil)},
		{2, float64(2)},
		{"t", []byte("t")},
	}
	must(t, s.View(context.Background(), func(tx *Tx) error {
		for _, c := range good {
			out := reflect.New(reflect.TypeOf(c.out))
			if err := tx.QueryRow("SELECT ?", c.in).Scan(out.Interface()); err != nil {
				t.Errorf("%T to %T: %v", c.in, c.out, err)
			} else if !reflect.DeepEqual(out.Elem().Interface(), c.out) {
				t.Errorf("%T %v became %#v", c.in, c.in, out.Elem().Interface())
			}
		}
		for _, in := range []any{uint64(1 << 63), struct{}{}, secret.Random(3), []int{1}, make(chan int), map[string]int{}} {
			var n int
			if err := tx.QueryRow("SELECT ?", in).Scan(&n); err == nil {
				t.Errorf("%T was taken", in)
			}
		}
		var (
			i8  int8
			u   uint
			i   int
			i64 int64
			str string
			b   []byte
			f   float64
			arr id
			p   *int
			key secret.Key
		)
		for _, c := range []struct{ in, dest any }{
			{200, &i8},
			{-1, &u},
			{"1", &i},
			{nil, &i},
			{nil, &i64},
			{nil, &str},
			{5, &str},
			{5, &b},
			{"x", &f},
			{[]byte{1, 2, 3}, &arr},
			{nil, &arr},
			{"x", &p},
			{[]byte{1}, &key},
			{1, i},
			{1, nil},
			{1.5, &i},
		} {
			if err := tx.QueryRow("SELECT ?", c.in).Scan(c.dest); err == nil {
				t.Errorf("%T went into %T", c.in, c.dest)
			}
		}
		if err := tx.QueryRow("SELECT 1, 2").Scan(&i); err == nil {
			t.Error("a column was lost")
		}
		return nil
	}))
}

// TestReadersWithWriter checks snapshots: in each the rows agree, and time does
// not go back, while a writer grows the log and SQLite folds it into the file.
func TestReadersWithWriter(t *testing.T) {
	s := create(t, t.TempDir())
	update(t, s, func(tx *Tx) error {
		for id := range 8 {
			if _, err := tx.Exec("INSERT INTO note VALUES (?, ?)", id, body(0)); err != nil {
				return err
			}
		}
		return tx.CreateScope("a")
	})
	const rounds = 60
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			last := -1
			for last < rounds && ctx.Err() == nil {
				err := s.View(context.Background(), func(tx *Tx) error {
					rows, err := tx.Query("SELECT body FROM note")
					if err != nil {
						return err
					}
					n, version := 0, -1
					for rows.Next() {
						var b []byte
						if err := rows.Scan(&b); err != nil {
							return err
						}
						v := int(b[0])
						if n > 0 && v != version || v < last || string(b) != string(body(v)) {
							return fmt.Errorf("row of version %d among %d after %d", v, version, last)
						}
						n, version = n+1, v
					}
					if n != 8 {
						return fmt.Errorf("%d rows, %w", n, rows.Err())
					}
					last = version
					return nil
				})
				if err != nil {
					t.Error(err)
					cancel()
				}
			}
		})
	}
	for v := 1; v <= rounds && ctx.Err() == nil; v++ {
		update(t, s, func(tx *Tx) error {
			_, err := tx.Exec("UPDATE note SET body = ?", body(v))
			return err
		})
	}
	wg.Wait()
	must(t, s.Check(context.Background()))
}

// body fills a good part of a page.
func body(version int) []byte {
	b := make([]byte, 1500)
	for i := range b {
		b[i] = byte(version)
	}
	return b
}
