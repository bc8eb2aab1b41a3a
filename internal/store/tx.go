package store

import (
	"errors"

	"github.com/parley-im/parley/internal/secret"
)

// Tx is a transaction. It belongs to the goroutine that runs the function it
// was given to, and ends with it.
//
// Arguments of statements are nil, bool, string, []byte, every integer and
// float type, arrays of bytes, and named types of these. A query is compiled
// once per connection and kept, so write it as a constant with ? for values.
type Tx struct{}

// Result tells what a statement did.
type Result struct {
	RowsAffected int64 // by INSERT, UPDATE or DELETE
	LastInsertID int64 // the rowid of the last INSERT
}

// Exec runs one statement. [ErrConstraint] leaves the transaction usable.
func (tx *Tx) Exec(query string, args ...any) (Result, error) {
	return Result{}, errors.New("store: not written")
}

// Query runs a query. The Rows may be left open: the transaction closes them.
func (tx *Tx) Query(query string, args ...any) (*Rows, error) {
	return nil, errors.New("store: not written")
}

// QueryRow runs a query of which only the first row matters. Its error is
// returned by [Row.Scan].
func (tx *Tx) QueryRow(query string, args ...any) *Row { return nil }

// Rows are the rows of a query, read one by one as those of database/sql.
type Rows struct{}

// Next moves to the next row, the first at first. It returns false, and closes
// the Rows, after the last or on an error, which Err then has.
func (r *Rows) Next() bool { return false }

// Scan copies the columns of this row into the variables dest points to:
// integers (of the right range), floats, bool, string, []byte (a copy), arrays
// of bytes (of the very length), named types of these, and pointers to them,
// which NULL sets to nil. NULL is nil in a []byte, and an error elsewhere.
func (r *Rows) Scan(dest ...any) error { return nil }

// Err returns the error that ended the rows, if any.
func (r *Rows) Err() error { return nil }

// Close ends the rows early. It returns what Err does.
func (r *Rows) Close() error { return nil }

// Row is the first row of a query.
type Row struct{}

// Scan copies the columns as [Rows.Scan] does. Without a row it returns
// [ErrNoRows].
func (r *Row) Scan(dest ...any) error { return nil }

// CreateScope makes a key for a scope. The key is in the keyring, on disk,
// before the transaction commits, and usable in this transaction at once. Names
// are 1 to 255 bytes.
func (tx *Tx) CreateScope(scope string) error { return nil }

// DropScope forgets the key of a scope: when Update returns, it is neither in
// memory nor in the keyring, and nothing sealed under it opens again, in
// whatever copy of the database. If the transaction does not commit, the scope
// stays. A scope that does not exist gives [ErrNoScope].
func (tx *Tx) DropScope(scope string) error { return nil }

// HasScope reports whether the scope exists.
func (tx *Tx) HasScope(scope string) bool { return false }

// Scopes lists the scopes whose names begin with prefix, sorted.
func (tx *Tx) Scopes(prefix string) []string { return nil }

// Seal encrypts and authenticates plaintext under the key of the scope, bound to
// the scope and to place, which names where the value will live: table, column
// and row, for example "session.state/7". The result is 40 bytes longer.
func (tx *Tx) Seal(scope, place string, plaintext []byte) ([]byte, error) { return nil, nil }

// Unseal opens what Seal made for this very scope and place. Anything else gives
// [ErrSealed], a dropped scope [ErrNoScope]. The caller owns the result.
func (tx *Tx) Unseal(scope, place string, sealed []byte) ([]byte, error) { return nil, nil }

// SealKey is Seal for a key.
func (tx *Tx) SealKey(scope, place string, key secret.Key) ([]byte, error) {
	return tx.Seal(scope, place, key.Bytes())
}

// UnsealKey is Unseal for a key.
func (tx *Tx) UnsealKey(scope, place string, sealed []byte) (secret.Key, error) {
	b, err := tx.Unseal(scope, place, sealed)
	if err != nil {
		return secret.Key{}, err
	}
	return secret.New(b), nil
}
