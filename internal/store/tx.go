package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/parley-im/parley/internal/secret"
)

// Tx is a transaction. It belongs to the goroutine that runs the function it
// was given to, and ends with it.
//
// Arguments of statements are nil, bool, string, []byte, every integer and
// float type, arrays of bytes, named types of these, and pointers to them (nil
// is NULL). A query is compiled once per connection and kept, so write it as a
// constant with ? for values.
type Tx struct {
	s     *Store
	c     *conn
	ctx   context.Context // of the call this Tx lives in
	write bool
	wrote bool  // some statement could change the database
	ended error // set when no statement may run any more
	open  []*Rows

	created map[string]secret.Key // scopes made here, not yet in the Store
	dropped map[string]bool       // scopes that go when this commits
}

// Result tells what a statement did.
type Result struct {
	RowsAffected int64 // by INSERT, UPDATE or DELETE
	LastInsertID int64 // the rowid of the last INSERT
}

// start compiles a statement and binds its arguments.
func (tx *Tx) start(query string, args []any) (*stmt, error) {
	if tx.ended != nil {
		return nil, tx.ended
	}
	st, err := tx.c.prepare(query)
	if err != nil {
		return nil, tx.fault(err)
	}
	if err := st.bind(args); err != nil {
		tx.c.release(st)
		return nil, err
	}
	tx.wrote = tx.wrote || !st.readOnly
	return st, nil
}

// fault completes an error of the database. Some errors (a full disk, an
// interrupt) end the transaction; what would follow would be committed piece by
// piece, so nothing may.
func (tx *Tx) fault(err error) error {
	if cause := tx.ctx.Err(); cause != nil && errors.Is(err, sqlite3.INTERRUPT) {
		err = fmt.Errorf("store: %w", cause)
	}
	if tx.ended == nil && tx.c.GetAutocommit() {
		tx.ended = err
	}
	return err
}

// Exec runs one statement. [ErrConstraint] leaves the transaction usable, and
// undoes the statement alone.
func (tx *Tx) Exec(query string, args ...any) (Result, error) {
	st, err := tx.start(query, args)
	if err != nil {
		return Result{}, err
	}
	err = st.Exec()
	tx.c.release(st)
	if err != nil {
		return Result{}, tx.fault(dbError(err))
	}
	if st.readOnly {
		return Result{}, nil
	}
	return Result{RowsAffected: tx.c.Changes(), LastInsertID: tx.c.LastInsertRowID()}, nil
}

// Query runs a query. The Rows may be left open: the transaction closes them.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) {
	st, err := tx.start(query, args)
	if err != nil {
		return nil, err
	}
	r := &Rows{tx: tx, st: st}
	tx.open = append(tx.open, r)
	return r, nil
}

// QueryRow runs a query of which only the first row matters. Its error is
// returned by [Row.Scan].
func (tx *Tx) QueryRow(query string, args ...any) *Row {
	st, err := tx.start(query, args)
	if err != nil {
		return &Row{Rows{err: err}}
	}
	r := &Row{Rows{tx: tx, st: st}}
	if !r.rows.Next() && r.rows.err == nil {
		r.rows.err = ErrNoRows
	}
	if r.rows.st != nil {
		tx.open = append(tx.open, &r.rows)
	}
	return r
}

// finish closes what is open and makes the Tx unusable.
func (tx *Tx) finish() {
	for _, r := range tx.open {
		r.Close()
	}
	tx.open = nil
	if tx.ended == nil {
		tx.ended = fmt.Errorf("%w: the transaction is over", ErrClosed)
	}
}

// Rows are the rows of a query, read one by one as those of database/sql.
type Rows struct {
	tx  *Tx
	st  *stmt // nil when closed
	err error
}

// Next moves to the next row, the first at first. It returns false, and closes
// the Rows, after the last or on an error, which Err then has.
func (r *Rows) Next() bool {
	if r.st == nil {
		return false
	}
	if r.st.Step() {
		return true
	}
	err := r.st.Err()
	r.Close()
	if err != nil {
		r.err = r.tx.fault(dbError(err))
	}
	return false
}

// Scan copies the columns of this row into the variables dest points to:
// integers (of the right range), floats, bool, string, []byte (a copy), arrays
// of bytes (of the very length), named types of these, and pointers to them,
// which NULL sets to nil. NULL is nil in a []byte, and an error elsewhere.
func (r *Rows) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if r.st == nil {
		return fmt.Errorf("%w: the rows are", ErrClosed)
	}
	return r.st.scan(dest)
}

// Err returns the error that ended the rows, if any.
func (r *Rows) Err() error { return r.err }

// Close ends the rows early. It returns what Err does.
func (r *Rows) Close() error {
	if r.st != nil {
		r.tx.c.release(r.st)
		r.st = nil
	}
	return r.err
}

// Row is the first row of a query.
type Row struct{ rows Rows }

// Scan copies the columns as [Rows.Scan] does. Without a row it returns
// [ErrNoRows].
func (r *Row) Scan(dest ...any) error {
	defer r.rows.Close()
	return r.rows.Scan(dest...)
}
