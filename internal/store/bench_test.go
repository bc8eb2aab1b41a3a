package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkUpdate is one small row in a transaction, flushed.
func BenchmarkUpdate(b *testing.B) {
	s := create(b, b.TempDir())
	ctx, body, i := context.Background(), make([]byte, 200), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		must(b, s.Update(ctx, func(tx *Tx) error {
			_, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", i, body)
			return err
		}))
	}
}

// BenchmarkStep is what receiving a message does: read and unseal a session of
// 600 bytes, seal and write it back, insert a message, delete a row.
func BenchmarkStep(b *testing.B) {
	s := create(b, b.TempDir())
	ctx, state, i := context.Background(), make([]byte, 600), 0
	rand.Read(state)
	must(b, s.Update(ctx, func(tx *Tx) error {
		for n := range 100 {
			scope := fmt.Sprintf("session:%d", n)
			if err := tx.CreateScope(scope); err != nil {
				return err
			}
			sealed, err := tx.Seal(scope, scope, state)
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", n, sealed); err != nil {
				return err
			}
		}
		return nil
	}))
	b.ReportAllocs()
	for b.Loop() {
		i++
		must(b, s.Update(ctx, func(tx *Tx) error {
			n := i % 100
			scope := fmt.Sprintf("session:%d", n)
			var sealed []byte
			if err := tx.QueryRow("SELECT body FROM note WHERE id = ?", n).Scan(&sealed); err != nil {
				return err
			}
			plain, err := tx.Unseal(scope, scope, sealed)
			if err != nil {
				return err
			}
			if sealed, err = tx.Seal(scope, scope, plain); err != nil {
				return err
			}
			if _, err := tx.Exec("UPDATE note SET body = ? WHERE id = ?", sealed, n); err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO child (id, note, name) VALUES (?, ?, ?)", i, n, fmt.Sprint("message ", i)); err != nil {
				return err
			}
			_, err = tx.Exec("DELETE FROM child WHERE id = ?", i-50)
			return err
		}))
	}
}

// BenchmarkUpdateScope creates one scope and drops another, beside n others.
func BenchmarkUpdateScope(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := create(b, b.TempDir())
			ctx, i := context.Background(), 0
			must(b, s.Update(ctx, func(tx *Tx) error {
				for ; i < n; i++ {
					if err := tx.CreateScope(fmt.Sprint("epoch:", i)); err != nil {
						return err
					}
				}
				return nil
			}))
			for b.Loop() {
				must(b, s.Update(ctx, func(tx *Tx) error {
					if err := tx.DropScope(fmt.Sprint("epoch:", i-n)); err != nil {
						return err
					}
					return tx.CreateScope(fmt.Sprint("epoch:", i))
				}))
				i++
			}
		})
	}
}

// BenchmarkUpdateParallel is [BenchmarkUpdate] from eight goroutines.
func BenchmarkUpdateParallel(b *testing.B) {
	s := create(b, b.TempDir())
	ctx, body := context.Background(), make([]byte, 200)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				must(b, s.Update(ctx, func(tx *Tx) error {
					_, err := tx.Exec("INSERT INTO note (id, body) VALUES (?, ?)", i, body)
					return err
				}))
			}
		})
	}
	i := 0
	for b.Loop() {
		i++
		next <- i
	}
	close(next)
	wg.Wait()
}

// BenchmarkView reads one row.
func BenchmarkView(b *testing.B) {
	s := create(b, b.TempDir())
	put(b, s, 1, make([]byte, 200))
	b.ReportAllocs()
	for b.Loop() {
		_, err := get(s, 1)
		must(b, err)
	}
}
