package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/parley-im/parley/internal/secret"
)

// applicationID marks our databases ("prly").
const applicationID = 0x70726c79

// conn is a connection with its compiled statements. One goroutine has it at a
// time: the holder of the writer's or of a reader's token.
type conn struct {
	*sqlite3.Conn
	stmts map[string]*stmt
}

type stmt struct {
	*sqlite3.Stmt
	query    string
	params   int
	columns  int
	readOnly bool
	busy     bool // owned by open Rows
	stray    bool // not in the cache: close after use
}

// openConn opens the database of dir, which initialise has made.
//
// The layer that checks the checksums of pages, and makes them when a page is
// written to the database file, finds out that the database has them by reading
// the header from that file, which SQLite does as it opens it. A connection that
// missed the header would move pages from the log into the database without
// their checksums, for others to take as damaged. So nothing goes on without.
func openConn(dir string, key secret.Key, write bool) (*conn, error) {
	for range 3 {
		c, err := openRaw(dir, key, write)
		if err != nil {
			return nil, err
		}
		st, _, err := c.Prepare("PRAGMA checksum_verification")
		if err != nil {
			return nil, errors.Join(dbError(err), c.close())
		}
		on := st.Step() && st.ColumnText(0) == "1"
		if err := st.Close(); err != nil {
			return nil, errors.Join(dbError(err), c.close())
		}
		if on {
			return c, nil
		}
		// A reader can meet the header while the writer is writing it.
		if err := c.close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s has no header of ours", ErrCorrupt, dbName)
}

// openRaw opens the database of dir, which prepareFiles has made, with or
// without checksums.
func openRaw(dir string, key secret.Key, write bool) (_ *conn, err error) {
	path, err := filepath.Abs(filepath.Join(dir, dbName))
	if err != nil {
		return nil, err
	}
	// The key is in the name, and not in a PRAGMA that follows, so that the
	// header can be read at once.
	c, err := sqlite3.OpenFlags("file:"+escapePath(path)+"?vfs="+vfsName+"&modeof="+escapePath(path)+
		"&hexkey="+hex.EncodeToString(key.Bytes()), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, dbError(err)
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	// FULL: in WAL mode one flush per commit makes it durable; NORMAL would
	// leave commits to the next checkpoint. FAST secure_delete clears deleted
	// rows where it costs no extra write.
	setup := `PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=FAST;
		PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA busy_timeout=10000; PRAGMA journal_size_limit=8388608;
		PRAGMA cache_size=-8192;`
	if !write {
		setup += "PRAGMA query_only=ON;"
	}
	if err := c.Exec(setup); err != nil {
		return nil, dbError(err)
	}
	return &conn{Conn: c, stmts: map[string]*stmt{}}, nil
}

// initialise makes an empty file a database of ours.
func (c *conn) initialise() error {
	if err := c.EnableChecksums("main"); err != nil {
		return dbError(err)
	}
	return dbError(c.Exec(fmt.Sprintf(`PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; PRAGMA application_id=%d;
		CREATE TABLE store_state (
			id INTEGER PRIMARY KEY CHECK (id = 1),
			generation INTEGER NOT NULL,
			keyring INTEGER NOT NULL,
			rolled_back INTEGER NOT NULL
		) STRICT;
		INSERT INTO store_state VALUES (1, 1, 1, 0);
		CREATE TABLE store_scope (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
		COMMIT;`, applicationID)))
}

// prepareFiles creates the files that SQLite would create with wider
// permissions. SQLite takes empty ones for absent.
func prepareFiles(dir string, create bool) error {
	names := []string{dbName + "-wal", dbName + "-shm"}
	if create {
		names = append(names, dbName)
	} else if !exists(dir, dbName) {
		return fmt.Errorf("%w: %s is missing", ErrCorrupt, dbName)
	}
	for _, name := range names {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, fileMode)
		if err != nil {
			return fmt.Errorf("store: open %s: %w", name, err)
		}
		f.Close()
	}
	return nil
}

// escapePath writes a path for the place of a value in an SQLite URI.
func escapePath(path string) string {
	var b strings.Builder
	for _, c := range []byte(filepath.ToSlash(path)) {
		if c == '/' || c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// prepare returns the compiled form of query, for the caller until release.
func (c *conn) prepare(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil && !s.busy {
		s.busy = true
		return s, nil
	}
	raw, tail, err := c.Conn.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, dbError(err)
	}
	if raw == nil {
		return nil, errors.New("store: empty statement")
	}
	if strings.TrimSpace(tail) != "" {
		raw.Close()
		return nil, errors.New("store: more than one statement")
	}
	s := &stmt{Stmt: raw, query: query, params: raw.BindCount(), columns: raw.ColumnCount(), readOnly: raw.ReadOnly(), busy: true}
	if c.stmts[query] != nil {
		s.stray = true // the cached one is being read from
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		for q, old := range c.stmts { // whichever comes: constant queries never get here
			if !old.busy {
				old.Close()
				delete(c.stmts, q)
				break
			}
		}
	}
	c.stmts[query] = s
	return s, nil
}

// release ends the use of a statement. What was bound is cleared, so that no
// plaintext stays in the connection's memory longer than it must.
func (c *conn) release(s *stmt) error {
	err := s.Reset()
	s.busy = false
	if s.stray {
		s.Close()
	} else if s.params > 0 {
		s.ClearBindings()
	}
	return err
}

// run executes a statement of our own without arguments or rows.
func (c *conn) run(query string) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	err = s.Exec()
	c.release(s)
	return dbError(err)
}

// rollback ends the transaction, if SQLite has not done so itself.
func (c *conn) rollback() {
	c.SetInterrupt(context.Background())
	if !c.GetAutocommit() {
		c.run("ROLLBACK")
	}
}

// close closes the statements and the connection.
func (c *conn) close() error {
	if c == nil {
		return nil
	}
	c.SetInterrupt(context.Background())
	for _, s := range c.stmts {
		s.Close()
	}
	clear(c.stmts)
	return dbError(c.Conn.Close())
}

// dbError gives the errors of SQLite that a caller acts on their sentinel.
func dbError(err error) error {
	if err == nil {
		return nil
	}
	for _, m := range [...]struct {
		is   error
		then error
	}{
		{sqlite3.CORRUPT, ErrCorrupt},
		{sqlite3.NOTADB, ErrCorrupt},
		{sqlite3.IOERR_DATA, ErrCorrupt},
		{sqlite3.IOERR_CORRUPTFS, ErrCorrupt},
		{sqlite3.IOERR_SHORT_READ, ErrCorrupt},
		{sqlite3.CONSTRAINT, ErrConstraint},
		{sqlite3.FULL, ErrFull},
		{sqlite3.READONLY, ErrReadOnly},
	} {
		if errors.Is(err, m.is) {
			return fmt.Errorf("%w: %w", m.then, err)
		}
	}
	return fmt.Errorf("store: %w", err)
}
