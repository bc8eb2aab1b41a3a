package store

import (
	"database/sql"
	"errors"
	"fmt"
)

var (
	// ErrPassphrase is returned by [Open] and [Store.ChangePassphrase] when the
	// passphrase or key file is not the one of the profile, or cannot be read.
	ErrPassphrase = errors.New("store: wrong passphrase or key file")
	// ErrCorrupt is returned when a file of the profile is truncated, changed,
	// missing, or not one of ours.
	ErrCorrupt = errors.New("store: profile is damaged")
	// ErrLocked is returned by [Create] and [Open] when another process, or
	// another Store of this one, holds the profile. See [LockedError].
	ErrLocked = errors.New("store: profile is in use")
	// ErrNotFound is returned by [Open] when the directory holds no profile.
	ErrNotFound = errors.New("store: no profile here")
	// ErrExists is returned by [Create] when the directory holds a profile.
	ErrExists = errors.New("store: profile exists")
	// ErrVersion is returned by [Open] when the profile was written by a newer
	// program: by its file formats or by its migrations.
	ErrVersion = errors.New("store: profile is of a newer version")
	// ErrMigration is returned by [Create] and [Open] when a migration is
	// misnamed, missing, or fails. It is a fault of the program.
	ErrMigration = errors.New("store: migration failed")
	// ErrSealed is returned by [Tx.Unseal] for a value that was not sealed for
	// this scope and place, or was changed since.
	ErrSealed = errors.New("store: sealed value does not open")
	// ErrNoScope is returned when a scope was never created, or was dropped.
	ErrNoScope = errors.New("store: no such scope")
	// ErrScopeExists is returned by [Tx.CreateScope].
	ErrScopeExists = errors.New("store: scope exists")
	// ErrReadOnly is returned by changes tried inside [Store.View].
	ErrReadOnly = errors.New("store: read-only transaction")
	// ErrConstraint is returned when a statement violates a constraint: a second
	// row of one primary key, a missing parent, a NULL.
	ErrConstraint = errors.New("store: constraint violated")
	// ErrFull is returned when the disk is full. If the commit met it, the error
	// is [ErrClosed] too.
	ErrFull = errors.New("store: disk is full")
	// ErrClosed is returned by a Store after [Store.Close], by a Tx after its
	// function returned, and by every method of a Store that could not keep its
	// files in step: such a Store must be closed and opened again.
	ErrClosed = errors.New("store: closed")
	// ErrNoRows is returned by [Row.Scan] when the query has no row. It is
	// [sql.ErrNoRows].
	ErrNoRows = sql.ErrNoRows
)

// LockedError tells who holds a profile. It matches [ErrLocked].
type LockedError struct {
	PID int // of the holder, or 0 if it is not known
}

// Error names the process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return ErrLocked.Error()
	}
	return fmt.Sprintf("%v by process %d", ErrLocked, e.PID)
}

// Is matches [ErrLocked].
func (e *LockedError) Is(target error) bool { return target == ErrLocked }
