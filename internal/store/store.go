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
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/parley-im/parley/internal/secret"
)

// Options change how a profile is created or opened. The zero value is right
// for everything but tests.
type Options struct {
	// FastKDF derives the unlock key of a new passphrase with the least work,
	// for tests. A profile remembers its own parameters: opening ignores this.
	FastKDF bool
	// Fill writes the first rows of a profile that is created, in a transaction.
	// Until that is on disk there is no profile. Opening ignores it.
	Fill func(tx *Tx) error
}

// Store is an open profile. Its methods may be called from many goroutines.
type Store struct {
	dir     string
	lock    *os.File
	mark    *mark
	root    secret.Key
	ringKey secret.Key

	writer  chan struct{} // holds the writer's token when nobody writes
	readers chan *conn    // the idle readers; nil for one not opened yet
	done    chan struct{} // closed by Close
	once    sync.Once

	// The holder of the writer's token owns these.
	w          *conn
	generation uint64 // of the last commit
	tried      uint64 // the highest number that a keyring was written with, or nearly

	// mu guards what readers look at. The holder of the writer's token may read
	// ring without it.
	mu         sync.RWMutex
	ring       *keyring
	rolledBack bool
	failed     error
}

// Create makes a profile in dir, which is created if need be (mode 0700), with
// its schema from migrations, and opens it. Other files in dir are left alone.
// A directory with a profile gives [ErrExists]; what a creation that was
// interrupted left behind is removed first. Whatever interrupts it, there is
// either no profile or one with all that opt.Fill has written; an error of Fill
// is returned, and then there is none. opt may be nil.
//
// Migrations are the files NNNN_name.sql in the root of the file system,
// numbered from 0001 without a gap; each runs once, in a transaction of its own.
// Table names that begin with "store_" are taken.
func Create(dir string, unlock Unlock, migrations fs.FS, opt *Options) (_ *Store, err error) {
	all, err := readMigrations(migrations)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("store: create: %w", err)
	}
	if exists(dir, unlockName) {
		return nil, ErrExists
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := newStore(dir, lock)
	begun := false
	defer func() {
		if err != nil {
			s.release()
			if begun {
				removeProfile(dir)
			}
		}
	}()
	if exists(dir, unlockName) {
		return nil, ErrExists
	}
	// The header is written first and gets its name last: a directory with
	// unlock.new and without unlock is a creation that did not end, and nothing
	// in it can hold anything.
	if !exists(dir, unlockName+newSuffix) && (exists(dir, dbName) || exists(dir, keyringName)) {
		return nil, fmt.Errorf("%w: %s is missing", ErrCorrupt, unlockName)
	}
	root := secret.Random(rootSize)
	if err := s.setRoot(root); err != nil {
		return nil, err
	}
	header, err := newUnlock(unlock, root, opt)
	if err != nil {
		return nil, err
	}
	begun = true
	if err := removeProfile(dir); err != nil {
		return nil, fmt.Errorf("store: create: %w", err)
	}
	if err := writeNew(dir, unlockName, header.marshal()); err != nil {
		return nil, err
	}
	s.ring = &keyring{seq: 1, floor: 1, dbKey: secret.Random(scopeKeySize), scopes: map[string]secret.Key{}}
	if err := s.writeKeyring(s.ring); err != nil {
		return nil, err
	}
	if err := prepareFiles(dir, true); err != nil {
		return nil, err
	}
	if s.w, err = openRaw(dir, s.ring.dbKey, true); err != nil {
		return nil, err
	}
	if err := s.w.initialise(); err != nil {
		return nil, err
	}
	s.generation = 1
	if s.mark, _, _, err = openMark(dir, s.mark.key); err != nil {
		return nil, err
	}
	if err := errors.Join(s.mark.set(s.generation), s.mark.f.Sync()); err != nil {
		return nil, fmt.Errorf("store: create: %w", err)
	}
	if err := s.migrate(all); err != nil {
		return nil, err
	}
	if opt != nil && opt.Fill != nil {
		if err := s.write(context.Background(), opt.Fill); err != nil {
			return nil, err
		}
	}
	if err := publish(dir, unlockName); err != nil {
		return nil, err
	}
	return s, nil
}

// removeProfile deletes the files of a creation that did not end.
func removeProfile(dir string) error {
	var errs []error
	for _, name := range []string{
		dbName, dbName + "-wal", dbName + "-shm", dbName + "-journal",
		keyringName, keyringName + newSuffix, markName, unlockName + newSuffix, // the last one last
	} {
		errs = append(errs, remove(dir, name))
	}
	return errors.Join(errs...)
}

// Open opens the profile in dir and applies the migrations it has not had.
// It returns [ErrNotFound], [ErrLocked], [ErrPassphrase], [ErrCorrupt] or
// [ErrVersion], wrapped. opt may be nil. After Open see [Store.RolledBack].
//
// Open reads the files that are small, and of the database what it needs: damage
// elsewhere shows as [ErrCorrupt] when it is read. [Store.Check] reads it all.
func Open(dir string, unlock Unlock, migrations fs.FS, opt *Options) (_ *Store, err error) {
	all, err := readMigrations(migrations)
	if err != nil {
		return nil, err
	}
	if !exists(dir, unlockName) {
		if !exists(dir, unlockName+newSuffix) && (exists(dir, dbName) || exists(dir, keyringName)) {
			return nil, fmt.Errorf("%w: %s is missing", ErrCorrupt, unlockName)
		}
		return nil, ErrNotFound
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := newStore(dir, lock)
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	root, err := s.unlock(unlock)
	if err != nil {
		return nil, err
	}
	if err := s.setRoot(root); err != nil {
		return nil, err
	}
	sealed, err := readFile(dir, keyringName, maxKeyringFile)
	if err != nil {
		return nil, err
	}
	if s.ring, err = openKeyring(sealed, s.ringKey); err != nil {
		return nil, err
	}
	if err := prepareFiles(dir, false); err != nil {
		return nil, err
	}
	if s.w, err = openConn(dir, s.ring.dbKey, true); err != nil {
		return nil, err
	}
	if err := s.reconcile(); err != nil {
		return nil, err
	}
	if err := s.migrate(all); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(dir string, lock *os.File) *Store {
	s := &Store{
		dir: dir, lock: lock, mark: &mark{},
		writer: make(chan struct{}, 1), readers: make(chan *conn, maxReaders), done: make(chan struct{}),
	}
	s.writer <- struct{}{}
	for range maxReaders {
		s.readers <- nil
	}
	return s
}

// unlock reads the header and opens the root key.
func (s *Store) unlock(u Unlock) (secret.Key, error) {
	b, err := readFile(s.dir, unlockName, unlockSize)
	if err != nil {
		return secret.Key{}, err
	}
	header, err := parseUnlock(b)
	if err != nil {
		return secret.Key{}, err
	}
	return header.open(u)
}

// setRoot takes the root key and derives those of the other files.
func (s *Store) setRoot(root secret.Key) (err error) {
	s.root = root
	if s.ringKey, err = subkey(root, "parley/1 store keyring"); err != nil {
		return err
	}
	s.mark.key, err = subkey(root, "parley/1 store generation")
	return err
}

// Close waits for the running transactions, closes the database, erases the
// keys and lets go of the lock. Later calls return nil.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		close(s.done)
		<-s.writer
		for range maxReaders {
			err = errors.Join(err, (<-s.readers).close())
		}
		err = errors.Join(err, s.release())
	})
	return err
}

// release closes the writer, after which SQLite has merged its log into the
// database, erases the keys and ends the lock.
func (s *Store) release() error {
	err := s.w.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring != nil {
		s.ring.erase()
	}
	s.root.Erase()
	s.ringKey.Erase()
	s.mark.key.Erase()
	if s.mark.f != nil {
		err = errors.Join(err, s.mark.f.Close())
	}
	return errors.Join(err, s.lock.Close())
}

// usable returns the error that a closed or failed Store gives.
func (s *Store) usable() error {
	select {
	case <-s.done:
		return ErrClosed
	default:
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// fail makes the Store unusable: what is on disk is not known any more.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = fmt.Errorf("%w: reopen after: %w", ErrClosed, err)
	return s.failed
}

func (s *Store) setRing(k *keyring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring = k
}

// ChangePassphrase replaces what unlocks the profile. old must unlock it now,
// else the error is [ErrPassphrase]. The database is not rewritten: whoever has
// an old copy of the file "unlock", and the old passphrase, still has the key.
func (s *Store) ChangePassphrase(old, replacement Unlock, opt *Options) error {
	select {
	case <-s.writer:
	case <-s.done:
		return ErrClosed
	}
	defer func() { s.writer <- struct{}{} }()
	if err := s.usable(); err != nil {
		return err
	}
	root, err := s.unlock(old)
	if err != nil {
		return err
	}
	defer root.Erase()
	header, err := newUnlock(replacement, root, opt)
	if err != nil {
		return err
	}
	return writeFile(s.dir, unlockName, header.marshal())
}

// Check reads the whole database and returns [ErrCorrupt] with the first finding
// if something is wrong.
func (s *Store) Check(ctx context.Context) error {
	return s.View(ctx, func(tx *Tx) error {
		var finding string
		if err := tx.QueryRow("PRAGMA integrity_check(1)").Scan(&finding); err != nil {
			return err
		}
		if finding != "ok" {
			return fmt.Errorf("%w: %s", ErrCorrupt, finding)
		}
		return nil
	})
}
