package store

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/ncruces/go-sqlite3"

	"github.com/parley-im/parley/internal/secret"
)

// Update runs fn in a read-write transaction. One runs at a time; others wait
// for it or for ctx. If fn returns nil the transaction is committed, and on
// disk, before Update returns; if fn returns an error or panics, nothing
// changes. An error of the commit itself also means that nothing changed, but
// for [ErrClosed], after which only opening the profile again tells. ctx
// interrupts statements, not the commit. fn must not call Update, which would
// wait for itself, and must not keep tx.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	select {
	case <-s.writer:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("store: %w", ctx.Err())
	}
	defer func() { s.writer <- struct{}{} }()
	if err := s.usable(); err != nil {
		return err
	}
	return s.write(ctx, fn)
}

// write is Update for the holder of the writer's token.
func (s *Store) write(ctx context.Context, fn func(tx *Tx) error) error {
	tx := &Tx{s: s, c: s.w, ctx: ctx, write: true}
	s.w.SetInterrupt(ctx)
	defer func() {
		tx.finish()
		s.w.rollback() // unless it is committed
		for _, key := range tx.created {
			key.Erase()
		}
	}()
	if err := s.w.run("BEGIN IMMEDIATE"); err != nil {
		return tx.fault(err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.ended != nil {
		return tx.ended
	}
	tx.finish()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	s.w.SetInterrupt(context.Background())
	if !tx.wrote {
		return nil
	}
	return s.commit(tx)
}

// commit makes a transaction durable, in this order:
//
//  1. new keys go into the keyring file. A crash after this leaves keys without
//     scopes, which the next Open drops;
//  2. the database commits. A crash after this leaves the keys of dropped scopes
//     in the file, which the next Open drops too;
//  3. dropped keys leave the keyring file, if there are any;
//  4. the mark follows.
//
// The file written in step 1 has the generation before this commit as its floor,
// so a crash between 1 and 2 is not taken for a rollback; that of step 3 has the
// new one.
func (s *Store) commit(tx *Tx) error {
	ring, generation := s.ring, s.generation+1
	if len(tx.created) > 0 {
		scopes := maps.Clone(ring.scopes)
		maps.Copy(scopes, tx.created)
		next := s.nextRing(s.generation, scopes)
		if err := s.writeKeyring(next); err != nil {
			// Nobody knows which of the two is the file now. The database goes on
			// with the number of the old one: a higher one would be taken for a
			// rollback of the keyring, should the file be the old one.
			return err
		}
		// The file has keys that this Store has not, until the database commits.
		s.setRing(&keyring{seq: next.seq, floor: next.floor, dbKey: ring.dbKey, scopes: ring.scopes})
		ring = next
	}
	if err := s.w.setState(generation, ring.seq); err != nil {
		return err
	}
	if err := s.w.run("COMMIT"); err != nil {
		if errors.Is(err, ErrConstraint) || errors.Is(err, sqlite3.BUSY) {
			return err // a deferred foreign key: nothing was written
		}
		// What reached the disk is only known after recovery.
		return s.fail(err)
	}
	s.generation = generation
	if len(tx.created) > 0 {
		s.setRing(ring)
		tx.created = nil // the ring's now
	}
	if len(tx.dropped) > 0 {
		scopes := maps.Clone(ring.scopes)
		maps.DeleteFunc(scopes, func(name string, _ secret.Key) bool { return tx.dropped[name] })
		next := s.nextRing(generation, scopes)
		err := s.writeKeyring(next)
		s.setRing(next)
		s.mu.Lock()
		for name := range tx.dropped {
			key := ring.scopes[name]
			key.Erase()
		}
		s.mu.Unlock()
		if err != nil {
			return s.fail(err)
		}
	}
	// A mark that stays behind weakens the detection of rollbacks, not the data.
	s.mark.set(generation)
	return nil
}

// setState writes what the database knows of the other files.
func (c *conn) setState(generation, keyring uint64) error {
	st, err := c.prepare("UPDATE store_state SET generation = ?, keyring = ? WHERE id = 1")
	if err != nil {
		return err
	}
	defer c.release(st)
	if err := st.bind([]any{generation, keyring}); err != nil {
		return err
	}
	return dbError(st.Exec())
}

// nextRing returns the keyring that follows the current one with other scopes.
// Its number was never tried before, whether or not that write succeeded.
func (s *Store) nextRing(floor uint64, scopes map[string]secret.Key) *keyring {
	s.tried = max(s.tried, s.ring.seq) + 1
	return &keyring{seq: s.tried, floor: max(s.ring.floor, floor), dbKey: s.ring.dbKey, scopes: scopes}
}

func (s *Store) writeKeyring(k *keyring) error {
	b, err := k.seal(s.ringKey)
	if err != nil {
		return err
	}
	if len(b) > maxKeyringFile {
		return fmt.Errorf("store: keyring is full: %d scopes", len(k.scopes))
	}
	return writeFile(s.dir, keyringName, b)
}

// View runs fn in a read-only transaction on a snapshot: what was committed
// when its first statement runs. It neither waits for Update nor delays it.
// Keys are not part of the snapshot: a scope that is dropped meanwhile does not
// unseal any more. Four run at once, others wait, so fn must not call View.
func (s *Store) View(ctx context.Context, fn func(tx *Tx) error) (err error) {
	var c *conn
	select {
	case c = <-s.readers:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("store: %w", ctx.Err())
	}
	defer func() { s.readers <- c }()
	if err := s.usable(); err != nil {
		return err
	}
	if c == nil {
		s.mu.RLock()
		key := s.ring.dbKey // the same for the life of the Store
		s.mu.RUnlock()
		if c, err = openConn(s.dir, key, false); err != nil {
			return err
		}
	}
	tx := &Tx{s: s, c: c, ctx: ctx}
	c.SetInterrupt(ctx)
	defer func() {
		tx.finish()
		c.rollback()
	}()
	if err := c.run("BEGIN"); err != nil {
		return tx.fault(err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.ended != nil {
		return tx.ended
	}
	return nil
}
