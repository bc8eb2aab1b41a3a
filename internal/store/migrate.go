package store

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

type migration struct{ name, sql string }

// readMigrations reads the .sql files in the root of the file system.
func readMigrations(fsys fs.FS) ([]migration, error) {
	if fsys == nil {
		return nil, nil
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMigration, err)
	}
	var all []migration
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".sql") {
			continue
		}
		if !migrationName.MatchString(e.Name()) {
			return nil, fmt.Errorf("%w: name %q", ErrMigration, e.Name())
		}
		b, err := fs.ReadFile(fsys, e.Name())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMigration, err)
		}
		all = append(all, migration{e.Name(), string(b)})
	}
	slices.SortFunc(all, func(a, b migration) int { return cmp.Compare(a.name, b.name) })
	for i, m := range all {
		if m.name[:4] != fmt.Sprintf("%04d", i+1) {
			return nil, fmt.Errorf("%w: %q is not number %d", ErrMigration, m.name, i+1)
		}
	}
	return all, nil
}

// migrate applies what the database has not had, each in a transaction.
func (s *Store) migrate(all []migration) error {
	var have int64
	if err := s.w.queryInt("PRAGMA user_version", &have); err != nil {
		return err
	}
	if have < 0 {
		return fmt.Errorf("%w: schema number %d", ErrCorrupt, have)
	}
	if have > int64(len(all)) {
		return fmt.Errorf("%w: its schema is %d, the program's %d", ErrVersion, have, len(all))
	}
	if have == int64(len(all)) {
		return nil
	}
	// A migration may rebuild a table that others refer to, which is done with
	// enforcement off and checked at the end (sqlite.org/lang_altertable.html).
	if err := s.w.run("PRAGMA foreign_keys=OFF"); err != nil {
		return err
	}
	for i := int(have); i < len(all); i++ {
		if err := s.migrateOne(all[i], i+1); err != nil {
			return err
		}
	}
	return s.w.run("PRAGMA foreign_keys=ON")
}

func (s *Store) migrateOne(m migration, number int) error {
	err := s.write(context.Background(), func(tx *Tx) error {
		if err := s.w.Exec(m.sql); err != nil {
			return dbError(err)
		}
		if s.w.GetAutocommit() {
			return fmt.Errorf("it ended its transaction")
		}
		tx.wrote = true
		rows, err := tx.Query("PRAGMA foreign_key_check")
		if err != nil {
			return err
		}
		if rows.Next() {
			return ErrConstraint
		}
		if err := rows.Close(); err != nil {
			return err
		}
		return s.w.run(fmt.Sprintf("PRAGMA user_version=%d", number))
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMigration, m.name, err)
	}
	return nil
}

// queryInt reads one integer.
func (c *conn) queryInt(query string, dest ...*int64) error {
	st, err := c.prepare(query)
	if err != nil {
		return err
	}
	defer c.release(st)
	if !st.Step() {
		if err := st.Err(); err != nil {
			return dbError(err)
		}
		return fmt.Errorf("%w: state is missing", ErrCorrupt)
	}
	out := make([]any, len(dest))
	for i, d := range dest {
		out[i] = d
	}
	return st.scan(out)
}
