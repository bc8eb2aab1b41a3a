package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a profile. The database has companions of SQLite's naming.
const (
	dbName      = "parley.db"
	keyringName = "keyring"
	unlockName  = "unlock"
	markName    = "generation"
	lockName    = "lock"
	newSuffix   = ".new" // of a file that is about to replace another

	fileMode = 0o600
	dirMode  = 0o700
)

// writeFile replaces dir/name by data so that a crash leaves the old file or the
// new one, whole and on disk.
func writeFile(dir, name string, data []byte) error {
	if err := writeNew(dir, name, data); err != nil {
		return err
	}
	return publish(dir, name)
}

// writeNew writes data to dir/name.new, on disk.
func writeNew(dir, name string, data []byte) error {
	path := filepath.Join(dir, name+newSuffix)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	return nil
}

// publish renames dir/name.new to dir/name, on disk.
func publish(dir, name string) error {
	path := filepath.Join(dir, name)
	if err := os.Rename(path+newSuffix, path); err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("store: write %s: %w", name, err)
	}
	return nil
}

// readFile reads dir/name of at most limit bytes. A missing file, and a longer
// one, is [ErrCorrupt].
func readFile(dir, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrCorrupt, name)
	}
	if err != nil {
		return nil, fmt.Errorf("store: read %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("store: read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %s is too long", ErrCorrupt, name)
	}
	return b, nil
}

// exists reports whether dir/name is there; an error other than absence counts
// as there, so that nothing is overwritten in doubt.
func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// remove deletes dir/name if it is there.
func remove(dir, name string) error {
	err := os.Remove(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
