// Package store keeps the state of one profile in an encrypted SQLite database
// that survives kill -9 at any instant.
//
// [Create] makes a profile in a directory, [Open] opens it; both lock it against
// a second opener. [Store.Update] runs one read-write transaction, durable when
// it returns; [Store.View] runs a read-only one on a snapshot, beside the
// writer. Inside, a [Tx] has Exec, Query and QueryRow, and seals what must be
// secret beyond the encryption of the disk: [Tx.Seal] encrypts and authenticates
// a value under the key of a scope (a session, an epoch), bound to its place.
// [Tx.DropScope] forgets that key, and with it every copy of the scope's values
// that the database, its log or an older copy of either still holds.
//
// The package does not know what it stores: tables come from the caller's
// migrations, and scopes are opaque names. It does not hide the size of the
// database, nor which pages change, from someone who watches the disk, and it
// cannot tell that all files of a profile together were put back to an earlier
// state. Erasing keys from memory, and from the blocks of a replaced file, is
// best effort.
package store

import (
	"context"
	"errors"
	"io/fs"
)

// Options change how a profile is created or opened. The zero value is right
// for everything but tests.
type Options struct {
	// FastKDF derives the unlock key of a new passphrase with the least work,
	// for tests. A profile remembers its own parameters: opening ignores this.
	FastKDF bool
}

// Store is an open profile. Its methods may be called from many goroutines.
type Store struct{}

// Create makes a profile in dir, which is created if need be (mode 0700), with
// its schema from migrations, and opens it. Other files in dir are left alone.
// A directory with a profile gives [ErrExists]; what a creation that was
// interrupted left behind is removed first. opt may be nil.
//
// Migrations are the files NNNN_name.sql in the root of the file system,
// numbered from 0001 without a gap; each runs once, in a transaction of its own.
// Table names that begin with "store_" are taken.
func Create(dir string, unlock Unlock, migrations fs.FS, opt *Options) (*Store, error) {
	return nil, errors.New("store: not written")
}

// Open opens the profile in dir and applies the migrations it has not had.
// It returns [ErrNotFound], [ErrLocked], [ErrPassphrase], [ErrCorrupt] or
// [ErrVersion], wrapped. opt may be nil. After Open see [Store.RolledBack].
func Open(dir string, unlock Unlock, migrations fs.FS, opt *Options) (*Store, error) {
	return nil, errors.New("store: not written")
}

// Close waits for the running transactions, closes the database, erases the
// keys and lets go of the lock. Later calls return nil.
func (s *Store) Close() error { return nil }

// Update runs fn in a read-write transaction. One runs at a time; others wait
// for it or for ctx. If fn returns nil the transaction is committed, and on
// disk, before Update returns; if fn returns an error or panics, nothing
// changes. An error of the commit itself also means that nothing changed, but
// for [ErrClosed]. ctx interrupts statements, not the commit. fn must not call
// Update, and must not keep tx.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return errors.New("store: not written")
}

// View runs fn in a read-only transaction on a snapshot: what was committed
// when its first statement runs. It neither waits for Update nor delays it.
// Keys are not part of the snapshot: a scope that is dropped meanwhile does not
// unseal any more.
func (s *Store) View(ctx context.Context, fn func(tx *Tx) error) error {
	return errors.New("store: not written")
}

// RolledBack reports whether the database or the keyring is older than what was
// once committed: a restored backup of one of the files, or a lost end of the
// write-ahead log. State that was promised to peers may be missing then, so a
// member must send nothing in a group before it has been resynchronised. The
// mark stays, over later openings too, until [Store.ClearRolledBack].
func (s *Store) RolledBack() bool { return false }

// ClearRolledBack ends the state that [Store.RolledBack] reports. Call it when
// every group has been resynchronised. Keys of scopes that the database does not
// know are dropped then.
func (s *Store) ClearRolledBack(ctx context.Context) error {
	return errors.New("store: not written")
}

// ChangePassphrase replaces what unlocks the profile. old must unlock it now,
// else the error is [ErrPassphrase]. The database is not rewritten.
func (s *Store) ChangePassphrase(old, replacement Unlock, opt *Options) error {
	return errors.New("store: not written")
}
