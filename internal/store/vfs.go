package store

import (
	"hash/fnv"
	"sync"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
)

// vfsName is the VFS of our databases: Adiantum over pageVFS over files.
//
// Adiantum is a wide-block cipher: with the checksum that every page carries, a
// changed bit anywhere in a page of the database turns the whole page to noise
// and fails the check.
const vfsName = "parley"

func init() {
	vfs.Register(vfsName, adiantum.Wrap(pageVFS{vfs.Find("")}, nil))
}

// pageVFS makes the reads and writes of write-ahead logs atomic among the
// connections of this process, which is the only one that has the file open.
//
// In SQLite nobody reads what a writer appends, so plain files need no such
// thing. Encrypted in blocks of 4 KiB, appending a frame rewrites the block in
// which the frame before it ends; a reader of that earlier frame could see half
// of the old block and half of the new, and decrypt noise. The database file
// itself is read and written in whole blocks, under SQLite's own rules.
type pageVFS struct{ vfs.VFS }

// stripes guard the logs of one or more databases each.
var stripes [16]sync.RWMutex

// OpenFilename implements [vfs.VFSFilename].
func (v pageVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil || flags&vfs.OPEN_WAL == 0 {
		return f, flags, err
	}
	h := fnv.New32a()
	h.Write([]byte(name.String()))
	return &walFile{File: f, mu: &stripes[h.Sum32()%uint32(len(stripes))]}, flags, nil
}

type walFile struct {
	vfs.File
	mu *sync.RWMutex
}

// ReadAt implements [io.ReaderAt].
func (f *walFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.File.ReadAt(p, off)
}

// WriteAt implements [io.WriterAt].
func (f *walFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.File.WriteAt(p, off)
}
