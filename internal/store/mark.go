package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/wire"
)

const markSize = 8 + 16

// mark is the file "generation": the last generation that was committed, with a
// MAC. It is overwritten after each commit, without a flush: it costs two
// microseconds, and may fall behind the database when the machine loses power,
// never run ahead of it. A database below the mark has lost commits: it was put
// back, or the end of its write-ahead log was cut off or changed, which SQLite
// by itself takes for a commit that was never finished.
type mark struct {
	f   *os.File
	key secret.Key
}

func (m *mark) encode(generation uint64) []byte {
	b := wire.AppendUint64(make([]byte, 0, markSize), generation)
	h := hmac.New(sha256.New, m.key.Bytes())
	h.Write(b)
	return append(b, h.Sum(nil)[:markSize-8]...)
}

// openMark opens the file and reads it; ok is false if it says nothing that can
// be believed.
func openMark(dir string, key secret.Key) (m *mark, generation uint64, ok bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, 0, false, fmt.Errorf("store: open %s: %w", markName, err)
	}
	m = &mark{f: f, key: key}
	b := make([]byte, markSize+1)
	n, _ := f.ReadAt(b, 0) // what cannot be read is not believed
	if n != markSize {
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, 0, false, fmt.Errorf("store: open %s: %w", markName, err)
		}
		return m, 0, false, nil
	}
	generation = wire.NewReader(b).Uint64()
	return m, generation, hmac.Equal(b[:markSize], m.encode(generation)), nil
}

// set overwrites the mark. Its size is less than a sector, so it is not torn.
func (m *mark) set(generation uint64) error {
	_, err := m.f.WriteAt(m.encode(generation), 0)
	return err
}
