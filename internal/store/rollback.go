package store

import (
	"context"
	"fmt"
	"maps"

	"github.com/parley-im/parley/internal/secret"
)

// RolledBack reports whether the database or the keyring is older than what was
// once committed: a restored backup of one of the files, or a lost end of the
// write-ahead log. State that was promised to peers may be missing then, so a
// member must send nothing in a group before it has been resynchronised. The
// mark stays, over later openings too, until [Store.ClearRolledBack].
func (s *Store) RolledBack() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rolledBack
}

// reconcile brings the files of the profile in step after they were opened.
//
//   - The generation of the database is below the floor of the keyring or below
//     the mark, or the mark is missing or damaged: the database may have been
//     put back.
//   - The keyring's number is below the one the database was committed with: the
//     keyring was put back.
//
// Either is a rollback. It is written into the database before anything else,
// and the numbers are moved past all that were seen, so that later openings
// judge only what happens after this one.
//
// Otherwise a key without a row in store_scope is left from a crash, before or
// after a commit, and is dropped. A row without a key cannot come from a crash.
func (s *Store) reconcile() error {
	var id, generation, seq, rolledBack int64
	if err := s.w.queryInt("PRAGMA application_id", &id); err != nil {
		return err
	}
	if id != applicationID {
		return fmt.Errorf("%w: %s is empty or not ours", ErrCorrupt, dbName)
	}
	if err := s.w.queryInt("SELECT generation, keyring, rolled_back FROM store_state WHERE id = 1", &generation, &seq, &rolledBack); err != nil {
		return err
	}
	if generation < 1 || seq < 1 {
		return fmt.Errorf("%w: state is out of range", ErrCorrupt)
	}
	s.generation, s.rolledBack = uint64(generation), rolledBack != 0

	m, marked, ok, err := openMark(s.dir, s.mark.key)
	if err != nil {
		return err
	}
	s.mark = m
	if !ok || s.generation < max(marked, s.ring.floor) || s.ring.seq < uint64(seq) {
		if ok {
			s.generation = max(s.generation, marked)
		}
		return s.noteRollback(max(s.generation, s.ring.floor)+1, max(s.ring.seq, uint64(seq))+1)
	}
	// The mark may have stayed behind: a crash, or a lost write.
	if err := s.mark.set(s.generation); err != nil {
		return fmt.Errorf("store: write %s: %w", markName, err)
	}
	if s.rolledBack {
		return nil
	}
	return s.dropOrphans()
}

// noteRollback records a rollback. The keyring is written after the database:
// should the machine stop between the two, the next Open comes here again.
func (s *Store) noteRollback(generation, seq uint64) error {
	if err := s.w.run("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer s.w.rollback()
	if err := s.w.setState(generation, seq); err != nil {
		return err
	}
	if err := s.w.run("UPDATE store_state SET rolled_back = 1"); err != nil {
		return err
	}
	if err := s.w.run("COMMIT"); err != nil {
		return err
	}
	s.generation, s.rolledBack = generation, true
	s.ring.seq, s.ring.floor = seq, generation
	if err := s.writeKeyring(s.ring); err != nil {
		return err
	}
	if err := s.mark.set(generation); err != nil {
		return fmt.Errorf("store: write %s: %w", markName, err)
	}
	return s.mark.f.Sync()
}

// dropOrphans forgets the keys of scopes that the database does not have.
func (s *Store) dropOrphans() error {
	st, err := s.w.prepare("SELECT name FROM store_scope")
	if err != nil {
		return err
	}
	defer s.w.release(st)
	known := make(map[string]secret.Key, len(s.ring.scopes))
	for st.Step() {
		name := st.ColumnText(0)
		key, ok := s.ring.scopes[name]
		if !ok {
			return fmt.Errorf("%w: a scope has no key", ErrCorrupt)
		}
		known[name] = key
	}
	if err := st.Err(); err != nil {
		return dbError(err)
	}
	if len(known) == len(s.ring.scopes) {
		return nil
	}
	old, next := s.ring, s.nextRing(s.generation, known)
	if err := s.writeKeyring(next); err != nil {
		return err
	}
	s.setRing(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, key := range maps.All(old.scopes) {
		if _, ok := known[name]; !ok {
			key.Erase()
		}
	}
	return nil
}

// ClearRolledBack ends the state that [Store.RolledBack] reports. Call it when
// every group has been resynchronised. Keys of scopes that the database does not
// know, and scopes that have no key, are forgotten then.
func (s *Store) ClearRolledBack(ctx context.Context) error {
	err := s.Update(ctx, func(tx *Tx) error {
		rows, err := tx.Query("SELECT name FROM store_scope")
		if err != nil {
			return err
		}
		known, keyless := map[string]bool{}, []string{}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			known[name] = true
			if !tx.HasScope(name) {
				keyless = append(keyless, name)
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
		for _, name := range keyless {
			if err := tx.DropScope(name); err != nil {
				return err
			}
		}
		for _, name := range tx.Scopes("") {
			if !known[name] {
				if err := tx.DropScope(name); err != nil {
					return err
				}
			}
		}
		_, err = tx.Exec("UPDATE store_state SET rolled_back = 0")
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rolledBack = false
	return nil
}
